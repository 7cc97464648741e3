/**
 * From a request to a chain that may leave: the key is proven, the names are ours to say, and what the signer made of it is
 * checked as a peer would, because a signer may be another program.
 */
import { MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Counter, Histogram, MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import type { Clock } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { publicKeyKind } from "../../pki/crypto/public_key.ts";
import { SignatureVerifier } from "../../pki/crypto/signature.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { checkIssuedChain, readIssuedChain } from "../../pki/trust/issued_chain.ts";
import { type ProvenRequest, proveCertificateRequest } from "../../pki/x509/csr.ts";
import type { AuthoritySource } from "../keys/authority_source.ts";

export interface IssuanceOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  /** Has recorded the serial number, durably, when it returns. */
  readonly signer: Pick<AuthoritySource, "sign">;
  readonly metrics: MetricRegistry;
  /** The longest life of a certificate; longer wishes are cut. */
  readonly maxLifetimeMs: number;
}

export interface IssueRequest {
  readonly csrPem: string;
  readonly proven: ProvenRequest;
  readonly id: SpiffeId;
  readonly lifetimeMs: number;
  /** A node's name, or the SPIFFE ID of a caller that is no node of ours. */
  readonly requestedBy: string;
  /** Takes the place of a host of that name, revoked or not. */
  readonly replaces?: boolean;
}

export interface Issued {
  /**
   * PEM: leaf, intermediates one an item, last the bundle of roots. ztunnel needs two items at least
   * (`fetch_certificate` of `src/identity/caclient.rs`).
   */
  readonly chain: string[];
  readonly serialNumber: string;
  readonly notAfterMs: number;
}

export class Issuance {
  readonly #options: IssuanceOptions;
  readonly #verifier: SignatureVerifier;
  readonly #issued: MetricFamily<"kind", Counter>;
  readonly #duration: Histogram;

  constructor(options: IssuanceOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
    this.#issued = options.metrics.counter("fairlead_control_certificates_issued", "Certificates issued", [
      "kind",
    ]);
    this.#duration = options.metrics
      .histogram(
        "fairlead_control_signing_seconds",
        "From a request that was granted to its certificate",
        [],
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      )
      .with({});
  }

  /**
   * The request's key, which its sender has proven to hold. What else the request says, names and extensions, is not read: the
   * authorized identity is all that a certificate says.
   *
   * @throws MeshError `certificate_malformed`, `certificate_algorithm`, `certificate_signature`; blame peer.
   */
  async prove(csrPem: string): Promise<ProvenRequest> {
    const proven = await proveCertificateRequest(csrPem, this.#verifier);
    // BoringSSL and ztunnel's providers offer no Ed25519 in handshakes: its holder would find out from its peers.
    if (publicKeyKind(proven.publicKeyInfo) === "Ed25519")
      throw new MeshError(
        "certificate_algorithm",
        "peer",
        "an Ed25519 key cannot be used for TLS in the mesh",
      );
    return proven;
  }

  /** @param seconds as asked for, 0 for the default; cut to the bounds. */
  lifetimeMs(seconds: bigint): number {
    const { defaultCertificateMs, minCertificateMs } = identityLimits;
    const { maxLifetimeMs } = this.#options;
    if (seconds <= 0n) return Math.min(defaultCertificateMs, maxLifetimeMs);
    const wantedMs = seconds > BigInt(maxLifetimeMs) / 1000n ? maxLifetimeMs : Number(seconds) * 1000;
    return Math.max(wantedMs, minCertificateMs);
  }

  /** @throws MeshError the signer's; `authority_unavailable`, blame local, for an answer of its that does not hold. */
  async issue(kind: "node" | "workload", request: IssueRequest): Promise<Issued> {
    const { clock, signer } = this.#options;
    const startedAt = clock.now();
    const { csrPem, proven, id, lifetimeMs, requestedBy, replaces = false } = request;
    const { chainPem, rootsPem } = await signer.sign({
      csrPem,
      proven,
      id,
      lifetimeMs,
      requestedBy,
      replaces,
    });
    const issued = readIssuedChain(chainPem.join("\n"), rootsPem);
    const { publicKeyInfo } = proven;
    const usages = ["clientAuth", "serverAuth"] as const;
    try {
      const expected = { publicKeyInfo, id, usages, nowMs: clock.wallMs() };
      await checkIssuedChain(issued, expected, this.#verifier);
    } catch (error) {
      throw unusable(error);
    }
    this.#issued.with({ kind }).add(1);
    this.#duration.observe((clock.now() - startedAt) / 1000);
    return {
      chain: [...issued.certificates.map((one) => encodePem("CERTIFICATE", one.der)), rootsPem],
      serialNumber: issued.leaf.serialNumber,
      notAfterMs: issued.leaf.notAfterMs,
    };
  }
}

/** Whatever is wrong with it is the signer's: the caller's own request was proven before. */
function unusable(error: unknown): MeshError {
  if (error instanceof MeshError && error.code === "identity_unavailable") return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new MeshError("identity_unavailable", "local", `the signer's answer cannot be used: ${reason}`);
}
