/** A CA in an operator's files, in the forms that people have them, and replaced while it issues. */
import { describe, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { type Logger, silentLogger } from "../../base/log.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { encodePem } from "../der/pem.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { observed } from "../testing/providers.ts";
import { createCertificateRequest } from "../x509/csr.ts";
import { loadAuthority } from "./ca_files.ts";
import { FollowedAuthority } from "./followed_authority.ts";

const nowMs = Date.parse("2026-11-22T12:00:00.500Z");
const { provider, isBusy } = observed(runtimeProvider());
const cart = new SpiffeId("cluster.local", "shop", "cart");
const paths = { certificate: "ca/tls.crt", privateKey: "ca/tls.key", root: "ca/root.pem", chain: null };

interface Authorities {
  readonly root: Forged;
  /** Above `below`. */
  readonly above: Forged;
  readonly below: Forged;
  readonly other: Forged;
}

async function forged(): Promise<Authorities> {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca({ subject: "CN=root" });
  const above = await forge.ca({ issuer: root, subject: "CN=above" });
  const below = await forge.ca({ issuer: above, subject: "CN=below" });
  const other = await forge.ca({ issuer: root, subject: "CN=other" });
  return { root, above, below, other };
}

async function keyOf({ keys }: Forged): Promise<string> {
  const pkcs8 = await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return encodePem("PRIVATE KEY", new Uint8Array(pkcs8));
}

function put(files: MemoryFiles, contents: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(contents)) files.put(path, text);
}

describe("a CA in files", () => {
  test("takes its certificate with the chain in one file, as cert-manager writes it, the root and repetitions too", async () => {
    const { root, above, below } = await forged();
    const clock = new FakeClock(nowMs);
    const options = { clock, provider, trustDomain: "cluster.local" };
    for (const chain of [null, "ca/chain.pem"]) {
      const files = new MemoryFiles();
      put(files, {
        "ca/tls.crt": below.pem + above.pem + root.pem,
        "ca/tls.key": await keyOf(below),
        "ca/root.pem": root.pem,
        "ca/chain.pem": below.pem + above.pem,
      });
      const authority = await loadAuthority(files, { ...paths, chain }, options);
      expect(authority.sentPem).toEqual(
        [below.pem, above.pem].map((pem) => expect.stringContaining(pem.slice(30, 300))),
      );
    }
  });

  test("says which file is wrong, and what would be right, once", async () => {
    const { root, above, below, other } = await forged();
    const clock = new FakeClock(nowMs);
    const good = {
      "ca/tls.crt": below.pem + above.pem,
      "ca/tls.key": await keyOf(below),
      "ca/root.pem": root.pem,
    };
    const cases: readonly [contents: Readonly<Record<string, string>>, said: string][] = [
      [{ "ca/tls.crt": await keyOf(below) }, "ca/tls.crt holds no certificate"],
      [{ "ca/tls.crt": below.pem.slice(0, 90) }, "ca/tls.crt is damaged: a PEM block is cut short"],
      [{ "ca/tls.key": below.pem }, "ca/tls.key: the private key is missing"],
      [{ "ca/root.pem": await keyOf(root) }, "ca/root.pem: bundle of trust roots holds no certificate"],
      [
        { "ca/tls.key": await keyOf(other) },
        "the CA cannot be used: its private key is not its certificate's (certificate ca/tls.crt, key ca/tls.key, root ca/root.pem)",
      ],
      [{ "ca/tls.crt": below.pem }, "are missing: add them to ca/tls.crt, or give them as --ca-chain"],
    ];
    for (const [contents, said] of cases) {
      const files = new MemoryFiles();
      put(files, { ...good, ...contents });
      const options = { clock, provider, trustDomain: "cluster.local" };
      const message = await loadAuthority(files, paths, options).then(
        () => "done",
        (thrown) => asMeshError(thrown, "io", "local").message,
      );
      expect(message).toContain(said);
      expect(message.match(/the CA cannot be used/g)?.length ?? 0).toBeLessThan(2);
    }
  });

  test("whose file is not there fails as reading did, and is no matter of what is in it", async () => {
    const { root, below } = await forged();
    for (const gone of [paths.certificate, paths.privateKey, paths.root]) {
      const files = new MemoryFiles();
      put(files, { "ca/tls.crt": below.pem, "ca/tls.key": await keyOf(below), "ca/root.pem": root.pem });
      files.drop(gone);
      const options = { clock: new FakeClock(nowMs), provider, trustDomain: "cluster.local" };
      const error = await loadAuthority(files, paths, options).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "io", message: `${gone}: no such file` });
    }
  });

  test("that cannot be taken over is said once for each reason", async () => {
    const { root, below, other } = await forged();
    const clock = new FakeClock(nowMs, isBusy);
    const files = new MemoryFiles();
    const own = below.pem;
    put(files, { "ca/tls.crt": other.pem, "ca/tls.key": await keyOf(other), "ca/root.pem": root.pem });
    const said: unknown[] = [];
    const logger: Logger = {
      log: (level, _target, _message, fields) => void said.push(`${level} ${fields?.reason}`),
    };
    const followed = await FollowedAuthority.open({
      clock,
      provider,
      trustDomain: "cluster.local",
      files,
      paths,
      logger,
    });
    for (let again = 0; again < 3; again++) {
      files.put("ca/tls.crt", own);
      await clock.advance(10);
    }
    expect(said).toEqual([expect.stringContaining("warn the CA cannot be used: its private key is not")]);
    files.put("ca/tls.crt", "");
    await clock.advance(10);
    expect(said).toHaveLength(2);
    expect(said[1]).not.toBe(said[0]);
    followed.close();
  });

  test("that is replaced file by file issues by the new one when all of it is there, and by the old one until then", async () => {
    const { root, above, below, other } = await forged();
    const clock = new FakeClock(nowMs, isBusy);
    const files = new MemoryFiles();
    put(files, {
      "ca/tls.crt": below.pem + above.pem,
      "ca/tls.key": await keyOf(below),
      "ca/root.pem": root.pem,
    });
    const options = { clock, provider, trustDomain: "cluster.local", files, paths, logger: silentLogger };
    const followed = await FollowedAuthority.open(options);
    const changes: string[] = [];
    followed.authority.subscribe(({ certificate }) => void changes.push(certificate.subjectText));
    const issuer = async (): Promise<number> => {
      const { csrPem } = await createCertificateRequest(provider, cart);
      return (await followed.sign({ csrPem, id: cart, lifetimeMs: 60_000 })).chainPem.length;
    };
    await clock.advance(10);
    expect([await issuer(), changes, followed.problem]).toEqual([3, [], null]);

    files.put("ca/tls.crt", other.pem);
    await clock.advance(10);
    expect(await issuer()).toBe(3);
    expect(followed.problem).toContain("its private key is not its certificate's");
    files.put("ca/tls.key", await keyOf(other));
    await clock.advance(10);
    expect([await issuer(), changes, followed.problem]).toEqual([2, ["CN=other"], null]);

    // Nothing is read any more, and what is being read comes to nothing.
    const reads: string[] = [];
    const readText = files.readText.bind(files);
    files.readText = async (path) => {
      reads.push(path);
      return await readText(path);
    };
    files.put("ca/tls.crt", other.pem);
    followed.close();
    await clock.advance(10);
    expect(reads).toEqual([]);
    files.put("ca/tls.crt", below.pem + above.pem);
    files.put("ca/tls.key", await keyOf(below));
    await clock.advance(10);
    expect(changes).toEqual(["CN=other"]);
  });

  test("that is closed while its files are read takes nothing over", async () => {
    const { root, above, below, other } = await forged();
    const files = new MemoryFiles();
    put(files, {
      "ca/tls.crt": below.pem + above.pem,
      "ca/tls.key": await keyOf(below),
      "ca/root.pem": root.pem,
    });
    const clock = new FakeClock(nowMs, isBusy);
    const options = { clock, provider, trustDomain: "cluster.local", files, paths, logger: silentLogger };
    const followed = await FollowedAuthority.open(options);
    const changes: string[] = [];
    followed.authority.subscribe(({ certificate }) => void changes.push(certificate.subjectText));
    await clock.advance(10);
    const readText = files.readText.bind(files);
    const key = await keyOf(other);
    put(files, { "ca/tls.crt": other.pem, "ca/tls.key": key });
    files.readText = async (path) => {
      const text = await readText(path);
      if (path === paths.root) followed.close();
      return text;
    };
    await clock.advance(10);
    expect([changes, followed.authority.value.certificate.subjectText]).toEqual([[], "CN=below"]);
  });
});
