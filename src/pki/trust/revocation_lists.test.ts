/** Lists by themselves, one step at a time: which is believed, which waits, and what is said of the others. */
import { beforeAll, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { forgeList, type ListOptions } from "../testing/forge_list.ts";
import { RevocationLists } from "./revocation.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const provider = runtimeProvider();
const forge = new Forge(provider, nowMs);

let root: Forged;

beforeAll(async () => {
  root = await forge.ca();
});

async function listOf(issuer: Forged, serialNumbers: readonly string[] = [], options: ListOptions = {}) {
  return { name: "crl", bytes: await forgeList(nowMs, provider, issuer, serialNumbers, options) };
}

const states = (lists: RevocationLists): readonly string[] =>
  lists.status(nowMs).map(({ state, message }) => (message === null ? state : `${state}: ${message}`));

test("what is settled is not looked at again, and does not speak for its issuer as one that waits", async () => {
  const lists = new RevocationLists(new SignatureVerifier(provider));
  const below = await forge.ca({ subject: "CN=below", issuer: root });
  await lists.replace([await listOf(root), await listOf(below)], [root.parsed]);
  expect(states(lists)).toEqual(["in_force", "pending: no certificate of its issuer has been seen"]);
  expect([root, below].map(({ parsed }) => lists.hasPending(parsed.subject))).toEqual([false, true]);
  expect(await lists.adopt([root.parsed])).toBe(false);
  expect(await lists.adopt([below.parsed])).toBe(true);
  expect(states(lists)).toEqual(["in_force", "in_force"]);
  expect(await lists.adopt([below.parsed])).toBe(false);
});

test("a list of another key of the name waits, whether or not it says which key", async () => {
  const again = await forge.ca();
  const named = new RevocationLists(new SignatureVerifier(provider));
  await named.replace([await listOf(again)], [root.parsed]);
  expect(states(named)).toEqual(["pending: no certificate of its issuer has been seen"]);
  const unnamed = new RevocationLists(new SignatureVerifier(provider));
  const bare = await forge.ca({ subjectKeyId: null });
  await unnamed.replace([await listOf(again, [], { keyId: false })], [bare.parsed]);
  expect(states(unnamed)).toEqual(["pending: no certificate of its issuer has been seen"]);
  // It names the key that is there, and is not signed by it.
  const forged = new RevocationLists(new SignatureVerifier(provider));
  await forged.replace([await listOf(root, [], { signWith: again.keys })], [root.parsed]);
  expect(states(forged)).toEqual(["refused: is not signed by its issuer"]);
});

test("a signature that cannot be checked is told as that", async () => {
  class Unable extends SignatureVerifier {
    override async verify(): Promise<boolean> {
      throw new MeshError("certificate_algorithm", "peer", "ECDSA with SHA-1 is not accepted");
    }
  }
  const lists = new RevocationLists(new Unable(provider));
  await lists.replace([await listOf(root)], [root.parsed]);
  expect(states(lists)).toEqual(["refused: ECDSA with SHA-1 is not accepted"]);
});

test("a list is fresh to the last instant it names", async () => {
  const lists = new RevocationLists(new SignatureVerifier(provider));
  await lists.replace([await listOf(root, [], { nextUpdateMs: nowMs + hour })], [root.parsed]);
  const { authorityKey, subject } = root.parsed;
  const look = (atMs: number) => lists.look({ authorityKey, issuer: subject, serialNumber: "01" }, atMs);
  expect([look(nowMs + hour), look(nowMs + hour + 1)]).toEqual(["good", "unknown"]);
  expect([lists.status(nowMs + hour)[0]?.stale, lists.status(nowMs + hour + 1)[0]?.stale]).toEqual([
    false,
    true,
  ]);
});

test("the newer list counts, by number and then by time; one that is as new takes the place", async () => {
  for (const [first, second, found] of [
    [{ number: 5 }, { number: 5 }, "in_force"],
    [
      { number: 5 },
      { number: 5, thisUpdateMs: nowMs - 2_000 },
      "superseded: is older than the list in force",
    ],
    [{ number: 5 }, { number: 6, thisUpdateMs: nowMs - 2_000 }, "in_force"],
    [{ number: 5 }, { number: 4, thisUpdateMs: nowMs }, "superseded: is older than the list in force"],
  ] as const) {
    const lists = new RevocationLists(new SignatureVerifier(provider));
    await lists.replace([await listOf(root, ["0a"], first)], [root.parsed]);
    await lists.replace([await listOf(root, ["0b"], second)], [root.parsed]);
    expect(states(lists)[0]).toBe(found);
    const { authorityKey, subject } = root.parsed;
    const look = (serialNumber: string) => lists.look({ authorityKey, issuer: subject, serialNumber }, nowMs);
    const isNew = found === "in_force";
    expect([look("0a"), look("0b")]).toEqual(isNew ? ["good", "revoked"] : ["revoked", "good"]);
  }
});

test("of several in one set the newest is in force, whichever comes first", async () => {
  const sources = [await listOf(root, ["0a"], { number: 4 }), await listOf(root, ["0b"], { number: 5 })];
  for (const order of [sources, sources.toReversed()]) {
    const lists = new RevocationLists(new SignatureVerifier(provider));
    await lists.replace(order, [root.parsed]);
    const { authorityKey, subject } = root.parsed;
    const look = (serialNumber: string) => lists.look({ authorityKey, issuer: subject, serialNumber }, nowMs);
    expect([look("0a"), look("0b")]).toEqual(["good", "revoked"]);
    expect(lists.inForce).toHaveLength(1);
  }
});
