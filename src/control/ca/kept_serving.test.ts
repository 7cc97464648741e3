import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import type { ServingCertificate } from "../../pki/issue/server.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { Forge, type Forged } from "../../pki/testing/forge.ts";
import { KeptServing } from "./kept_serving.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;

async function bench() {
  const forge = new Forge(runtimeProvider(), nowMs);
  const root = await forge.ca();
  const middle = await forge.ca({ issuer: root, subject: "CN=middle" });
  const leaf = await forge.leaf(middle, { notAfter: new Date(nowMs + hour) });
  const rows = new Map<string, string>();
  const revoked = new Set<string>();
  const lines: string[] = [];
  const clock = new FakeClock(nowMs);
  const state = { roots: root.pem, isAway: false };
  const kept = new KeptServing({
    clock,
    logger: {
      log: (level, _target, message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    },
    settings: { get: (name) => rows.get(name) ?? null, set: (name, value) => void rows.set(name, value) },
    // Sealed for its owner: turned around, with the name in front.
    sealed: {
      seal: async (owner, bytes) => {
        if (state.isAway) throw new MeshError("authority_unavailable", "upstream", "Vault is away");
        return new Uint8Array([owner.length, ...bytes.toReversed()]);
      },
      unseal: async (owner, bytes) => {
        if (state.isAway) throw new MeshError("authority_unavailable", "upstream", "Vault is away");
        if (bytes[0] !== owner.length)
          throw new MeshError("configuration", "local", "it is of another owner");
        return bytes.slice(1).toReversed();
      },
    },
    rootsPem: () => state.roots,
    isRevoked: (serial) => revoked.has(serial),
  });
  const serving = (...chain: readonly Forged[]): ServingCertificate => ({
    credentials: {
      certificateChainPem: chain.map(({ pem }) => pem).join(""),
      privateKeyPem: encodePem("PRIVATE KEY", Uint8Array.of(7)),
      trustedRootsPem: root.pem,
    },
    serialNumber: leaf.parsed.serialNumber,
    issuerKey: middle.parsed.authorityKey,
    notBeforeMs: leaf.parsed.notBeforeMs,
    notAfterMs: leaf.parsed.notAfterMs,
  });
  const put = (value: unknown): void => {
    const bytes = new TextEncoder().encode(JSON.stringify(value)).toReversed();
    rows.set("serving_certificate", new Uint8Array(["serving_certificate".length, ...bytes]).toBase64());
  };
  return { forge, root, middle, leaf, clock, rows, revoked, lines, state, kept, serving, put };
}

describe("the serving certificate that is kept", () => {
  test("comes back as it was, with the roots of today; what is at rest is sealed", async () => {
    const { root, middle, leaf, state, rows, kept, serving, forge } = await bench();
    expect(await kept.load()).toBe("none was kept");
    const made = serving(leaf, middle, root);
    await kept.save(made);
    expect([...rows.values()].join()).not.toContain("PRIVATE");
    const more = await forge.ca({ subject: "CN=another" });
    state.roots = more.pem + root.pem;
    expect(await kept.load()).toEqual({
      ...made,
      credentials: { ...made.credentials, trustedRootsPem: state.roots },
    });
  });

  test("is none once it has ended, to the millisecond", async () => {
    const { root, middle, leaf, clock, kept, serving } = await bench();
    await kept.save(serving(leaf, middle, root));
    clock.jumpWall(hour - 1);
    expect(await kept.load()).toMatchObject({ serialNumber: leaf.parsed.serialNumber });
    clock.jumpWall(1);
    expect(await kept.load()).toBe("it ended at 2026-11-22T13:00:00.000Z");
  });

  test("is none with a root that is not trusted, or with any of it revoked", async () => {
    const { forge, root, middle, leaf, state, revoked, kept, serving } = await bench();
    await kept.save(serving(leaf, middle, root));
    state.roots = (await forge.ca({ subject: "CN=another" })).pem;
    expect(await kept.load()).toBe("its root is trusted no more");
    state.roots = root.pem;
    for (const { parsed } of [leaf, middle, root]) {
      revoked.add(parsed.serialNumber);
      expect(await kept.load()).toBe("it is revoked");
      revoked.clear();
    }
  });

  test("is none when it is damaged, or cannot be opened", async () => {
    const { root, middle, leaf, state, rows, kept, serving, put } = await bench();
    const whole = serving(leaf, middle, root).credentials;
    for (const value of [
      {},
      { ...whole, privateKeyPem: 7 },
      { ...whole, certificateChainPem: null },
      { ...whole, certificateChainPem: "" },
      { ...whole, certificateChainPem: leaf.pem },
    ]) {
      put(value);
      expect(await kept.load()).toBe("it is damaged");
    }
    put(whole);
    expect(await kept.load()).toMatchObject({ serialNumber: leaf.parsed.serialNumber });
    state.isAway = true;
    expect(await kept.load()).toBe("it cannot be opened: Vault is away");
    state.isAway = false;
    rows.set("serving_certificate", Uint8Array.of(1).toBase64());
    expect(await kept.load()).toBe("it cannot be opened: it is of another owner");
  });

  test("that cannot be kept serves all the same, and the log says so", async () => {
    const { root, middle, leaf, state, rows, lines, kept, serving } = await bench();
    state.isAway = true;
    await kept.save(serving(leaf, middle, root));
    expect([rows.size, lines]).toEqual([
      0,
      ['warn the control plane\'s own certificate could not be kept {"reason":"Vault is away"}'],
    ]);
  });
});
