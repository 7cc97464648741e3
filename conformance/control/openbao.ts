/**
 * Where the CA's keys live, on a real OpenBao: an intermediate that its PKI engine certifies, keys that never leave its transit
 * engine, AppRole, tokens that end, and what happens while it is away. What is issued is judged by our own path validation and
 * by OpenSSL.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { asMeshError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { OwnCertifier } from "../../src/control/keys/authority_certificate.ts";
import { type KeyPlace, SealedKeys } from "../../src/control/keys/key_place.ts";
import { MeshAuthority } from "../../src/control/keys/mesh_authority.ts";
import { StateAuthorities, type StateAuthorityOptions } from "../../src/control/keys/state_authorities.ts";
import { MemoryRecords } from "../../src/control/keys/testing/memory_records.ts";
import { VaultPkiCertifier } from "../../src/control/keys/vault_pki.ts";
import { VaultSession } from "../../src/control/keys/vault_session.ts";
import type { VaultAuth } from "../../src/control/keys/vault_token.ts";
import { TransitKeys } from "../../src/control/keys/vault_transit.ts";
import { Rotation } from "../../src/control/rotation/rotation.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { importKeyEncryptionKey, KeyVault } from "../../src/pki/crypto/at_rest.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { decodePemLabel, encodePem } from "../../src/pki/der/pem.ts";
import { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import { createCertificateRequest } from "../../src/pki/x509/csr.ts";
import { scratchDirectory } from "../peer/lab/cleanup.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import type { Tally } from "../peer/tally.ts";
import { BaoServer, findBao, run } from "./bao_server.ts";
import { freePort } from "./free_port.ts";

const trustDomain = "cluster.local";
const cart = new SpiffeId(trustDomain, "shop", "cart");
const host = createBunHost();
const provider = runtimeProvider();

export async function openbaoSuite(tally: Tally): Promise<void> {
  const found = findBao();
  if ("missing" in found) {
    tally.skip("OpenBao", found.missing);
    return;
  }
  if (Bun.which("openssl") === null) {
    tally.skip("OpenBao", "openssl is not installed");
    return;
  }
  const lab = new OpenBaoLab(tally, found.path);
  try {
    await lab.run();
  } catch (error) {
    tally.fail("OpenBao", error instanceof Error ? error.message : String(error));
  } finally {
    await lab.close();
  }
}

interface Mesh {
  readonly records: MemoryRecords;
  readonly authorities: StateAuthorities;
  readonly mesh: MeshAuthority;
}

interface Leaf {
  readonly chainPem: readonly string[];
  readonly rootsPem: string;
}

class OpenBaoLab {
  readonly #tally: Tally;
  readonly #directory = scratchDirectory("openbao");
  readonly #server: BaoServer;
  readonly #closers: (() => void)[] = [];

  constructor(tally: Tally, path: string) {
    this.#tally = tally;
    this.#server = new BaoServer(path, this.#directory, freePort(), freePort());
  }

  async run(): Promise<void> {
    await this.#server.start();
    await this.#prepareServer();
    await this.#check("a server with another root is not spoken to", () => this.#wrongRoot());
    const certifier = this.#pki(this.#session(this.#rootAuth()));
    const pki = await this.#open({ certifier, firstKind: "intermediate" });
    await this.#check("PKI: an intermediate of its root issues", () => this.#verifies(pki, 2));
    await this.#check("PKI: a next intermediate has the same root", () => this.#nextIntermediate(pki));
    await this.#check(
      "PKI: an intermediate that is rotated is revoked there, and its list is published",
      () => this.#replaced(pki),
    );
    await this.#check("PKI: a mount that is not there is a clear refusal", () => this.#absentMount());
    const appRole = this.#session(await this.#appRole("mesh", "2s", "6s"));
    const transit = await this.#open({ places: [this.#transit(appRole, "transit", "mesh-ca")] });
    await this.#check("transit by AppRole: its key issues", () => this.#verifies(transit, 2));
    await this.#check("transit: a revocation list holds by OpenSSL", () => this.#listHolds(transit));
    await this.#check("transit: a rotation in it changes nothing for a CA that is there", () =>
      this.#rotated(transit),
    );
    await this.#check("tokens are renewed, and replaced at the end of their life", () =>
      this.#tokensEnd(transit),
    );
    await this.#check("tokens that were revoked are replaced", () => this.#tokensRevoked(transit));
    await this.#check("a role that may not is a clear refusal", () => this.#forbidden());
    await this.#check("name spaces are kept apart", () => this.#namespaces());
    await this.#check("away: keys here go on, keys there fail clearly and in time", () =>
      this.#away(pki, transit),
    );
    await this.#check("sealed: says so; unsealed: issues again without a restart", () =>
      this.#sealed(transit),
    );
  }

  async close(): Promise<void> {
    for (const close of this.#closers) close();
    await this.#server.kill();
  }

  /** @param work returns what is wrong, or null. */
  async #check(name: string, work: () => Promise<string | null>): Promise<void> {
    const problem = await work().catch((error) =>
      error instanceof Error ? `${error.message}` : String(error),
    );
    this.#tally.check(`OpenBao: ${name}`, problem);
  }

  async #prepareServer(): Promise<void> {
    const bao = this.#server;
    await bao.ask("POST", "sys/mounts/pki", { type: "pki", config: { max_lease_ttl: "87600h" } });
    await bao.ask("POST", "pki/root/generate/internal", {
      common_name: "bao root",
      ttl: "80000h",
      key_type: "ec",
      key_bits: 256,
    });
    await bao.ask("POST", "sys/mounts/transit", { type: "transit" });
    await bao.ask("POST", "sys/auth/approle", { type: "approle" });
    const policy =
      'path "transit/keys/mesh-ca*" { capabilities = ["create", "update", "read"] }\npath "transit/sign/mesh-ca/*" { capabilities = ["update"] }';
    await bao.ask("POST", "sys/policies/acl/mesh", { policy });
    await bao.ask("POST", "sys/policies/acl/nothing", {
      policy: 'path "cubbyhole/*" { capabilities = ["read"] }',
    });
  }

  async #appRole(policy: string, ttl: string, maxTtl: string): Promise<VaultAuth> {
    const bao = this.#server;
    const path = `auth/approle/role/${policy}`;
    await bao.ask("POST", path, { token_policies: [policy], token_ttl: ttl, token_max_ttl: maxTtl });
    const role = await bao.ask("GET", `${path}/role-id`);
    const secret = await bao.ask("POST", `${path}/secret-id`);
    const file = join(this.#directory, `${policy}-secret`);
    writeFileSync(file, `${String((secret.data as Record<string, unknown>).secret_id)}\n`);
    const roleId = String((role.data as Record<string, unknown>).role_id);
    return { kind: "approle", mount: "approle", roleId, secretId: { kind: "file", path: file } };
  }

  #rootAuth(): VaultAuth {
    return { kind: "token", token: { kind: "value", value: this.#server.rootToken } };
  }

  #session(
    auth: VaultAuth,
    namespace: string | null = null,
    trustedRootsPem = this.#server.rootPem,
  ): VaultSession {
    const { clock, random, files, http } = host;
    const address = { url: this.#server.url, namespace, trustedRootsPem };
    const session = new VaultSession({ clock, random, files, http, logger: silentLogger, address, auth });
    this.#closers.push(() => session.close());
    return session;
  }

  #pki(session: VaultSession, mount = "pki"): VaultPkiCertifier {
    return new VaultPkiCertifier({
      session,
      provider,
      trustDomain,
      mount,
      issuer: null,
      rootsPem: null,
    });
  }

  #transit(session: VaultSession, mount: string, keyName: string): KeyPlace {
    return new TransitKeys({ session, provider, mount, keyName });
  }

  async #open(given: Partial<StateAuthorityOptions>): Promise<Mesh> {
    const records = new MemoryRecords();
    const { clock } = host;
    const common = { clock, provider, trustDomain, logger: silentLogger };
    const key = await importKeyEncryptionKey(crypto.getRandomValues(new Uint8Array(32)), "the lab", provider);
    const authorities = await StateAuthorities.open({
      ...common,
      records: records.authorities,
      places: [new SealedKeys(new KeyVault(provider, key), provider)],
      certifier: new OwnCertifier(common),
      firstKind: "root",
      ...given,
    });
    const { certifier } = given;
    const outside = certifier instanceof VaultPkiCertifier ? certifier : null;
    const mesh = await MeshAuthority.open({ ...common, records, authorities: authorities.view, outside });
    this.#closers.push(
      () => mesh.close(),
      () => authorities.close(),
    );
    return { records, authorities, mesh };
  }

  async #issue({ mesh }: Mesh): Promise<Leaf> {
    const { csrPem } = await createCertificateRequest(provider, cart);
    return await mesh.sign({ csrPem, id: cart, lifetimeMs: 3_600_000 });
  }

  async #verifies(mesh: Mesh, length: number): Promise<string | null> {
    const leaf = await this.#issue(mesh);
    if (leaf.chainPem.length !== length) return `a chain of ${leaf.chainPem.length}`;
    const trust = new TrustVerifier({ clock: host.clock, provider, trustDomain });
    trust.setRoots(leaf.rootsPem);
    const chain = leaf.chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
    const peer = await trust.verify(chain, { usage: "clientAuth", identities: [cart] });
    const path = (name: string, text: string): string => {
      writeFileSync(join(this.#directory, name), text);
      return join(this.#directory, name);
    };
    const [own = "", ...above] = leaf.chainPem;
    const intermediates = above.length === 0 ? [] : ["-untrusted", path("above.pem", above.join(""))];
    const said = run(
      "openssl",
      "verify",
      "-x509_strict",
      "-purpose",
      "sslclient",
      "-CAfile",
      path("roots.pem", leaf.rootsPem),
      ...intermediates,
      path("leaf.pem", own),
    );
    if (!said.includes(": OK")) return said;
    const purpose = run("openssl", "x509", "-in", path("leaf.pem", own), "-noout", "-ext", "subjectAltName");
    return purpose.includes(cart.uri) && peer.id.equals(cart) ? null : purpose;
  }

  async #wrongRoot(): Promise<string | null> {
    const other = scratchDirectory("openbao-other");
    const stranger = new BaoServer("", other, 1, 2).rootPem;
    const outcome = await failure(
      this.#session(this.#rootAuth(), null, stranger).request("GET", "sys/mounts", null, 500),
    );
    return outcome.startsWith("authority_unavailable upstream") ? null : outcome;
  }

  async #nextIntermediate({ authorities, mesh }: Mesh): Promise<string | null> {
    const before = mesh.authorities.value;
    await authorities.prepare("intermediate");
    const after = mesh.authorities.value;
    if (after.rootsPem !== before.rootsPem) return "the roots changed";
    return after.authorities.length === 2 ? null : `${after.authorities.length} authorities`;
  }

  async #replaced(pki: Mesh): Promise<string | null> {
    const stolen = pki.mesh.authorities.value.active?.ca;
    const knowledge = { nodes: () => [], acknowledged: () => new Map<string, string>() };
    const { clock } = host;
    const rotation = new Rotation({ clock, logger: silentLogger, ...pki, knowledge });
    this.#closers.push(() => rotation.close());
    rotation.abort();
    await rotation.start("intermediate");
    await this.#issue(pki);
    rotation.advance();
    await pki.mesh.publish();
    if (pki.mesh.pendingRevocation !== null) return pki.mesh.pendingRevocation;
    const trust = new TrustVerifier({ clock, provider, trustDomain });
    trust.setRoots(pki.mesh.bundle.value.rootsPem);
    await trust.setCrls(pki.mesh.bundle.value.crls.map((bytes) => ({ name: "list", bytes })));
    const believed = async ({ chainPem }: Pick<Leaf, "chainPem">): Promise<string> =>
      await failure(
        trust.verify(
          chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE")),
          { usage: "clientAuth", identities: [cart] },
        ),
      );
    const { csrPem } = await createCertificateRequest(provider, cart);
    const forged = await stolen?.sign({ csrPem, id: cart, lifetimeMs: 3_600_000 });
    if (forged === undefined) return "there was no authority";
    const outcome = await believed(forged);
    if (!outcome.includes("is revoked")) return outcome;
    const now = await believed(await this.#issue(pki));
    return now === "it succeeded" ? null : now;
  }

  async #absentMount(): Promise<string | null> {
    const certifier = this.#pki(this.#session(this.#rootAuth()), "no-such-mount");
    const outcome = await failure(this.#open({ certifier }));
    return /^authority_unavailable .*no-such-mount/.test(outcome) ? null : outcome;
  }

  async #listHolds({ mesh }: Mesh): Promise<string | null> {
    await mesh.revoke({ kind: "serial", serialNumber: "0badc0de" }, "", "lab");
    const [der = new Uint8Array()] = mesh.bundle.value.crls;
    const list = join(this.#directory, "list.pem");
    const roots = join(this.#directory, "list-roots.pem");
    writeFileSync(list, encodePem("X509 CRL", der));
    writeFileSync(roots, mesh.bundle.value.rootsPem);
    const text = run("openssl", "crl", "-in", list, "-CAfile", roots, "-noout", "-text", "-verify");
    return text.includes("0BADC0DE") ? null : text;
  }

  async #rotated(mesh: Mesh): Promise<string | null> {
    await this.#server.ask("POST", "transit/keys/mesh-ca/rotate", {});
    return await this.#verifies(mesh, 2);
  }

  /** Their lease is 2 s and their whole life 6 s. */
  async #tokensEnd(mesh: Mesh): Promise<string | null> {
    for (let second = 0; second < 9; second++) {
      await this.#issue(mesh);
      await Bun.sleep(1_000);
    }
    return null;
  }

  async #tokensRevoked(mesh: Mesh): Promise<string | null> {
    await this.#server.ask("POST", "sys/leases/revoke-prefix/auth/approle/login", {});
    return await this.#verifies(mesh, 2);
  }

  async #forbidden(): Promise<string | null> {
    const session = this.#session(await this.#appRole("nothing", "1m", "1m"));
    const outcome = await failure(this.#open({ places: [this.#transit(session, "transit", "mesh-ca")] }));
    return /^authority_unavailable local: .*permission denied/.test(outcome) ? null : outcome;
  }

  async #namespaces(): Promise<string | null> {
    await this.#server.ask("POST", "sys/namespaces/team", {});
    await this.#server.ask("POST", "sys/mounts/transit", { type: "transit" }, "team");
    const mesh = await this.#open({
      places: [this.#transit(this.#session(this.#rootAuth(), "team"), "transit", "team-ca")],
    });
    const problem = await this.#verifies(mesh, 2);
    const elsewhere = await failure(this.#server.ask("GET", "transit/keys/team-ca"));
    return elsewhere.includes("404") ? problem : `the key stands outside the name space: ${elsewhere}`;
  }

  async #away(pki: Mesh, transit: Mesh): Promise<string | null> {
    await this.#server.kill();
    const problem = await this.#verifies(pki, 2);
    if (problem !== null) return problem;
    const outcome = await failure(this.#issue(transit));
    const revoked = await transit.mesh.revoke({ kind: "serial", serialNumber: "0c0ffee0" }, "", "lab");
    if (revoked.pending === null) return "a list was signed without its key";
    return outcome.startsWith("authority_unavailable upstream: Vault at") ? null : outcome;
  }

  async #sealed(transit: Mesh): Promise<string | null> {
    await this.#server.start(false);
    const outcome = await failure(this.#issue(transit));
    if (!/^authority_unavailable upstream: .*sealed/.test(outcome)) return outcome;
    const waiting = this.#issue(transit);
    await this.#server.unseal();
    await waiting;
    if (!(await comesTrue(() => transit.mesh.pendingRevocation === null)))
      return `the list still waits: ${transit.mesh.pendingRevocation}`;
    return await this.#verifies(transit, 2);
  }
}

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "it succeeded",
    (thrown) => {
      const { code, blame, message } = asMeshError(thrown, "io", "local");
      return `${code} ${blame}: ${message}`;
    },
  );
}
