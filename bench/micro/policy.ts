/**
 * Policy decisions: the WebAssembly engine with everything a decision costs (looking up the workload's plan and the caller,
 * copying the connection in, the search, making the Permit or Denial) against the reference in TypeScript.
 */
import { assert } from "../../src/base/assert.ts";
import type { Authorization, Match, Rule } from "../../src/mesh/authorization.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import type { PolicyConnection } from "../../src/policy/decision.ts";
import type { PolicyEngine } from "../../src/policy/policy_engine.ts";
import { createReferenceEngine } from "../../src/policy/reference.ts";
import {
  connection,
  ip,
  match,
  policy,
  prefix,
  rule,
  string,
  workload,
} from "../../src/policy/testing/policy_fixtures.ts";
import { createPolicyEngine } from "../../src/policy/wasm/engine.ts";
import type { MicroCase } from "./measure.ts";

const sizes = [10, 1_000, 10_000] as const;
const here = workload();
const caller = (index: number) => new SpiffeId("cluster.local", `ns-${index}`, "app");

/** A set of policies and a connection whose answer is known. */
interface Scene {
  readonly name: string;
  readonly policies: (size: number) => readonly Authorization[];
  readonly connections: (size: number) => readonly PolicyConnection[];
  readonly allowed: boolean;
}

/** `size` policies of one rule each, in the workload's namespace. */
function many(
  size: number,
  ruleOf: (index: number) => Rule,
  fields: Partial<Authorization> = {},
): Authorization[] {
  return Array.from({ length: size }, (_, index) =>
    policy({ name: `p-${index}`, rules: [ruleOf(index)], ...fields }),
  );
}

const from = (fields: Partial<Match>) => rule([match(fields)]);
const ofCaller = (index: number) => ({ principals: [string(caller(index).principal)] });
/** Caller 1 on a port that is not asked for, or other callers on the one that is. */
const mixedMatches = (index: number, count: number) =>
  Array.from({ length: count }, (_, at) =>
    at === 0
      ? match({ ...ofCaller(1), destinationPorts: [1] })
      : match({ ...ofCaller(index + 1 + at), destinationPorts: [8080] }),
  );
/** No two are alike in anything: `known` is caller 1 on a port that is not asked for, `asked` another on the one that is. */
const unlikeMatches = (index: number, known: number, asked: number) =>
  Array.from({ length: 17 }, (_, at) =>
    match({
      ...ofCaller(at === known ? 1 : index + 2 + at),
      destinationPorts: [at === asked ? 8080 : 1 + at],
    }),
  );
const permissive = policy({ name: "z", rules: [rule()] });

const scenes: readonly Scene[] = [
  {
    name: "ALLOW a principal on a port, the last of all",
    policies: (size) =>
      many(size, (index) => rule([match(ofCaller(index))], [match({ destinationPorts: [8080] })])),
    connections: (size) => [connection({ sourceIdentity: caller(size - 1) })],
    allowed: true,
  },
  {
    name: "the same, none matches",
    policies: (size) =>
      many(size, (index) => rule([match(ofCaller(index))], [match({ destinationPorts: [8080] })])),
    connections: () => [connection({ sourceIdentity: caller(1_000_000) })],
    allowed: false,
  },
  {
    name: "the same, 64 callers, each time a new SpiffeId",
    policies: (size) => many(size, (index) => from(ofCaller(index))),
    connections: (size) =>
      Array.from({ length: 65_536 }, (_, index) =>
        connection({ sourceIdentity: caller(index % Math.min(size, 64)) }),
      ),
    allowed: true,
  },
  {
    name: "global DENY of namespaces, then ALLOW",
    policies: (size) => [
      ...many(size, (index) => from({ namespaces: [string(`bad-${index}-*`)] }), {
        scope: "GLOBAL",
        action: "DENY",
      }),
      permissive,
    ],
    connections: () => [connection()],
    allowed: true,
  },
  {
    name: "DENY plaintext per port (converted PeerAuthentication), mTLS",
    policies: (size) =>
      many(
        size,
        (index) => from({ notPrincipals: [string("*")], destinationPorts: [1_024 + (index % 60_000)] }),
        {
          action: "DENY",
        },
      ),
    connections: () => [connection({ destinationPort: 1_024 })],
    allowed: true,
  },
  {
    name: "ALLOW a /24 each, the last of all",
    policies: (size) =>
      many(size, (index) => from({ sourceIps: [prefix(`10.${index >> 8}.${index & 255}.0/24`)] })),
    connections: (size) => [connection({ sourceIp: ip(`10.${(size - 1) >> 8}.${(size - 1) & 255}.9`) })],
    allowed: true,
  },
  {
    name: "crossed: as many callers as ports, every pair a policy",
    policies: (size) => {
      const side = Math.ceil(Math.sqrt(size));
      return many(size, (index) =>
        from({ ...ofCaller(Math.floor(index / side)), destinationPorts: [1_024 + (index % side)] }),
      );
    },
    connections: (size) => {
      const side = Math.ceil(Math.sqrt(size));
      const sourceIdentity = caller(Math.floor((size - 1) / side));
      return [connection({ sourceIdentity, destinationPort: 1_024 + ((size - 1) % side) })];
    },
    allowed: true,
  },
  {
    name: "rules that mix fields (A on one port, or B on another), none matches",
    policies: (size) => many(size, (index) => rule(mixedMatches(index, 2))),
    connections: () => [connection({ sourceIdentity: caller(1) })],
    allowed: false,
  },
  {
    name: "rules of 17 matches that mix fields, on two ports, none matches",
    policies: (size) => many(size, (index) => rule(mixedMatches(index, 17))),
    connections: () => [connection({ sourceIdentity: caller(1) })],
    allowed: false,
  },
  {
    name: "rules of 17 matches that mix fields, a port each, none matches",
    policies: (size) => many(size, (index) => rule(unlikeMatches(index, 0, 1))),
    connections: () => [connection({ sourceIdentity: caller(1) })],
    allowed: false,
  },
  {
    // A rule is split into 16 at most: the last two matches stay together, and only evaluation tells them apart.
    name: "worst: the same, with the caller and the port where the index cannot tell",
    policies: (size) => many(size, (index) => rule(unlikeMatches(index, 15, 16))),
    connections: () => [connection({ sourceIdentity: caller(1) })],
    allowed: false,
  },
];

export function* policyCases(): Generator<MicroCase> {
  for (const scene of scenes) for (const size of sizes) yield* decisions(scene, size);
  yield* prefixes();
  for (const size of sizes) yield* callers(size);
  for (const size of sizes) yield* updates(size);
}

function* decisions(scene: Scene, size: number): Generator<MicroCase> {
  const policies = scene.policies(size);
  const connections = scene.connections(size);
  for (const [variant, createEngine] of [
    ["wasm", createPolicyEngine],
    ["typescript", createReferenceEngine],
  ] as const) {
    const engine = createEngine({ missingPolicy: "deny" });
    engine.update(policies);
    yield { name: scene.name, variant, size, run: decideAll(engine, connections, scene.allowed) };
  }
}

function decideAll(engine: PolicyEngine, connections: readonly PolicyConnection[], allowed: boolean) {
  for (const each of connections.slice(0, 64))
    assert(engine.decide(here, each).allowed === allowed, "another answer");
  const mask = connections.length - 1;
  assert((connections.length & mask) === 0, "not a power of two");
  let next = 0;
  return (times: number) => {
    let count = 0;
    for (let index = 0; index < times; index++) {
      const each = connections[next++ & mask];
      if (each !== undefined && engine.decide(here, each).allowed) count++;
    }
    return count;
  };
}

/** 1,000 prefixes, overlapping, half IPv6: in one rule, and one a rule. */
function* prefixes(): Generator<MicroCase> {
  const list = Array.from({ length: 1_000 }, (_, index) => {
    const high = index >> 4;
    return index % 2 === 0
      ? prefix(`10.${high}.${index & 255}.${index & 240}/${20 + (index % 13)}`)
      : prefix(`2001:db8:${high.toString(16)}::${index.toString(16)}/${40 + (index % 89)}`);
  });
  const probes = ["10.61.222.213", "192.168.0.1", "2001:db8:3e::1", "fd00::1"].map((text) =>
    connection({ sourceIp: ip(text) }),
  );
  for (const [name, policies] of [
    ["1,000 prefixes in one rule", [policy({ rules: [from({ sourceIps: list })] })]],
    [
      "1,000 prefixes, one a rule",
      many(list.length, (index) => from({ sourceIps: list.slice(index, index + 1) })),
    ],
  ] as const) {
    for (const [variant, createEngine] of [
      ["wasm", createPolicyEngine],
      ["typescript", createReferenceEngine],
    ] as const) {
      const engine = createEngine({ missingPolicy: "deny" });
      engine.update(policies);
      let next = 0;
      const run = (times: number) => {
        let count = 0;
        for (let index = 0; index < times; index++) {
          const probe = probes[next++ & 3];
          if (probe !== undefined && engine.decide(here, probe).allowed) count++;
        }
        return count;
      };
      yield { name, variant, size: list.length, run };
    }
  }
}

/** The first decision for a caller: where strings are compared. 200 suffix lengths are many more than anybody writes. */
function* callers(size: number): Generator<MicroCase> {
  const patterns = [
    ["exact names", (index: number) => string(caller(index).principal)],
    ["suffixes of 200 lengths", (index: number) => string(`*${"x".repeat(index % 200)}/sa/${index}`)],
  ] as const;
  for (const [kind, pattern] of patterns) {
    const engine = createPolicyEngine({ missingPolicy: "deny" });
    engine.update(many(size, (index) => from({ principals: [pattern(index)] })));
    let next = 0;
    const run = (times: number) => {
      let count = 0;
      for (let index = 0; index < times; index++) {
        const sourceIdentity = caller(next++ % 1_000_000);
        if (!engine.decide(here, connection({ sourceIdentity })).allowed) count++;
      }
      return count;
    };
    yield { name: `a caller never seen before, ${kind}`, variant: "wasm", size, run };
  }
}

/** An update and the first decision after it. */
function* updates(size: number): Generator<MicroCase> {
  const policies = many(size, (index) =>
    rule([match(ofCaller(index))], [match({ destinationPorts: [1_024 + (index % 50)] })]),
  );
  const other = policy({ namespace: "other", rules: [rule()] });
  for (const [variant, change] of [
    [
      "compiled",
      (round: number) => [...policies.slice(1), policy({ name: `q-${round}`, rules: [rule()] }), other],
    ],
    ["copied", () => [...policies, { ...other }]],
  ] as const) {
    const engine = createPolicyEngine({ missingPolicy: "deny" });
    let round = 0;
    const run = (times: number) => {
      let count = 0;
      for (let index = 0; index < times; index++) {
        engine.update(change(round++));
        count += Number(engine.decide(here, connection()).allowed);
      }
      return count;
    };
    yield { name: "update: one policy changed, in this namespace or not", variant, size, run };
  }
}
