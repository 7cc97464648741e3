import { describe, expect, test } from "bun:test";
import { adsLimits } from "../../base/limits/rpc.ts";
import { WatchSource } from "../../base/watch.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { decodeAddress } from "../../mesh/codec/decode_address.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { ip, member, service, workload } from "../../mesh/testing/fixture.ts";
import { addressType, authorizationType, documentType, trustBundleType } from "../../wire/ads/delta.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { decodeDocumentMessage, decodeTrustBundleMessage } from "../../wire/messages/mesh_resources.ts";
import type { Caller } from "../identity/caller.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import { ManualClock } from "./testing/manual_clock.ts";
import { type LabStream, nodeCaller, nodeOf, settle, XdsLab } from "./testing/xds_lab.ts";

async function connected(
  lab: XdsLab,
  name = "edge-1",
  types = [authorizationType, addressType],
): Promise<LabStream> {
  const stream = lab.open(name);
  await settle();
  for (const typeUrl of types) stream.request({ node: nodeOf(name), typeUrl });
  acknowledgeAll(stream);
  return stream;
}

/** Takes and acknowledges until nothing comes; says what came. */
function acknowledgeAll(stream: LabStream): string[] {
  const seen: string[] = [];
  for (let response = stream.take(); response !== null; response = stream.take()) {
    const { typeUrl, nonce, resources, removedResources } = response;
    const type = typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
    seen.push(
      [type, ...resources.map(({ name }) => name), ...removedResources.map((name) => `-${name}`)].join(" "),
    );
    stream.request({ typeUrl, responseNonce: nonce });
  }
  return seen;
}

const policy: Authorization = {
  name: "p",
  namespace: "shop",
  scope: "NAMESPACE",
  action: "ALLOW",
  dryRun: false,
  rules: [],
  location: null,
};

test("a node of a version too far from this one is served, and said; another program counts otherwise", async () => {
  const lines: string[] = [];
  const lab = new XdsLab({
    version: "0.4.0",
    logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
  });
  const follow = async (name: string, userAgentName: string, value: string): Promise<readonly string[]> => {
    const stream = lab.open(name);
    await settle();
    const version = { case: "userAgentVersion", value } as const;
    const node = { ...nodeOf(name), userAgentName, userAgentVersionType: version };
    stream.request({ node, typeUrl: authorizationType });
    return acknowledgeAll(stream);
  };
  for (const [name, program, version] of [
    ["same", "fairlead", "0.4.2"],
    ["near", "fairlead", "0.5.0"],
    ["other", "ztunnel", "1.29.0"],
    ["old", "fairlead", "0.2.0"],
  ] as const)
    expect(await follow(name, program, version)).toEqual(["Authorization"]);
  expect(lines).toEqual(["warn a node of a much older version follows; it may not understand all of it"]);
});

describe("who may open a stream", () => {
  test("nothing is read before it is known who calls", async () => {
    const lab = new XdsLab();
    const { promise, resolve } = Promise.withResolvers<Caller>();
    lab.authenticate = () => promise;
    const stream = lab.open("edge-1");
    stream.request({ node: nodeOf("edge-1"), typeUrl: authorizationType });
    await settle();
    expect(stream.responses).toEqual([]);
    resolve(nodeCaller("edge-1"));
    await settle();
    expect(acknowledgeAll(stream)).toEqual(["Authorization"]);
  });

  test("a caller who is revoked while it is being looked at is not let in", async () => {
    let revoked = false;
    const { promise, resolve } = Promise.withResolvers<Caller>();
    const lab = new XdsLab({
      authenticator: {
        authenticate: () => promise,
        recheck: () => (revoked ? "edge-1 is revoked" : null),
      },
    });
    const stream = lab.open("edge-1");
    stream.request({ node: nodeOf("edge-1"), typeUrl: authorizationType });
    resolve(nodeCaller("edge-1"));
    revoked = true;
    expect(lab.server.cutStreams(() => true)).toBe(0);
    await settle();
    expect(stream.error).toMatchObject({ code: grpcCode.unauthenticated });
    expect(lab.server.status()).toEqual([]);
  });

  test("an unknown caller is refused as the authenticator says; a fault of ours tells nothing", async () => {
    const lab = new XdsLab();
    lab.authenticate = async () => {
      throw new GrpcError(grpcCode.unauthenticated, "who are you?");
    };
    const stream = lab.open("x");
    await settle();
    expect(stream.error).toMatchObject({ code: grpcCode.unauthenticated, message: "who are you?" });
    lab.authenticate = async () => {
      throw new Error("SELECT * FROM secrets");
    };
    const other = lab.open("x");
    await settle();
    expect(other.error).toMatchObject({ code: grpcCode.internal, message: "internal error" });
    expect(lab.server.status()).toEqual([]);
  });

  const refused: readonly (readonly [string, object | undefined, number])[] = [
    ["no node", undefined, grpcCode.invalidArgument],
    ["three parts", { id: "ztunnel~10.0.0.1~x" }, grpcCode.invalidArgument],
    ["another type", { id: "toaster~10.0.0.1~x.y~y.svc" }, grpcCode.invalidArgument],
    ["no address", { id: "ztunnel~there~x.y~y.svc" }, grpcCode.invalidArgument],
    [
      "an endless id",
      { id: `ztunnel~10.0.0.1~${"x".repeat(adsLimits.maxNodeIdChars)}~y.svc` },
      grpcCode.invalidArgument,
    ],
    ["another node's name", nodeOf("edge-2"), grpcCode.permissionDenied],
  ];
  for (const [what, node, code] of refused)
    test(`a first request with ${what} is refused`, async () => {
      const stream = new XdsLab().open("edge-1");
      await settle();
      stream.request({ typeUrl: authorizationType, ...(node === undefined ? {} : { node }) });
      expect(stream.error?.code).toBe(code as never);
    });

  test("a real ztunnel outside Kubernetes is taken; its namespace and account have to be its own", async () => {
    const lab = new XdsLab();
    lab.authenticate = async () => ({
      kind: "workload",
      id: new SpiffeId("cluster.local", "shop", "db"),
      via: "token",
    });
    const ask = async (id: string, metadata: Record<string, string> = {}) => {
      const stream = lab.open("x");
      await settle();
      stream.request({ typeUrl: authorizationType, node: { id, metadata } });
      return stream.error?.code ?? grpcCode.ok;
    };
    expect(await ask("ztunnel~1.1.1.1~.~.svc.cluster.local")).toBe(grpcCode.ok);
    expect(await ask("ztunnel~1.1.1.1~db.shop~shop.svc.cluster.local", { SERVICE_ACCOUNT: "db" })).toBe(
      grpcCode.ok,
    );
    expect(await ask("ztunnel~1.1.1.1~db.a~a.svc.cluster.local")).toBe(grpcCode.permissionDenied);
    expect(await ask("ztunnel~1.1.1.1~.~.svc", { NAMESPACE: "a" })).toBe(grpcCode.permissionDenied);
    expect(await ask("ztunnel~1.1.1.1~.~.svc", { SERVICE_ACCOUNT: "cart" })).toBe(grpcCode.permissionDenied);
    lab.authenticate = async () => ({ kind: "operator", name: "o", issuer: "i", subject: "s", claims: {} });
    expect(await ask("ztunnel~1.1.1.1~.~.svc")).toBe(grpcCode.permissionDenied);
  });
});

test("who opens a stream and says nothing loses it", async () => {
  const lab = new XdsLab();
  const stream = lab.open("edge-1");
  await settle();
  lab.clock.advance(adsLimits.firstRequestTimeoutMs - 1);
  expect(stream.ended).toBe(false);
  lab.clock.advance(1);
  expect(stream.error?.code).toBe(grpcCode.deadlineExceeded);
  await connected(lab, "edge-2");
  lab.clock.advance(10 * adsLimits.firstRequestTimeoutMs);
  expect(lab.server.status()).toHaveLength(1);
});

describe("a stream that a token has opened", () => {
  async function opened(livesMs: number) {
    const lab = new XdsLab();
    const expiresAtMs = lab.clock.wallMs() + livesMs;
    const id = new SpiffeId("cluster.local", "shop", "db");
    lab.authenticate = async () => ({ kind: "workload", id, via: "token", expiresAtMs });
    const stream = lab.open("x");
    await settle();
    stream.request({ typeUrl: authorizationType, node: { id: "ztunnel~1.1.1.1~.~.svc" } });
    acknowledgeAll(stream);
    return { lab, stream };
  }

  test("ends with it, a little later, so that its client comes back with the next one", async () => {
    const { lab, stream } = await opened(3_600_000);
    lab.clock.advance(3_600_000 + adsLimits.expiredTokenGraceMs - 1);
    expect(stream.ended).toBe(false);
    lab.clock.advance(1);
    expect(stream.error?.code).toBe(grpcCode.unavailable);
    expect([lab.server.status().length, lab.clock.pending]).toEqual([0, 0]);
  });

  test("goes on for as long as the token does, and leaves no timer behind", async () => {
    const { lab, stream } = await opened(Number.MAX_SAFE_INTEGER);
    lab.clock.advance(7 * 24 * 3_600_000);
    expect(stream.ended).toBe(false);
    stream.lose();
    expect(lab.clock.pending).toBe(0);
  });
});

describe("what is pushed", () => {
  test("the mesh of now, then changes once it has been quiet, policies first", async () => {
    const lab = new XdsLab();
    lab.store.apply({ services: { upsert: [service("db", { 5432: 5432 })] } });
    lab.clock.advance(1000);
    const stream = lab.open("edge-1");
    await settle();
    for (const typeUrl of [addressType, authorizationType])
      stream.request({ node: nodeOf("edge-1"), typeUrl });
    expect(acknowledgeAll(stream)).toEqual(["Authorization", "Address shop/db.shop"]);
    const named = workload("db", {
      uid: "u",
      authorizationPolicies: ["shop/p"],
      services: member("shop/db.shop"),
    });
    lab.store.apply({ workloads: { upsert: [named] }, policies: { upsert: [policy] } });
    lab.clock.advance(adsLimits.quietMs - 1);
    expect(acknowledgeAll(stream)).toEqual([]);
    lab.clock.advance(1);
    expect(acknowledgeAll(stream)).toEqual(["Authorization shop/p", "Address u"]);
    lab.store.apply({ workloads: { remove: ["u"] }, policies: { remove: ["shop/p"] } });
    lab.server.flush();
    expect(acknowledgeAll(stream)).toEqual(["Address -u", "Authorization -shop/p"]);
  });

  test("changes that never rest are pushed after a while; what is as before is not pushed", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab);
    let pushes = 0;
    for (let version = 0; version < 100; version++) {
      lab.store.apply({ workloads: { upsert: [workload("db", { uid: "u", capacity: version })] } });
      lab.clock.advance(adsLimits.quietMs / 2);
      pushes += acknowledgeAll(stream).length;
    }
    expect(pushes).toBe(Math.floor((100 * (adsLimits.quietMs / 2)) / adsLimits.maxDelayMs));
    lab.clock.advance(1000);
    acknowledgeAll(stream);
    lab.store.apply({
      workloads: {
        upsert: [workload("db", { uid: "u", capacity: 99, location: { file: "f", line: 9, column: 1 } })],
      },
    });
    lab.clock.advance(1000);
    expect(acknowledgeAll(stream)).toEqual([]);
  });

  test("to a client that does not read, nothing; when it reads again, what came of it", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab);
    stream.aboveHighWater = true;
    for (let version = 0; version < 50; version++) {
      lab.store.apply({ workloads: { upsert: [workload(`w${version}`, { uid: `u${version % 3}` })] } });
      lab.clock.advance(1000);
    }
    expect(stream.responses).toEqual([]);
    expect(lab.server.status()[0]).toMatchObject({ stalled: true });
    stream.room();
    expect(acknowledgeAll(stream)).toEqual(["Address u0 u1 u2"]);
  });

  test("a change of the roots and of revocations goes out at once", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab, "edge-1", [trustBundleType]);
    lab.bundle.set({ rootsPem: "root 1\nroot 2", crls: [Uint8Array.of(1)] });
    const response = stream.take();
    const value = response?.resources[0]?.resource?.value ?? new Uint8Array();
    expect(decodeTrustBundleMessage(value)).toMatchObject({
      rootsPem: "root 1\nroot 2",
      crls: [Uint8Array.of(1)],
    });
    expect(response?.resources[0]?.name).toBe("trust");
  });

  test("it is known which node holds which roots", async () => {
    const lab = new XdsLab();
    const ours = await connected(lab, "edge-1", [trustBundleType]);
    await connected(lab, "edge-2");
    const first = lab.server.trustVersion;
    const holders = () => lab.server.trustHolders().map(({ node, version }) => [node.nodeName, version]);
    expect(holders()).toEqual([
      ["edge-1", first],
      ["edge-2", null],
    ]);
    lab.bundle.set({ rootsPem: "root 2", crls: [] });
    expect(lab.server.trustVersion).not.toBe(first);
    expect(holders()).toEqual([
      ["edge-1", first],
      ["edge-2", null],
    ]);
    const response = ours.take();
    ours.request({
      typeUrl: trustBundleType,
      responseNonce: response?.nonce ?? "",
      errorDetail: { message: "no" },
    });
    expect(holders()).toEqual([
      ["edge-1", first],
      ["edge-2", null],
    ]);
    lab.bundle.set({ rootsPem: "root 3", crls: [] });
    acknowledgeAll(ours);
    expect(holders()).toEqual([
      ["edge-1", lab.server.trustVersion],
      ["edge-2", null],
    ]);
  });

  test("an on-demand client finds workloads by address, services by VIP, and its own node's unasked", async () => {
    const lab = new XdsLab();
    lab.store.apply({
      services: { upsert: [service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] })] },
      workloads: {
        upsert: [
          workload("db", {
            uid: "u-db",
            addresses: [ip("10.0.0.7")],
            services: member("shop/db.shop"),
            node: "edge-2",
          }),
          workload("own", { uid: "u-own", node: "edge-1" }),
          workload("other", { uid: "u-other", addresses: [ip("10.0.0.8")], network: "far" }),
        ],
      },
    });
    lab.server.flush();
    const stream = lab.open("edge-1");
    await settle();
    stream.request({ node: nodeOf("edge-1"), typeUrl: authorizationType });
    const star = { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] };
    stream.request({ node: nodeOf("edge-1"), typeUrl: addressType, ...star });
    expect(acknowledgeAll(stream)).toEqual(["Authorization", "Address u-own"]);
    stream.request({ typeUrl: addressType, resourceNamesSubscribe: ["/10.9.0.1"] });
    expect(acknowledgeAll(stream)).toEqual(["Address shop/db.shop u-db -/10.9.0.1"]);
    stream.request({ typeUrl: addressType, resourceNamesSubscribe: ["far/10.0.0.8"] });
    expect(acknowledgeAll(stream)).toEqual(["Address u-other -far/10.0.0.8"]);
  });
});

describe("life of a stream", () => {
  test("a client's first stream and the end of its last are told", async () => {
    const told: string[] = [];
    const lab = new XdsLab({
      onNodeConnected: (_, node) => void told.push(`+${node.nodeName}`),
      onNodeGone: (_, node) => void told.push(`-${node.nodeName}`),
    });
    const first = await connected(lab);
    const second = await connected(lab);
    first.lose();
    expect(told).toEqual(["+edge-1"]);
    second.lose();
    expect(told).toEqual(["+edge-1", "-edge-1"]);
    expect(lab.clock.pending).toBe(0);
  });

  test("of one client's streams beyond the bound the oldest goes", async () => {
    const lab = new XdsLab({ limits: { maxStreamsPerClient: 2, maxStreams: 4 } });
    const streams = [await connected(lab), await connected(lab), await connected(lab)];
    expect(streams.map(({ ended }) => ended)).toEqual([true, false, false]);
    expect(streams[0]?.error?.code).toBe(grpcCode.aborted);
    await connected(lab, "edge-2");
    await connected(lab, "edge-3");
    expect(() => lab.open("edge-4")).toThrow("too many streams");
  });

  describe("no identity and no address keeps the others out", () => {
    const limits = { maxStreams: 40, reservedStreams: 10 };
    const workloadCaller = (name: string): Caller => ({
      kind: "workload",
      id: new SpiffeId("cluster.local", "shop", name),
      via: "certificate",
      serialNumber: "02",
    });

    async function world() {
      const lab = new XdsLab({ limits });
      lab.authenticate = async (name) =>
        name?.startsWith("edge") ? nodeCaller(name) : workloadCaller(name ?? "");
      /** Streams that stay open of so many that come. */
      const taken = async (count: number, name: string, address: (index: number) => string) => {
        const streams: LabStream[] = [];
        for (let index = 0; index < count; index++) {
          const stream = lab.open(name, address(index));
          streams.push(stream);
          await settle();
          stream.request({ node: { id: `ztunnel~10.0.0.1~z-${index}.~.svc` }, typeUrl: addressType });
        }
        return streams.filter(({ ended }) => !ended).length;
      };
      return { lab, taken };
    }

    test("one identity with many node ids has half of what the others leave", async () => {
      const { lab, taken } = await world();
      expect(await taken(60, "greedy", (index) => `10.0.1.${index}`)).toBe(15);
      expect(await taken(3, "shop", (index) => `10.0.2.${index}`)).toBe(3);
      for (let index = 0; index < 20; index++) await connected(lab, `edge-${index}`);
      expect(lab.server.status().length).toBe(38);
    });

    test("so has one address with many identities; what ends gives its place back", async () => {
      const { lab, taken } = await world();
      let open = 0;
      for (let index = 0; index < 30; index++) open += await taken(1, `w-${index}`, () => "10.0.1.1");
      expect(open).toBe(15);
      expect(await taken(2, "w-other", () => "10.0.1.2")).toBe(2);
      expect(lab.server.cutStreams((caller) => caller.kind === "workload")).toBe(17);
      expect(await taken(60, "greedy", (index) => `10.0.1.${index}`)).toBe(15);
    });

    test("a stream that has not said who it is gives its place to the next one", async () => {
      const lab = new XdsLab({ limits: { maxStreams: 3 } });
      const known = lab.authenticate;
      lab.authenticate = (name) => (name === "silent" ? new Promise(() => {}) : known(name));
      const silent = [lab.open("silent"), lab.open("silent"), lab.open("silent")];
      const host = await connected(lab, "edge-1");
      expect(host.ended).toBe(false);
      expect(silent.map(({ ended }) => ended)).toEqual([true, false, false]);
    });
  });

  test("streams of a revoked caller end at once, others go on", async () => {
    const lab = new XdsLab();
    const bad = await connected(lab, "edge-1");
    const good = await connected(lab, "edge-2");
    expect(lab.server.cutStreams((caller) => caller.kind === "node" && caller.node === "edge-1")).toBe(1);
    expect(bad.error?.code).toBe(grpcCode.unauthenticated);
    expect(good.ended).toBe(false);
    expect(lab.server.status().map(({ node }) => node.nodeName)).toEqual(["edge-2"]);
  });

  test("a client that leaves a response unanswered loses its stream", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab);
    lab.store.apply({ policies: { upsert: [policy] } });
    lab.clock.advance(adsLimits.acknowledgeTimeoutMs);
    expect(stream.ended).toBe(false);
    lab.clock.advance(1000);
    expect(stream.error?.code).toBe(grpcCode.deadlineExceeded);
  });

  test("a flood of requests ends the stream", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab);
    for (let count = 0; count <= adsLimits.requests.burst; count++) stream.request({ typeUrl: addressType });
    expect(stream.error?.code).toBe(grpcCode.resourceExhausted);
  });

  test("who asks for addresses alone is answered after a moment, without being asked again", async () => {
    const lab = new XdsLab();
    const stream = lab.open("edge-1");
    await settle();
    stream.request({ node: nodeOf("edge-1"), typeUrl: addressType });
    expect(stream.responses).toHaveLength(0);
    lab.clock.advance(adsLimits.policiesFirstMs);
    expect(acknowledgeAll(stream)).toEqual(["Address"]);
  });

  test("closing ends every stream and leaves no timer", async () => {
    const lab = new XdsLab();
    const stream = await connected(lab);
    lab.store.apply({ policies: { upsert: [policy] } });
    lab.server.close();
    expect(stream.error?.code).toBe(grpcCode.unavailable);
    expect(lab.clock.pending).toBe(0);
    expect(() => lab.open("edge-1")).toThrow("stopping");
  });
});

test("a change of very much is taken in slices, and still as one", async () => {
  const lab = new XdsLab();
  const stream = await connected(lab);
  const many = (version: number, authorizationPolicies: string[] = []) =>
    Array.from({ length: 3 * adsLimits.encodedAtOnce }, (_, index) =>
      workload(`w${index}`, { uid: `u${index}`, capacity: version, authorizationPolicies }),
    );
  lab.store.apply({ workloads: { upsert: many(1) } });
  const slices = lab.slices();
  lab.clock.advance(adsLimits.quietMs);
  await settle();
  expect(acknowledgeAll(stream)).toEqual([]);
  // In the middle of it, part of what was made ahead is replaced, by what names a policy that was not there.
  lab.store.apply({
    policies: { upsert: [policy] },
    workloads: { upsert: many(2, ["shop/p"]).slice(0, 50) },
  });
  await slices.finish();
  const policies = stream.take();
  expect(policies?.resources.map(({ name }) => name)).toEqual(["shop/p"]);
  const resources = new Map(stream.take()?.resources.map((each) => [each.name, each.resource?.value]));
  expect(resources.size).toBe(3 * adsLimits.encodedAtOnce);
  const capacityOf = (uid: string) => decodeAddress(uid, resources.get(uid) ?? new Uint8Array());
  expect(capacityOf("u0")).toMatchObject({ value: { workload: { capacity: 2 } } });
  expect(capacityOf("u50")).toMatchObject({ value: { workload: { capacity: 1 } } });
  for (const { typeUrl, nonce } of policies === null ? [] : [policies])
    stream.request({ typeUrl, responseNonce: nonce });
  lab.clock.advance(1000);
  await settle();
  expect(acknowledgeAll(stream)).toEqual([]);
});

describe("the documents of the mesh", () => {
  const stored = (name: string, text: string, kind = "VirtualService"): StoredDocument => ({
    key: `${kind} shop/${name}`,
    namespace: "shop",
    kind,
    name,
    text,
    source: "routes.yaml",
    line: 7,
    createdMs: 1000,
  });
  const lab = (documents: readonly StoredDocument[]) => {
    const source = new WatchSource(documents);
    const mayHave = (caller: Caller) => caller.kind === "node" && caller.node === "waypoint-1";
    return { source, xds: new XdsLab({ waypointDocuments: { documents: source, mayHave } }) };
  };

  test("a waypoint is given them as they were written, with their place and time, and each change of them", async () => {
    const { source, xds } = lab([stored("cart", "one"), stored("vm", "x", "WorkloadEntry")]);
    await settle();
    const stream = xds.open("waypoint-1");
    await settle();
    stream.request({ node: nodeOf("waypoint-1"), typeUrl: documentType });
    const response = stream.take();
    expect(response?.resources.map(({ name }) => name)).toEqual(["VirtualService shop/cart"]);
    const message = decodeDocumentMessage(response?.resources[0]?.resource?.value ?? new Uint8Array());
    expect(message).toMatchObject({ key: "VirtualService shop/cart", text: "one", createdMs: 1000n });
    expect(message.place).toMatchObject({ file: "routes.yaml", line: 7 });
    stream.request({ typeUrl: documentType, responseNonce: response?.nonce ?? "" });
    source.set([stored("cart", "two"), stored("new", "three")]);
    await settle();
    expect(acknowledgeAll(stream)).toEqual(["Document VirtualService shop/cart VirtualService shop/new"]);
    source.set([stored("new", "three")]);
    await settle();
    expect(acknowledgeAll(stream)).toEqual(["Document -VirtualService shop/cart"]);
  });

  test("a host is given those that concern a workload of its own, and each change of them", async () => {
    const of = (namespace: string, kind: string, name: string, text = "one"): StoredDocument => ({
      ...stored(name, text, kind),
      key: `${kind} ${namespace}/${name}`,
      namespace,
    });
    const source = new WatchSource<readonly StoredDocument[]>([
      of("shop", "AuthorizationPolicy", "own"),
      of("bank", "AuthorizationPolicy", "secret"),
      of("bank", "Middleware", "secret"),
      of("bank", "VirtualService", "routes"),
      of("istio-system", "RequestAuthentication", "mesh"),
      of("", "MeshConfig", "default"),
    ]);
    const xds = new XdsLab({
      waypointDocuments: {
        documents: source,
        mayHave: () => false,
        mayHaveFor: (caller, workload) =>
          caller.kind === "node" && caller.node === "edge-1" && workload === "shop/web",
        rootNamespace: "istio-system",
      },
    });
    await settle();
    const node = (name: string, workload: string) => {
      const described = nodeOf(name);
      return { ...described, metadata: { ...described.metadata, FAIRLEAD_L7: workload } };
    };
    const stream = xds.open("edge-1");
    await settle();
    stream.request({ node: node("edge-1", "shop/web"), typeUrl: documentType });
    expect(acknowledgeAll(stream)).toEqual([
      "Document AuthorizationPolicy shop/own VirtualService bank/routes RequestAuthentication istio-system/mesh MeshConfig /default",
    ]);
    source.set([
      of("shop", "AuthorizationPolicy", "own", "two"),
      of("bank", "AuthorizationPolicy", "secret", "two"),
    ]);
    await settle();
    expect(acknowledgeAll(stream)).toEqual([
      "Document AuthorizationPolicy shop/own -VirtualService bank/routes -RequestAuthentication istio-system/mesh -MeshConfig /default",
    ]);
    for (const [name, workload] of [
      ["edge-1", "bank/web"],
      ["edge-2", "shop/web"],
      ["edge-1", "shop"],
    ] as const) {
      const other = xds.open(name);
      await settle();
      other.request({ node: node(name, workload), typeUrl: documentType });
      expect(other.responses).toEqual([]);
      expect(other.error).toMatchObject({ code: grpcCode.permissionDenied });
    }
  });

  test("another node is not, whatever it asks for", async () => {
    const { xds } = lab([stored("cart", "one")]);
    await settle();
    const stream = xds.open("edge-1");
    await settle();
    stream.request({ node: nodeOf("edge-1"), typeUrl: documentType });
    expect(stream.responses).toEqual([]);
    expect(stream.error).toMatchObject({ code: grpcCode.permissionDenied });
  });

  test("before they are known there is no answer: none is not the same as not yet", async () => {
    const source = new WatchSource(Array.from({ length: 2000 }, (_, i) => stored(`r${i}`, "one")));
    const clock = new ManualClock();
    // Each slice of long work is over at once: the documents are not taken in yet.
    clock.costOfLookMs = 10;
    const xds = new XdsLab({ clock, waypointDocuments: { documents: source, mayHave: () => true } });
    const { finish } = xds.slices();
    const early = xds.open("waypoint-1");
    await settle();
    early.request({ node: nodeOf("waypoint-1"), typeUrl: documentType });
    expect(early.responses).toEqual([]);
    expect(early.error).toMatchObject({ code: grpcCode.unavailable });
    await finish();
    const late = xds.open("waypoint-1");
    await settle();
    late.request({ node: nodeOf("waypoint-1"), typeUrl: documentType });
    expect(acknowledgeAll(late)).toHaveLength(1);
  });
});
