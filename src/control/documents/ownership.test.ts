/** Who may claim what: two tenants and an administrator of the mesh. */
import { describe, expect, test } from "bun:test";
import { tenancyLimits } from "../../base/limits/control.ts";
import { parseIpPrefix } from "../../base/prefix.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { formatLocation } from "../../mesh/location.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import { openState } from "../state/testing/simulated_state.ts";
import type { ChangeRequest, ChangeResult } from "./change_request.ts";
import { owningNamespace } from "./document_diff.ts";
import { JoinedHosts } from "./joined_hosts.ts";
import { type HostDirectory, type JoinedHost, Ownership } from "./ownership.ts";
import { admin, DocumentWorld, told } from "./testing/control_plane.ts";

const tenantOf = (namespace: string): ChangeRequest => ({
  actor: namespace,
  mayChange: (one) => owningNamespace(one) === namespace,
});
const shop = tenantOf("shop");
const apes = tenantOf("apes");

function entry(key: string, spec: string, annotations = "{}", created = ""): string {
  const [namespace, name] = key.split("/");
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: ${namespace}, annotations: ${annotations}${created}}
spec: ${spec}
`;
}

function service(key: string, spec: string, created = ""): string {
  return entry(key, spec, "{}", created).replace("WorkloadEntry", "ServiceEntry");
}

function hostService(key: string, host: string, more = "", created = ""): string {
  return service(
    key,
    `{hosts: ["${host}"], ports: [{number: 80, name: http}], resolution: NONE${more}}`,
    created,
  );
}

const vip = (key: string, range: string): string =>
  hostService(key, `${key.replace("/", ".")}.example`, `, addresses: ["${range}"]`);

function grant(name: string, spec: string): string {
  return `apiVersion: fairlead.dev/v1\nkind: Grant\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
}

function hosts(...joined: readonly Partial<JoinedHost>[]): HostDirectory {
  const all = joined.map((one) => ({
    node: "edge",
    namespace: "",
    addresses: [],
    network: "",
    isPresent: true,
    ...one,
  }));
  return {
    byNode: (node) => all.find((one) => one.node === node) ?? null,
    within: (network, prefix) =>
      all.filter(
        (one) => one.network === network && one.addresses.some((address) => address.equals(prefix.ip)),
      ),
  };
}

class Scene {
  readonly joined: HostDirectory;
  readonly world = new DocumentWorld();
  documents: Awaited<ReturnType<DocumentWorld["documents"]>>["documents"] | null = null;

  async apply(who: ChangeRequest, ...texts: readonly string[]): Promise<string> {
    this.documents ??= (await this.world.documents({ hosts: this.joined })).documents;
    const inputs = texts.map((text, index) => ({ source: `f${index}.yaml`, text }));
    return say(await this.world.settle(this.documents.apply(inputs, who)));
  }

  constructor(joined: HostDirectory = hosts()) {
    this.joined = joined;
  }

  canonical(host: string): string | undefined {
    return [...this.world.store.services()].find((one) => one.hostname === host && one.canonical)?.namespace;
  }
}

function say(result: ChangeResult): string {
  if (result.outcome !== "refused") return told(result);
  return `${result.because}: ${result.errors.map(({ location, message }) => `${formatLocation(location)} ${message}`).join("; ")}`;
}

describe("a host name", () => {
  test("is whose document came first, whatever the namespaces are called and whatever a document says of its age", async () => {
    const scene = new Scene();
    expect(await scene.apply(shop, hostService("shop/api", "api.example"))).toBe("applied 1");
    const older = hostService("apes/api", "api.example", "", ', creationTimestamp: "2001-01-01T00:00:00Z"');
    expect(await scene.apply(apes, older)).toBe(
      "owned: f0.yaml:4:16 the host api.example belongs to namespace shop",
    );
    // Who administers the mesh may let two have it; the first one stays the canonical one.
    expect(await scene.apply(admin, older)).toBe("applied 2");
    expect(scene.canonical("api.example")).toBe("shop");
    // A change keeps the time at which the document first came.
    expect(await scene.apply(shop, hostService("shop/api", "api.example", ", location: MESH_EXTERNAL"))).toBe(
      "applied 3",
    );
    expect(scene.canonical("api.example")).toBe("shop");
  });

  test("the one that came first is the first after a restart, and by a clock that was set back", async () => {
    const world = new DocumentWorld();
    const { documents } = await world.documents();
    const apply = async (text: string) =>
      told(await world.settle(documents.apply([{ source: "f", text }], admin)));
    expect(await apply(hostService("shop/api", "api.example"))).toBe("applied 1");
    world.machine.jumpWall(-3_600_000);
    expect(await apply(hostService("apes/api", "api.example"))).toBe("applied 2");
    world.restart();
    await world.documents();
    const services = [...world.store.services()].map((one) => `${one.namespace} ${one.canonical}`).sort();
    expect(services).toEqual(["apes false", "shop true"]);
  });

  test("a wildcard and a name below it are the same thing, both ways", async () => {
    const scene = new Scene();
    await scene.apply(shop, hostService("shop/api", "api.shop.example"));
    expect(await scene.apply(apes, hostService("apes/all", "*.shop.example"))).toBe(
      "owned: f0.yaml:4:16 the host *.shop.example overlaps with what belongs to namespace shop",
    );
    await scene.apply(apes, hostService("apes/zoo", "*.zoo.example"));
    expect(await scene.apply(shop, hostService("shop/zoo", "cage.zoo.example"))).toContain(
      "overlaps with what belongs to namespace apes",
    );
    expect(await scene.apply(shop, hostService("shop/near", "zoo.example"))).toStartWith("applied");
  });

  test("a wildcard over everything needs a grant; a name that holds a namespace is that one's", async () => {
    const scene = new Scene();
    expect(await scene.apply(apes, hostService("apes/all", "*.example"))).toContain(
      "an administrator of the mesh",
    );
    expect(tenancyLimits.minWildcardLabels).toBe(2);
    expect(await scene.apply(apes, hostService("apes/db", "db.shop.svc.cluster.local"))).toContain(
      "belongs to namespace shop by its name",
    );
    expect(await scene.apply(apes, hostService("apes/own", "db.apes.svc.cluster.local"))).toBe("applied 1");
  });

  test("that only its own namespace is led by takes nothing from others", async () => {
    const scene = new Scene();
    await scene.apply(shop, hostService("shop/pay", "pay.example"));
    expect(await scene.apply(apes, hostService("apes/pay", "pay.example", ', exportTo: ["."]'))).toBe(
      "applied 2",
    );
    expect(await scene.apply(apes, hostService("apes/pay", "pay.example"))).toContain(
      "belongs to namespace shop",
    );
  });

  test("that was given up is free again, and of who comes next", async () => {
    const scene = new Scene();
    await scene.apply(shop, hostService("shop/api", "api.example"));
    await scene.apply(shop, hostService("shop/api", "other.example"));
    expect(await scene.apply(apes, hostService("apes/api", "api.example"))).toBe("applied 3");
    expect(await scene.apply(shop, hostService("shop/api", "api.example"))).toContain(
      "belongs to namespace apes",
    );
    const back = await scene.world.settle(
      scene.documents?.rollback(1, { ...shop, mayChange: shop.mayChange }) ?? Promise.reject(),
    );
    expect(told(back)).toBe("refused: forbidden");
  });
});

describe("an address", () => {
  test("in a range of another tenant, or a range over another's address, is refused", async () => {
    const scene = new Scene();
    await scene.apply(shop, vip("shop/vip", "10.8.0.0/24"), entry("shop/db", "{address: 10.9.0.5}"));
    expect(await scene.apply(apes, vip("apes/vip", "10.8.0.7"))).toContain("belongs to namespace shop");
    expect(await scene.apply(apes, vip("apes/vip", "10.8.0.128/25"))).toContain("belongs to namespace shop");
    expect(await scene.apply(apes, vip("apes/vip", "10.9.0.0/24"))).toContain("belongs to namespace shop");
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.8.0.9}"))).toBe(
      "owned: f0.yaml:4:17 the address 10.8.0.9 overlaps with what belongs to namespace shop",
    );
    const endpoint = service(
      "apes/e",
      "{hosts: [e.apes.example], resolution: STATIC, ports: [{number: 80, name: h}], endpoints: [{address: 10.9.0.5}]}",
    );
    expect(await scene.apply(apes, endpoint)).toContain("the address 10.9.0.5 belongs to namespace shop");
    expect(await scene.apply(apes, vip("apes/vip", "10.8.1.0/24"))).toBe("applied 2");
    // A network of its own has addresses of its own.
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.8.0.9, network: zoo}"))).toBe("applied 3");
  });

  test("range wider than a subnet needs a grant", async () => {
    const scene = new Scene();
    expect(await scene.apply(apes, vip("apes/vip", "8.0.0.0/7"))).toContain("wider than a /24");
    expect(await scene.apply(apes, vip("apes/vip", "8.0.0.0/23"))).toContain("wider than a /24");
    expect(await scene.apply(apes, vip("apes/vip", "2001:db8::/63"))).toContain("wider than a /64");
    expect([tenancyLimits.minIpv4Length, tenancyLimits.minIpv6Length]).toEqual([24, 64]);
    expect(await scene.apply(apes, vip("apes/vip", "8.0.0.0/24"))).toBe("applied 1");
    expect(await scene.apply(apes, vip("apes/vip6", "2001:db8::/64"))).toBe("applied 2");
  });

  test("that every host has, and the control plane's, are refused", async () => {
    const scene = new Scene();
    for (const text of ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0"])
      expect(await scene.apply(apes, entry("apes/x", `{address: "${text}"}`))).toContain(
        "that every host has",
      );
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.9.9.9}"))).toContain("the control plane");
    expect(await scene.apply(apes, vip("apes/vip", "10.9.9.0/24"))).toContain("the control plane");
  });

  test("at which a host joined is whose token it joined by", async () => {
    const scene = new Scene(
      hosts(
        { node: "edge", addresses: [ip("10.0.0.1")] },
        { node: "b", namespace: "shop", addresses: [ip("10.0.0.2")] },
      ),
    );
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.0.0.1}"))).toContain(
      "belongs to the mesh: it is the address of a host",
    );
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.0.0.2}"))).toContain(
      "belongs to namespace shop",
    );
    expect(await scene.apply(shop, entry("shop/x", "{address: 10.0.0.2}"))).toBe("applied 1");
  });
});

describe("a node", () => {
  const on = (key: string, node: string, address: string): string =>
    entry(key, `{address: ${address}}`, `{fairlead.dev/node: ${node}}`);

  test("takes workloads of whom it joined for, of whom it is granted to, and of no other tenant", async () => {
    const scene = new Scene(hosts({ node: "edge" }, { node: "till", namespace: "shop" }));
    expect(await scene.apply(apes, on("apes/x", "edge", "10.0.0.1"))).toBe(
      "owned: f0.yaml:3:71 node edge belongs to the mesh, so namespace apes may not place a workload on it: an administrator of the mesh can grant it",
    );
    expect(await scene.apply(apes, on("apes/x", "till", "10.0.0.1"))).toContain(
      "node till belongs to namespace shop",
    );
    expect(await scene.apply(apes, on("apes/x", "unknown", "10.0.0.1"))).toContain("belongs to the mesh");
    expect(await scene.apply(shop, on("shop/x", "till", "10.0.0.2"))).toBe("applied 1");
    await scene.apply(admin, grant("zoo", "{namespaces: [apes], nodes: [edge]}"));
    expect(await scene.apply(apes, on("apes/x", "edge", "10.0.0.1"))).toBe("applied 3");
  });

  test("that has one workload of a tenant takes no second one by itself", async () => {
    const scene = new Scene();
    await scene.apply(admin, on("apes/x", "edge", "10.0.0.1"));
    expect(await scene.apply(apes, on("apes/x", "edge", "10.0.0.9"))).toBe("applied 2");
    expect(await scene.apply(apes, on("apes/y", "edge", "10.0.0.2"))).toContain(
      "node edge belongs to the mesh",
    );
  });

  test("the way to another network is the mesh's to give", async () => {
    const scene = new Scene();
    const gateway = entry("apes/gw", "{address: 10.0.0.1}", "{fairlead.dev/gateway-for-network: far}");
    expect(await scene.apply(apes, gateway)).toContain("the way to network far belongs to the mesh");
    await scene.apply(admin, grant("near", "{namespaces: [apes], networks: [near]}"));
    // Of one network, and no other.
    expect(await scene.apply(apes, gateway)).toContain("the way to network far belongs to the mesh");
    await scene.apply(admin, grant("far", "{namespaces: [apes], networks: [far]}"));
    expect(await scene.apply(apes, gateway)).toBe("applied 3");
  });
});

describe("a grant", () => {
  test("is the mesh's to give", async () => {
    const scene = new Scene();
    const text = grant("mine", "{namespaces: [apes], addressRanges: [0.0.0.0/0]}");
    expect(await scene.apply(apes, text)).toContain("forbidden");
  });

  test("gives what is too wide, and to no others, whoever writes it", async () => {
    const scene = new Scene();
    await scene.apply(
      admin,
      grant("shop", '{namespaces: [shop], hosts: ["*.test"], addressRanges: [10.64.0.0/10]}'),
    );
    expect(await scene.apply(shop, vip("shop/vip", "10.64.0.0/10"), hostService("shop/all", "*.test"))).toBe(
      "applied 2",
    );
    for (const who of [apes, admin]) {
      expect(await scene.apply(who, entry("apes/x", "{address: 10.65.3.4}"))).toBe(
        "owned: f0.yaml:4:17 the address 10.65.3.4 is granted to namespace shop, not to apes",
      );
      expect(await scene.apply(who, hostService("apes/x", "new.test"))).toContain(
        "is granted to namespace shop",
      );
    }
  });

  test("of what others have is refused, with who and where; to both it is not", async () => {
    const scene = new Scene();
    await scene.apply(
      apes,
      hostService("apes/api", "api.shop.example"),
      entry("apes/x", "{address: 10.2.3.4}"),
    );
    const spec = 'hosts: ["*.shop.example"], addressRanges: [10.2.0.0/16]';
    expect(await scene.apply(admin, grant("shop", `{namespaces: [shop], ${spec}}`))).toBe(
      [
        "owned: f0.yaml:4:36 the host api.shop.example belongs to namespace apes (ServiceEntry apes/api at f0.yaml:4:16): remove it first, or grant it to apes as well",
        "f0.yaml:4:71 the address 10.2.3.4 belongs to namespace apes (WorkloadEntry apes/x at f1.yaml:4:17): remove it first, or grant it to apes as well",
      ].join("; "),
    );
    expect(await scene.apply(admin, grant("shop", `{namespaces: [shop, apes], ${spec}}`))).toBe("applied 2");
    expect(await scene.apply(shop, hostService("shop/api", "api.shop.example"))).toBe("applied 3");
  });

  test("of one range to two leaves each address of it to who came first", async () => {
    const scene = new Scene();
    await scene.apply(admin, grant("both", "{namespaces: [shop, apes], addressRanges: [10.65.0.0/16]}"));
    expect(await scene.apply(shop, entry("shop/x", "{address: 10.65.0.1}"))).toBe("applied 2");
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.65.0.1}"))).toContain(
      "belongs to namespace shop",
    );
    expect(await scene.apply(apes, vip("apes/x", "10.65.0.1"))).toContain("belongs to namespace shop");
    expect(await scene.apply(apes, entry("apes/x", "{address: 10.65.0.2}"))).toBe("applied 3");
  });

  test("that grants nothing, or nothing that there is, is an error", async () => {
    const scene = new Scene();
    for (const [spec, word] of [
      ["{namespaces: [], hosts: [a.example]}", "at least one namespace"],
      ["{namespaces: [shop]}", "grants nothing"],
      ["{namespaces: [shop], hosts: ['*']}", "is not a host name"],
      ["{namespaces: [shop], addressRanges: [10.0.0.0/33]}", "neither an IP address"],
      ["{namespaces: [shop], nodes: [Not a node]}", "is not the name of a node"],
      ["{namespaces: [fairlead-nodes], nodes: [a]}", "is not a namespace"],
      ["{namespaces: [shop], serviceAccounts: [a]}", "names its namespace"],
      [`{namespaces: [shop], nodes: [${new Array(1_025).fill("a").join(",")}]}`, "more than 1024 items"],
    ] as const)
      expect(await scene.apply(admin, grant("g", spec))).toContain(word);
  });
});

describe("a host that joins by a tenant's token", () => {
  const remote = ip("10.0.0.20");
  const about = { node: "batch-1", namespace: "apes", network: "", remote };

  async function ownership(texts: readonly string[], joined = hosts()): Promise<Ownership> {
    const scene = new Scene(joined);
    expect(await scene.apply(admin, ...texts)).toStartWith("applied");
    return (await scene.world.settle(scene.documents?.ownership() ?? Promise.reject())) as Ownership;
  }

  test("is where it connects from, or where a grant lets its tenant's hosts be", async () => {
    const one = await ownership([grant("zoo", "{namespaces: [apes], addressRanges: [10.4.0.0/24]}")]);
    expect(one.refuseAddress(remote, about)).toBeNull();
    expect(one.refuseAddress(ip("10.4.0.9"), about)).toBeNull();
    expect(one.refuseAddress(ip("10.5.0.9"), about)).toContain(
      "neither the address that the host connects from (10.0.0.20)",
    );
  });

  test("by loopback is at loopback addresses, and at no other of the control plane's machine", async () => {
    const one = await ownership([hostService("shop/api", "api.example")]);
    const local = { ...about, remote: ip("127.0.0.1") };
    expect(one.refuseAddress(ip("127.0.2.15"), local)).toBeNull();
    expect(one.refuseAddress(ip("::1"), local)).toBeNull();
    // A proxy on that machine makes everyone come from there.
    expect(one.refuseAddress(ip("10.9.9.9"), local)).toContain("it is an address of the control plane");
    expect(one.refuseAddress(ip("10.0.0.7"), local)).toContain("neither the address");
    expect(one.refuseAddress(ip("127.0.2.15"), about)).toContain("neither the address");
  });

  test("is not where somebody else is, a control plane least of all", async () => {
    const one = await ownership(
      [
        entry("shop/db", "{address: 10.0.0.20}"),
        grant("zoo", "{namespaces: [apes], addressRanges: [10.9.9.0/24]}"),
      ],
      hosts(
        { node: "edge", addresses: [ip("10.0.0.30")] },
        { node: "gone", addresses: [ip("10.0.0.31")], isPresent: false },
      ),
    );
    expect(one.refuseAddress(remote, about)).toBe("10.0.0.20 belongs to namespace shop");
    expect(one.refuseAddress(ip("10.9.9.9"), about)).toContain("it is an address of the control plane");
    const there = (text: string) => one.refuseAddress(ip(text), { ...about, remote: ip(text) });
    expect(there("10.0.0.30")).toContain("belongs to the mesh: it is the address of a host");
    expect(there("10.0.0.31")).toBeNull();
  });

  test("is not called what is granted to others", async () => {
    const one = await ownership([grant("shop", "{namespaces: [shop], nodes: [till]}")]);
    expect(one.refuseNodeName("till", "apes")).toBe("the name till is granted to namespace shop");
    expect(one.refuseNodeName("till", "shop")).toBeNull();
    expect(one.refuseNodeName("other", "apes")).toBeNull();
  });
});

test("who owns what is worked out in slices: no document waits for all the others", async () => {
  const scene = new Scene();
  await scene.apply(admin, entry("shop/x", "{address: 10.0.0.1}"));
  const [document] = scene.documents?.documents ?? [];
  if (document === undefined) throw new Error("no document");
  const documents = Array.from({ length: 1_000 }, () => document);
  let elapsedMs = 0;
  let slices = 0;
  const clock = {
    // Each look at the clock finds that a millisecond has passed.
    now: () => elapsedMs++,
    defer: (work: () => void) => {
      slices++;
      setTimeout(work);
    },
  };
  const view = { documents, hosts: hosts(), controlAddresses: [], network: "" };
  await Ownership.of(view, new TimeSlice(clock));
  expect(slices).toBeGreaterThan(documents.length / 10);
});

test("hosts are found in their subnet, and followed when they join, move, are revoked and are removed", async () => {
  const { registrations } = await openState();
  const put = (node: string, addresses: readonly string[], network = "") =>
    registrations.put({
      node,
      binding: node === "edge" ? { kind: "node", node } : { kind: "group", group: "shop/batch" },
      addresses,
      network,
      labels: {},
      joinedAtMs: 1,
      lastSeenMs: 1,
      tokenId: null,
      revokedAtMs: null,
      revokeReason: null,
    });
  put("edge", ["10.0.0.1", "2001:db8::1"]);
  const directory = new JoinedHosts(registrations, (node) => node === "edge");
  const at = (range: string, network = "") =>
    directory
      .within(network, parseIpPrefix(range) ?? { ip: ip("0.0.0.0"), length: 0 })
      .map(({ node, namespace, isPresent }) => `${node} ${namespace} ${isPresent}`);
  expect(at("10.0.0.1")).toEqual(["edge  true"]);
  expect(at("10.0.0.2")).toEqual([]);
  expect(at("10.0.0.0/24")).toEqual(["edge  true"]);
  expect(at("10.0.0.0/8")).toEqual(["edge  true"]);
  expect(at("2001:db8::/64")).toEqual(["edge  true"]);
  expect(at("10.0.0.1", "far")).toEqual([]);
  put("batch", ["10.0.0.1"]);
  expect(at("10.0.0.1")).toEqual(["edge  true", "batch shop false"]);
  put("edge", ["10.0.1.1"]);
  expect([at("10.0.0.1"), at("10.0.1.0/25")]).toEqual([["batch shop false"], ["edge  true"]]);
  registrations.revoke("batch", "", 1);
  registrations.remove("edge");
  expect([at("10.0.0.1"), at("0.0.0.0/0")]).toEqual([[], []]);
  directory.close();
});
