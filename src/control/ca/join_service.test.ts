import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { generateSigningKey } from "../../pki/crypto/private_key.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { issueIntermediateCertificate } from "../../pki/issue/authority.ts";
import { issueSvidCertificate } from "../../pki/issue/svid.ts";
import { parseJoinToken } from "../identity/join_token.ts";
import type { RevocationTarget } from "../keys/authority_source.ts";
import type { TokenBinding } from "../records/tokens.ts";
import {
  ControlBench,
  certificates,
  hour,
  id,
  provider,
  type Shown,
  shownBy,
  startMs,
  trustDomain,
} from "./testing/control_bench.ts";

const notAccepted = "UNAUTHENTICATED: the join token is not accepted";
const unauthenticated = "UNAUTHENTICATED: request authenticate failure";
const edge: TokenBinding = { kind: "node", node: "edge-1" };
const day = 24 * hour;

let bench: ControlBench;
let csr: string;

beforeEach(async () => {
  bench = await ControlBench.start();
  ({ csr } = await bench.csr());
});

async function token(binding: TokenBinding = edge, replace = false): Promise<string> {
  return (await bench.identity.joinTokens.create({ binding, createdBy: "ada", replace })).token;
}

/** The node's name, or the refusal. */
async function outcome(
  joinToken: string,
  about: Parameters<ControlBench["join"]>[2] = {},
  request = csr,
): Promise<string> {
  const { answer, refused } = await bench.join(joinToken, request, about);
  return refused ?? answer.nodeName;
}

async function renewal(shown: Shown): Promise<string> {
  const { answer, refused } = await bench.renew(shown, csr);
  return refused ?? answer.nodeName;
}

describe("a join token", () => {
  test("is told once, in one line with the pin of the root, and kept as a hash", async () => {
    const made = await bench.identity.joinTokens.create({ binding: edge, createdBy: "ada" });
    expect(made.token).toMatch(/^fjt_[0-9a-f]{16}_[0-9a-f]{64}$/);
    const [root] = certificates([bench.authority.ca.rootsPem]);
    const pin = new Bun.CryptoHasher("sha256").update(root?.publicKeyInfo ?? "").digest("hex");
    expect(made.line).toBe(
      `fairlead node --control https://control.example:15012 --join-token ${made.token} --ca-pin sha256:${pin}`,
    );
    expect(made.expiresAtMs).toBe(startMs + hour);
    const kept = bench.state.tokenRows.get(made.id);
    const secret = made.token.split("_")[2] ?? "";
    expect(kept?.secretHash.toHex()).toBe(
      new Bun.CryptoHasher("sha256").update(Uint8Array.fromHex(secret)).digest("hex"),
    );
    await bench.join(made.token, csr);
    expect(
      JSON.stringify([...bench.state.tokenRows, ...bench.state.registrationRows, ...bench.state.auditRows]),
    ).not.toContain(secret);
  });

  test("has 256 random bits, and no two are the same", async () => {
    const made = new Set(await Promise.all(Array.from({ length: 50 }, () => token())));
    expect(made.size).toBe(50);
    const [first = ""] = made;
    expect(parseJoinToken(first)?.secret.length).toBe(32);
    expect(first.length).toBe(identityLimits.maxJoinTokenChars);
    expect(parseJoinToken(`${first}0`)).toBeNull();
  });

  test("is bound to what can be joined, for a time that is bounded", async () => {
    const { minJoinTokenMs, maxJoinTokenMs } = identityLimits;
    const create = (binding: TokenBinding, ttlMs?: number) =>
      bench.identity.joinTokens.create({
        binding,
        createdBy: "ada",
        ...(ttlMs === undefined ? {} : { ttlMs }),
      });
    for (const binding of [
      { kind: "node", node: "" },
      { kind: "node", node: "Edge" },
      { kind: "node", node: "a.b" },
      { kind: "node", node: "x".repeat(64) },
      { kind: "workload", workload: "cart" },
      { kind: "workload", workload: "shop/" },
      { kind: "workload", workload: "a/b/c" },
      { kind: "workload", workload: "fairlead-nodes/edge-1" },
      { kind: "group", group: "/x" },
    ] as const)
      expect(await outcomeOf(create(binding))).toThrow(MeshError);
    for (const ttlMs of [0, -1, minJoinTokenMs - 1, maxJoinTokenMs + 1, Number.NaN])
      expect(await outcomeOf(create(edge, ttlMs))).toThrow(MeshError);
    for (const ttlMs of [minJoinTokenMs, maxJoinTokenMs])
      expect((await create(edge, ttlMs)).expiresAtMs).toBe(startMs + ttlMs);
  });
});

describe("joining", () => {
  test("gives a host its certificate, its name and what it needs to know", async () => {
    const { answer } = await bench.join(await token(), csr, {
      addresses: ["10.0.0.7", "2001:db8:0::7", "10.0.0.7"],
      labels: { "app.kubernetes.io/name": "edge", zone: "" },
    });
    expect(answer).toMatchObject({
      nodeName: "edge-1",
      workloads: [],
      trustDomain: "cluster.local",
      clusterId: "edge",
      rootNamespace: "istio-system",
      network: "net-1",
    });
    const chain = answer?.certChain ?? [];
    expect(chain.length).toBe(2);
    expect(chain.at(-1)).toBe(bench.authority.ca.rootsPem);
    const [leaf] = certificates(chain);
    expect(leaf?.extensions.subjectAltNames).toEqual([
      { kind: "uri", value: "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1" },
    ]);
    expect(bench.state.registrationRows.get("edge-1")).toMatchObject({
      binding: edge,
      addresses: ["10.0.0.7", "2001:db8::7"],
      network: "net-1",
      labels: { "app.kubernetes.io/name": "edge", zone: "" },
      joinedAtMs: startMs,
      revokedAtMs: null,
    });
    expect(
      bench.state.auditRows.map(({ action, target, outcome: how }) => `${action} ${target} ${how}`),
    ).toEqual(["node.join edge-1 ok"]);
    expect(await renewal(shownBy(chain))).toBe("edge-1");
  });

  test("an address that it does not tell is the one it came from", async () => {
    await bench.join(await token(), csr, {}, { address: "198.51.100.9" });
    expect(bench.state.registrationRows.get("edge-1")?.addresses).toEqual(["198.51.100.9"]);
  });

  test("works once; every token that is not good has one answer, and its reason in the audit log", async () => {
    const good = await token();
    const secret = good.split("_")[2] ?? "";
    const tokens: readonly (readonly [string, () => Promise<string>])[] = [
      ["token_malformed", async () => ""],
      ["token_malformed", async () => "fjt_"],
      ["token_malformed", async () => good.slice(0, -1)],
      ["token_malformed", async () => `${good}0`],
      ["token_malformed", async () => good.toUpperCase()],
      ["token_malformed", async () => "x".repeat(1024 * 1024)],
      ["token_unknown", async () => `fjt_0123456789abcdef_${secret}`],
      ["token_wrong", async () => good.slice(0, -1) + (good.endsWith("0") ? "1" : "0")],
      ["token_revoked", async () => revoked(await token({ kind: "node", node: "edge-2" }))],
    ];
    for (const [reason, make] of tokens) {
      expect(await outcome(await make())).toBe(notAccepted);
      expect(bench.refusals.at(-1)).toStartWith(`node.join ${reason}: `);
    }
    expect(bench.authority.issued).toEqual([]);
    expect(await outcome(good)).toBe("edge-1");
    expect(await outcome(good)).toBe(notAccepted);
    expect(bench.refusals.at(-1)).toContain("is used");
    const late = await token({ kind: "node", node: "edge-3" });
    await bench.clock.advance(hour);
    expect(await outcome(late)).toBe(notAccepted);
    expect(bench.refusals.at(-1)).toContain("is expired");
  });

  function revoked(joinToken: string): string {
    const row = bench.state.tokenRows.get(joinToken.split("_")[1] ?? "");
    if (row !== undefined) bench.state.tokenRows.set(row.id, { ...row, revokedAtMs: startMs });
    return joinToken;
  }

  test("by twenty hosts with one token at one time lets one in", async () => {
    for (const binding of [edge, { kind: "group", group: "shop/vms" }] as const) {
      const one = await token(binding);
      const names = Array.from({ length: 20 }, (_, index) => (binding.kind === "node" ? "" : `vm-${index}`));
      const outcomes = await Promise.all(names.map((nodeName) => outcome(one, { nodeName })));
      expect(outcomes.filter((each) => each === notAccepted).length).toBe(19);
    }
    expect(bench.state.registrationRows.size).toBe(2);
  });

  test("that fails leaves the token good: a bad request, a signer that is away, a full disk", async () => {
    const one = await token();
    expect(await outcome(one, {}, "nonsense")).toStartWith("INVALID_ARGUMENT: ");
    expect(await outcome(one, { nodeName: "edge-2" })).toBe(
      "PERMISSION_DENIED: the token is for node edge-1, not for edge-2",
    );
    bench.authority.before = async () => {
      throw new MeshError("authority_unavailable", "local", "vault is away");
    };
    expect(await outcome(one)).toBe("UNAVAILABLE: the certificate authority cannot sign now");
    bench.authority.before = async () => {
      bench.state.fault = new MeshError("disk_full", "local", "no space");
    };
    expect(await outcome(one)).toBe("UNAVAILABLE: the certificate authority cannot sign now");
    bench.state.fault = null;
    bench.authority.before = async () => {};
    expect(bench.state.registrationRows.size).toBe(0);
    expect(await outcome(one)).toBe("edge-1");
  });

  test("a token that is revoked while its certificate is made gives nothing", async () => {
    const one = await token();
    bench.authority.before = async () => {
      revoked(one);
    };
    expect(await outcome(one)).toBe(notAccepted);
    expect(bench.state.registrationRows.size).toBe(0);
  });

  test("keeps what a host says of itself within bounds", async () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`label-${index}`, "x"]));
    const { maxJoinAddresses, maxJoinLabels, maxLabelValueChars, maxNetworkChars, maxVersionChars } =
      identityLimits;
    // A prefix of DNS labels, a slash and 63 characters.
    const { maxLabelNameChars } = identityLimits;
    const longest = `${`${"p".repeat(63)}.`.repeat(3)}${"p".repeat(61)}/${"n".repeat(63)}`;
    expect(longest.length).toBe(maxLabelNameChars);
    const bad: readonly Parameters<ControlBench["join"]>[2][] = [
      { nodeName: "Edge 1" },
      { nodeName: "x".repeat(64) },
      { nodeName: "../../etc" },
      { addresses: ["10.0.0.256"] },
      { addresses: ["0.0.0.0"] },
      { addresses: ["::"] },
      { addresses: new Array(maxJoinAddresses + 1).fill("10.0.0.1") },
      { network: "a b" },
      { network: "x".repeat(maxNetworkChars + 1) },
      { version: "x".repeat(maxVersionChars + 1) },
      { labels: many(maxJoinLabels + 1) },
      { labels: { "": "x" } },
      { labels: { "a/b/c": "x" } },
      { labels: { app: "x".repeat(maxLabelValueChars + 1) } },
      { labels: { app: "a\nb" } },
      { labels: { [`p${longest}`]: "x" } },
    ];
    const one = await token();
    for (const about of bad) expect(await outcome(one, about)).toStartWith("INVALID_ARGUMENT: ");
    // Of PEM, which has a third more characters than bytes, and line ends.
    const csrOf = (length: number) => outcome(one, {}, "x".repeat(length));
    const tooLong = "INVALID_ARGUMENT: the certificate request is larger than the limit";
    expect(await csrOf(pkiLimits.maxCsrBytes * 1.5 + 1)).toBe(tooLong);
    expect(await csrOf(pkiLimits.maxCsrBytes * 1.5)).not.toBe(tooLong);
    const most = {
      addresses: new Array(maxJoinAddresses).fill("10.0.0.1"),
      labels: { ...many(maxJoinLabels - 1), [longest]: "x".repeat(maxLabelValueChars) },
      network: "x".repeat(maxNetworkChars),
      version: "0.4.0-".padEnd(maxVersionChars, "x"),
    };
    expect(await outcome(one, most)).toBe("edge-1");
  });

  test("a host of a version too far from this one is told which of the two to update, and its token stays good", async () => {
    const one = await token();
    const told = (version: string) => outcome(one, { version });
    expect(await told("0.2.3")).toBe(
      "FAILED_PRECONDITION: this host runs fairlead 0.2.3 and the control plane 0.4.0; they may be one minor version apart: update the host",
    );
    expect(await told("0.6.0")).toEndWith("update the control plane");
    // Who shows no token that is good is told nothing of versions.
    expect(
      await outcome(
        one.replace(/.$/, (last) => (last === "0" ? "1" : "0")),
        { version: "0.2.3" },
      ),
    ).toBe(notAccepted);
    expect(await told("0.3.9")).toBe("edge-1");
  });

  test("too many at one time are told to come back", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    bench.authority.before = () => held;
    const { maxJoinsUnderWay } = identityLimits;
    const tokens = await Promise.all(
      Array.from({ length: maxJoinsUnderWay }, (_, index) => token({ kind: "node", node: `n-${index}` })),
    );
    const joins = tokens.map((one) => outcome(one));
    for (let round = 0; round < 5; round++) await new Promise<void>((resolve) => setImmediate(resolve));
    const over = outcome(await token());
    for (let round = 0; round < 5; round++) await new Promise<void>((resolve) => setImmediate(resolve));
    release();
    expect(await over).toBe("RESOURCE_EXHAUSTED: too many requests");
    expect((await Promise.all(joins)).length).toBe(maxJoinsUnderWay);
    expect(await outcome(await token())).toBe("edge-1");
  });
});

describe("names of nodes", () => {
  const cart: TokenBinding = { kind: "workload", workload: "shop/cart" };
  const vms: TokenBinding = { kind: "group", group: "shop/vms" };

  test("two hosts with one name: the second is refused until a token says that it replaces the first", async () => {
    const first = await bench.joined("edge-1");
    expect(await outcome(await token())).toStartWith("ALREADY_EXISTS: node edge-1 has joined already");
    expect(await renewal(first)).toBe("edge-1");
    await bench.clock.advance(5_000);
    const second = await bench.joined("edge-1", true);
    expect(await renewal(second)).toBe("edge-1");
    expect(await renewal(first)).toBe(unauthenticated);
    const replaced = bench.state.auditRows.filter((row) => row.action === "node.join" && row.before !== null);
    expect(replaced.length).toBe(1);
    expect(JSON.parse(replaced[0]?.before ?? "")).toMatchObject({ node: "edge-1", joinedAtMs: startMs });
    expect(JSON.parse(replaced[0]?.after ?? "")).toMatchObject({
      node: "edge-1",
      joinedAtMs: startMs + 5_000,
    });
  });

  test("that the first is cut off is published before the second is answered; for a new name there is nothing to publish", async () => {
    let published = 0;
    const publish = bench.authority.publish.bind(bench.authority);
    bench.authority.publish = () => {
      published++;
      return publish();
    };
    await bench.joined("edge-1");
    expect(published).toBe(0);
    await bench.clock.advance(5_000);
    await bench.joined("edge-1", true);
    expect(published).toBe(1);
  });

  test("one namespace's hosts join at its rate, and say by whose token", async () => {
    bench = await ControlBench.start({
      rates: { ...identityLimits, namespaceRate: { burst: 1, perSecond: 1 / 3600 } },
    });
    bench.groups.set("shop/vms", id("shop/cart"));
    expect(await outcome(await token(vms))).toStartWith("vms-");
    const refused = await token(vms);
    expect(await outcome(refused)).toBe("RESOURCE_EXHAUSTED: too many requests");
    expect(bench.refusals.at(-1)).toStartWith("node.join namespace_rate: ");
    expect(bench.state.auditRows.at(-1)?.actor).toBe(`join token ${refused.split("_")[1]}`);
    // Hosts of the mesh's own are of no namespace.
    expect(await outcome(await token())).toBe("edge-1");
  });

  test("the host that was replaced does not come back when its certificate has expired and its revocation is forgotten", async () => {
    const first = await bench.joined("edge-1");
    await bench.clock.advance(5_000);
    const second = await bench.joined("edge-1", true);
    await bench.clock.advance(2 * day);
    bench.state.revoked.serials.clear();
    expect(await renewal(first)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toContain("of an earlier host");
    expect(await renewal(second)).toBe("edge-1");
  });

  test("the host that is replaced while it renews gets nothing", async () => {
    const first = await bench.joined("edge-1");
    await bench.clock.advance(5_000);
    const replacing = await token(edge, true);
    // The renewal is believed, and then waits behind the join for its turn.
    const [joined, renewed] = await Promise.all([outcome(replacing), renewal(first)]);
    expect(joined).toBe("edge-1");
    expect([unauthenticated, "edge-1"]).toContain(renewed);
    expect(await renewal(first)).toBe(unauthenticated);
  });

  test("a revoked node needs a token that says so to come back", async () => {
    const first = await bench.joined("edge-1");
    const row = bench.state.registrationRows.get("edge-1");
    if (row !== undefined)
      bench.state.registrationRows.set("edge-1", { ...row, revokedAtMs: startMs, revokeReason: "lost" });
    await bench.authority.revoke({ kind: "node", node: "edge-1" });
    expect(await renewal(first)).toBe(unauthenticated);
    expect(await outcome(await token())).toStartWith("ALREADY_EXISTS: node edge-1 was revoked");
    await bench.clock.advance(5_000);
    const second = await bench.joined("edge-1", true);
    expect(await renewal(second)).toBe("edge-1");
    expect(await renewal(first)).toBe(unauthenticated);
  });

  test("what the mesh's administrators revoked a tenant's token with --replace does not bring back", async () => {
    const { answer } = await bench.join(await token(cart), csr);
    const node = answer?.nodeName ?? "";
    await bench.authority.revoke({ kind: "node", node });
    const made = async (byNamespace: string): Promise<string> =>
      (
        await bench.identity.joinTokens.create({
          binding: cart,
          createdBy: "ada",
          byNamespace,
          replace: true,
        })
      ).token;
    expect(await outcome(await made("shop"))).toBe(
      `ALREADY_EXISTS: node ${node} was revoked by an administrator of the mesh; only a token that they made lets another host have its name`,
    );
    expect(bench.state.revoked.nodes.has(node)).toBe(true);
    bench.state.revokedBy = "shop";
    expect(await outcome(await made("shop"))).toBe(node);
    await bench.authority.revoke({ kind: "node", node });
    bench.state.revokedBy = "";
    expect(await outcome(await made(""))).toBe(node);
    expect(bench.state.revoked.nodes.has(node)).toBe(false);
  });

  test("a host keeps what it has until there is a successor: a signer that is away takes nothing from it", async () => {
    const first = await bench.joined("edge-1");
    await bench.clock.advance(5_000);
    bench.authority.before = () =>
      Promise.reject(new MeshError("authority_unavailable", "local", "the vault is sealed"));
    expect(await outcome(await token(edge, true))).toStartWith("UNAVAILABLE: ");
    bench.authority.before = async () => {};
    expect(await renewal(first)).toBe("edge-1");
    const second = await bench.joined("edge-1", true);
    expect(await renewal(first)).toBe(unauthenticated);
    expect(await renewal(second)).toBe("edge-1");
  });

  test("a member of a group without an address that it may have does not join; another tenant's host has those it may", async () => {
    const checked: string[] = [];
    bench.checkClaims = async ({ namespace, remote, addresses }) => {
      checked.push(`${namespace} ${remote.text} ${addresses.join(" ")}`);
      const allowed = addresses.filter((text) => text !== "10.0.0.66");
      const refusals = addresses.length > allowed.length ? ["10.0.0.66 belongs to namespace zoo"] : [];
      return { nameRefusal: null, addresses: allowed, refusals };
    };
    expect(await outcome(await token(vms), { addresses: ["10.0.0.66"] })).toBe(
      "PERMISSION_DENIED: 10.0.0.66 belongs to namespace zoo",
    );
    expect(bench.refusals.at(-1)).toBe("node.join address_not_allowed: 10.0.0.66 belongs to namespace zoo");
    const both = await outcome(await token(vms), { addresses: ["10.0.0.66", "10.0.0.7"] });
    expect(bench.state.registrationRows.get(both)?.addresses).toEqual(["10.0.0.7"]);
    const alone = await outcome(await token(cart), { addresses: ["10.0.0.66"] });
    expect(bench.state.registrationRows.get(alone)?.addresses).toEqual([]);
    expect(await outcome(await token(edge), { addresses: ["10.0.0.66"] })).toBe("edge-1");
    expect(checked).toEqual([
      "shop 192.0.2.1 10.0.0.66",
      "shop 192.0.2.1 10.0.0.66 10.0.0.7",
      "shop 192.0.2.1 10.0.0.66",
    ]);
  });

  test("a tenant's host does not join under a name that another tenant has", async () => {
    bench.checkClaims = async ({ node, addresses }) => ({
      nameRefusal: node === "web-1" ? "web-1 is a name of namespace zoo" : null,
      addresses,
      refusals: [],
    });
    bench.groups.set("shop/vms", id("shop/worker"));
    expect(await outcome(await token(vms), { nodeName: "web-1" })).toBe(
      "PERMISSION_DENIED: web-1 is a name of namespace zoo",
    );
    expect(bench.refusals.at(-1)).toBe("node.join name_not_allowed: web-1 is a name of namespace zoo");
    expect(bench.state.registrationRows.size).toBe(0);
    expect(await outcome(await token(vms), { nodeName: "web-2" })).toBe("web-2");
  });

  test("a token that replaces cuts off a host that has no registration any more, and another does not", async () => {
    const first = await bench.joined("edge-1");
    bench.state.registrationRows.delete("edge-1");
    await bench.clock.advance(5_000);
    const second = await bench.joined("edge-1");
    const { serials } = bench.state.revoked;
    expect([serials.has(first.leaf.serialNumber), serials.size]).toEqual([false, 0]);
    bench.state.registrationRows.delete("edge-1");
    const third = await bench.joined("edge-1", true);
    const all = [first, second, third].map(({ leaf }) => serials.has(leaf.serialNumber));
    expect(all).toEqual([true, true, false]);
  });

  test("a workload's host is called after it, always the same; a group's member after its token", async () => {
    const { answer } = await bench.join(await token(cart), csr);
    expect(answer?.nodeName).toMatch(/^cart-[0-9a-f]{8}$/);
    expect(answer?.workloads).toEqual(["shop/cart"]);
    expect(await outcome(await token(cart))).toStartWith("ALREADY_EXISTS: ");
    expect(await outcome(await token(cart, true))).toBe(answer?.nodeName ?? "");
    expect(await outcome(await token({ kind: "workload", workload: "other/cart" }))).not.toBe(
      answer?.nodeName ?? "",
    );
    const members = [await outcome(await token(vms)), await outcome(await token(vms))];
    expect(new Set(members).size).toBe(2);
    for (const member of members) expect(member).toMatch(/^vms-[0-9a-f]{8}$/);
  });

  test("a host may choose its name, but never one that other workloads run on, or that another kind of host has", async () => {
    bench.workloads.set("shop/db", { identity: id("shop/db"), node: "edge-7" });
    bench.workloads.set("shop/worker-1", { identity: id("shop/worker"), node: "vm-1" });
    bench.groups.set("shop/vms", id("shop/worker"));
    bench.version++;
    expect(await outcome(await token(vms), { nodeName: "edge-7" })).toStartWith("PERMISSION_DENIED: ");
    expect(await outcome(await token(cart), { nodeName: "edge-7" })).toStartWith("PERMISSION_DENIED: ");
    expect(await outcome(await token(vms), { nodeName: "vm-1" })).toBe("vm-1");
    await bench.joined("edge-1");
    expect(await outcome(await token(vms, true), { nodeName: "edge-1" })).toStartWith("ALREADY_EXISTS: ");
    expect(await outcome(await token(vms, true), { nodeName: "vm-1" })).toBe("vm-1");
    await bench.clock.advance(5_000);
    expect(await outcome(await token({ kind: "node", node: "vm-1" }, true))).toBe("vm-1");
  });
});

describe("renewal", () => {
  test("by a certificate that is valid, or that has expired, until the node is revoked", async () => {
    const node = await bench.joined("edge-1");
    expect(await renewal(node)).toBe("edge-1");
    expect(bench.state.auditRows.at(-1)).toMatchObject({
      actor: id("fairlead-nodes/edge-1").uri,
      action: "node.renew",
      target: "edge-1",
      outcome: "ok",
      detail: `by its certificate ${node.leaf.serialNumber}, which is valid`,
      before: node.leaf.serialNumber,
    });
    await bench.clock.advance(30 * day);
    expect(await renewal(node)).toBe("edge-1");
    expect(bench.state.auditRows.at(-1)?.detail).toContain("has expired");
    expect(bench.state.registrationRows.get("edge-1")?.lastSeenMs).toBe(startMs + 30 * day);
    const row = bench.state.registrationRows.get("edge-1");
    if (row !== undefined)
      bench.state.registrationRows.set("edge-1", { ...row, revokedAtMs: startMs, revokeReason: "lost" });
    expect(await renewal(node)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toContain("was revoked: lost");
    bench.state.registrationRows.delete("edge-1");
    expect(await renewal(node)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toContain("is not registered");
  });

  test("of a host that is revoked while the signer is at work gives it nothing", async () => {
    const node = await bench.joined("edge-1");
    const { sign } = bench.authority.ca;
    bench.authority.sign = async (request) => {
      const answer = await sign.call(bench.authority.ca, request);
      bench.state.revoked.nodes.add("edge-1");
      return answer;
    };
    expect(await renewal(node)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toBe("node.renew revoked: node edge-1 is revoked");
    expect(bench.state.registrationRows.get("edge-1")?.pendingSerial).toBeNull();
  });

  describe("by a copy of a host's credential", () => {
    async function renewed(shown: Shown): Promise<Shown> {
      const { answer, refused } = await bench.renew(shown, csr);
      if (answer === null) throw new Error(refused);
      return shownBy(answer.certChain);
    }

    /** Any call by it: what a host does as soon as it has a new certificate. */
    async function seen({ chain = [] }: Shown): Promise<void> {
      const ip = IpAddress.parse("192.0.2.1");
      if (ip === null) throw new Error("no address");
      await bench.identity.authenticator.authenticate({
        chain,
        authorization: null,
        remote: { ip, port: 1 },
        proven: () => {},
      });
    }

    const alarms = (): string =>
      writeMetrics(bench.metrics, "prometheus")
        .split("\n")
        .filter((line) => /^fairlead_control_cloned_credentials\S* /.test(line))
        .join();

    test("is refused once the host has renewed, and said aloud", async () => {
      const host = await bench.joined("edge-1");
      const copy = host;
      const second = await renewed(host);
      await seen(second);
      expect(await renewal(copy)).toStartWith("UNAUTHENTICATED: this certificate is older");
      expect(bench.refusals.at(-1)).toContain("cloned: serial");
      expect(alarms()).toEndWith(" 1");
      expect(await renewal(second)).toBe("edge-1");
    });

    test("that renews first is noticed when the host does; neither goes on unseen", async () => {
      const host = await bench.joined("edge-1");
      const copy = await renewed(host);
      await seen(copy);
      expect(await renewal(host)).toStartWith("UNAUTHENTICATED: this certificate is older");
    });

    test("without another call between is noticed at the next renewal of either", async () => {
      const host = await bench.joined("edge-1");
      const own = await renewed(host);
      const copied = await renewed(host);
      const next = await renewed(copied);
      expect(await renewal(own)).toStartWith("UNAUTHENTICATED: this certificate is older");
      expect(await renewal(next)).toBe("edge-1");
    });

    test("alarms of one host are written though strangers have used up what refusals may write", async () => {
      const host = await bench.joined("edge-1");
      await seen(await renewed(host));
      for (let round = 0; round < identityLimits.auditRate.burst + 10; round++) await bench.renew({}, csr);
      await renewal(host);
      expect(bench.refusals.at(-1)).toContain("cloned");
    });

    test("so many alarms of one host are written whatever else was, and all of them are counted", async () => {
      const host = await bench.joined("edge-1");
      await seen(await renewed(host));
      const other = await bench.joined("edge-2");
      const { auditRate, alarmRate } = identityLimits;
      // Of callers that are known, which are written where alarms are.
      for (let round = 0; round < auditRate.burst + 10; round++) await bench.create(other, { csr });
      for (let round = 0; round < alarmRate.burst + 2; round++) await renewal(host);
      expect(bench.refusals.filter((line) => line.startsWith("node.renew cloned: ")).length).toBe(
        alarmRate.burst,
      );
      const counted = writeMetrics(bench.metrics, "prometheus")
        .split("\n")
        .filter((line) => line.startsWith("fairlead_control_refusals") && line.includes("node.renew"));
      expect(counted).toEqual([
        `fairlead_control_refusals_total{action="node.renew",reason="cloned"} ${alarmRate.burst + 2}`,
      ]);
      expect(alarms()).toEndWith(` ${alarmRate.burst + 2}`);
    });

    test("an answer that is lost, once or often, is asked for again by the certificate the host has", async () => {
      const host = await bench.joined("edge-1");
      for (let lost = 0; lost < 5; lost++) await renewed(host);
      const at = await renewed(host);
      await seen(at);
      await bench.clock.advance(2 * day);
      for (let lost = 0; lost < 3; lost++) await renewed(at);
      expect(await renewal(await renewed(at))).toBe("edge-1");
    });

    test("a clock that was set back by a minute or two bans no host", async () => {
      for (const [node, backMs] of [
        ["edge-1", 60_000],
        ["edge-2", 110_000],
      ] as const) {
        const host = await bench.joined(node);
        bench.clock.jumpWall(-backMs);
        const second = await renewed(host);
        await seen(second);
        const third = await renewed(second);
        expect(await renewal(third)).toBe(node);
        bench.clock.jumpWall(backMs);
      }
    });

    test("what was issued after a back-up was made is good after its restore; what was left behind before is not", async () => {
      const host = await bench.joined("edge-1");
      const row = bench.state.registrationRows.get("edge-1");
      const known = new Map(bench.state.requesters);
      await bench.clock.advance(5_000);
      const second = await renewed(host);
      await seen(second);
      // The state as it was, without the record of what was issued since.
      bench.state.requesters.clear();
      for (const [serial, issued] of known) bench.state.requesters.set(serial, issued);
      if (row !== undefined) bench.state.registrationRows.set("edge-1", row);
      const third = await renewed(second);
      await seen(third);
      expect(await renewal(host)).toStartWith("UNAUTHENTICATED: this certificate is older");
    });

    test("what was issued in the same moment as the certificate in a back-up is good after its restore", async () => {
      const host = await bench.joined("edge-1");
      const row = bench.state.registrationRows.get("edge-1");
      const known = new Map(bench.state.requesters);
      const second = await renewed(host);
      await seen(second);
      bench.state.requesters.clear();
      for (const [serial, issued] of known) bench.state.requesters.set(serial, issued);
      if (row !== undefined) bench.state.registrationRows.set("edge-1", row);
      expect(await renewal(second)).toBe("edge-1");
    });
  });

  test("is all that an expired certificate is good for", async () => {
    bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
    bench.version++;
    const node = await bench.joined("edge-1");
    const impersonate = id("shop/cart").uri;
    expect((await bench.create(node, { csr, impersonate })).refused).toBeNull();
    await bench.clock.advance(2 * day);
    expect((await bench.create(node, { csr, impersonate })).refused).toBe(unauthenticated);
    const { answer } = await bench.renew(node, csr);
    expect((await bench.create(shownBy(answer?.certChain ?? []), { csr, impersonate })).refused).toBeNull();
  });

  test("after an absence that is longer than revocations are remembered is refused", async () => {
    const node = await bench.joined("edge-1");
    await bench.clock.advance(day + identityLimits.maxAbsenceMs);
    expect(await renewal(node)).toBe("edge-1");
    await bench.clock.advance(1000);
    expect(await renewal(node)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toContain("away for too long");
  });

  test("is for nodes: neither for a workload, nor by a token, nor by a certificate of another root", async () => {
    const { answer } = await bench.create({ token: await bench.token() }, { csr });
    const workload = shownBy(answer?.certChain ?? []);
    expect(await renewal(workload)).toBe(unauthenticated);
    expect(await renewal({ token: await bench.token() })).toBe(unauthenticated);
    const other = await ControlBench.start();
    const stranger = await other.joined("edge-1");
    await bench.joined("edge-1");
    expect(await renewal(stranger)).toBe(unauthenticated);
    await bench.clock.advance(2 * day);
    expect(await renewal(stranger)).toBe(unauthenticated);
    expect(await renewal(workload)).toBe(unauthenticated);
  });

  test("of an expired certificate that was revoked by its number, its identity or its node is refused", async () => {
    const targets: readonly (readonly [string, (serialNumber: string) => RevocationTarget])[] = [
      ["a", (serialNumber) => ({ kind: "serial", serialNumber })],
      ["b", () => ({ kind: "identity", uri: id("fairlead-nodes/b").uri })],
      ["c", () => ({ kind: "node", node: "c" })],
    ];
    for (const [node, target] of targets) {
      const shown = await bench.joined(node);
      await bench.authority.revoke(target(shown.leaf.serialNumber));
      expect(await renewal(shown)).toBe(unauthenticated);
      await bench.clock.advance(2 * day);
      expect(await renewal(shown)).toBe(unauthenticated);
    }
  });

  test("of an expired certificate that a revoked intermediate has issued is refused", async () => {
    await bench.joined("edge-1");
    await bench.clock.advance(2 * day);
    const { issuer } = bench.authority;
    const validity = { notBeforeMs: startMs, notAfterMs: startMs + 30 * day };
    const stolen = await generateSigningKey(provider);
    const { publicKeyInfo } = stolen;
    const intermediate = await issueIntermediateCertificate(issuer, {
      publicKeyInfo,
      trustDomain,
      ...validity,
    });
    const own = await generateSigningKey(provider);
    const leafPem = await issueSvidCertificate(
      { certificate: intermediate, key: stolen.key, provider },
      {
        id: id("fairlead-nodes/edge-1"),
        publicKeyInfo: own.publicKeyInfo,
        notBeforeMs: startMs,
        notAfterMs: startMs + day,
      },
    );
    const [leaf = new Uint8Array()] = decodePemLabel(leafPem, "CERTIFICATE");
    const shown = { chain: [leaf, intermediate.der] };
    expect(await renewal(shown)).toBe("edge-1");
    bench.state.revoked.serials.add(intermediate.serialNumber);
    expect(await renewal(shown)).toBe(unauthenticated);
  });

  test("of a certificate that only a revocation list names is refused", async () => {
    const node = await bench.joined("edge-1");
    const { serialNumber } = node.leaf;
    const revoked = [{ serialNumber, revokedAtMs: startMs, reason: "keyCompromise" as const }];
    const list = await bench.authority.ca.revocationList(revoked, 1n, startMs + 7 * day);
    await bench.trust.setCrls([{ name: "list", bytes: list }]);
    expect(await renewal(node)).toBe(unauthenticated);
    expect(bench.refusals.at(-1)).toContain("certificate_revoked");
  });

  test("a bad request renews nothing", async () => {
    const node = await bench.joined("edge-1");
    const { refused } = await bench.renew(node, "nonsense");
    expect(refused).toStartWith("INVALID_ARGUMENT: ");
  });
});

describe("a host whose clock is an hour off", () => {
  test("joins all the same, and its certificate tells by how much", async () => {
    const node = await bench.joined("edge-1");
    // What the host sees: its own time is an hour behind, and the leaf begins in its future.
    const itsTimeMs = startMs - hour;
    expect(node.leaf.notBeforeMs).toBeGreaterThan(itsTimeMs);
    expect(node.leaf.notBeforeMs + pkiLimits.backdateMs - itsTimeMs).toBe(hour);
    expect(await renewal(node)).toBe("edge-1");
  });
});
