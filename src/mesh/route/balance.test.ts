import { describe, expect, test } from "bun:test";
import type { LoadBalancing, Service } from "../service.ts";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, ip, member, service, workload } from "../testing/fixture.ts";
import type { Workload } from "../workload.ts";
import { chooseEndpoint, dialTarget, type ResolutionMode, weightedChoice } from "./balance.ts";

const source = workload("source", {
  locality: { region: "r", zone: "z", subzone: "s" },
  node: "n",
  clusterId: "c",
});

/** Names of all that can be chosen, by trying the whole range of chance. */
function choices(
  endpoints: readonly Workload[],
  entry: Service,
  port = 80,
  mode: ResolutionMode = "standard",
): readonly string[] {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: endpoints }, services: { upsert: [entry] } });
  const chosen = new Set<string>();
  for (let step = 0; step < 100; step++) {
    const choice = chooseEndpoint(store, source, entry, port, mode, () => step / 100);
    chosen.add(choice === null ? "none" : `${choice.workload.name}:${choice.targetPort}`);
  }
  return [...chosen].sort();
}

function endpoint(name: string, fields: Partial<Workload> = {}): Workload {
  return workload(name, { addresses: [ip("10.0.0.1")], services: member("shop/s.shop"), ...fields });
}

const near = { locality: source.locality, node: "n", clusterId: "c" };
const sameZone = { locality: { region: "r", zone: "z", subzone: "other" }, node: "m", clusterId: "c" };
const far = { locality: { region: "q", zone: "z", subzone: "s" }, node: "n", clusterId: "d" };

function balanced(
  mode: LoadBalancing["mode"],
  ...routingPreferences: LoadBalancing["routingPreferences"]
): Service {
  return service(
    "s",
    { 80: 80 },
    { loadBalancing: { mode, routingPreferences, healthPolicy: "ONLY_HEALTHY" } },
  );
}

describe("preferences", () => {
  const all = [endpoint("near", near), endpoint("zone", sameZone), endpoint("far", far)];
  const cases: readonly [string, Service, readonly string[]][] = [
    ["none: everybody", balanced("STANDARD"), ["far:80", "near:80", "zone:80"]],
    ["STANDARD does not look at them", balanced("STANDARD", "NODE"), ["far:80", "near:80", "zone:80"]],
    [
      "FAILOVER: most in a row from the first",
      balanced("FAILOVER", "REGION", "ZONE", "SUBZONE"),
      ["near:80"],
    ],
    [
      "a later match does not make up for an earlier miss",
      balanced("FAILOVER", "REGION", "NODE"),
      ["near:80"],
    ],
    ["FAILOVER: equals share", balanced("FAILOVER", "REGION", "ZONE"), ["near:80", "zone:80"]],
    ["STRICT: all must match", balanced("STRICT", "REGION", "SUBZONE"), ["near:80"]],
    ["by cluster", balanced("STRICT", "CLUSTER"), ["near:80", "zone:80"]],
    ["by node", balanced("STRICT", "NODE"), ["far:80", "near:80"]],
  ];
  test.each(cases)("%s", (_name, entry, expected) => {
    expect(choices(all, entry)).toEqual([...expected]);
  });

  test("FAILOVER falls back, STRICT does not", () => {
    expect(choices([endpoint("far", far)], balanced("FAILOVER", "REGION", "ZONE"))).toEqual(["far:80"]);
    expect(choices([endpoint("far", far)], balanced("STRICT", "REGION", "ZONE"))).toEqual(["none"]);
  });

  test("empty equals empty", () => {
    const nowhere = workload("nowhere");
    const store = new MeshStore();
    const entry = balanced("STRICT", "REGION", "ZONE", "NODE");
    store.apply({
      workloads: { upsert: [endpoint("e", { locality: nowhere.locality })] },
      services: { upsert: [entry] },
    });
    expect(chooseEndpoint(store, nowhere, entry, 80, "standard", () => 0)?.workload.name).toBe("e");
  });

  test("with the network first, remote ones are ranked by the rest, and below every local one", () => {
    const remote = { network: "west", networkGateway: gatewayAt("10.0.0.9") };
    const entry = balanced("FAILOVER", "NETWORK", "REGION", "ZONE");
    expect(choices([endpoint("far", far), endpoint("remote", { ...near, ...remote })], entry)).toEqual([
      "far:80",
    ]);
    expect(
      choices(
        [endpoint("remote-near", { ...near, ...remote }), endpoint("remote-far", { ...far, ...remote })],
        entry,
      ),
    ).toEqual(["remote-near:80"]);
  });
});

describe("who can be chosen at all", () => {
  test("the unhealthy when the service says so", () => {
    const sick = endpoint("sick", { status: "UNHEALTHY" });
    expect(choices([sick, endpoint("well")], service("s", { 80: 80 }))).toEqual(["well:80"]);
    expect(
      choices(
        [sick],
        service(
          "s",
          { 80: 80 },
          { loadBalancing: { mode: "STANDARD", routingPreferences: [], healthPolicy: "ALLOW_ALL" } },
        ),
      ),
    ).toEqual(["sick:80"]);
  });

  test("who has an address, a name, or a gateway to it", () => {
    const entry = service("s", { 80: 80 });
    expect(choices([endpoint("none", { addresses: [] })], entry)).toEqual(["none"]);
    expect(choices([endpoint("named", { addresses: [], hostname: "a.b" })], entry)).toEqual(["named:80"]);
    expect(choices([endpoint("remote", { addresses: [], network: "west" })], entry)).toEqual(["none"]);
    expect(
      choices(
        [endpoint("remote", { addresses: [], network: "west", networkGateway: gatewayAt("10.0.0.9") })],
        entry,
      ),
    ).toEqual(["remote:80"]);
    expect(
      choices([endpoint("here", { addresses: [], networkGateway: gatewayAt("10.0.0.9") })], entry),
    ).toEqual(["none"]);
  });

  test("who has the port: the endpoint's own map wins; 0 leaves it to the endpoint", () => {
    const mapped = endpoint("mapped", { services: member("shop/s.shop", { 80: 8080 }) });
    expect(choices([mapped, endpoint("plain")], service("s", { 80: 81 }))).toEqual([
      "mapped:8080",
      "plain:81",
    ]);
    expect(choices([mapped, endpoint("plain")], service("s", { 80: 0 }))).toEqual(["mapped:8080"]);
    expect(choices([mapped], service("s", { 443: 443 }))).toEqual(["none"]);
  });

  test("a waypoint with an application tunnel needs no port", () => {
    const tunnel = endpoint("tunnel", { applicationTunnel: { protocol: "PROXY", port: 15088 } });
    const withoutPort = endpoint("without", { applicationTunnel: { protocol: "PROXY", port: 0 } });
    const entry = service("s", {});
    expect(choices([tunnel], entry, 15008, "waypoint")).toEqual(["tunnel:15008"]);
    expect(choices([withoutPort], entry, 15008, "waypoint")).toEqual(["none"]);
    expect(choices([tunnel], entry, 15008, "standard")).toEqual(["none"]);
    expect(choices([endpoint("plain")], entry, 15008, "waypoint")).toEqual(["none"]);
  });
});

describe("weights", () => {
  test("shares are as weights, and no weight is never chosen", () => {
    const counts = new Map<string, number>();
    const items = [
      { name: "a", weight: 1 },
      { name: "b", weight: 0 },
      { name: "c", weight: 3 },
    ];
    for (let step = 0; step < 1000; step++) {
      const name =
        weightedChoice(
          items,
          (item) => item.weight,
          () => step / 1000,
        )?.name ?? "none";
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    expect([...counts]).toEqual([
      ["a", 250],
      ["c", 750],
    ]);
    expect(
      weightedChoice(
        items,
        () => 0,
        () => 0,
      ),
    ).toBeNull();
    expect(
      weightedChoice(
        [],
        () => 1,
        () => 0,
      ),
    ).toBeNull();
    // Rounding at the very end.
    expect(
      weightedChoice(
        items,
        (item) => item.weight * 0.1,
        () => 1 - Number.EPSILON / 2,
      )?.name,
    ).toBe("c");
  });

  test("endpoints are weighted by capacity", () => {
    expect(
      choices(
        [endpoint("none", { capacity: 0 }), endpoint("some", { capacity: 7 })],
        service("s", { 80: 80 }),
      ),
    ).toEqual(["some:80"]);
    expect(choices([endpoint("none", { capacity: 0 })], service("s", { 80: 80 }))).toEqual(["none"]);
  });
});

describe("which address is dialled", () => {
  const both = workload("both", { addresses: [ip("10.0.0.1"), ip("fd00::1")] });
  const show = (target: ReturnType<typeof dialTarget>) =>
    target === null
      ? null
      : target.kind === "address"
        ? target.address.ip.text
        : `${target.hostname} ${target.family}`;
  const limited = (ipFamilies: Service["ipFamilies"]) => service("s", {}, { ipFamilies });

  test("the called one if it is the workload's, else its family, else any", () => {
    expect(show(dialTarget(both, 80, ip("fd00::1"), limited("IPV4_ONLY")))).toBe("fd00::1");
    expect(show(dialTarget(both, 80, ip("fd00::9"), null))).toBe("fd00::1");
    expect(show(dialTarget(both, 80, ip("10.0.0.9"), null))).toBe("10.0.0.1");
    expect(show(dialTarget(both, 80, null, null))).toBe("10.0.0.1");
    expect(show(dialTarget(both, 80, ip("10.0.0.9"), limited("IPV6_ONLY")))).toBe("fd00::1");
    expect(show(dialTarget(both, 80, ip("10.0.0.9"), limited("DUAL")))).toBe("10.0.0.1");
  });

  test("a name when there is no address, nothing when there is neither", () => {
    const named = workload("named", { hostname: "a.b" });
    expect(show(dialTarget(named, 80, ip("fd00::9"), null))).toBe("a.b IPV6");
    expect(show(dialTarget(named, 80, null, null))).toBe("a.b null");
    expect(show(dialTarget(workload("none"), 80, null, null))).toBeNull();
    expect(
      show(dialTarget(workload("six", { addresses: [ip("fd00::1")] }), 80, null, limited("IPV4_ONLY"))),
    ).toBeNull();
  });
});
