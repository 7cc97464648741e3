/**
 * A certificate authority that issues SVIDs, in the profile of istiod's. Its key is in memory, and in its state file alone; or
 * it is elsewhere, and only ever asked to sign.
 */
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Clock } from "../../host/host.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { type LocalSigningKey, readSigningKey, type SigningKey } from "../crypto/private_key.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { decodePemLabel, encodePem } from "../der/pem.ts";
import { parseRoots, TrustAnchors } from "../trust/anchors.ts";
import { checkIssuedChain, readIssuedChain } from "../trust/issued_chain.ts";
import { type Certificate, parseLocalCertificate } from "../x509/certificate.ts";
import { createCertificateRequest, ProvenRequest, proveCertificateRequest } from "../x509/csr.ts";
import { issueRevocationList, type Revocation } from "./crl.ts";
import type { Issuer } from "./issuer.ts";
import { loadAuthority } from "./load_authority.ts";
import { issueSvidCertificate } from "./svid.ts";

export interface SigningRequest {
  readonly csrPem: string;
  /** The same request, when its key was proven already; it is proven here otherwise. */
  readonly proven?: ProvenRequest;
  /** What the certificate will say; whoever calls has decided that the sender may have it. */
  readonly id: SpiffeId;
  /** Wanted validity from now; cut to the CA's bounds. */
  readonly lifetimeMs: number;
}

export interface SigningResponse {
  /** Leaf first, then intermediates, one certificate an entry; never a root. */
  readonly chainPem: readonly string[];
  /** One or more roots. */
  readonly rootsPem: string;
}

/** Whoever makes SVIDs out of requests: our own CA, or istiod's through a client. */
export interface CertificateSigner {
  /** @throws MeshError with the reason; blame peer for a bad request, local for a signer that cannot sign. */
  sign(request: SigningRequest): Promise<SigningResponse>;
}

/** What is public of a CA, as PEM text. */
export interface AuthorityCertificates {
  readonly certificatePem: string;
  /** Intermediates between the CA and its root, nearest first; empty when there are none. */
  readonly chainPem: string;
  /** One or more roots. */
  readonly rootsPem: string;
}

/** A CA as PEM text. */
export interface AuthorityPem extends AuthorityCertificates {
  /** PKCS#8, SEC 1 or PKCS#1. */
  readonly privateKeyPem: string;
}

export interface AuthorityOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  readonly trustDomain: string;
}

export class CertificateAuthority implements CertificateSigner {
  readonly rootsPem: string;
  readonly certificate: Certificate;
  /** For what is issued besides SVIDs. */
  readonly issuer: Issuer;
  /** The CA itself when it is no root, then what is above it; never a root. */
  readonly sentPem: readonly string[];
  readonly #options: AuthorityOptions;
  readonly #intermediates: readonly Certificate[];
  readonly #verifier: SignatureVerifier;

  private constructor(
    options: AuthorityOptions,
    certificate: Certificate,
    key: SigningKey,
    intermediates: readonly Certificate[],
    rootsPem: string,
  ) {
    this.rootsPem = rootsPem;
    this.certificate = certificate;
    this.#options = options;
    this.issuer = { certificate, key, provider: options.provider };
    this.#intermediates = intermediates;
    const isRoot = parseRoots(rootsPem).some((root) => root.authorityKey === certificate.authorityKey);
    this.sentPem = isRoot
      ? []
      : [certificate, ...intermediates].map((one) => encodePem("CERTIFICATE", one.der));
    this.#verifier = new SignatureVerifier(options.provider);
  }

  /** A new self-signed root, ECDSA P-256, ten years. */
  static async create(options: AuthorityOptions): Promise<CertificateAuthority> {
    const { createSelfSignedRoot } = await loadAuthority();
    const { certificate, key } = await createSelfSignedRoot(
      options.provider,
      options.trustDomain,
      options.clock.wallMs(),
    );
    return new CertificateAuthority(options, certificate, key, [], encodePem("CERTIFICATE", certificate.der));
  }

  /**
   * A CA that exists: self-signed or an intermediate. Everything about it is checked now rather than by its first peer.
   *
   * @throws MeshError `configuration`, blame local.
   */
  static async load(
    options: AuthorityOptions & { readonly pem: AuthorityPem },
  ): Promise<CertificateAuthority> {
    const key = await readSigningKey(options.pem.privateKeyPem, options.provider);
    return await CertificateAuthority.withKey({ ...options, pem: options.pem, key });
  }

  /**
   * A CA whose key is wherever it is. Signs once, to find out whether it is the certificate's.
   *
   * @throws MeshError `configuration`, blame local; `authority_unavailable` for a key that cannot be reached.
   */
  static async withKey(
    options: AuthorityOptions & { readonly pem: AuthorityCertificates; readonly key: SigningKey },
  ): Promise<CertificateAuthority> {
    const { pem, key } = options;
    // What follows the CA's own certificate is its chain, as cert-manager and Vault write them into one file.
    const [der, ...above] = certificatesIn(pem.certificatePem);
    if (der === undefined) throw bad("it has no certificate");
    const certificate = parseLocalCertificate(der, "the certificate of the CA");
    const roots = parseRoots(pem.rootsPem);
    const anchors = new TrustAnchors(roots);
    const presented = [...above, ...certificatesIn(pem.chainPem)].map((one) =>
      parseLocalCertificate(one, "the certificate chain of the CA"),
    );
    // Istio's cert-chain.pem may repeat the CA itself and end in the root; an SVID's chain holds none twice.
    const intermediates = new TrustAnchors(presented).certificates.filter(
      (one) => !anchors.has(one) && one.authorityKey !== certificate.authorityKey,
    );
    const authority = new CertificateAuthority(options, certificate, key, intermediates, pem.rootsPem);
    try {
      await authority.#check(options.trustDomain);
    } catch (error) {
      // Found out by the check itself, or by a peer's rules.
      const isFinding = error instanceof MeshError && !ownFindings.includes(error.code);
      throw isFinding ? bad(error.message, error) : error;
    }
    return authority;
  }

  /** What `load` takes: for the state directory alone. */
  exportPem(): AuthorityPem {
    const { key } = this.issuer;
    assert(isLocal(key), "a CA whose key is elsewhere cannot be exported");
    return {
      certificatePem: encodePem("CERTIFICATE", this.certificate.der),
      privateKeyPem: encodePem("PRIVATE KEY", key.pkcs8),
      chainPem: this.#intermediates.map((one) => encodePem("CERTIFICATE", one.der)).join(""),
      rootsPem: this.rootsPem,
    };
  }

  /**
   * Issues a certificate for the request's key, once its sender has proven to hold it, and for `id`, whatever the request says.
   *
   * @throws MeshError blame peer: `certificate_malformed`, `certificate_algorithm`, `certificate_signature`; blame local:
   *   `certificate_expired` when the CA's own certificate is not valid now.
   */
  async sign(request: SigningRequest): Promise<SigningResponse> {
    const { publicKeyInfo } = await this.#prove(request);
    const nowMs = this.#options.clock.wallMs();
    const { notBeforeMs, notAfterMs } = this.certificate;
    if (nowMs < notBeforeMs || nowMs >= notAfterMs) {
      throw new MeshError("certificate_expired", "local", "the CA's own certificate is not valid now");
    }
    const lifetimeMs = Math.min(Math.max(request.lifetimeMs, 1000), pkiLimits.maxSvidLifetimeMs);
    const validity = {
      notBeforeMs: Math.max(nowMs - pkiLimits.backdateMs, notBeforeMs),
      notAfterMs: Math.min(nowMs + lifetimeMs, notAfterMs),
    };
    const leaf = await issueSvidCertificate(this.issuer, { id: request.id, publicKeyInfo, ...validity });
    return { chainPem: [leaf, ...this.sentPem], rootsPem: this.rootsPem };
  }

  async #prove({ csrPem, proven }: SigningRequest): Promise<ProvenRequest> {
    return ProvenRequest.isGenuine(proven) ? proven : await proveCertificateRequest(csrPem, this.#verifier);
  }

  /** A revocation list of this CA in DER. `number` must grow with each list. */
  async revocationList(
    revoked: readonly Revocation[],
    number: bigint,
    nextUpdateMs: number,
  ): Promise<Uint8Array> {
    return await issueRevocationList(
      this.issuer,
      {
        revoked,
        number,
        thisUpdateMs: this.#options.clock.wallMs(),
        nextUpdateMs,
      },
      this.#options.clock,
    );
  }

  /** Issues an SVID that no workload gets, and verifies it as a peer would: key, chain, dates, path lengths, usages, name constraints. */
  async #check(trustDomain: string): Promise<void> {
    const id = new SpiffeId(trustDomain, "fairlead", "self-test");
    const { csrPem } = await createCertificateRequest(this.#options.provider, id);
    const proven = await proveCertificateRequest(csrPem, this.#verifier);
    const { chainPem, rootsPem } = await this.sign({ csrPem, proven, id, lifetimeMs: 60_000 });
    const issued = readIssuedChain(chainPem.join(""), rootsPem);
    if (!(await this.#verifier.verify(issued.leaf, this.certificate)))
      throw bad("its private key is not its certificate's");
    const { publicKeyInfo } = proven;
    const nowMs = this.#options.clock.wallMs();
    const usages = ["clientAuth", "serverAuth"] as const;
    await checkIssuedChain(issued, { publicKeyInfo, id, usages, nowMs }, this.#verifier);
  }
}

function isLocal(key: SigningKey): key is LocalSigningKey {
  return "pkcs8" in key;
}

function certificatesIn(pem: string): readonly Uint8Array[] {
  try {
    return decodePemLabel(pem, "CERTIFICATE");
  } catch (error) {
    throw bad(error instanceof Error ? error.message : String(error));
  }
}

const ownFindings = ["configuration", "authority_unavailable"];

function bad(message: string, cause?: MeshError): MeshError {
  return new MeshError("configuration", "local", `the CA cannot be used: ${message}`, { cause });
}
