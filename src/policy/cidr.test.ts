/** A thousand prefixes of both families, nested and overlapping, in every field that takes them, against base/ip. */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../base/ip.ts";
import { type IpPrefix, prefixContains } from "../base/prefix.ts";
import { connection, ip, match, policy, rule, workload } from "./testing/policy_fixtures.ts";
import { PolicyGenerator } from "./testing/policy_generator.ts";
import { createPolicyEngine } from "./wasm/engine.ts";

const seed = Number(process.env.POLICY_SEED ?? Date.now() % 2 ** 32);
const generator = new PolicyGenerator(seed);
const prefixes = Array.from({ length: 1_000 }, () => randomPrefix());
const probes = prefixes.flatMap(edges).concat(Array.from({ length: 500 }, () => randomPrefix().ip));

/** From few leading bytes and any length, so that many lie in one another; host bits are left set. */
function randomPrefix(): IpPrefix {
  const ipv4 = generator.chance(0.5);
  const bytes = Uint8Array.from({ length: ipv4 ? 4 : 16 }, (_, index) =>
    index < (ipv4 ? 1 : 4) ? (generator.below(3) * 85 + index) & 0xff : generator.below(256),
  );
  const address = IpAddress.fromBytes(bytes) ?? ip("::");
  const shortest = ipv4 ? 12 : 36;
  return { ip: address, length: shortest + generator.below(address.bytes.length * 8 - shortest + 1) };
}

/** The first and last address of a prefix, and their neighbours outside. */
function edges(prefix: IpPrefix): IpAddress[] {
  const bits = BigInt(prefix.ip.bytes.length * 8);
  const hostBits = bits - BigInt(prefix.length);
  let value = 0n;
  for (const byte of prefix.ip.bytes) value = (value << 8n) | BigInt(byte);
  const first = (value >> hostBits) << hostBits;
  const last = first + (1n << hostBits) - 1n;
  return [first, last, first - 1n, last + 1n].map((each) => {
    const wrapped = BigInt.asUintN(Number(bits), each);
    const bytes = prefix.ip.bytes.map((_, index) =>
      Number((wrapped >> (bits - 8n * BigInt(index + 1))) & 0xffn),
    );
    return IpAddress.fromBytes(bytes) ?? ip("::");
  });
}

describe(`a thousand prefixes (POLICY_SEED=${seed})`, () => {
  const decider = (rules: Parameters<typeof policy>[0]["rules"] & {}) => {
    const engine = createPolicyEngine({ missingPolicy: "deny" });
    engine.update([policy({ rules })]);
    return (fields: Parameters<typeof connection>[0]) =>
      engine.decide(workload(), connection(fields)).allowed;
  };
  const contained = (address: IpAddress) => prefixes.some((prefix) => prefixContains(prefix, address));

  test("in one match", () => {
    const bySource = decider([rule([match({ sourceIps: prefixes })])]);
    const byDestination = decider([rule([match({ destinationIps: prefixes })])]);
    const byNotSource = decider([rule([match({ notSourceIps: prefixes })])]);
    const byNotDestination = decider([rule([match({ notDestinationIps: prefixes })])]);
    let inside = 0;
    for (const address of probes) {
      const expected = contained(address);
      inside += Number(expected);
      expect(bySource({ sourceIp: address })).toBe(expected);
      expect(byDestination({ destinationIp: address })).toBe(expected);
      expect(byNotSource({ sourceIp: address })).toBe(!expected);
      expect(byNotDestination({ destinationIp: address })).toBe(!expected);
    }
    expect(inside).toBeGreaterThan(500);
    expect(inside).toBeLessThan(probes.length - 500);
  });

  test("one a rule: the first rule that holds it is found", () => {
    const engine = createPolicyEngine({ missingPolicy: "deny" });
    engine.update([
      policy({ action: "DENY", rules: prefixes.map((each) => rule([match({ sourceIps: [each] })])) }),
    ]);
    for (const address of probes) {
      const expected = prefixes.findIndex((prefix) => prefixContains(prefix, address));
      const decision = engine.decide(workload(), connection({ sourceIp: address }));
      expect(decision.allowed ? -1 : decision.rule).toBe(expected);
    }
  });

  test("with exceptions", () => {
    const [some, others] = [prefixes.slice(0, 500), prefixes.slice(500)];
    const decide = decider([rule([match({ sourceIps: some, notSourceIps: others })])]);
    for (const address of probes) {
      const expected =
        some.some((prefix) => prefixContains(prefix, address)) &&
        !others.some((prefix) => prefixContains(prefix, address));
      expect(decide({ sourceIp: address })).toBe(expected);
    }
  });
});
