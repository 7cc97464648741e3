/**
 * What ztunnel refuses is refused here, and so is what it would turn into something wider than was asked (ztunnel
 * `src/state/workload.rs`, `src/rbac.rs`).
 */
import { describe, expect, test } from "bun:test";
import {
  type AddressFields,
  encodeAddressMessage,
  encodeAuthorizationMessage,
} from "../../wire/messages/mesh_resources.ts";
import { decodeAddress } from "./decode_address.ts";
import { decodeAuthorization, standInFor } from "./decode_authorization.ts";
import type { Decoded } from "./decode_field.ts";

type WorkloadFields = Extract<NonNullable<AddressFields["type"]>, { case: "workload" }>["value"];
type ServiceFields = Extract<NonNullable<AddressFields["type"]>, { case: "service" }>["value"];

const plain = { uid: "c1//Pod/shop/cart", name: "cart", namespace: "shop" };

function workload(fields: WorkloadFields) {
  const bytes = encodeAddressMessage({ type: { case: "workload", value: { ...plain, ...fields } } });
  return decodeAddress(plain.uid, bytes);
}

function service(fields: ServiceFields) {
  const value = { namespace: "shop", hostname: "db.shop", ...fields };
  return decodeAddress("shop/db.shop", encodeAddressMessage({ type: { case: "service", value } }));
}

function policy(match: object, fields: object = {}) {
  const groups = [{ rules: [{ matches: [match] }] }];
  const bytes = encodeAuthorizationMessage({ name: "p", namespace: "shop", groups, ...fields }, null);
  return decodeAuthorization("shop/p", bytes);
}

function reason<T>(decoded: Decoded<T>): string {
  return decoded.ok ? "taken" : decoded.reason;
}

describe("a workload", () => {
  test("has ztunnel's defaults where fields are empty", () => {
    const decoded = workload({});
    expect(decoded).toMatchObject({
      ok: true,
      value: {
        workload: {
          trustDomain: "cluster.local",
          serviceAccount: "default",
          clusterId: "Kubernetes",
          capacity: 1,
          tunnelProtocol: "NONE",
          status: "HEALTHY",
          networkMode: "STANDARD",
        },
      },
    });
  });

  const refused: readonly (readonly [string, WorkloadFields, string])[] = [
    ["an unknown tunnel protocol", { tunnelProtocol: 9 as never }, "tunnel_protocol has the unknown value 9"],
    ["LEGACY_ISTIO_MTLS", { tunnelProtocol: 2 }, "tunnel_protocol is LEGACY_ISTIO_MTLS"],
    ["an unknown status", { status: 5 as never }, "status has the unknown value 5"],
    ["an unknown network mode", { networkMode: 5 as never }, "network_mode has the unknown value 5"],
    [
      "an address of 5 bytes",
      { addresses: [new Uint8Array(5)] },
      "addresses has an address of 5 bytes, not 4 or 16",
    ],
    ["a waypoint without a destination", { waypoint: {} }, "waypoint has no destination"],
    [
      "a gateway's port beyond 16 bits",
      { networkGateway: { destination: { case: "hostname", value: {} }, hboneMtlsPort: 65536 } },
      "network_gateway.hbone_mtls_port is 65536, which is not a port",
    ],
    [
      "a service key without a slash",
      { services: { db: {} } },
      'services has the key "db", not namespace/hostname',
    ],
    [
      "a target port beyond 16 bits",
      { services: { "a/b": { ports: [{ servicePort: 80, targetPort: 70000 }] } } },
      "services[a/b].target_port is 70000, which is not a port",
    ],
    [
      "an unknown application tunnel",
      { applicationTunnel: { protocol: 7 as never } },
      "application_tunnel.protocol has the unknown value 7",
    ],
    [
      "a service account with a slash",
      { serviceAccount: "a/sa/b" },
      'trust_domain, namespace or service_account do not make a SPIFFE ID: "spiffe://cluster.local/ns/shop/sa/a/sa/b"',
    ],
    [
      "no namespace",
      { namespace: "" },
      'trust_domain, namespace or service_account do not make a SPIFFE ID: "spiffe://cluster.local/ns//sa/default"',
    ],
    ["another name than its uid", { uid: "other" }, "name is not that of the workload, other"],
    ["no uid", { uid: "" }, "uid is empty"],
  ];
  for (const [what, fields, why] of refused)
    test(`with ${what} is refused`, () => expect(reason(workload(fields))).toBe(why));

  test("of an unknown type is a deployment: the word is for labels alone", () => {
    expect(workload({ workloadType: 77 as never })).toMatchObject({
      value: { workload: { workloadType: "deployment" } },
    });
  });

  test("that is neither workload nor service, or no message at all, is refused", () => {
    expect(reason(decodeAddress("x", new Uint8Array()))).toBe("type is neither a workload nor a service");
    expect(reason(decodeAddress("x", Uint8Array.of(10, 200, 1)))).toStartWith("is malformed: ");
    expect(reason(decodeAddress("x", Uint8Array.of(10, 4, 10, 2, 0xff, 0xfe)))).not.toBe("taken");
  });
});

describe("a service", () => {
  const ip = Uint8Array.of(10, 0, 0, 0);
  test("takes a VIP with and without a length, and a prefix", () => {
    const addresses = [{ address: ip }, { address: ip, length: 32 }, { address: ip, length: 8 }];
    const decoded = service({ addresses });
    if (!decoded.ok || decoded.value.kind !== "service") throw new Error("refused");
    expect(decoded.value.service.addresses).toHaveLength(2);
    expect(decoded.value.service.cidrAddresses.map(({ prefix }) => prefix.length)).toEqual([8]);
  });

  const refused: readonly (readonly [string, ServiceFields, string])[] = [
    [
      "a prefix longer than its address",
      { addresses: [{ address: ip, length: 33 }] },
      "addresses has a prefix of 33 bits, of 32",
    ],
    [
      "a weighted waypoint without destination",
      { weightedWaypoints: [{ weight: 1 }] },
      "weighted_waypoints has no destination",
    ],
    [
      "an unspecified scope",
      { loadBalancing: { routingPreference: [0] } },
      "load_balancing.routing_preference is UNSPECIFIED_SCOPE",
    ],
    [
      "an unknown mode",
      { loadBalancing: { mode: 9 as never } },
      "load_balancing.mode has the unknown value 9",
    ],
    [
      "an unknown health policy",
      { loadBalancing: { healthPolicy: 9 as never } },
      "load_balancing.health_policy has the unknown value 9",
    ],
    ["an unknown address family", { ipFamilies: 9 as never }, "ip_families has the unknown value 9"],
    ["another name than its own", { hostname: "x" }, "name is not that of the service, shop/x"],
  ];
  for (const [what, fields, why] of refused)
    test(`with ${what} is refused`, () => expect(reason(service(fields))).toBe(why));

  test("of an unknown visibility is public, as in ztunnel", () => {
    expect(service({ visibility: 9 as never })).toMatchObject({
      value: { service: { visibility: "PUBLIC" } },
    });
  });
});

describe("a policy", () => {
  test("with an unknown scope or action is refused, as in ztunnel", () => {
    expect(reason(policy({}, { scope: 9 }))).toBe("scope has the unknown value 9");
    expect(reason(policy({}, { action: 9 }))).toBe("action has the unknown value 9");
  });

  const address = (bytes: number, length: number) => ({ address: new Uint8Array(bytes), length });
  const refused: readonly (readonly [string, object, string])[] = [
    [
      "a bad source address",
      { sourceIps: [address(3, 8)] },
      "source_ips has an address of 3 bytes, not 4 or 16",
    ],
    [
      "a bad excluded address",
      { notSourceIps: [address(0, 0)] },
      "not_source_ips has an address of 0 bytes, not 4 or 16",
    ],
    [
      "a prefix too long",
      { destinationIps: [address(4, 33)] },
      "destination_ips has a prefix of 33 bits, of 32",
    ],
    [
      "a port that 16 bits would make 80",
      { destinationPorts: [65616] },
      "destination_ports is 65616, which is not a port",
    ],
    [
      "an excluded port beyond 16 bits",
      { notDestinationPorts: [70000] },
      "not_destination_ports is 70000, which is not a port",
    ],
    ["a string match without a kind", { principals: [{}] }, "principals has a match of an unknown kind"],
    [
      "an excluded string match without a kind",
      { notNamespaces: [{}] },
      "not_namespaces has a match of an unknown kind",
    ],
  ];
  for (const [what, match, why] of refused)
    test(`with ${what}, which ztunnel drops, is refused`, () => {
      expect(reason(policy(match))).toBe(`groups[0].${why}`);
    });

  test("with a condition newer than this program is refused", () => {
    // Match with field 99, a string "x", in Rules (2) in Group (1) in Authorization (5), name and namespace set.
    const match = [0x9a, 0x06, 1, 0x78];
    const rules = [0x12, match.length, ...match];
    const group = [0x0a, rules.length, ...rules];
    const bytes = Uint8Array.of(0x0a, 1, 0x70, 0x12, 1, 0x78, 0x2a, group.length, ...group);
    expect(reason(decodeAuthorization("x/p", bytes))).toBe(
      "groups[0] has a condition that is not known here, field 99",
    );
  });

  test("an IPv4-mapped prefix is the IPv4 prefix it stands for", () => {
    const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0);
    const decoded = policy({ sourceIps: [{ address: mapped, length: 104 }] });
    if (!decoded.ok) throw new Error(decoded.reason);
    const [prefix] = decoded.value.rules[0]?.clauses[0]?.matches[0]?.sourceIps ?? [];
    expect(`${prefix?.ip}/${prefix?.length}`).toBe("10.0.0.0/8");
    expect(reason(policy({ sourceIps: [{ address: mapped, length: 64 }] }))).toContain(
      "IPv4 and IPv6 at once",
    );
  });

  test("that is refused has a stand-in that denies what it may have been about", () => {
    const bytes = (scope: number) =>
      encodeAuthorizationMessage(
        { name: "p", namespace: "shop", scope: scope as never, action: 9 as never },
        null,
      );
    const denial = { name: "p", namespace: "shop", action: "DENY", rules: [{ clauses: [], location: null }] };
    expect(standInFor("shop/p", bytes(0))).toMatchObject({ ...denial, scope: "GLOBAL" });
    expect(standInFor("shop/p", bytes(1))).toMatchObject({ ...denial, scope: "NAMESPACE" });
    expect(standInFor("shop/p", bytes(9))).toMatchObject({ ...denial, scope: "NAMESPACE" });
    expect(standInFor("shop/p", Uint8Array.of(0xff))).toMatchObject({ ...denial, scope: "NAMESPACE" });
    // Workloads that name it have no policy of that name, and are closed for that.
    expect(standInFor("shop/p", bytes(2))).toBeNull();
  });
});
