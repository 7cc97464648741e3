/** A host that joins a small control plane and follows it, on simulated machines. */
import { afterEach, describe, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { silentLogger } from "../../base/log.ts";
import type { ControlSettings } from "../../base/settings/node_control.ts";
import { Secret } from "../../base/settings/secret.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import { trustBundleType } from "../../wire/ads/delta.ts";
import { TrustBundleSchema } from "../../wire/messages/fairlead.gen.ts";
import { encodeMessage, newMessage } from "../../wire/messages/message.ts";
import { ControlPlane, refusedByControl } from "../testing/control_plane.ts";
import { HeldDocuments } from "../xds/held_documents.ts";
import { ControlMembership, type Followed } from "./membership.ts";

const provider = peculiarProvider();
const cart = new SpiffeId("cluster.local", "shop", "cart");
const token = { kind: "literal", token: new Secret("abc") } as const;
const members: ControlMembership[] = [];

/** @param wantedIssuerKeyId certificates of another CA are to be renewed now. */
function bundle(control: ControlPlane, rootsPem: string, wantedIssuerKeyId = ""): void {
  const message = newMessage(TrustBundleSchema, { rootsPem, wantedIssuerKeyId });
  control.push(trustBundleType, "trust", encodeMessage(TrustBundleSchema, message));
}

afterEach(async () => {
  for (const member of members.splice(0)) void member.close();
});

async function bench(hosts?: readonly string[]) {
  const world = new MemoryWorld(1);
  const control = await ControlPlane.start(world, hosts);
  const machine = world.machine("node", { addresses: ["10.0.0.1", "2001:db8::1"] });
  let host = machine.start();
  const settings = (change: Partial<ControlSettings> = {}): ControlSettings => ({
    xds: control.settings(),
    ca: control.settings(),
    pin: null,
    joinToken: new Secret("joining"),
    token: null,
    stateDirectory: "/state",
    joinAddresses: [],
    joinLabels: {},
    node: { podName: "", podNamespace: "", instanceIp: "", metadata: {} },
    ...change,
  });
  const facts = { nodeName: "told", network: "", clusterId: "c0", trustDomain: "cluster.local" };
  const begin = async (change: Partial<ControlSettings> = {}): Promise<ControlMembership> => {
    const options = { host, logger: silentLogger, provider, settings: settings(change), version: "test" };
    const joining = ControlMembership.join({
      ...options,
      facts: { ...facts, rootNamespace: "istio-system" },
    });
    const member = await world.settle(joining);
    members.push(member);
    return member;
  };
  const followed = (change: Partial<Followed> = {}): Followed => ({
    store: new MeshStore(),
    refusedPolicies: "deny",
    setRoots: () => {},
    setCrls: async () => [],
    onConnected: () => {},
    ...change,
  });
  const sign = async (member: ControlMembership): Promise<void> => {
    const { csrPem } = await createCertificateRequest(provider, cart);
    await world.settle(member.signer.sign({ csrPem, id: cart, lifetimeMs: 3_600_000 }));
  };
  const failure = async (work: Promise<unknown>): Promise<string> =>
    await work.then(
      () => "done",
      (thrown) => `${asMeshError(thrown, "io", "local").code}: ${String(thrown.message)}`,
    );
  /** The process is killed, and another one started. */
  const restart = (): void => {
    host.kill();
    members.length = 0;
    host = machine.start();
  };
  const wait = (ms: number) => world.run(world.nowMs + ms);
  const follow = (member: ControlMembership, change: Partial<Followed> = {}) =>
    world.settle(member.follow(followed(change)));
  const write = (path: string, text: string) =>
    world.settle(host.files.writeAtomic(path, new TextEncoder().encode(text), 0o600));
  const paths = ["/xds.pem", "/ca.pem"] as const;
  /** Two servers, the roots of each in a file. */
  const apart = async () => {
    for (const path of paths) await write(path, control.ca.rootsPem);
    const [xds, ca] = paths.map((path, at) => ({
      ...control.settings(15_012 + at),
      root: { kind: "file", path } as const,
    }));
    return xds === undefined || ca === undefined ? {} : { xds, ca };
  };
  /** Which of those files are read when they are written again. */
  const followedFiles = async (): Promise<readonly string[]> => {
    const read = host.files.readText.bind(host.files);
    const seen = new Set<string>();
    host.files.readText = (path) => {
      seen.add(path);
      return read(path);
    };
    for (const path of paths) await write(path, control.ca.rootsPem);
    await wait(10_000);
    return paths.filter((path) => seen.has(path));
  };
  const { disk } = machine;
  return {
    world,
    disk,
    control,
    begin,
    follow,
    followed,
    sign,
    failure,
    restart,
    wait,
    apart,
    followedFiles,
  };
}

describe("a host that has nothing yet", () => {
  test("joins by its token once, from then on by its certificate, and tells where it is", async () => {
    const { control, begin, sign, restart } = await bench();
    const member = await begin();
    expect([member.isMember, member.facts.nodeName, member.workloads]).toEqual([true, "edge-1", null]);
    expect(control.joins.map(({ token: shown, addresses }) => [shown, addresses])).toEqual([
      ["joining", ["10.0.0.1", "2001:db8::1"]],
    ]);
    expect(member.status()).toMatchObject({ credential: "node certificate", server: "10.0.0.9:15012" });
    await sign(member);
    const serial = member.status().node?.serialNumber ?? "";
    expect(control.signed).toEqual([{ port: 15_012, serial, bearer: null }]);
    restart();
    const again = await begin();
    expect([control.joins.length, again.status().node?.serialNumber]).toEqual([1, serial]);
  });

  test("keeps what it is known by where no other user of the host can read it", async () => {
    const { world, disk, begin, follow } = await bench();
    await follow(await begin());
    await world.run(world.nowMs + 60_000);
    const files = disk.list("/state") ?? [];
    expect(files.length).toBeGreaterThan(0);
    for (const { path, isDirectory } of files)
      expect([path, disk.modeOf(path)]).toEqual([path, isDirectory ? 0o700 : 0o600]);
    expect(disk.modeOf("/state")).toBe(0o700);
  });

  test("tells those addresses that it was given, where it was", async () => {
    const { control, begin } = await bench();
    const given = IpAddress.parse("192.0.2.1");
    await begin({ joinAddresses: given === null ? [] : [given] });
    expect(control.joins[0]?.addresses).toEqual(["192.0.2.1"]);
  });

  test("calls by a token alone, where that is what it has, and does not join", async () => {
    const { control, begin, sign } = await bench();
    const member = await begin({ joinToken: null, token });
    expect([member.isMember, control.joins.length, member.facts.nodeName]).toEqual([false, 0, "told"]);
    expect(member.status()).toMatchObject({ credential: "token", node: null });
    await sign(member);
    expect(control.signed).toEqual([{ port: 15_012, serial: null, bearer: "Bearer abc" }]);
  });

  test("has nothing to join by without either; a refusal ends the join; and no file is followed after that", async () => {
    for (const [change, words] of [
      [{ joinToken: null }, "configuration: this host has not joined 10.0.0.9:15012"],
      [{}, "control_refused: the control plane refused the join token"],
    ] as const) {
      const { control, disk, begin, failure, apart, followedFiles } = await bench();
      control.refusal = refusedByControl;
      expect(await failure(begin({ ...(await apart()), ...change }))).toStartWith(words);
      // What was made for the join is for this user alone, also where nothing came of it.
      expect([null, 0o700]).toContain(disk.modeOf("/state"));
      expect(await followedFiles()).toEqual([]);
    }
  });

  test("knows a server by another name than it is dialled by, where it is told of one, and then alone", async () => {
    const { control, begin, failure } = await bench(["control.example.com"]);
    const named = { ...control.settings(), name: "control.example.com" };
    expect((await begin({ xds: named, ca: named })).isMember).toBe(true);
    const other = { ...control.settings(), name: "other.example.com" };
    expect(await failure(begin({ xds: other, ca: other, stateDirectory: "/other" }))).toContain(
      "certificate",
    );
    expect(await failure(begin({ stateDirectory: "/third" }))).toContain("certificate");
  });
});

describe("a host that has joined", () => {
  test("and was away until its certificate had expired renews that first", async () => {
    const { control, begin, restart, wait } = await bench();
    const serial = (await begin()).status().node?.serialNumber;
    restart();
    await wait(25 * 3_600_000);
    const member = await begin();
    expect(control.renewals.map((call) => call.serial)).toEqual([serial ?? ""]);
    expect(member.status().node?.serialNumber).not.toBe(serial);
    restart();
    await begin();
    expect(control.renewals).toHaveLength(1);
  });

  test("shows a renewed certificate to both its servers, on connections of their own", async () => {
    const { control, begin, follow, sign, wait } = await bench();
    const member = await begin({ ca: control.settings(15_013) });
    expect([member.status().server, member.status().ca]).toEqual(["10.0.0.9:15012", "10.0.0.9:15013"]);
    await follow(member);
    await sign(member);
    const before = member.status().node?.serialNumber ?? "";
    // Soon, so that neither connection has ended by itself.
    bundle(control, control.ca.rootsPem, "another");
    await wait(pkiLimits.replacementSpreadMs);
    const after = member.status().node?.serialNumber ?? "";
    expect(after).not.toBe(before);
    expect(control.renewals).toEqual([{ port: 15_012, serial: before, bearer: null }]);
    await sign(member);
    expect(control.signed).toEqual([
      { port: 15_013, serial: before, bearer: null },
      { port: 15_013, serial: after, bearer: null },
    ]);
    expect(control.streams).toHaveLength(2);
  });

  test("follows the roots of both its servers, and of neither once it is closed", async () => {
    const { begin, apart, followedFiles, world } = await bench();
    const member = await begin(await apart());
    expect(await followedFiles()).toEqual(["/xds.pem", "/ca.pem"]);
    await world.settle(member.close());
    expect(await followedFiles()).toEqual([]);
  });

  test("introduces itself by its name and the namespace of hosts, unless it was told of others", async () => {
    const nodeOf = async (change: Partial<ControlSettings>) => {
      const { control, begin, follow } = await bench();
      await follow(await begin(change));
      const { NAME, NAMESPACE } = control.streams[0]?.node?.metadata ?? {};
      return [NAME, NAMESPACE];
    };
    const told = { podName: "pod", podNamespace: "", instanceIp: "", metadata: {} };
    expect(await nodeOf({})).toEqual(["edge-1", "fairlead-nodes"]);
    expect(await nodeOf({ node: told })).toEqual(["pod", "fairlead-nodes"]);
    expect(await nodeOf({ node: { ...told, podName: "", podNamespace: "shop" } })).toEqual([
      "edge-1",
      "shop",
    ]);
    const bare = { joinToken: null, token };
    expect(await nodeOf({ ...bare })).toEqual(["", ""]);
    expect(await nodeOf({ ...bare, node: told })).toEqual(["pod", ""]);
  });

  test("takes documents over a stream of their own, and has one stream without them", async () => {
    const { control, begin, follow, wait } = await bench();
    await follow(await begin());
    await wait(1_000);
    expect(control.streams).toHaveLength(1);
    await follow(await begin({ stateDirectory: "/other" }), { documents: new HeldDocuments("deny") });
    await wait(1_000);
    expect(control.streams).toHaveLength(3);
  });

  test("says why its stream ended, and goes on", async () => {
    const { control, begin, follow, wait } = await bench();
    const member = await begin();
    await follow(member);
    control.endStreams(refusedByControl);
    await wait(1);
    expect(member.status().xds).toMatchObject({ connected: false });
    expect(member.status().xds?.error).toContain("PERMISSION_DENIED");
    await wait(60_000);
    expect([member.status().xds?.connected, control.streams.length]).toEqual([true, 2]);
  });

  test("that begins with a mesh of before keeps the roots that came after it", async () => {
    const { control, begin, follow, followed, restart, wait, world } = await bench();
    const clock = world.machine("elsewhere", { addresses: ["10.0.0.7"] }).start().clock;
    const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
    const both = `${control.ca.rootsPem}${other.rootsPem}`;
    const member = await begin();
    await follow(member);
    bundle(control, control.ca.rootsPem);
    await wait(2 * joinLimits.snapshotDelayMs);
    bundle(control, both);
    await wait(joinLimits.snapshotDelayMs / 2);
    expect(member.rootsPem).toBe(both);
    restart();
    world.partition("node", "control");
    const again = await begin();
    expect(again.rootsPem).toBe(both);
    const set: string[] = [];
    void again.follow(followed({ setRoots: (rootsPem) => void set.push(rootsPem) }));
    await wait(1_000);
    expect(again.status().restoredFromMs).not.toBeNull();
    expect([set, again.rootsPem]).toEqual([[both], both]);
    restart();
    expect((await begin()).rootsPem).toBe(both);
  });
});
