/** Policies and connections drawn from the input's bytes: the engine in WebAssembly and the plain one decide alike. */
import type { Authorization } from "../../../src/mesh/authorization.ts";
import type { PolicyEngine } from "../../../src/policy/policy_engine.ts";
import { createReferenceEngine } from "../../../src/policy/reference.ts";
import { PolicyGenerator } from "../../../src/policy/testing/policy_generator.ts";
import { createPolicyEngine } from "../../../src/policy/wasm/engine.ts";
import { type Look, same, type Target } from "../target.ts";

/** Draws what the bytes say, and then from a seed that the last of them are. */
class ByteGenerator extends PolicyGenerator {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    super(bytes.at(-1) ?? 0);
    this.#bytes = bytes;
  }

  override float(): number {
    const byte = this.#bytes[this.#at++];
    return byte === undefined ? super.float() : byte / 256;
  }
}

// Kept from input to input, as in a node: what one leaves behind must not change the next one's answers.
const engine = createPolicyEngine({ missingPolicy: "deny" });
const reference = createReferenceEngine({ missingPolicy: "deny" });

function decide(one: PolicyEngine, ...[workload, connection]: Parameters<PolicyEngine["decide"]>): unknown {
  const dryRuns: string[] = [];
  one.onDryRun = (policy, rule, action) => dryRuns.push(`${action} ${policy} ${rule}`);
  const { version: _, ...decision } = { ...one.decide(workload, connection) };
  return { decision, dryRuns };
}

function run(input: Uint8Array, look: Look): void {
  const generator = new ByteGenerator(input);
  let policies: Authorization[] = [];
  for (let update = 0; update < 2; update++) {
    policies = [...policies.slice(1), ...generator.policies(1 + generator.below(4))];
    look.turn(() => engine.update(policies));
    reference.update(policies);
    const workload = generator.workload(policies);
    same(engine.missing(workload), reference.missing(workload), "policies that are missing");
    for (let turn = 0; turn < 3; turn++) {
      const connection = generator.connection();
      same(
        look.turn(() => decide(engine, workload, connection)),
        decide(reference, workload, connection),
        "the decision in WebAssembly, and in plain lines",
      );
    }
  }
}

export const target: Target = {
  maxBytes: 512,
  seeds: () =>
    Array.from({ length: 12 }, (_, seed) =>
      Uint8Array.from({ length: 120 }, (__, index) => (index * (seed * 2 + 7) * 37 + seed * 91) & 0xff),
    ),
  run,
};
