/** The product's own Unix socket for local programs, on the real host, with a CA beside it: what the suites here call. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { type ServedWorkloadApi, serveWorkloadApi } from "../../../src/agent/workload_api/serve.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { WatchSource } from "../../../src/base/watch.ts";
import type { AuditEntry } from "../../../src/control/records/audit.ts";
import { createBunHost } from "../../../src/host/bun/host.ts";
import type { Host } from "../../../src/host/host.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { parseIdentityRule } from "../../../src/mesh/identity_rule.ts";
import { runtimeProvider } from "../../../src/pki/crypto/provider.ts";
import { CertificateAuthority } from "../../../src/pki/issue/ca.ts";
import { issueRevocationList } from "../../../src/pki/issue/crl.ts";
import { SecretManager } from "../../../src/pki/svid/secrets.ts";
import type { Svid } from "../../../src/pki/svid/svid.ts";
import type { TrustBundle } from "../../../src/pki/trust/trust_bundle.ts";
import { TrustVerifier } from "../../../src/pki/trust/verifier.ts";
import { eventually } from "../../peer/lab/eventually.ts";

const trustDomain = "cluster.local";
export const cart = new SpiffeId(trustDomain, "shop", "cart");
export const web = new SpiffeId(trustDomain, "shop", "web");
const lifetimeMs = 24 * 3_600_000;

export class IdentitySocket {
  readonly path: string;
  readonly audit: AuditEntry[] = [];
  readonly api: ServedWorkloadApi;
  readonly secrets: SecretManager;
  readonly trust: TrustVerifier;
  readonly bundle: WatchSource<TrustBundle>;
  readonly #host: Host;
  readonly #authority: CertificateAuthority;
  #listNumber = 0n;

  private constructor(host: Host, authority: CertificateAuthority, path: string, rules: readonly string[]) {
    this.path = path;
    this.#host = host;
    this.#authority = authority;
    const { clock, random } = host;
    const provider = runtimeProvider();
    this.trust = new TrustVerifier({ clock, provider, trustDomain });
    this.secrets = new SecretManager({
      ...{ clock, random, provider, lifetimeMs },
      signer: authority,
      trust: this.trust,
      logger: silentLogger,
    });
    this.bundle = new WatchSource<TrustBundle>({ rootsPem: authority.rootsPem, crls: [] });
    this.api = serveWorkloadApi({
      ...{ host, path, trustDomain, secrets: this.secrets, bundle: this.bundle },
      logger: silentLogger,
      rules: rules.map(readRule),
      audit: { append: (entry) => void this.audit.push(entry) },
    });
  }

  /** @param directory is opened for other users to pass through. */
  static async open(directory: string, rules: readonly string[]): Promise<IdentitySocket> {
    chmodSync(directory, 0o711);
    const host = createBunHost();
    const authority = await newAuthority(host);
    return new IdentitySocket(host, authority, join(directory, "identity.sock"), rules);
  }

  /** A new certificate and key, before the old one is due. */
  async rotate(id: SpiffeId): Promise<Svid> {
    this.secrets.release(id);
    return await this.secrets.svid(id);
  }

  /** A CA that is not the mesh's, or not yet. */
  async foreignAuthority(): Promise<CertificateAuthority> {
    return await newAuthority(this.#host);
  }

  /** An SVID of another CA, with all that `SecretManager` does for one. */
  async svidOf(authority: CertificateAuthority, id: SpiffeId): Promise<Svid> {
    const { clock, random } = this.#host;
    const provider = runtimeProvider();
    const trust = new TrustVerifier({ clock, provider, trustDomain });
    const logger = silentLogger;
    const secrets = new SecretManager({
      clock,
      random,
      provider,
      lifetimeMs,
      signer: authority,
      trust,
      logger,
    });
    const svid = await secrets.svid(id);
    secrets.close();
    return svid;
  }

  /** The list of our CA, or of another, in DER, with these on it. */
  async revocationList(serialNumbers: readonly string[], authority = this.#authority): Promise<Uint8Array> {
    const nowMs = this.#host.clock.wallMs();
    this.#listNumber++;
    return await issueRevocationList(
      authority.issuer,
      {
        revoked: serialNumbers.map((serialNumber) => ({
          serialNumber,
          revokedAtMs: nowMs,
          reason: "privilegeWithdrawn",
        })),
        number: this.#listNumber,
        thisUpdateMs: nowMs - 1_000,
        nextUpdateMs: nowMs + lifetimeMs,
      },
      this.#host.clock,
    );
  }

  close(): void {
    this.api.close();
    this.secrets.close();
  }
}

async function newAuthority(host: Host): Promise<CertificateAuthority> {
  return await CertificateAuthority.create({ clock: host.clock, provider: runtimeProvider(), trustDomain });
}

function readRule(text: string) {
  const rule = parseIdentityRule(text, trustDomain);
  if (typeof rule === "string") throw new Error(rule);
  return rule;
}

/** @throws Error when it hangs. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  await eventually(what, condition);
}
