import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { createRootCertificate } from "../../pki/issue/authority.ts";
import { Forge } from "../../pki/testing/forge.ts";
import { storeReference } from "./key_place.ts";
import { nowMs, provider, trustDomain } from "./testing/fixture.ts";
import { VaultPkiCertifier } from "./vault_pki.ts";
import type { VaultData } from "./vault_session.ts";
import { TransitKeys } from "./vault_transit.ts";

const { subtle } = provider.crypto;

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => {
      const { code, blame, message } = asMeshError(error, "io", "local");
      return `${code} ${blame}: ${message}`;
    },
  );
}

async function publicPem(keys: CryptoKeyPair): Promise<string> {
  return encodePem("PUBLIC KEY", new Uint8Array(await subtle.exportKey("spki", keys.publicKey)));
}

function transitOf(answer: (path: string, body: VaultData | null) => VaultData | null) {
  const session = {
    request: async (_method: string, path: string, body: VaultData | null = null) => answer(path, body),
  };
  return new TransitKeys({ session, provider, mount: "transit", keyName: "ca" });
}

test("a signature that is not of the key is not used, nor is an answer that is none", async () => {
  const forge = new Forge(provider, nowMs);
  const [own, other] = [await forge.keys(), await forge.keys()];
  const foreign = await forge.ca({ keys: other });
  const signature = btoa(String.fromCharCode(...foreign.parsed.signature));
  const keys = { latest_version: 3, keys: { 3: { public_key: await publicPem(own) } } };
  const answers: VaultData[] = [
    { signature: `vault:v3:${signature}` },
    { signature: `vault:v2:${signature}` },
    { signature: "vault:v3:!" },
    {},
  ];
  const outcomes: string[] = [];
  for (const answer of answers) {
    const transit = transitOf((path) => (path.includes("/sign/") ? answer : keys));
    const { key, publicKeyInfo } = await transit.create();
    outcomes.push(await failure(createRootCertificate(provider, key, publicKeyInfo, trustDomain, nowMs)));
  }
  expect(outcomes).toEqual([
    "authority_unavailable upstream: Vault's transit engine has signed with another key than version 3 of ca",
    ...Array.from(
      { length: 3 },
      () => "authority_unavailable upstream: Vault's transit engine has returned an invalid signature",
    ),
  ]);
});

test("an engine that does not show the versions of its key has none to use; one that has a key rotates it", async () => {
  const asked: string[] = [];
  const session = {
    request: async (method: string, path: string) => {
      asked.push(`${method} ${path}`);
      return asked.length === 1 ? null : {};
    },
  };
  const transit = new TransitKeys({ session, provider, mount: "transit", keyName: "ca" });
  const said = "authority_unavailable upstream: Vault's transit engine does not show the versions of its key";
  expect([await failure(transit.create()), await failure(transit.create())]).toEqual([said, said]);
  const path = "transit/keys/ca";
  expect(asked).toEqual([
    ...[`GET ${path}`, `POST ${path}`, `GET ${path}`],
    ...[`GET ${path}`, `POST ${path}/rotate`, `GET ${path}`],
  ]);
});

test("a key of another type, or a version that is gone, is refused", async () => {
  const forge = new Forge(provider, nowMs);
  const large = await publicPem(await forge.keys("P-384"));
  const stored = (version: number) =>
    storeReference({ place: "vault-transit", mount: "transit", keyName: "ca", version });
  const transit = transitOf(() => ({ latest_version: 1, keys: { 1: { public_key: large } } }));
  expect(transit.holds(stored(1))).toBe(true);
  expect(transit.holds(Uint8Array.of(1, 2, 3))).toBe(false);
  expect(await failure(transit.open("a", stored(1)))).toContain("of a type other than ecdsa-p256");
  expect(await failure(transit.open("a", stored(2)))).toContain("has no version 2 of key ca");
  const whole = { mount: "transit", keyName: "ca", version: 1 };
  for (const missing of ["mount", "keyName", "version"]) {
    const cut = storeReference({ place: "vault-transit", ...whole, [missing]: null });
    expect(await failure(transit.open("a", cut))).toBe(
      "configuration local: the reference to the key of a is damaged",
    );
  }
});

test("an intermediate is revoked by its number as Vault writes it, and its list is read; what is not there is said", async () => {
  const asked: unknown[] = [];
  const pki = (answers: Readonly<Record<string, VaultData | null>>) => {
    const session = {
      request: async (method: string, path: string, body: VaultData | null = null) => {
        asked.push([method, path, body]);
        return answers[path] ?? null;
      },
    };
    return new VaultPkiCertifier({
      session,
      provider,
      trustDomain,
      mount: "team/pki",
      issuer: null,
      rootsPem: null,
    });
  };
  const crl = encodePem("X509 CRL", Uint8Array.of(0x30, 0));
  const both = { "team/pki/revoke": {}, "team/pki/issuer/default/crl": { crl } };
  expect(await pki(both).revoke(["0a1bff", "07"])).toEqual(Uint8Array.of(0x30, 0));
  expect(asked).toEqual([
    ["POST", "team/pki/revoke", { serial_number: "0a:1b:ff" }],
    ["POST", "team/pki/revoke", { serial_number: "07" }],
    ["GET", "team/pki/issuer/default/crl", null],
  ]);
  expect(await failure(pki({ "team/pki/issuer/default/crl": { crl } }).revoke(["0a"]))).toBe(
    "authority_unavailable upstream: Vault's PKI engine does not know the intermediate 0a, so it cannot be revoked",
  );
  expect(await failure(pki({ "team/pki/revoke": {} }).revoke(["0a"]))).toContain(
    "has returned no revocation list",
  );
  const key = { algorithm: { name: "Ed25519" }, sign: async () => new Uint8Array(64) };
  const question = {
    kind: "intermediate",
    key,
    publicKeyInfo: new Uint8Array(),
    root: null,
    lifetimeMs: 1e9,
  } as const;
  expect(await failure(pki({}).certify(question))).not.toBe("done");
});

test("Vault's chain is put in order up to the root, and without a root it is refused", async () => {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca({ subject: "CN=top" });
  const middle = await forge.ca({ subject: "CN=middle", issuer: root });
  const keys = await forge.keys();
  const ours = await forge.ca({ subject: "CN=ours", issuer: middle, keys });
  const publicKeyInfo = ours.parsed.publicKeyInfo;
  const key = {
    algorithm: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
    sign: async () => new Uint8Array(64).fill(1),
  };
  const asked: unknown[] = [];
  const certify = async (data: VaultData | null, rootsPem: string | null) => {
    const session = {
      request: async (_method: string, path: string, body: VaultData | null = null) => {
        asked.push([path, body?.format, body?.ttl]);
        return data;
      },
    };
    const options = { session, provider, trustDomain, mount: "pki", issuer: null, rootsPem };
    return await new VaultPkiCertifier(options).certify({
      kind: "intermediate",
      key,
      publicKeyInfo,
      root: null,
      lifetimeMs: 1e9,
    });
  };
  const told = { certificate: ours.pem, issuing_ca: middle.pem };
  const expected = {
    kind: "intermediate",
    certificatePem: ours.pem,
    chainPem: `${middle.pem}${root.pem}`,
  } as const;
  expect(await certify({ ...told, ca_chain: [root.pem, middle.pem] }, null)).toEqual(expected);
  expect(await certify(told, root.pem)).toEqual(expected);
  expect(await failure(certify(told, null))).toContain("give the root as a file");
  expect(await failure(certify({}, root.pem))).toContain("has returned no certificate");
  expect(await failure(certify(null, root.pem))).toContain("has no pki/root/sign-intermediate");
  expect(asked.at(-1)).toEqual(["pki/root/sign-intermediate", "pem", "1000000s"]);
  const most = [root.pem, ...new Array(keysLimits.maxVaultChain - 1).fill(middle.pem)];
  expect(await certify({ ...told, ca_chain: most }, null)).toEqual(expected);
  const long = { ...told, ca_chain: new Array(keysLimits.maxVaultChain + 1).fill(middle.pem) };
  expect(await failure(certify(long, null))).toContain("tells a chain of 17 certificates");
});
