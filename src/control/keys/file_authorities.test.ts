import { expect, test } from "bun:test";
import { rotationLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { istioFiles, istioPaths } from "../../pki/issue/ca_files.ts";
import { Forge, type Forged } from "../../pki/testing/forge.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { FileAuthorities } from "./file_authorities.ts";
import { MeshAuthority } from "./mesh_authority.ts";
import { cart, issue, newClock, nodeTrust, nowMs, provider, trustDomain } from "./testing/fixture.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

const asClient = { usage: "clientAuth", identities: null } as const;

async function put(files: MemoryFiles, ca: Forged, roots: readonly Forged[]): Promise<void> {
  const pkcs8 = new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", ca.keys.privateKey));
  files.put(`ca/${istioFiles.certificate}`, ca.pem);
  files.put(`ca/${istioFiles.root}`, roots.map((root) => root.pem).join(""));
  files.put(`ca/${istioFiles.privateKey}`, encodePem("PRIVATE KEY", pkcs8));
}

test("files of an intermediate are followed; a half-written change is not taken over, and lists of the old one stay", async () => {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca();
  const [one, two] = [
    await forge.ca({ issuer: root, subject: "CN=one" }),
    await forge.ca({ issuer: root, subject: "CN=two" }),
  ];
  const files = new MemoryFiles();
  await put(files, one, [root]);
  const [clock, records] = [newClock(), new MemoryRecords()];
  const common = { clock, provider, trustDomain, logger: silentLogger };
  const open = async (): Promise<{ authorities: FileAuthorities; mesh: MeshAuthority }> => {
    const paths = await istioPaths(files, "ca");
    const authorities = await FileAuthorities.open({ ...common, files, paths, records: records.authorities });
    return {
      authorities,
      mesh: await MeshAuthority.open({ ...common, records, authorities: authorities.view }),
    };
  };
  const { authorities, mesh } = await open();
  const before = await issue(mesh, cart);
  expect(before.chain).toHaveLength(2);
  expect(records.authorities.list()[0]?.sealedKey).toBeNull();
  await mesh.revoke({ kind: "identity", uri: cart.uri }, "", "ops");
  await mesh.lift({ kind: "identity", uri: cart.uri });

  files.put(`ca/${istioFiles.certificate}`, two.pem);
  await clock.advance(10);
  expect(authorities.problem).toContain("the CA cannot be used");
  expect((await issue(mesh, cart)).chain[1]).toEqual(before.chain[1] ?? new Uint8Array());
  await put(files, two, [root]);
  await clock.advance(10);
  expect(authorities.problem).toBeNull();
  const after = await issue(mesh, cart);
  expect(after.chain[1]).not.toEqual(before.chain[1] ?? new Uint8Array());

  for (const current of [mesh, (await open()).mesh]) {
    const trust = await nodeTrust({ clock, mesh: current });
    expect(await outcomeOf(trust.verify(before.chain, asClient))).toThrow("revoked");
    expect(current.bundle.value.crls).toHaveLength(2);
  }
});

test("what is above a CA in files is all of its chain up to the root", async () => {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca({ subject: "CN=top" });
  const middle = await forge.ca({ issuer: root, subject: "CN=middle" });
  const low = await forge.ca({ issuer: middle, subject: "CN=low" });
  const files = new MemoryFiles();
  const [clock, records] = [newClock(), new MemoryRecords()];
  const seen = async (ca: Forged, chain: readonly Forged[]): Promise<readonly string[]> => {
    await put(files, ca, [root]);
    files.put(`ca/${istioFiles.chain}`, chain.map(({ pem }) => pem).join(""));
    const authorities = await FileAuthorities.open({
      ...{ clock, provider, trustDomain, logger: silentLogger, files, records: records.authorities },
      paths: await istioPaths(files, "ca"),
    });
    authorities.close();
    const { active } = authorities.view.value;
    return [active?.kind ?? "", ...(active?.above.map((one) => one.subjectText) ?? [])];
  };
  expect(await seen(low, [low, middle])).toEqual(["intermediate", "CN=middle", "CN=top"]);
  expect(await seen(middle, [middle])).toEqual(["intermediate", "CN=top"]);
});

test("what was replaced has not ended at the instant that its certificate names", async () => {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca();
  const files = new MemoryFiles();
  const [clock, records] = [newClock(), new MemoryRecords()];
  for (const [afterMs, state] of [
    [0, "retiring"],
    [1, "retired"],
  ] as const) {
    const short = await forge.ca({
      issuer: root,
      subject: "CN=short",
      notAfter: new Date(clock.wallMs() + 60_000),
    });
    await put(files, short, [root]);
    const authorities = await FileAuthorities.open({
      ...{ clock, provider, trustDomain, logger: silentLogger, files, records: records.authorities },
      paths: await istioPaths(files, "ca"),
    });
    clock.jumpWall(short.parsed.notAfterMs + afterMs - clock.wallMs());
    await put(files, await forge.ca({ issuer: root, subject: `CN=next ${afterMs}` }), [root]);
    await clock.advance(0);
    const row = records.authorities.list().find(({ certificatePem }) => certificatePem === short.pem);
    expect([afterMs, row?.state]).toEqual([afterMs, state]);
    authorities.close();
    records.authorities.list().forEach(({ id }) => void records.authorities.remove(id));
  }
});

test("what was replaced goes on until it has ended; then it is retired, and so many of those are kept", async () => {
  const forge = new Forge(provider, nowMs);
  const day = 24 * 3_600_000;
  const root = await forge.ca({ notAfter: new Date(nowMs + 10 * day) });
  const files = new MemoryFiles();
  const [clock, records] = [newClock(), new MemoryRecords()];
  const made: Forged[] = [];
  const next = async (): Promise<void> => {
    const ca = await forge.ca({
      issuer: root,
      subject: `CN=ca ${made.length}`,
      notAfter: new Date(clock.wallMs() + day),
    });
    made.push(ca);
    await put(files, ca, [root]);
    await clock.advance(10);
  };
  await next();
  const open = async () =>
    FileAuthorities.open({
      clock,
      provider,
      trustDomain,
      logger: silentLogger,
      files,
      paths: await istioPaths(files, "ca"),
      records: records.authorities,
    });
  const first = await open();
  await next();
  const seen = (authorities: FileAuthorities) =>
    authorities.view.value.authorities.map(({ certificate, state, ca, unavailable }) => [
      certificate.subjectText,
      state,
      ca !== null,
      unavailable,
    ]);
  // In this process the key of the one before is still at hand for its list; after a restart it is not.
  expect(seen(first)).toEqual([
    ["CN=ca 1", "active", true, null],
    ["CN=ca 0", "retiring", true, null],
  ]);
  first.close();
  const second = await open();
  expect(seen(second)).toEqual([
    ["CN=ca 1", "active", true, null],
    ["CN=ca 0", "retiring", false, "its key was in files that were replaced"],
  ]);
  const states = () => Object.groupBy(records.authorities.list(), ({ state }) => state);
  for (let times = 0; times < rotationLimits.maxRetired; times++) await next();
  expect([states().active?.length, states().retired?.length]).toEqual([1, undefined]);
  expect(states().retiring).toHaveLength(rotationLimits.maxRetired + 1);
  clock.jumpWall(day + 1);
  for (const retired of [rotationLimits.maxRetired, rotationLimits.maxRetired]) {
    await next();
    expect([states().active?.length, states().retired?.length]).toEqual([1, retired]);
  }
  // What is retired is published no more: of the two that were made just now neither has ended.
  expect(second.view.value.authorities.map(({ state }) => state)).toEqual(["active", "retiring"]);
  // The newest of them.
  expect(states().retired?.every(({ certificatePem }) => certificatePem !== made[0]?.pem)).toBe(true);
  second.close();
}, 60_000);
