/** What is encoded for xDS and decoded again is the same mesh, and a policy that went over the wire decides the same. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { IpAddress } from "../../base/ip.ts";
import { createReferenceEngine } from "../../policy/reference.ts";
import { PolicyGenerator } from "../../policy/testing/policy_generator.ts";
import { type Authorization, authorizationKey } from "../authorization.ts";
import { SpiffeId } from "../identity.ts";
import { type Service, serviceKey } from "../service.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import { decodeAddress } from "./decode_address.ts";
import { decodeAuthorization } from "./decode_authorization.ts";
import { encodeService, encodeWorkload } from "./encode_address.ts";
import { encodeAuthorization } from "./encode_authorization.ts";

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/);
const anyText = fc.oneof(fc.constant(""), label, fc.string({ unit: "grapheme", maxLength: 8 }));
const port = fc.integer({ min: 0, max: 65535 });
const ip = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes) => IpAddress.fromBytes(bytes) ?? IpAddress.parse("127.0.0.1") ?? fail());

function fail(): never {
  throw new Error("no address");
}

const gateway: fc.Arbitrary<GatewayAddress> = fc.oneof(
  fc.record({ kind: fc.constant("address" as const), network: anyText, ip, hboneMtlsPort: port }),
  fc.record({
    kind: fc.constant("hostname" as const),
    namespace: label,
    hostname: label,
    hboneMtlsPort: port,
  }),
);
const key = fc.tuple(label, label).map(([namespace, host]) => `${namespace}/${host}.example`);

const workload: fc.Arbitrary<Workload> = fc
  .record({
    uid: fc.tuple(label, label).map((parts) => `c1/networking.istio.io/WorkloadEntry/${parts.join("/")}`),
    name: anyText,
    namespace: label,
    addresses: fc.array(ip, { maxLength: 3 }),
    hostname: anyText,
    network: anyText,
    tunnelProtocol: fc.constantFrom("NONE" as const, "HBONE" as const),
    trustDomain: label,
    serviceAccount: label,
    waypoint: fc.option(gateway),
    networkGateway: fc.option(gateway),
    node: anyText,
    canonicalName: anyText,
    canonicalRevision: anyText,
    workloadType: fc.constantFrom("deployment" as const, "cronjob" as const, "pod" as const, "job" as const),
    workloadName: anyText,
    nativeTunnel: fc.boolean(),
    applicationTunnel: fc.option(
      fc.record({ protocol: fc.constantFrom("NONE" as const, "PROXY" as const), port }),
    ),
    services: fc
      .array(
        fc.tuple(
          key,
          fc.array(fc.tuple(port, port), { maxLength: 3 }).map((list) => new Map(list)),
        ),
        {
          maxLength: 3,
        },
      )
      .map((list) => new Map(list)),
    authorizationPolicies: fc.array(key, { maxLength: 3 }),
    status: fc.constantFrom("HEALTHY" as const, "UNHEALTHY" as const),
    clusterId: label,
    locality: fc.record({ region: anyText, zone: anyText, subzone: anyText }),
    labels: fc
      .dictionary(fc.constantFrom("app", "version", "a.b/c"), fc.string({ maxLength: 5 }))
      .map((labels) => new Map(Object.entries(labels))),
    networkMode: fc.constantFrom("STANDARD" as const, "HOST_NETWORK" as const),
    capacity: fc.integer({ min: 0, max: 0xffff_ffff }),
    location: fc.constant(null),
  })
  .map((fields) => ({
    ...fields,
    identity: new SpiffeId(fields.trustDomain, fields.namespace, fields.serviceAccount),
  }));

const service: fc.Arbitrary<Service> = fc.record({
  name: anyText,
  namespace: label,
  hostname: label,
  addresses: fc.array(fc.record({ network: anyText, ip }), { maxLength: 3 }),
  cidrAddresses: fc.array(
    fc.record({
      network: anyText,
      prefix: ip.chain((address) =>
        fc.integer({ min: 0, max: address.bytes.length * 8 - 1 }).map((length) => ({ ip: address, length })),
      ),
    }),
    { maxLength: 3 },
  ),
  ports: fc
    .array(
      fc.record({
        servicePort: port,
        targetPort: port,
        protocol: fc.constantFrom(...(["UNKNOWN", "HTTP11", "HTTP2", "GRPC", "TCP", "TLS"] as const)),
      }),
      { maxLength: 4 },
    )
    .map((list) => new Map(list.map((each) => [each.servicePort, each]))),
  subjectAltNames: fc.array(anyText, { maxLength: 2 }),
  waypoint: fc.option(gateway),
  weightedWaypoints: fc.array(
    fc.record({ destination: gateway, weight: fc.integer({ min: 0, max: 1000 }) }),
    { maxLength: 2 },
  ),
  loadBalancing: fc.record({
    routingPreferences: fc.subarray(["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER", "NETWORK"] as const),
    mode: fc.constantFrom(...(["STANDARD", "STRICT", "FAILOVER", "PASSTHROUGH"] as const)),
    healthPolicy: fc.constantFrom("ONLY_HEALTHY" as const, "ALLOW_ALL" as const),
  }),
  ipFamilies: fc.constantFrom(...(["AUTOMATIC", "IPV4_ONLY", "IPV6_ONLY", "DUAL"] as const)),
  canonical: fc.boolean(),
  visibility: fc.constantFrom("PUBLIC" as const, "NAMESPACE" as const),
  location: fc.constant(null),
});

describe("over the wire and back", () => {
  test("a workload stays what it is", () => {
    fc.assert(
      fc.property(workload, (before) => {
        const after = decodeAddress(before.uid, encodeWorkload(before));
        expect(after).toEqual({ ok: true, value: { kind: "workload", workload: before } });
      }),
      { numRuns: 300 },
    );
  });

  test("a service stays what it is", () => {
    fc.assert(
      fc.property(service, (before) => {
        const after = decodeAddress(serviceKey(before), encodeService(before));
        expect(after).toEqual({ ok: true, value: { kind: "service", service: before } });
      }),
      { numRuns: 300 },
    );
  });

  test("the same workload gives the same bytes, in whatever order it was put together", () => {
    fc.assert(
      fc.property(workload, (one) => {
        const other = { ...one, services: new Map([...one.services].reverse()) };
        expect(encodeWorkload(other)).toEqual(encodeWorkload(one));
      }),
    );
  });

  const seed = Number(process.env.WIRE_SEED ?? Date.now() % 2 ** 32);

  test(`a policy stays what it is, with its places, and decides the same (WIRE_SEED=${seed})`, () => {
    const generator = new PolicyGenerator(seed);
    for (let round = 0; round < 30; round++) {
      const before = generator.policies(20);
      const after = before.map(overTheWire);
      expect(after).toEqual(before);
      const engines = [
        createReferenceEngine({ missingPolicy: "deny" }),
        createReferenceEngine({ missingPolicy: "deny" }),
      ] as const;
      engines[0].update(before);
      engines[1].update(after);
      for (let decision = 0; decision < 50; decision++) {
        const workload = generator.workload(before);
        const connection = generator.connection();
        const [expected, got] = engines.map((engine) => engine.decide(workload, connection));
        expect(got).toEqual(expected);
      }
    }
  });
});

function overTheWire(policy: Authorization): Authorization {
  const decoded = decodeAuthorization(authorizationKey(policy), encodeAuthorization(policy));
  if (!decoded.ok) throw new Error(decoded.reason);
  return decoded.value;
}
