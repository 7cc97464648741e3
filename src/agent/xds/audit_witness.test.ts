/** What a host makes of heads that a control plane, or somebody in its place, sends: proven, unknown, forged, and contradicting. */
import { beforeAll, expect, test } from "bun:test";
import { chainDigest } from "../../base/audit_chain.ts";
import { witnessLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import { sha256 } from "../../base/sha256.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { Forge, type Forged, serverAuth } from "../../pki/testing/forge.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { controlServiceAccount, signHead } from "../../pki/trust/audit_head.ts";
import { auditHeadType } from "../../wire/ads/delta.ts";
import { encodeAuditHeadMessage } from "../../wire/messages/mesh_resources.ts";
import { AuditWitness } from "./audit_witness.ts";

const provider = runtimeProvider();
const id = new SpiffeId("mesh.example", "istio-system", controlServiceAccount);
const stateId = "a".repeat(32);
const path = "/s/heads.json";

interface Signer {
  readonly chainPem: string;
  readonly keyPem: string;
}

/** Heads of many days are signed by it. */
const longAgo = { notBefore: new Date(Date.now() - 365 * witnessLimits.dayMs) };

let root: Forged;
let signer: Signer;
let stranger: Signer;
let otherIdentity: Signer;

async function signerOf(issuer: Forged, forge: Forge, uri: string): Promise<Signer> {
  const leaf = await forge.leaf(issuer, { uris: [uri], extendedKeyUsage: [serverAuth], ...longAgo });
  const der = await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey);
  return { chainPem: leaf.pem, keyPem: encodePem("PRIVATE KEY", new Uint8Array(der)) };
}

beforeAll(async () => {
  const forge = new Forge(provider, Date.now());
  root = await forge.ca(longAgo);
  signer = await signerOf(root, forge, id.uri);
  stranger = await signerOf(await forge.ca({ subject: "CN=other" }), forge, id.uri);
  otherIdentity = await signerOf(root, forge, "spiffe://mesh.example/ns/shop/sa/cart");
});

/** A log of which only digests are known. */
class Log {
  readonly hashes: Uint8Array[] = [new Uint8Array(32)];
  readonly digests: Uint8Array[] = [];

  constructor(rows: number, name = "row") {
    for (let n = 1; n <= rows; n++) this.add(`${name} ${n}`);
  }

  add(text: string): void {
    const digest = sha256(new TextEncoder().encode(text));
    this.digests.push(digest);
    this.hashes.push(chainDigest(this.hashes.at(-1) ?? new Uint8Array(32), digest));
  }

  async head(
    at: number,
    since: number,
    {
      by = signer,
      state = stateId,
      digests = this.digests.slice(since, at),
      atMs = Date.now(),
    }: { by?: Signer; state?: string; digests?: readonly Uint8Array[]; atMs?: number } = {},
  ): Promise<Uint8Array> {
    const hash = this.hashes[at] ?? new Uint8Array(32);
    const signature = await signHead(state, { id: at, hash: hash.toHex(), atMs }, by.keyPem, provider);
    return encodeAuditHeadMessage({
      stateId: state,
      id: BigInt(at),
      hash,
      atMs: BigInt(atMs),
      signature: Uint8Array.fromBase64(signature),
      chainPem: by.chainPem,
      sinceId: BigInt(since),
      sinceHash: this.hashes[since] ?? new Uint8Array(32),
      digests: new Uint8Array(digests.flatMap((one) => [...one])),
    });
  }
}

async function open(files = new MemoryFiles()): Promise<{
  readonly clock: FakeClock;
  readonly witness: AuditWitness;
  readonly files: MemoryFiles;
  readonly said: string[];
  readonly take: (bytes: Uint8Array) => Promise<string | null>;
}> {
  const said: string[] = [];
  const logger: Logger = { log: (level, _target, message) => void said.push(`${level} ${message}`) };
  const clock = new FakeClock(Date.now());
  const witness = await AuditWitness.open({
    clock,
    logger,
    files,
    path,
    provider,
    id,
    rootsPem: () => root.pem,
  });
  const take = async (value: Uint8Array): Promise<string | null> => {
    const resources = [{ name: "audit", version: "1", resource: { typeUrl: auditHeadType, value } }];
    const rejected = await witness.apply({ typeUrl: auditHeadType, nonce: "n", resources, removed: [] });
    return rejected[0]?.reason ?? null;
  };
  return { clock, witness, files, said, take };
}

test("heads that go on from each other are taken, also over a restart; a gap is said and is no alarm", async () => {
  const log = new Log(500);
  const { take, files, witness } = await open();
  expect(await take(await log.head(10, 0))).toBeNull();
  expect(await take(await log.head(10, 0))).toBeNull();
  expect(await take(await log.head(100, 5))).toBeNull();
  expect(await take(await log.head(101, 100))).toBeNull();
  expect(witness.status).toMatchObject({ heads: 3, conflicts: [] });
  expect(files.modes.get(path)).toBe(0o600);
  const again = await open(files);
  // Written at the first head, and then not with each.
  expect(again.witness.status.head).toStartWith("10:");
  expect(await again.take(await log.head(101, 8))).toBeNull();
  expect(again.said).toEqual([]);
  // Without an absence of ours it is worth more than a note: whoever hides what they did makes such a gap.
  expect(await again.take(await log.head(500, 400))).toBeNull();
  expect(again.said).toEqual(["warn the audit log cannot be followed from the head known here"]);
  const later = await open(files);
  expect(await later.take(await log.head(500, 400))).toBeNull();
  expect(later.said).toEqual(["info the audit log cannot be followed from the head known here"]);
  expect(again.witness.status.conflicts).toEqual([]);
});

test("what the control plane has not signed is refused, and changes nothing", async () => {
  const log = new Log(20);
  const { take, witness } = await open();
  expect(await take(await log.head(10, 0))).toBeNull();
  for (const bytes of [
    await log.head(12, 0, { by: stranger }),
    await log.head(12, 0, { by: otherIdentity }),
    (await log.head(12, 0)).slice(0, 40),
  ])
    expect(await take(bytes)).not.toBeNull();
  const many = (count: number) => Array<Uint8Array>(count).fill(new Uint8Array(32));
  const { maxDigests } = witnessLimits;
  expect(await take(await log.head(12, 0, { digests: many(maxDigests + 1) }))).toContain("larger");
  // As many as there is room for are looked at.
  expect(await take(await log.head(12, 0, { digests: many(maxDigests), by: stranger }))).toContain(
    "not signed",
  );
  const padded = (chars: number) => ({ ...signer, chainPem: signer.chainPem.padEnd(chars, "\n") });
  const { maxChainChars } = witnessLimits;
  expect(await take(await log.head(12, 0, { by: padded(maxChainChars + 1) }))).toContain("larger");
  expect(witness.status).toMatchObject({ heads: 1, conflicts: [] });
  expect(await take(await log.head(12, 0, { by: padded(maxChainChars) }))).toBeNull();
});

test("a log that ends earlier, has another row, has digests that do not lead on, or is another state's is a conflict that stays", async () => {
  const log = new Log(50);
  const other = new Log(80, "other");
  for (const [bytes, reason] of [
    [await log.head(39, 0), "ends at row 39, and had row 40"],
    [await other.head(40, 0), "row 40 is another one than it was"],
    [await other.head(60, 20), "row 40 is another one than it was"],
    [await log.head(50, 40, { digests: other.digests.slice(40, 50) }), "row 50 does not go on"],
    [await log.head(50, 40, { digests: log.digests.slice(40, 49) }), "are not all there"],
    [await log.head(45, 0, { state: "b".repeat(32) }), "is of state"],
  ] as const) {
    const { take, files, said } = await open();
    expect(await take(await log.head(40, 0))).toBeNull();
    expect(await take(bytes)).toContain(reason);
    expect(said.filter((line) => line.startsWith("error "))).toHaveLength(1);
    const after = await open(files);
    expect(after.witness.status.conflicts.map((one) => one.reason)).toEqual([
      expect.stringContaining(reason),
    ]);
    expect(after.witness.status.conflicts[0]?.before.id).toBe(40);
  }
});

test("what was found first stays, however many contradictions come after it", async () => {
  const [log, other] = [new Log(50), new Log(50, "other")];
  const { take, witness, files } = await open();
  await take(await log.head(41, 0));
  await take(await other.head(7, 0));
  for (let n = 0; n < 3 * witnessLimits.maxConflicts; n++)
    await take(await (n % 2 === 0 ? log : other).head(10 + (n % 2), 0));
  const { conflicts } = witness.status;
  expect(conflicts).toHaveLength(witnessLimits.maxConflicts);
  expect([conflicts[0]?.before.id, conflicts[0]?.after.id]).toEqual([41, 7]);
  expect((await open(files)).witness.status.conflicts[0]?.before.id).toBe(41);
});

test("of the days before the newest heads one each stays, as many as there is room for", async () => {
  const { recentHeads, maxHeads, dayMs } = witnessLimits;
  const log = new Log(200);
  const { take, witness } = await open();
  const midnightMs = Math.floor(Date.now() / dayMs) * dayMs - 100 * dayMs;
  const heads: number[] = [];
  let row = 0;
  const send = async (atMs: number): Promise<void> => {
    row++;
    expect(await take(await log.head(row, row - 1, { atMs }))).toBeNull();
    heads.push(witness.status.heads);
  };
  for (let n = 0; n < recentHeads + 5; n++) await send(midnightMs + n);
  // The newest ones, and the last of those that were before them on the same day is among them.
  expect(heads.slice(-6)).toEqual(Array(6).fill(recentHeads));
  await send(midnightMs + dayMs);
  expect(witness.status.heads).toBe(recentHeads);
  for (let day = 2; day < 90; day++) await send(midnightMs + day * dayMs);
  expect([Math.max(...heads), witness.status.heads]).toEqual([maxHeads, maxHeads]);
  // One head fewer than there is room for was there before the last that fitted.
  expect(heads).toContain(maxHeads - 1);
});

test("a file that is damaged is said, and heads are kept all the same", async () => {
  const good = { id: 1, hash: "h", atMs: 1, signature: "s", chainPem: "c", stateId: "d", proven: false };
  const conflict = { seenAtMs: 1, reason: "r", before: good, after: good };
  const damaged = [
    { heads: [{ ...good, id: "1" }], conflicts: [] },
    { heads: [{ ...good, atMs: null }], conflicts: [] },
    { heads: [{ ...good, hash: 1 }], conflicts: [] },
    { heads: [good], conflicts: [{ ...conflict, before: { ...good, id: "1" } }] },
    { heads: [good], conflicts: [{ ...conflict, after: { ...good, id: "1" } }] },
  ];
  for (const written of damaged) {
    const files = new MemoryFiles();
    files.put(path, JSON.stringify(written));
    const { said, take, witness } = await open(files);
    expect(said).toEqual(["error what was known of the control plane's audit log cannot be read"]);
    expect(await take(await new Log(3).head(3, 0))).toBeNull();
    expect(witness.status).toMatchObject({ heads: 1, conflicts: [] });
  }
  const files = new MemoryFiles();
  files.put(path, JSON.stringify({ heads: [good], conflicts: [conflict] }));
  expect((await open(files)).witness.status).toMatchObject({ head: "1:h", heads: 1, conflicts: [conflict] });
});

test("heads are written again once so much time has gone since the last time, and one that goes on is known as such", async () => {
  const log = new Log(20);
  const { take, files, clock } = await open();
  const written = async () => {
    const kept: { heads: { id: number; proven: boolean }[] } = JSON.parse(await files.readText(path));
    return kept.heads.map(({ id: row, proven }) => [row, proven]);
  };
  await take(await log.head(3, 0));
  await clock.advance(witnessLimits.saveIntervalMs - 1);
  await take(await log.head(4, 0));
  expect(await written()).toEqual([[3, false]]);
  await clock.advance(1);
  await take(await log.head(5, 0));
  expect(await written()).toEqual([
    [3, false],
    [4, true],
    [5, true],
  ]);
});

test("a gap is a warning while heads have come of late, and a note from the bound on", async () => {
  for (const [waitedMs, level] of [
    [witnessLimits.followedMs - 1, "warn"],
    [witnessLimits.followedMs, "info"],
  ] as const) {
    const log = new Log(20);
    const { take, said, clock } = await open();
    await take(await log.head(3, 0));
    await clock.advance(waitedMs);
    await take(await log.head(9, 5));
    expect(said).toEqual([`${level} the audit log cannot be followed from the head known here`]);
  }
});

test("a head that says it goes on from a row behind its own proves nothing", async () => {
  const log = new Log(20);
  const { take, witness } = await open();
  await take(await log.head(3, 0));
  expect(await take(await log.head(9, 10, { digests: [] }))).toBeNull();
  // From its own row on there is nothing to add: of rows before it, it says nothing.
  expect(await take(await log.head(12, 12, { digests: [] }))).toBeNull();
  expect(witness.status).toMatchObject({ heads: 3, conflicts: [] });
});
