import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { identityLimits, stateLimits } from "../../base/limits/control.ts";
import type { Registration } from "../records/registrations.ts";
import type { NewToken } from "../records/tokens.ts";
import { migrate } from "./migrations.ts";
import { Registrations } from "./registrations.ts";
import { migrations } from "./schema.ts";
import { openState, StateWorld } from "./testing/simulated_state.ts";
import { Tokens } from "./tokens.ts";

const hash = new Uint8Array(32).fill(1);
const wrong = new Uint8Array(32).fill(2);

function token(id: string, fields: Partial<NewToken> = {}): NewToken {
  const binding = { kind: "node", node: "edge-1" } as const;
  const made = { createdBy: "op", byNamespace: "", replace: false };
  return { id, secretHash: hash, binding, expiresAtMs: 1000, ...made, ...fields };
}

const shares = { max: 20, reserved: 5, each: 6 };
const smallBounds = { maxTokens: 20, tokenShares: shares, maxRegistrations: 20, registrationShares: shares };

/** Tables with small bounds: what is full is as full as with ten thousand rows. */
function bounded(): { readonly tokens: Tokens; readonly registrations: Registrations } {
  const { host } = new StateWorld();
  const database = host.databases.open("/small", { mode: "create", applicationId: 1, maxBytes: 1e8 });
  migrate(database, migrations);
  return {
    tokens: new Tokens(database, host.clock, { demand: () => {} }, smallBounds),
    registrations: new Registrations(database, smallBounds),
  };
}

const joinedHost = {
  addresses: [],
  network: "",
  labels: {},
  joinedAtMs: 1,
  lastSeenMs: 1,
  tokenId: null,
  revokedAtMs: null,
  revokeReason: null,
};

describe("join tokens", () => {
  test("one is redeemed once", async () => {
    const { tokens } = await openState();
    tokens.create(token("t"));
    expect(tokens.check("t", hash, 10)).toMatchObject({ id: "t", usedAtMs: null });
    expect(tokens.redeem("t", hash, 10, "edge-1")).toMatchObject({
      binding: { kind: "node", node: "edge-1" },
      usedAtMs: 10,
      usedBy: "edge-1",
    });
    expect(tokens.redeem("t", hash, 11, "edge-2")).toBe("used");
    expect(tokens.get("t")?.usedBy).toBe("edge-1");
  });

  test("each refusal has its word, and who does not know the secret learns nothing else", async () => {
    const { tokens } = await openState();
    tokens.create(token("t"));
    tokens.create(token("r"));
    expect(tokens.redeem("none", hash, 10, "n")).toBe("unknown");
    expect(tokens.redeem("t", wrong, 10, "n")).toBe("wrong");
    expect(tokens.redeem("t", hash.slice(1), 10, "n")).toBe("wrong");
    expect(tokens.redeem("t", hash, 1000, "n")).toBe("expired");
    expect(tokens.redeem("t", hash, 999, "n")).toMatchObject({ id: "t" });
    expect(tokens.revoke("r")).toBe(true);
    expect(tokens.revoke("r")).toBe(false);
    expect(tokens.redeem("r", hash, 10, "n")).toBe("revoked");
    expect(tokens.redeem("r", wrong, 10, "n")).toBe("wrong");
    expect(tokens.redeem("t", wrong, 10, "n")).toBe("wrong");
  });

  test("an undone join leaves its token good", async () => {
    const state = await openState();
    state.tokens.create(token("t"));
    expect(() =>
      state.transaction(() => {
        state.tokens.redeem("t", hash, 10, "n");
        throw new Error("no registration");
      }),
    ).toThrow("no registration");
    expect(state.tokens.redeem("t", hash, 10, "n")).toMatchObject({ id: "t" });
  });

  test("an id is taken once, and there is a bound, which pruning makes room under", async () => {
    const { tokens } = bounded();
    const later = { expiresAtMs: 1e15 };
    tokens.create(token("t", later));
    expect(() => tokens.create(token("t"))).toThrow(MeshError);
    for (let n = 1; n < smallBounds.maxTokens; n++) tokens.create(token(`t${n}`, later));
    expect(() => tokens.create(token("more", later))).toThrow("there are 20 join tokens; revoke some");
    expect(tokens.prune(1e15 + stateLimits.tokenRetentionMs)).toBe(0);
    expect(tokens.prune(1e15 + 1 + stateLimits.tokenRetentionMs)).toBe(smallBounds.maxTokens);
    tokens.create(token("more", later));
    expect(tokens.list().map(({ id }) => id)).toEqual(["more"]);
  });
});

describe("registrations", () => {
  const registration = {
    node: "edge-1",
    binding: { kind: "group", group: "shop/cart-vms" },
    addresses: ["10.0.0.1", "fd00::1"],
    network: "n1",
    labels: { app: "cart" },
    joinedAtMs: 1,
    lastSeenMs: 1,
    tokenId: "t",
    revokedAtMs: null,
    revokeReason: null,
    currentSerial: null,
    pendingSerial: null,
  } as const;

  test("one comes back as it was put, by each way to it", async () => {
    const { registrations } = await openState();
    registrations.put(registration);
    expect(registrations.byNode("edge-1")).toEqual(registration);
    expect(registrations.byToken("t")).toEqual(registration);
    expect(registrations.ofGroup("shop/cart-vms")).toEqual([registration]);
    expect(registrations.ofGroup("shop/other")).toEqual([]);
    expect(registrations.byNode("edge-2")).toBeNull();
    registrations.touch("edge-1", 9);
    expect(registrations.list()).toEqual([{ ...registration, lastSeenMs: 9 }]);
  });

  test("knows which certificates a host renews by, and tells no one of a change", async () => {
    const { registrations } = await openState();
    registrations.put({ ...registration, currentSerial: "0a" });
    const before = registrations.version;
    registrations.setSerials("edge-1", "0a", "0b");
    expect(registrations.byNode("edge-1")).toMatchObject({ currentSerial: "0a", pendingSerial: "0b" });
    registrations.setSerials("edge-1", "0b", null);
    expect(registrations.byNode("edge-1")).toMatchObject({ currentSerial: "0b", pendingSerial: null });
    expect(registrations.version).toBe(before);
  });

  test("a revoked one stays known, with its first reason, and is no member any more", async () => {
    const { registrations } = await openState();
    registrations.put(registration);
    const before = registrations.version;
    expect(registrations.revoke("edge-1", "stolen", 5)).toBe(true);
    expect(registrations.revoke("edge-1", "again", 6)).toBe(false);
    expect(registrations.byNode("edge-1")).toMatchObject({ revokedAtMs: 5, revokeReason: "stolen" });
    expect(registrations.ofGroup("shop/cart-vms")).toEqual([]);
    expect(registrations.version).toBe(before + 1);
    expect(registrations.remove("edge-1")).toBe(true);
    expect(registrations.remove("edge-1")).toBe(false);
    expect(registrations.count()).toBe(0);
  });
});

describe("certificates", () => {
  function issued(n: number, fields: object = {}) {
    const base = {
      serial: n.toString(16).padStart(4, "0"),
      identity: "spiffe://td/ns/shop/sa/cart",
      issuerKey: "k",
    };
    return { ...base, notBeforeMs: 0, notAfterMs: n * 10, requestedBy: "edge-1", issuedAtMs: n, ...fields };
  }

  test("issued after the clock was set back are the newer all the same", async () => {
    const { certificates } = await openState();
    for (const [n, issuedAtMs] of [
      [1, 5_000],
      [2, 9_000],
      [3, 6_000],
      [4, 6_001],
      [5, 10_000],
    ] as const)
      certificates.record(issued(n, { issuedAtMs }));
    const found = certificates.byIdentity("spiffe://td/ns/shop/sa/cart");
    expect(found.map(({ serial }) => serial)).toEqual(["0005", "0004", "0003", "0002", "0001"]);
  });

  test("issued in one millisecond are newer one by one, whatever their numbers", async () => {
    const { certificates } = await openState();
    for (const n of [7, 9, 8, 3]) certificates.record(issued(n, { issuedAtMs: 5_000 }));
    const found = certificates.byIdentity("spiffe://td/ns/shop/sa/cart");
    expect(found.map(({ serial }) => serial)).toEqual(["0003", "0008", "0009", "0007"]);
  });

  test("they are found by identity, number, requester and validity", async () => {
    const { certificates } = await openState();
    for (const n of [1, 2, 3]) certificates.record(issued(n));
    certificates.record(issued(4, { identity: "spiffe://td/ns/shop/sa/db", requestedBy: "edge-2" }));
    const serials = (found: readonly { readonly serial: string }[]) => found.map(({ serial }) => serial);
    expect(serials(certificates.byIdentity("spiffe://td/ns/shop/sa/cart"))).toEqual(["0003", "0002", "0001"]);
    expect(serials(certificates.list({ requestedBy: "edge-1", validAtMs: 20 }))).toEqual(["0003"]);
    expect(certificates.bySerial("0004", "k")).toEqual(
      issued(4, { identity: "spiffe://td/ns/shop/sa/db", requestedBy: "edge-2" }),
    );
    expect(certificates.bySerial("0004", "other")).toBeNull();
    expect(certificates.bySerial("0004")?.requestedBy).toBe("edge-2");
  });

  test("many are told in pages, each once", async () => {
    const state = await openState();
    const count = stateLimits.maxPageRows * 2 + 5;
    state.transaction(() => {
      for (let n = 1; n <= count; n++)
        state.certificates.record(issued(n, { issuedAtMs: Math.floor(n / 3) }));
    });
    expect(state.certificates.list({}).length).toBe(stateLimits.maxPageRows);
    const all = [...state.certificates.all({ issuerKey: "k" })];
    expect(all.length).toBe(count);
    expect(new Set(all.map(({ serial }) => serial)).size).toBe(count);
  });

  test("those long ended are forgotten, those still good never", async () => {
    const { certificates } = await openState();
    certificates.record(issued(1));
    certificates.record(issued(1000));
    expect(certificates.prune(11 + stateLimits.certificateRetentionMs)).toBe(1);
    expect([...certificates.all({})].map(({ serial }) => serial)).toEqual(["03e8"]);
  });

  test("are pruned so many at a time, and it is said when there are more", async () => {
    const w = new StateWorld();
    const state = await w.open();
    state.transaction(() => {
      for (let n = 0; n <= stateLimits.pruneRows; n++)
        state.certificates.record({ ...issued(1), serial: n.toString(16).padStart(8, "0") });
    });
    await w.world.run(stateLimits.certificateRetentionMs + 60_000);
    expect([state.prune(), state.prune()]).toEqual([true, false]);
    expect(state.certificates.list({})).toEqual([]);
  });

  test("those in force are counted by who asked for them", async () => {
    const { certificates } = await openState();
    for (let n = 1; n <= 4; n++) certificates.record(issued(n));
    const [{ requestedBy, notAfterMs } = { requestedBy: "", notAfterMs: 0 }] = certificates.list({});
    expect(certificates.countValid(requestedBy, 0)).toBe([...certificates.all({ requestedBy })].length);
    expect(certificates.countValid(requestedBy, notAfterMs)).toBe(
      [...certificates.all({ requestedBy, validAtMs: notAfterMs })].length,
    );
    expect(certificates.countValid("nobody", 0)).toBe(0);
  });
});

describe("what tenants can use up", () => {
  test("a namespace's tokens that are over take no room from anybody's", async () => {
    const { tokens } = bounded();
    for (let index = 0; index < 50; index++) {
      tokens.create(token(`t${index}`, { expiresAtMs: 1e15, byNamespace: "zoo" }));
      if (index % 2 === 0) tokens.revoke(`t${index}`);
      else tokens.redeem(`t${index}`, hash, 1, "edge-1");
    }
    tokens.create(token("late", { expiresAtMs: 1, byNamespace: "zoo" }));
    for (const byNamespace of ["", "shop", "zoo"])
      tokens.create(token(`of ${byNamespace}`, { expiresAtMs: 1e15, byNamespace }));
    expect(tokens.get("t0")).toBeNull();
    expect(tokens.list().length).toBe(smallBounds.maxTokens);
  });

  test("and of those that are good it has a share; others and the mesh have room beside it", async () => {
    const { tokens } = bounded();
    const take = (byNamespace: string): number => {
      for (let count = 0; ; count++)
        try {
          tokens.create(token(`${byNamespace}-${count}`, { expiresAtMs: 1e15, byNamespace }));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(MeshError);
          return count;
        }
    };
    // Of 20 five are the mesh's. Each takes all that it may, which is half of what the others leave.
    expect(["zoo", "shop", "farm"].map(take)).toEqual([6, 5, 2]);
    expect(() => tokens.create(token("more", { expiresAtMs: 1e15, byNamespace: "zoo" }))).toThrow(
      "namespace zoo has 6 join tokens that are not used yet, and may have",
    );
    for (let index = 0; index < 5; index++) tokens.create(token(`m${index}`, { expiresAtMs: 1e15 }));
  });

  test("hosts: one namespace has a share of those that may have joined", async () => {
    const { registrations } = bounded();
    const join = (node: string, binding: Registration["binding"]): void =>
      registrations.put({ ...joinedHost, node, binding });
    for (let index = 0; index < 6; index++) join(`zoo-${index}`, { kind: "group", group: "zoo/vms" });
    expect(() => join("zoo-6", { kind: "workload", workload: "zoo/x" })).toThrow(
      "6 hosts of namespace zoo have joined, and it may have 6 now",
    );
    join("zoo-5", { kind: "group", group: "zoo/vms" });
    join("shop-1", { kind: "group", group: "shop/vms" });
    join("zoology-1", { kind: "group", group: "zoology/vms" });
    for (let index = 0; index < 5; index++) join(`edge-${index}`, { kind: "node", node: `edge-${index}` });
  });

  test("revocations of identities that never were end at the tenant's share, and the mesh's are made", async () => {
    const state = await openState();
    const { revocations } = state;
    const invented = (byNamespace: string, count: number) =>
      Array.from({ length: count }, (_, index) => ({
        kind: "identity" as const,
        value: `spiffe://cluster.local/ns/${byNamespace}/sa/${index}`,
        reason: "",
        byWhom: byNamespace,
        byNamespace,
        atMs: 1,
      }));
    const { each } = stateLimits.revocationShares;
    expect(revocations.addAll(invented("zoo", each))).toBe(each);
    expect(() => revocations.addAll(invented("zoo", each + 1))).toThrow(
      `namespace zoo may have ${each} revocations now`,
    );
    expect(revocations.count()).toBe(each);
    expect(revocations.addAll(invented("shop", 10))).toBe(10);
    expect(revocations.addAll(invented("", each + 1))).toBe(each + 1);
  });
});

describe("revocations", () => {
  test("the mesh's comes in the place of a tenant's, never the other way round", async () => {
    const { revocations } = await openState();
    const target = { kind: "node", value: "edge-1", reason: "" } as const;
    revocations.add({ ...target, byWhom: "shopkeeper", byNamespace: "shop", atMs: 1 });
    expect(revocations.byWhoseRight("node", "edge-1")).toBe("shop");
    revocations.add({ ...target, byWhom: "apes", byNamespace: "apes", atMs: 2 });
    expect(revocations.byWhoseRight("node", "edge-1")).toBe("shop");
    revocations.add({ ...target, byWhom: "root", atMs: 3 });
    revocations.add({ ...target, byWhom: "shopkeeper", byNamespace: "shop", atMs: 4 });
    expect(revocations.get("node", "edge-1")).toMatchObject({ byWhom: "root", byNamespace: "" });
    expect(revocations.count()).toBe(1);
    expect(revocations.byWhoseRight("node", "edge-2")).toBeNull();
  });

  test("are read in pages, each one once, in the order they were made", async () => {
    const { revocations } = await openState();
    const values = Array.from({ length: 25 }, (_, index) => `edge-${index}`);
    for (const [index, value] of values.entries())
      revocations.add({ kind: "node", value, reason: "", byWhom: "op", atMs: Math.floor(index / 10) });
    const seen: string[] = [];
    for (let page = revocations.page(null, 7); page.length > 0; ) {
      seen.push(...page.map(({ revocation }) => revocation.value));
      page = revocations.page(page.at(-1)?.cursor ?? null, 7);
    }
    expect(seen).toEqual(values);
  });

  test("each kind is asked for by itself, the first is the one that is kept, and it can be lifted", async () => {
    const { revocations } = await openState();
    const base = { reason: "lost", byWhom: "op", atMs: 1 };
    expect(revocations.add({ kind: "serial", value: "aa", issuerKey: "k", expiresAtMs: 50, ...base })).toBe(
      true,
    );
    expect(revocations.add({ kind: "identity", value: "spiffe://td/ns/a/sa/b", ...base })).toBe(true);
    expect(revocations.add({ kind: "node", value: "edge-1", ...base })).toBe(true);
    expect(revocations.add({ kind: "node", value: "edge-1", ...base, reason: "again" })).toBe(false);
    expect(revocations.isRevokedSerial("aa")).toBe(true);
    expect(revocations.isRevokedSerial("aa", "k")).toBe(true);
    expect(revocations.isRevokedSerial("aa", "other")).toBe(false);
    expect(revocations.isRevokedSerial("edge-1")).toBe(false);
    expect(revocations.isRevokedIdentity("spiffe://td/ns/a/sa/b")).toBe(true);
    expect(revocations.isRevokedNode("edge-1")).toBe(true);
    expect(revocations.get("node", "edge-1")?.reason).toBe("lost");
    expect(revocations.list("node").length).toBe(1);
    expect(revocations.remove("node", "edge-1")).toBe(true);
    expect(revocations.isRevokedNode("edge-1")).toBe(false);
    expect(revocations.prune(51 + identityLimits.maxAbsenceMs)).toBe(1);
    expect(revocations.list().map(({ kind }) => kind)).toEqual(["identity"]);
  });

  test("many are made in one write, all or none, and in a time that grows as they do", async () => {
    const { revocations } = await openState();
    const rows = (count: number) =>
      Array.from({ length: count }, (_, index) => ({
        kind: "serial" as const,
        value: index.toString(16),
        reason: "",
        byWhom: "op",
        atMs: 1,
      }));
    expect(revocations.addAll(rows(20_000))).toBe(20_000);
    expect(revocations.addAll(rows(20_001))).toBe(1);
    expect(() => revocations.addAll(rows(stateLimits.maxRevocations + 1))).toThrow("100000 revocations");
    expect(revocations.count()).toBe(20_001);
  });
});

describe("authorities", () => {
  test("they keep their sealed keys over a restart, until the key is forgotten", async () => {
    const w = new StateWorld();
    const { authorities } = await w.open();
    const root = {
      id: "r1",
      kind: "root",
      certificatePem: "PEM",
      chainPem: "",
      sealedKey: new Uint8Array([1, 2, 3]),
      state: "next",
      createdAtMs: 1,
    } as const;
    authorities.put(root);
    expect(authorities.setState("r1", "active")).toBe(true);
    expect(authorities.setState("r2", "active")).toBe(false);
    w.restart();
    const again = (await w.open()).authorities;
    expect(again.get("r1")).toEqual({ ...root, state: "active" });
    again.put({ ...root, certificatePem: "NEW" });
    expect(again.list()).toEqual([{ ...root, certificatePem: "NEW" }]);
    expect(again.forgetKey("r1")).toBe(true);
    expect(again.get("r1")?.sealedKey).toBeNull();
    expect(again.remove("r1")).toBe(true);
    expect(again.list()).toEqual([]);
  });

  test("there is a bound", async () => {
    const { authorities } = await openState();
    const put = (n: number) =>
      authorities.put({
        id: `${n}`,
        kind: "root",
        certificatePem: "",
        chainPem: "",
        sealedKey: null,
        state: "retired",
        createdAtMs: n,
      });
    for (let n = 0; n < stateLimits.maxAuthorities; n++) put(n);
    put(0);
    expect(() => put(stateLimits.maxAuthorities)).toThrow(MeshError);
    expect(authorities.list().length).toBe(stateLimits.maxAuthorities);
  });
});

describe("settings", () => {
  test("they are set, replaced, listed by prefix and removed, within a bound", async () => {
    const { settings } = await openState();
    settings.set("role.a", "1");
    settings.set("role.a", "2");
    settings.set("roles", "3");
    expect([...settings.all("role.")]).toEqual([["role.a", "2"]]);
    expect(settings.remove("role.a")).toBe(true);
    expect(settings.get("role.a")).toBeNull();
    const fill = () => {
      for (let n = 0; n <= stateLimits.maxSettings; n++) settings.set(`n${n}`, "");
    };
    expect(fill).toThrow(MeshError);
    expect(settings.all().size).toBe(stateLimits.maxSettings);
  });
});
