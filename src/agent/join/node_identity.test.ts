import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { observed } from "../../pki/testing/providers.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { JoinResponseSchema } from "../../wire/messages/fairlead.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { createNodeKey, readJoinAnswer } from "./node_certificate.ts";
import { readNodeFile, writeNodeFile } from "./node_file.ts";
import { NodeIdentity } from "./node_identity.ts";

const hour = 3_600_000;
const lifetimeMs = 24 * hour;

async function bench() {
  const { provider, isBusy } = observed(runtimeProvider());
  const clock = new FakeClock(Date.parse("2026-11-22T12:00:00Z"), isBusy);
  const ca = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
  const files = new MemoryFiles();
  const lines: string[] = [];
  const server: { fault: Error | null; calls: number } = { fault: null, calls: 0 };
  const sign = async (csrPem: string) => {
    const id = new SpiffeId("cluster.local", nodeNamespace, "edge-1");
    const { chainPem, rootsPem } = await ca.sign({ csrPem, id, lifetimeMs });
    const certChain = [...chainPem, rootsPem];
    return newMessage(JoinResponseSchema, { certChain, nodeName: "edge-1", trustDomain: "cluster.local" });
  };
  const key = await createNodeKey(provider, "cluster.local", "edge-1");
  const node = await readJoinAnswer(await sign(key.csrPem), key, {
    provider,
    control: "c:1",
    nowMs: clock.wallMs(),
  });
  let renewals = 0;
  let kept = 0;
  const identity = new NodeIdentity(
    {
      clock,
      random: { fill() {}, float: () => 0.5 },
      files,
      provider,
      logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
      directory: "/state",
      caller: {
        unary: async <Req, Res>(_method: unknown, request: Req): Promise<Res> => {
          server.calls++;
          if (server.fault !== null) throw server.fault;
          return (await sign((request as { csr: string }).csr)) as Res;
        },
      },
      onRenewed: () => void renewals++,
      onKept: () => void kept++,
    },
    node,
  );
  return { clock, ca, files, lines, server, identity, provider, renewals: () => renewals, kept: () => kept };
}

const away = new MeshError("connect_refused", "upstream", "no listener");

describe("a host's own certificate", () => {
  test("is renewed at half of its life with a new key, and kept", async () => {
    const { clock, files, identity, provider, renewals } = await bench();
    const before = identity.credentials;
    await clock.advance(11 * hour);
    expect(renewals()).toBe(0);
    await clock.advance(1.5 * hour);
    expect(renewals()).toBe(1);
    expect(identity.credentials.privateKeyPem).not.toBe(before.privateKeyPem);
    const kept = await readNodeFile(files, "/state", provider);
    expect(kept?.credential.privateKeyPem).toBe(identity.credentials.privateKeyPem);
    identity.close();
    await clock.advance(100 * hour);
    expect([renewals(), clock.timers]).toEqual([1, 0]);
  });

  test("a control plane that is away is asked less and less often and told of once; the old one stays in use", async () => {
    const { clock, lines, server, identity, renewals } = await bench();
    server.fault = away;
    const callsIn = async (ms: number): Promise<number> => {
      const before = server.calls;
      await clock.advance(ms);
      return server.calls - before;
    };
    await clock.advance(16 * hour);
    expect(identity.status().error).toBe("no listener");
    expect(await callsIn(10 * joinLimits.renewRetryMaxMs)).toBeWithin(9, 12);
    await clock.advance(8 * hour);
    expect(identity.isExpired).toBe(true);
    expect(await callsIn(10 * joinLimits.renewExpiredRetryMaxMs)).toBeWithin(9, 12);
    expect(lines.filter((line) => line.startsWith("warn"))).toHaveLength(1);
    server.fault = null;
    await clock.advance(2 * joinLimits.renewExpiredRetryMaxMs);
    expect([renewals(), identity.isExpired, identity.status().error]).toEqual([1, false, null]);
  });

  test("while another process becomes this host it renews nothing and shows what that one keeps; or it goes on", async () => {
    const { clock, files, identity, provider, renewals, server } = await bench();
    await identity.follow();
    await clock.advance(13 * hour);
    expect([server.calls, renewals()]).toEqual([0, 0]);
    // The other process has renewed it.
    const other = await bench();
    await other.identity.renew();
    await writeNodeFile(files, "/state", other.identity.node);
    await clock.advance(1);
    expect(identity.credentials).toEqual(other.identity.credentials);
    expect([server.calls, renewals()]).toEqual([0, 1]);
    // What it hears of the mesh's roots is the other's to keep.
    const before = await files.readText("/state/node.json");
    expect(await identity.setRoots(other.identity.node.rootsPem)).toBeNull();
    expect(await files.readText("/state/node.json")).toBe(before);
    identity.lead();
    await clock.advance(13 * hour);
    expect([server.calls, renewals()]).toEqual([1, 2]);
    expect((await readNodeFile(files, "/state", provider))?.credential).toEqual(identity.node.credential);
    await identity.follow();
    await identity.follow();
    identity.close();
    expect(clock.timers).toBe(0);
  });

  test("what failed by a clock that was wrong is tried again within a minute of its being set right", async () => {
    for (const [setBackMs, calls] of [
      [pkiLimits.clockSetMs, 1],
      [-pkiLimits.clockSetMs, 1],
      [pkiLimits.clockSetMs - 1, 0],
    ] as const) {
      const { clock, server, identity, renewals } = await bench();
      server.fault = new MeshError("certificate_expired", "peer", "it has expired");
      await clock.advance(13 * hour);
      // The next attempt is further away than the next look at the clock.
      const attempts = server.calls;
      while (server.calls === attempts) await clock.advance(1_000);
      const before = server.calls;
      clock.jumpWall(-setBackMs);
      server.fault = null;
      await clock.advance(joinLimits.clockCheckMs);
      expect([server.calls - before, renewals()]).toEqual([calls, calls]);
      identity.close();
    }
  });

  test("a refusal says what to do", async () => {
    const { clock, server, identity } = await bench();
    server.fault = new GrpcError(grpcCode.permissionDenied, "no");
    await clock.advance(13 * hour);
    expect(identity.status().error).toMatch(
      /PERMISSION_DENIED.*whether this host was revoked.*join-token create/,
    );
  });

  test("renewals at the same time are one", async () => {
    const { server, identity, renewals } = await bench();
    expect(await Promise.all([identity.renew(), identity.renew()])).toEqual([true, true]);
    expect([server.calls, renewals()]).toEqual([1, 1]);
  });

  test("new roots are kept, and a disk that is full takes nothing from what is in memory", async () => {
    const { ca, clock, files, identity, lines, provider, kept } = await bench();
    const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
    const both = `${ca.rootsPem}${other.rootsPem}`;
    expect(await identity.setRoots(both)).toBeNull();
    expect((await readNodeFile(files, "/state", provider))?.rootsPem).toBe(both);
    const write = files.writeAtomic.bind(files);
    files.writeAtomic = async () => {
      throw new MeshError("io", "local", "no space left");
    };
    expect(await identity.setRoots(ca.rootsPem)).toBe("no space left");
    expect(identity.node.rootsPem).toBe(ca.rootsPem);
    await clock.advance(2 * joinLimits.clockCheckMs);
    // Of the same roots it is said again, and in the log it stands once.
    expect(await identity.setRoots(ca.rootsPem)).toBe("no space left");
    const words = "the roots of the mesh could not be kept on disk; trying again";
    expect(lines.filter((line) => !line.startsWith("debug"))).toEqual([`error ${words}`]);
    expect(kept()).toBe(0);
    files.writeAtomic = write;
    await clock.advance(joinLimits.keepRetryMs);
    expect((await readNodeFile(files, "/state", provider))?.rootsPem).toBe(ca.rootsPem);
    expect(kept()).toBe(1);
    expect(await identity.setRoots(ca.rootsPem)).toBeNull();
    await clock.advance(2 * joinLimits.clockCheckMs);
    expect(kept()).toBe(1);
    identity.close();
  });

  test("new roots are on disk soon after it has room again, whenever the next look at the clock is", async () => {
    const { ca, clock, files, identity, provider, kept } = await bench();
    const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
    const write = files.writeAtomic.bind(files);
    files.writeAtomic = async () => {
      throw new MeshError("io", "local", "no space left");
    };
    const both = `${ca.rootsPem}${other.rootsPem}`;
    expect(await identity.setRoots(both)).toBe("no space left");
    files.writeAtomic = write;
    await clock.advance(joinLimits.keepRetryMs - 1);
    expect([kept(), [...files.contents.keys()]]).toEqual([0, []]);
    await clock.advance(1);
    expect([kept(), (await readNodeFile(files, "/state", provider))?.rootsPem]).toEqual([1, both]);
    identity.close();
    expect(clock.timers).toBe(0);
  });

  test("is on disk before it is in use: while the disk is full the one before is used, and kept once it can be", async () => {
    const { clock, files, identity, lines, provider, renewals } = await bench();
    const write = files.writeAtomic.bind(files);
    const before = identity.status().serialNumber;
    files.writeAtomic = async () => {
      throw new MeshError("io", "local", "no space left");
    };
    await clock.advance(13 * hour);
    expect([renewals(), identity.status().serialNumber]).toEqual([0, before]);
    expect(identity.status().error).toContain("no space left");
    files.writeAtomic = write;
    await clock.advance(2 * joinLimits.renewRetryMaxMs);
    expect(renewals()).toBe(1);
    expect((await readNodeFile(files, "/state", provider))?.credential.serialNumber).toBe(
      identity.status().serialNumber,
    );
    expect(lines.filter((line) => line.startsWith("error"))).toEqual([]);
  });

  test("once the one before has expired the new one is used all the same", async () => {
    const { clock, files, identity, renewals } = await bench();
    files.writeAtomic = async () => {
      throw new MeshError("io", "local", "no space left");
    };
    await clock.advance(25 * hour);
    expect([renewals() > 0, identity.isExpired]).toEqual([true, false]);
  });

  test("roots that change while it is written stay, and the disk has both", async () => {
    const { ca, clock, files, identity, provider } = await bench();
    const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
    const both = `${ca.rootsPem}${other.rootsPem}`;
    const write = files.writeAtomic.bind(files);
    let changed: Promise<string | null> = Promise.resolve(null);
    files.writeAtomic = async (...content) => {
      files.writeAtomic = write;
      changed = identity.setRoots(both);
      await write(...content);
    };
    expect(await identity.renew()).toBe(true);
    await changed;
    const kept = await readNodeFile(files, "/state", provider);
    expect([kept?.rootsPem, kept?.credential.serialNumber]).toEqual([both, identity.status().serialNumber]);
    expect(identity.node.rootsPem).toBe(both);
  });
});

describe("what happens meanwhile", () => {
  const issuerOf = (chainPem: string): string => {
    const [leaf = new Uint8Array()] = decodePemLabel(chainPem, "CERTIFICATE");
    return parseCertificate(leaf).extensions.authorityKeyId ?? "";
  };

  test("a CA that takes the place of its own makes it renew soon, and its own does not", async () => {
    const { clock, identity, renewals } = await bench();
    identity.moveToIssuer(issuerOf(identity.node.credential.chainPem));
    await clock.advance(pkiLimits.replacementSpreadMs);
    expect(renewals()).toBe(0);
    identity.moveToIssuer("another");
    await clock.advance(pkiLimits.replacementSpreadMs / 2 + 1);
    expect(renewals()).toBe(1);
    identity.close();
  });

  test("moves to another CA soon by whatever clock, also when one was ahead and is set back before it does", async () => {
    const { clock, identity, server, renewals } = await bench();
    clock.jumpWall(100 * hour);
    server.fault = away;
    identity.moveToIssuer("another");
    await clock.advance(pkiLimits.replacementSpreadMs);
    expect([server.calls > 0, renewals()]).toEqual([true, 0]);
    clock.jumpWall(-100 * hour);
    server.fault = null;
    await clock.advance(joinLimits.renewRetryMaxMs);
    expect(renewals()).toBe(1);
    await clock.advance(hour);
    expect(renewals()).toBe(1);
    identity.close();
  });

  test("moves to another CA also from the certificate that was on its way when the word came", async () => {
    const { clock, identity, renewals } = await bench();
    const renewing = identity.renew();
    identity.moveToIssuer("another");
    expect([await renewing, renewals()]).toEqual([true, 1]);
    await clock.advance(pkiLimits.replacementSpreadMs);
    expect(renewals()).toBe(2);
    identity.close();
  });

  test("closed while the control plane signs, it takes nothing and keeps nothing", async () => {
    const { clock, files, identity, renewals } = await bench();
    const renewing = identity.renew();
    identity.close();
    expect([await renewing, renewals(), [...files.contents.keys()]]).toEqual([false, 0, []]);
    await clock.advance(0);
    expect(clock.timers).toBe(0);
  });

  test("a refused renewal is none", async () => {
    const { identity, server, renewals } = await bench();
    server.fault = new GrpcError(grpcCode.permissionDenied, "no");
    expect([await identity.renew(), renewals()]).toEqual([false, 0]);
    server.fault = null;
    expect([await identity.renew(), renewals()]).toEqual([true, 1]);
    identity.close();
  });

  test("roots that are no others are not written again; others that come while another process leads are that one's to write", async () => {
    const { identity, files, clock } = await bench();
    expect(await identity.setRoots(identity.node.rootsPem)).toBeNull();
    expect([...files.contents.keys()]).toEqual([]);
    const renewing = identity.renew();
    const following = identity.follow();
    await renewing;
    await following;
    await clock.advance(0);
    expect(clock.timers).toBe(0);
    const before = await files.readText("/state/node.json");
    expect(await identity.setRoots("others")).toBeNull();
    expect(await files.readText("/state/node.json")).toBe(before);
    identity.close();
  });

  test("a file that another process wrote with the same certificate in it makes no connection again", async () => {
    const { clock, files, identity, renewals } = await bench();
    await identity.follow();
    const rootsPem = `${identity.node.rootsPem}\n`;
    await writeNodeFile(files, "/state", { ...identity.node, rootsPem });
    await clock.advance(1);
    expect([identity.node.rootsPem, renewals()]).toEqual([rootsPem, 0]);
    identity.close();
  });

  test("a file that is gone, or read when this host leads again or is closed, changes nothing", async () => {
    const other = await bench();
    await other.identity.renew();
    for (const then of ["gone", "leads", "closed"] as const) {
      const { clock, files, identity, renewals, lines } = await bench();
      const before = identity.node;
      await writeNodeFile(files, "/state", before);
      await identity.follow();
      const read = files.readText.bind(files);
      files.readText = async (path) => {
        const text = await read(path);
        if (then === "leads") identity.lead();
        if (then === "closed") identity.close();
        return text;
      };
      if (then === "gone") await files.remove("/state/node.json");
      else await writeNodeFile(files, "/state", other.identity.node);
      await clock.advance(1);
      expect([then, identity.node === before, renewals(), lines]).toEqual([then, true, 0, []]);
      identity.close();
    }
  });
});
