import { describe, expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { silentLogger } from "../../base/log.ts";
import { shareOf } from "../../base/share.ts";
import { WatchSource } from "../../base/watch.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { parseRevocationList } from "../../pki/x509/crl.ts";
import { SealedKeys } from "./key_place.ts";
import { MeshAuthority } from "./mesh_authority.ts";
import {
  cart,
  FlakyKeys,
  follow,
  hour,
  issue,
  keyVault,
  nodeTrust,
  nowMs,
  openMesh,
  provider,
  web,
} from "./testing/fixture.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

const asClient = { usage: "clientAuth", identities: null } as const;

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => {
      const { code, blame, message } = asMeshError(error, "io", "local");
      return `${code} ${blame}: ${message}`;
    },
  );
}

function serialOf(chain: readonly Uint8Array[]): string {
  return parseCertificate(chain[0] ?? new Uint8Array()).serialNumber;
}

function numberOf(bundle: { readonly crls: readonly Uint8Array[] }): bigint {
  return parseRevocationList(bundle.crls[0] ?? new Uint8Array()).number;
}

describe("issuing", () => {
  test("is recorded before it is answered", async () => {
    const { mesh, records } = await openMesh();
    const { chain } = await issue(mesh, cart, "edge-1");
    expect(records.certificates.bySerial(serialOf(chain))).toMatchObject({
      identity: cart.uri,
      requestedBy: "edge-1",
      issuerKey: mesh.authorities.value.active?.certificate.authorityKey,
      issuedAtMs: Math.floor(nowMs),
    });
  });

  test("is refused where it cannot be recorded", async () => {
    const { mesh, records } = await openMesh();
    records.certificates.record = () => {
      throw new MeshError("io", "local", "the disk is full");
    };
    expect(await failure(issue(mesh, cart))).toBe("io local: the disk is full");
  });
});

describe("what is issued, in the audit log", () => {
  test("is one row by who asked for it, or one for all that were written together", async () => {
    const { mesh, records } = await openMesh();
    const rows: { actor: string; target: string; detail: string; action: string; outcome: string }[] = [];
    Object.assign(records, { audit: { append: (entry: (typeof rows)[number]) => void rows.push(entry) } });
    const { chain } = await issue(mesh, cart, "edge-1");
    expect(rows).toMatchObject([
      {
        actor: "edge-1",
        action: "certificates.issue",
        target: cart.uri,
        outcome: "ok",
        detail: `${serialOf(chain)} for ${cart.uri} to edge-1`,
      },
    ]);
    rows.length = 0;
    await Promise.all([issue(mesh, cart, "edge-1"), issue(mesh, web, "edge-2"), issue(mesh, web, "edge-3")]);
    const told = rows.flatMap(({ detail }) => detail.split("; ").map((one) => one.slice(one.indexOf(" "))));
    expect(told.sort()).toEqual([
      ` for ${cart.uri} to edge-1`,
      ` for ${web.uri} to edge-2`,
      ` for ${web.uri} to edge-3`,
    ]);
    for (const { actor, target, detail } of rows) {
      const count = detail.split("; ").length;
      if (count > 1) expect([actor, target]).toEqual(["fairlead", `${count} certificates`]);
      else expect(actor).toStartWith("edge-");
    }
  });

  test("a revoked caller costs no signature, and a CA that gives nothing has issued nothing", async () => {
    const { mesh } = await openMesh();
    const ca = mesh.authorities.value.active?.ca;
    if (ca == null) throw new Error("it has a key");
    let signatures = 0;
    const sign = ca.sign.bind(ca);
    ca.sign = async (request) => {
      signatures++;
      return await sign(request);
    };
    await issue(mesh, web, "edge-1");
    await mesh.revoke({ kind: "identity", uri: cart.uri }, "left", "ops");
    expect(await failure(issue(mesh, cart))).toStartWith("certificate_revoked");
    expect(signatures).toBe(1);
    ca.sign = async (request) => ({ ...(await sign(request)), chainPem: [] });
    expect(await failure(issue(mesh, web))).toBe(
      "authority_unavailable local: the CA has not issued anything",
    );
  });

  test("without an authority that issues there is no root to show", async () => {
    const { mesh: other, records, clock, authorities } = await openMesh();
    other.close();
    const view = new WatchSource({ ...authorities.view.value, active: null });
    const mesh = await MeshAuthority.open({
      ...{ clock, provider, records, authorities: view },
      logger: silentLogger,
    });
    for (const show of [() => mesh.rootPem(), () => mesh.serving()])
      expect(show).toThrow("the CA's key cannot be used now");
    mesh.close();
  });
});

describe("revocation", () => {
  test("of what a host had, when another takes its place, spares what the other was given", async () => {
    const { mesh, records } = await openMesh();
    const [old, kept] = [await issue(mesh, cart, "edge-1"), await issue(mesh, cart, "edge-1")];
    await issue(mesh, cart, "edge-2");
    records.revocations.add({
      ...{ kind: "node", value: "edge-1", reason: "lost", byWhom: "ops", atMs: nowMs },
      ...{ issuerKey: "", expiresAtMs: null },
    });
    mesh.supersede("edge-1", serialOf(kept.chain), { reason: "replaced", byWhom: "ada" });
    expect(records.revocations.list().map(({ kind, value, reason }) => [kind, value, reason])).toEqual([
      ["serial", serialOf(old.chain), "replaced"],
    ]);
    mesh.withdraw("edge-1", { reason: "removed", byWhom: "ada" });
    expect(records.revocations.list().map(({ value }) => value)).toEqual([
      serialOf(old.chain),
      serialOf(kept.chain),
    ]);
  });

  test("of a serial number is not lifted", async () => {
    const { mesh, records } = await openMesh();
    await mesh.revoke({ kind: "serial", serialNumber: "0a" }, "", "ops");
    expect(await mesh.lift({ kind: "serial", serialNumber: "0a" })).toBe(false);
    expect(records.revocations.list().map(({ value }) => value)).toEqual(["0a"]);
  });

  test("of a tenant's takes the whole of its share of a list, and not one more", async () => {
    const { mesh, records } = await openMesh();
    await issue(mesh, cart, "edge-1");
    await issue(mesh, cart, "edge-2");
    const [{ issuerKey } = { issuerKey: "" }] = records.certificates.all({});
    const share = shareOf(keysLimits.listShares, 0, 0);
    const row = { reason: "", byWhom: "zoo", byNamespace: "zoo", atMs: nowMs, issuerKey, expiresAtMs: null };
    records.revocations.addAll(
      Array.from({ length: share - 1 }, (_, index) => ({
        ...row,
        kind: "serial" as const,
        value: (0x40000000 + index).toString(16),
      })),
    );
    const revoke = (node: string) => failure(mesh.revoke({ kind: "node", node }, "", "zoo", "zoo"));
    expect(await revoke("edge-1")).toBe("done");
    expect(await revoke("edge-2")).toContain(
      `namespace zoo has ${share} certificates on the revocation list`,
    );
  });

  test("of one certificate reaches a node's open connection by the next bundle, and spares the others", async () => {
    const setup = await openMesh();
    const { mesh } = setup;
    const [one, other] = [await issue(mesh, cart), await issue(mesh, cart)];
    const trust = await nodeTrust(setup);
    const [peer, spared] = [
      await trust.verify(one.chain, asClient),
      await trust.verify(other.chain, asClient),
    ];
    expect(trust.recheck(peer)).toBeNull();
    const told = new Promise<string>((resolve) => {
      trust.changes.subscribe(() => resolve(trust.recheck(peer)?.code ?? "still believed"));
    });
    mesh.bundle.subscribe(() => void follow(trust, mesh));
    const outcome = await mesh.revoke(
      { kind: "serial", serialNumber: serialOf(one.chain) },
      "keyCompromise",
      "ops",
    );
    expect(outcome).toEqual({ serialNumbers: [serialOf(one.chain)], pending: null });
    expect(await told).toBe("certificate_revoked");
    expect(trust.recheck(spared)).toBeNull();
    expect(await failure(trust.verify(one.chain, asClient))).toStartWith("certificate_revoked peer");
  });

  test("of an identity takes every certificate of it and stops new ones until it is lifted", async () => {
    const setup = await openMesh();
    const { mesh } = setup;
    const chains = [await issue(mesh, cart, "edge-1"), await issue(mesh, cart, "edge-2")];
    const spared = await issue(mesh, web, "edge-1");
    const outcome = await mesh.revoke({ kind: "identity", uri: cart.uri }, "left the company", "ops");
    expect([...outcome.serialNumbers].sort()).toEqual(chains.map((one) => serialOf(one.chain)).sort());
    expect(await failure(issue(mesh, cart))).toBe(
      `certificate_revoked policy: identity ${cart.uri} is revoked: left the company`,
    );
    expect(await mesh.lift({ kind: "identity", uri: cart.uri })).toBe(true);
    expect(await mesh.lift({ kind: "identity", uri: cart.uri })).toBe(false);
    const trust = await nodeTrust(setup);
    for (const { chain } of chains)
      expect(await failure(trust.verify(chain, asClient))).toStartWith("certificate_revoked");
    await trust.verify(spared.chain, asClient);
    await trust.verify((await issue(mesh, cart)).chain, asClient);
  });

  test("of a node takes what it asked for, and a request that is under way comes to nothing", async () => {
    const sealed = new SealedKeys(await keyVault(), provider);
    const { mesh } = await openMesh({ places: [sealed] });
    await issue(mesh, cart, "edge-1");
    const underWay = failure(issue(mesh, web, "edge-1"));
    const outcome = await mesh.revoke({ kind: "node", node: "edge-1" }, "stolen", "ops");
    expect(await underWay).toBe("certificate_revoked policy: node edge-1 is revoked: stolen");
    expect(outcome.serialNumbers.length).toBe(1);
    await issue(mesh, web, "edge-2");
  });

  test("of a number without a record is on every list, however it is written", async () => {
    const setup = await openMesh();
    await setup.mesh.revoke({ kind: "serial", serialNumber: "00:AB:cd" }, "unknown", "ops");
    const list = parseRevocationList(setup.mesh.bundle.value.crls[0] ?? new Uint8Array());
    expect([...list.serialNumbers]).toEqual(["abcd"]);
    const bad = setup.mesh.revoke({ kind: "serial", serialNumber: "cart" }, "", "ops");
    expect(await failure(bad)).toContain("hexadecimal");
  });

  test("that was written in part before the process was killed is whole after the next start", async () => {
    const { mesh, records } = await openMesh();
    const { chain } = await issue(mesh, cart);
    const row = { reason: "gone", byWhom: "ops", atMs: nowMs, issuerKey: "", expiresAtMs: null };
    records.revocations.add({ ...row, kind: "identity", value: cart.uri });
    const after = await openMesh({ records: new MemoryRecords(records) });
    expect(await failure((await nodeTrust(after)).verify(chain, asClient))).toStartWith(
      "certificate_revoked",
    );
  });
});

describe("revocation lists", () => {
  test("grow in number, also after an older state was restored, and the same state gives the same bundle", async () => {
    const { mesh, records, clock } = await openMesh();
    const before = new MemoryRecords(records);
    const first = numberOf(mesh.bundle.value);
    await mesh.revoke({ kind: "serial", serialNumber: "01" }, "", "ops");
    const second = numberOf(mesh.bundle.value);
    expect(second > first).toBe(true);
    await clock.advance(1_000);
    const restored = await openMesh({ records: before, clock });
    await restored.mesh.revoke({ kind: "serial", serialNumber: "02" }, "", "ops");
    expect(numberOf(restored.mesh.bundle.value) > second).toBe(true);
    const again = await openMesh({ records: new MemoryRecords(restored.records), clock });
    expect(again.mesh.bundle.value).toEqual(restored.mesh.bundle.value);
  });

  test("are signed again before they run out, and drop what has expired", async () => {
    const setup = await openMesh();
    const { mesh, clock } = setup;
    const { chain } = await issue(mesh, cart);
    await mesh.revoke({ kind: "serial", serialNumber: serialOf(chain) }, "", "ops");
    const before = numberOf(mesh.bundle.value);
    await clock.advance(25 * hour + keysLimits.listCheckMs);
    const list = parseRevocationList(mesh.bundle.value.crls[0] ?? new Uint8Array());
    expect(list.number > before).toBe(true);
    expect(list.serialNumbers.size).toBe(0);
    expect(list.nextUpdateMs ?? 0).toBeGreaterThan(clock.wallMs() + keysLimits.listLifetimeMs - 2 * hour);
  });

  test("go on after a round that failed", async () => {
    const { mesh, clock } = await openMesh();
    let failures = 0;
    const end = mesh.bundle.subscribe(() => {
      failures++;
      throw new MeshError("disk_full", "local", "no room");
    });
    const outcome = await mesh.revoke({ kind: "serial", serialNumber: "01" }, "", "ops");
    expect([outcome.pending, failures]).toEqual(["no room", 1]);
    end();
    await clock.advance(2 * keysLimits.vaultBackoff.backoffMaxMs);
    expect(mesh.pendingRevocation).toBeNull();
    await mesh.revoke({ kind: "serial", serialNumber: "02" }, "", "ops");
    const list = parseRevocationList(mesh.bundle.value.crls[0] ?? new Uint8Array());
    expect([...list.serialNumbers].sort()).toEqual(["01", "02"]);
  });

  test("wait for a key that is away, say so, and are published without a restart", async () => {
    const sealed = new SealedKeys(await keyVault(), provider);
    const flaky = new FlakyKeys(sealed, () => new MeshError("authority_unavailable", "upstream", "away"));
    const setup = await openMesh({ places: [flaky] });
    const { mesh, clock } = setup;
    const { chain } = await issue(mesh, cart);
    const published = mesh.bundle.value;
    flaky.isAway = true;
    const outcome = await mesh.revoke({ kind: "identity", uri: cart.uri }, "", "ops");
    expect(outcome.pending).toBe("away");
    // A restart meanwhile loses neither what was published nor what waits.
    const again = await openMesh({ places: [flaky], records: new MemoryRecords(setup.records), clock });
    expect(again.mesh.bundle.value).toEqual(published);
    expect(again.mesh.pendingRevocation).toBe("away");
    flaky.isAway = false;
    await clock.advance(2 * keysLimits.vaultBackoff.backoffMaxMs);
    for (const one of [mesh, again.mesh]) {
      expect(one.pendingRevocation).toBeNull();
      const trust = await nodeTrust({ clock, mesh: one });
      expect(await failure(trust.verify(chain, asClient))).toStartWith("certificate_revoked");
    }
  });

  test("hold as many as nodes read, and the next one is refused", async () => {
    const { mesh, records } = await openMesh();
    const row = {
      kind: "serial",
      reason: "",
      byWhom: "ops",
      atMs: nowMs,
      issuerKey: "",
      expiresAtMs: null,
    } as const;
    const serial = (index: number): string => (0x40000000 + index).toString(16);
    const rows = Array.from({ length: pkiLimits.maxCrlEntries - 1 }, (_, index) => ({
      ...row,
      value: serial(index),
    }));
    records.revocations.addAll(rows);
    await mesh.revoke({ kind: "serial", serialNumber: "0a" }, "", "ops");
    const [der = new Uint8Array()] = mesh.bundle.value.crls;
    expect(parseRevocationList(der).serialNumbers.size).toBe(pkiLimits.maxCrlEntries);
    const more = mesh.revoke({ kind: "serial", serialNumber: "0b" }, "", "ops");
    expect(await failure(more)).toContain(
      "limit_reached local: the revocation list holds 20000 certificates of 20000; rotate the CA instead",
    );
  });

  test("of one tenant, however many it makes, leave room for the others' and for the mesh's", async () => {
    const { mesh, records } = await openMesh();
    await issue(mesh, cart, "edge-1");
    const [first] = records.certificates.all({});
    if (first === undefined) throw new Error("nothing was recorded");
    const { issuerKey } = first;
    const row = { kind: "serial", reason: "", atMs: nowMs, issuerKey, expiresAtMs: null } as const;
    const listed = (byNamespace: string, count: number) =>
      Array.from({ length: count }, (_, index) => ({
        ...row,
        byWhom: byNamespace,
        byNamespace,
        value: `${byNamespace === "zoo" ? "aa" : "bb"}${(0x40000000 + index).toString(16)}`,
      }));
    records.revocations.addAll(listed("zoo", 7_500));
    const greedy = mesh.revoke({ kind: "node", node: "edge-1" }, "", "zoo", "zoo");
    expect(await failure(greedy)).toContain("namespace zoo has 7500 certificates on the revocation list");
    records.revocations.remove("node", "edge-1");
    const one = await mesh.revoke({ kind: "node", node: "edge-1" }, "", "shop", "shop");
    expect(one.serialNumbers.length).toBe(1);
    records.revocations.addAll(listed("farm", 7_000));
    for (const namespace of ["farm", "zoo"]) {
      await issue(mesh, cart, `node-of-${namespace}`);
      const target = { kind: "node", node: `node-of-${namespace}` } as const;
      expect(await failure(mesh.revoke(target, "", namespace, namespace))).toContain("limit_reached");
    }
    expect((await mesh.revoke({ kind: "node", node: "node-of-zoo" }, "", "ops", "")).pending).toBeNull();
  });

  test("of a node stops new certificates even where the lists have no room for its old ones", async () => {
    const { mesh, records } = await openMesh();
    await issue(mesh, cart, "edge-1");
    const full = Array.from({ length: pkiLimits.maxCrlEntries }, (_, index) => ({
      kind: "serial" as const,
      value: (0x40000000 + index).toString(16),
      reason: "",
      byWhom: "ops",
      atMs: nowMs,
      issuerKey: "",
      expiresAtMs: null,
    }));
    records.revocations.addAll(full);
    const revoking = mesh.revoke({ kind: "node", node: "edge-1" }, "stolen", "ops");
    expect(await failure(revoking)).toStartWith("limit_reached local");
    expect(await failure(issue(mesh, cart, "edge-1"))).toBe(
      "certificate_revoked policy: node edge-1 is revoked: stolen",
    );
  });

  test("can never be outgrown: a requester with as many certificates in force as may be gets no more", async () => {
    const { mesh, records } = await openMesh();
    const { maxValidPerRequester } = keysLimits;
    await issue(mesh, cart, "edge-1");
    const [first] = records.certificates.all({});
    if (first === undefined) throw new Error("nothing was recorded");
    for (let index = 2; index < maxValidPerRequester; index++)
      records.certificates.record({ ...first, serial: index.toString(16) });
    await issue(mesh, cart, "edge-1");
    const tooMany = `limit_reached local: edge-1 has ${maxValidPerRequester} certificates in force already`;
    expect(await failure(issue(mesh, cart, "edge-1"))).toBe(tooMany);
    await issue(mesh, cart, "edge-2");
    const { serialNumbers } = await mesh.revoke({ kind: "node", node: "edge-1" }, "stolen", "ops");
    expect(serialNumbers.length).toBe(maxValidPerRequester);
  });
});

describe("what a process that was killed had not written yet", () => {
  const row = {
    reason: "lost",
    byWhom: "ada",
    byNamespace: "shop",
    atMs: 5,
    issuerKey: "",
    expiresAtMs: null,
  } as const;

  test("is listed at the next start: what an identity has, what a node has asked for, and nothing else", async () => {
    const { mesh, records, clock, close } = await openMesh();
    const [carts, webs, others] = [
      await issue(mesh, cart, "edge-1"),
      await issue(mesh, web, "edge-2"),
      await issue(mesh, web, "operator-7"),
    ].map(({ chain }) => serialOf(chain));
    close();
    records.revocations.add({ ...row, kind: "identity", value: cart.uri });
    records.revocations.add({ ...row, kind: "node", value: "edge-2" });
    // A token or an operator of the name of one that asks for certificates is not that one.
    records.revocations.add({ ...row, kind: "token", value: "operator-7" });
    records.revocations.add({ ...row, kind: "operator", value: "operator-7" });
    const again = await openMesh({ records, clock });
    const listed = records.revocations.list("serial");
    expect(listed.map(({ value }) => value).sort()).toEqual([carts ?? "", webs ?? ""].sort());
    expect(listed.map(({ value }) => value)).not.toContain(others);
    expect(listed[0]).toMatchObject({ reason: "lost", byWhom: "ada", byNamespace: "shop", atMs: 5 });
    expect(listed[0]?.expiresAtMs).toBeGreaterThan(nowMs);
    again.close();
  });

  test("stops no start where a list or a disk has no room; what is wrong otherwise does", async () => {
    for (const code of ["limit_reached", "disk_full", "disk_read_only", "io"] as const) {
      const { mesh, records, clock, close } = await openMesh();
      await issue(mesh, cart, "edge-1");
      close();
      records.revocations.add({ ...row, kind: "identity", value: cart.uri });
      records.revocations.addAll = () => {
        throw new MeshError(code, "local", "there is no room");
      };
      const opening = openMesh({ records, clock }).then((setup) => setup.close());
      expect([code, await failure(opening)]).toEqual([
        code,
        code === "io" ? "io local: there is no room" : "done",
      ]);
    }
  });
});

test("an intermediate is revoked on the list above it for as long as it is valid, and the audit log says so", async () => {
  const { mesh, records, clock, close } = await openMesh();
  const audit: unknown[] = [];
  Object.assign(records, { audit: { append: (entry: unknown) => void audit.push(entry) } });
  const certificate = parseCertificate((await issue(mesh, cart)).chain[1] ?? new Uint8Array());
  const { serialNumber, notAfterMs } = certificate;
  audit.length = 0;
  mesh.revokeAuthority("ca-1", certificate, "above");
  expect(records.revocations.list("serial")).toEqual([
    {
      kind: "serial",
      value: serialNumber,
      issuerKey: "above",
      reason: "superseded",
      byWhom: "fairlead",
      byNamespace: "",
      atMs: Math.floor(nowMs),
      expiresAtMs: notAfterMs,
    },
  ]);
  expect(audit).toEqual([
    {
      atMs: clock.wallMs(),
      actor: "fairlead",
      action: "authority.revoked",
      target: "ca-1",
      outcome: "ok",
      detail: `serial ${serialNumber}`,
      before: null,
      after: null,
    },
  ]);
  mesh.revokeAuthority(
    "ca-3",
    { ...certificate, serialNumber: "76", notAfterMs: Math.floor(nowMs) },
    "above",
  );
  expect(records.revocations.list("serial").at(-1)?.value).toBe("76");
  records.revocations.remove("serial", "76");
  audit.length = 1;
  mesh.revokeAuthority(
    "ca-2",
    { ...certificate, serialNumber: "77", notAfterMs: Math.floor(nowMs) - 1 },
    "above",
  );
  expect([records.revocations.list("serial").length, audit.length]).toEqual([1, 1]);
  close();
});

test("what is to be signed by a key that is here waits for nothing", async () => {
  const { mesh, clock } = await openMesh();
  let ended = "";
  void issue(mesh, cart).then(
    () => {
      ended = "issued";
    },
    () => {
      ended = "refused";
    },
  );
  await clock.advance(keysLimits.keyWaitMs);
  expect(ended).toBe("issued");
});
