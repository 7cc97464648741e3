/** Replacing the CA of a whole control plane while the disk is full, the clock is wrong, or Vault is gone or talks nonsense. */
import { expect, test } from "bun:test";
import { auditLimits } from "../../base/limits/control.ts";
import { json } from "../../control/keys/testing/fake_vault.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { controlServiceAccount, signerOf } from "../../pki/trust/audit_head.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { type Answer, ControlInMemory } from "./testing/control_in_memory.ts";

const hour = 3_600_000;
const day = 24 * hour;

async function failure(w: ControlInMemory, work: Promise<unknown>): Promise<string> {
  return await w.world.settle(
    work.then(
      () => "done",
      ({ code, message }) => `${code}: ${message}`,
    ),
  );
}

test("a disk that is full at any step of a rotation stops it there, and it goes on once there is room", async () => {
  for (const step of ["start", "activation", "finish"] as const) {
    const w = new ControlInMemory("local");
    const control = await w.start();
    const { rotation, authority } = control.parts;
    if (rotation === null) throw new Error("it has keys of its own");
    const old = await w.chain(control);
    const full = (isFull: boolean): void => {
      w.machine.disk.full = isFull;
    };
    full(step === "start");
    const begun = await failure(w, rotation.start("root"));
    if (step === "start") {
      expect(begun).toContain("no room");
      expect(rotation.progress()).toMatchObject({ phase: "idle", next: null });
      expect(authority.authorities.value.authorities).toHaveLength(2);
      expect(await w.believed(control, old)).toBe("believed");
      full(false);
      await w.run(15_000);
      expect(await failure(w, rotation.start("root"))).toBe("done");
    }
    await w.run(100);
    // Whoever had a leaf of the old one has the new root with this one; the new one issues at the next look.
    await w.chain(control);
    full(step === "activation");
    await w.run(20_000);
    if (step === "activation") {
      expect(rotation.progress().problem).toContain("no room");
      expect(authority.authorities.value.active?.certificate.authorityKey).toBe(
        parseCertificate(old[1] ?? new Uint8Array()).authorityKey,
      );
    }
    full(false);
    await w.run(30_000);
    expect(rotation.progress()).toMatchObject({ phase: "reissuing", problem: null });
    await w.chain(control);
    await w.run(15_000);
    full(step === "finish");
    let isDone = false;
    const finished = await failure(
      w,
      Promise.try(() => {
        isDone = rotation.finish().done;
      }),
    );
    if (step === "finish") expect([finished.includes("no room"), isDone]).toEqual([true, false]);
    await w.run(5_000);
    expect(await w.believed(control, old)).toBe(isDone ? "certificate_untrusted" : "believed");
    full(false);
    await w.run(30_000);
    for (let turn = 0; turn < 10 && rotation.progress().phase !== "idle"; turn++) {
      await w.chain(control);
      rotation.finish();
      await w.run(15_000);
    }
    expect(rotation.progress()).toMatchObject({ phase: "idle", problem: null });
    expect(control.pending()).toEqual([]);
    expect(await w.believed(control, await w.chain(control))).toBe("believed");
    expect(await w.believed(control, old)).toBe("certificate_untrusted");
    await w.world.settle(control.stop());
  }
}, 300_000);

test("a clock that is an hour off in the middle of a rotation, either way, leaves a CA that issues", async () => {
  for (const byMs of [hour, -hour]) {
    const w = new ControlInMemory("local");
    const control = await w.start();
    const { rotation } = control.parts;
    if (rotation === null) throw new Error("it has keys of its own");
    w.machine.jumpWall(byMs);
    await w.world.settle(rotation.start("root"));
    await w.run(5_000);
    w.machine.jumpWall(-byMs);
    await w.run(5_000);
    expect(await w.believed(control, await w.chain(control))).toBe("believed");
    for (let turn = 0; turn < 200 && rotation.progress().phase !== "idle"; turn++) {
      rotation.finish();
      await w.run(60_000);
      await w.chain(control);
    }
    expect(rotation.progress()).toMatchObject({ phase: "idle", problem: null });
    expect(control.pending()).toEqual([]);
    expect(await w.believed(control, await w.chain(control))).toBe("believed");
    await w.world.settle(control.stop());
  }
}, 300_000);

test("the heads of the audit log are of the new root before the old one ends, however soon that is", async () => {
  const w = new ControlInMemory("local");
  const control = await w.start();
  const { rotation, auditHeads } = control.parts;
  if (rotation === null) throw new Error("it has keys of its own");
  await w.world.settle(rotation.start("root"));
  const startedMs = w.world.nowMs;
  while (rotation.progress().phase !== "idle") {
    rotation.finish();
    await w.run(500);
  }
  // Within the interval of the heads: none of them is signed by the way.
  expect(w.world.nowMs - startedMs).toBeLessThan(auditLimits.headIntervalMs);
  expect(await w.world.settle(auditHeads.check())).toMatchObject({ intact: true, reason: null });
  // So is the one that nodes are sent: one that starts now knows no other root.
  const { value: sent } = auditHeads.published;
  if (sent === null) throw new Error("none was sent");
  const { bundle } = control.parts.authority;
  const controlId = new SpiffeId("cluster.local", "istio-system", controlServiceAccount);
  const judge = { provider: runtimeProvider(), id: controlId, rootsPem: () => bundle.value.rootsPem };
  expect(await w.world.settle(signerOf(sent.stateId, sent, judge))).toBe("control plane");
  await w.world.settle(control.stop());
}, 300_000);

test("a head of the audit log is sent again when the certificate that signs it is another, also where no row has come since", async () => {
  const w = new ControlInMemory("local");
  const control = await w.start();
  const { auditHeads } = control.parts;
  await w.run(hour);
  const first = auditHeads.published.value;
  // At half of the certificate's life there is another one.
  for (let hours = 0; hours < 24 * 7 && auditHeads.published.value?.chainPem === first?.chainPem; hours++)
    await w.run(hour);
  const { value: second } = auditHeads.published;
  expect(second?.id).toBe(first?.id);
  expect(second?.chainPem === first?.chainPem).toBe(false);
  await w.world.settle(control.stop());
}, 300_000);

const nonsense: readonly (readonly [what: string, answer: Answer | null])[] = [
  ["gone", null],
  ["frozen", () => new Promise(() => {})],
  ["answering 10 MB", () => ({ status: 200, headers: {}, body: new Uint8Array(10_000_000).fill(0x20) })],
  ["answering with certificates of nothing", () => json(200, { data: { certificate: "x", crl: "y" } })],
  [
    "answering half a JSON",
    () => ({ status: 200, headers: {}, body: new TextEncoder().encode('{"data": {') }),
  ],
];

for (const [what, answer] of nonsense)
  test(`with a PKI engine ${what}, a control plane starts and issues, a rotation fails in time, and the one after it revokes there`, async () => {
    const w = new ControlInMemory("vault-pki");
    const first = await w.start();
    expect(await w.issue(first)).toBe("a chain of 2");
    await w.world.settle(first.stop());
    w.vaultIs(answer);
    const control = await w.start();
    const { rotation, authority } = control.parts;
    if (rotation === null) throw new Error("it has keys of its own");
    const old = await w.chain(control);
    expect([control.pending(), await w.believed(control, old)]).toEqual([[], "believed"]);
    const begunMs = w.world.nowMs;
    expect(await failure(w, rotation.start("intermediate"))).toMatch(
      /^(authority_unavailable|configuration): /,
    );
    expect(w.world.nowMs - begunMs).toBeLessThan(15_000);
    expect([rotation.progress().phase, await w.issue(control)]).toEqual(["idle", "a chain of 2"]);
    w.vaultIsBack();
    await w.world.settle(rotation.start("intermediate"));
    // Away again, when the old one is to be revoked.
    w.vaultIs(answer);
    await w.run(60_000);
    await w.chain(control);
    for (let turn = 0; turn < 10 && rotation.progress().phase !== "idle"; turn++) {
      await w.chain(control);
      await w.run(15_000);
    }
    expect(rotation.progress().phase).toBe("idle");
    expect(control.pending().join()).toContain("revocation list: ");
    w.vaultIsBack();
    await w.run(60_000);
    expect([control.pending(), authority.pendingRevocation]).toEqual([[], null]);
    expect(await w.believed(control, old)).toBe("certificate_revoked");
    expect(await w.believed(control, await w.chain(control))).toBe("believed");
    await w.world.settle(control.stop());
  }, 300_000);

test("an intermediate of Vault's that is due is replaced while Vault is away for days, once it is back", async () => {
  const w = new ControlInMemory("vault-pki");
  const control = await w.start();
  const { rotation, authority } = control.parts;
  const before = authority.authorities.value.active?.id;
  w.vaultIs(null);
  w.machine.jumpWall(46 * day);
  await w.run(10 * 60_000);
  expect(rotation?.progress().problem).toContain("Vault at");
  expect(await w.issue(control)).toBe("a chain of 2");
  // In its last week that is a reason not to be ready.
  w.machine.jumpWall(38 * day);
  expect(control.pending().join()).toContain("the certificate of the authority ends at");
  w.vaultIsBack();
  await w.run(2 * hour);
  expect(authority.authorities.value.active?.id).not.toBe(before);
  expect(control.pending()).toEqual([]);
  await w.world.settle(control.stop());
}, 300_000);

test("an intermediate that Vault cuts to two days is renewed in time, and no reason not to be ready", async () => {
  const w = new ControlInMemory("vault-pki");
  w.pki.maxLifetimeMs = 2 * day;
  const control = await w.start();
  const { authority } = control.parts;
  const seen = new Set<string>();
  for (let hours = 0; hours < 6 * 24; hours += 12) {
    expect(control.pending()).toEqual([]);
    expect(await w.believed(control, await w.chain(control))).toBe("believed");
    seen.add(authority.authorities.value.active?.id ?? "");
    w.machine.jumpWall(12 * hour);
    await w.run(60_000);
  }
  expect(seen.size).toBeGreaterThan(3);
  // Those that have ended do not pile up.
  expect(authority.authorities.value.authorities.length).toBeLessThan(4);
  await w.world.settle(control.stop());
}, 300_000);
