/**
 * Whether a server really is the control plane that was dialled: its name, a path to a root we have or to the root that
 * was pinned, validity, usage. It says no when anything is in doubt; before it has said yes nothing is sent.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { Clock } from "../../host/host.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { encodePem } from "../der/pem.ts";
import { type Certificate, isSelfIssued, parseCertificate } from "../x509/certificate.ts";
import { parseRoots, TrustAnchors } from "./anchors.ts";
import { validatePath } from "./path.ts";
import { checkPresented } from "./peer_expectation.ts";
import { type KeyPin, keyPin } from "./pin.ts";
import { type CrlSource, RevocationLists } from "./revocation.ts";
import { hasUri, isServerFor, isUri, serverNames } from "./server_name.ts";

/** What a server's chain must lead to. */
export type ServerTrust =
  /** One or more roots in PEM. */
  | { readonly kind: "roots"; readonly rootsPem: () => string }
  /** A root whose key has this pin, presented by the server itself. */
  | { readonly kind: "pin"; readonly pin: KeyPin };

export interface ServerCertificateOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  /** As dialled. */
  readonly host: string;
  /** Accepted as well, as ztunnel's ALT_XDS_HOSTNAME and ALT_CA_HOSTNAME are: for servers dialled by an address they have no name for. */
  readonly alternativeHosts: readonly string[];
  readonly trust: ServerTrust;
  /** What it should be, for people; the control plane when left out. */
  readonly role?: string;
  /** In place of `host`: DNS names, addresses or URIs, of which its certificate must have one. */
  readonly names?: readonly string[];
  /** Each certificate of its chain must be covered by one of these, and not be on it. Left out: revocation is not looked at. */
  readonly revocationLists?: CrlSource;
}

export interface VerifiedServer {
  /** The root it led to, in PEM: what a host that joined by a pin keeps. */
  readonly rootPem: string;
  readonly serialNumber: string;
  readonly notAfterMs: number;
}

export class ServerCertificateVerifier {
  readonly #options: ServerCertificateOptions;
  readonly #verifier: SignatureVerifier;

  constructor(options: ServerCertificateOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
  }

  /**
   * @param chain DER, leaf first, as presented.
   * @throws MeshError `certificate_*`, blame upstream; `configuration`, blame local, for roots that cannot be used.
   */
  async verify(chain: readonly Uint8Array[]): Promise<VerifiedServer> {
    try {
      return await this.#verify(chain);
    } catch (error) {
      const { code, blame, message } = asMeshError(error, "certificate_malformed", "peer");
      const advice = code === "certificate_not_yet_valid" ? this.#clockAdvice() : "";
      throw new MeshError(
        code,
        blame === "peer" ? "upstream" : blame,
        `${this.#options.host} is not trusted as ${this.#options.role ?? "the control plane"}: ${message}${advice}`,
        { cause: error },
      );
    }
  }

  async #verify(chain: readonly Uint8Array[]): Promise<VerifiedServer> {
    checkPresented(chain);
    const [leaf, ...others] = chain.map(parseCertificate);
    if (leaf === undefined) throw new MeshError("certificate_missing", "peer", "it presented no certificate");
    const anchors = await this.#anchors(others);
    const nowMs = this.#options.clock.wallMs();
    const { certificates } = await validatePath(
      { leaf, intermediates: others, anchors, usage: "serverAuth", nowMs },
      this.#verifier,
    );
    const { host, alternativeHosts, names = [host, ...alternativeHosts] } = this.#options;
    if (!names.some((name) => (isUri(name) ? hasUri(leaf, name) : isServerFor(leaf, name))))
      throw new MeshError("certificate_unexpected", "peer", `its certificate is for: ${serverNames(leaf)}`);
    if (this.#options.revocationLists !== undefined)
      await this.#checkRevocation(certificates, this.#options.revocationLists, nowMs);
    const root = certificates[certificates.length - 1] ?? leaf;
    return {
      rootPem: encodePem("CERTIFICATE", root.der),
      serialNumber: leaf.serialNumber,
      notAfterMs: Math.min(...certificates.map((one) => one.notAfterMs)),
    };
  }

  /** As OpenSSL with X509_V_FLAG_CRL_CHECK_ALL, which Envoy sets: a certificate that no list covers is not believed. */
  async #checkRevocation(
    certificates: readonly Certificate[],
    source: CrlSource,
    nowMs: number,
  ): Promise<void> {
    const lists = new RevocationLists(this.#verifier);
    await lists.replace([source], certificates.slice(1));
    for (const [at, issuer] of certificates.slice(1).entries()) {
      const { serialNumber } = certificates[at] ?? issuer;
      const { authorityKey, subject } = issuer;
      const finding = lists.look({ authorityKey, issuer: subject, serialNumber }, nowMs);
      if (finding === "good") continue;
      const isKnown = finding === "revoked";
      throw new MeshError(
        isKnown ? "certificate_revoked" : "certificate_revocation_unknown",
        "peer",
        isKnown
          ? `the certificate with serial ${serialNumber} is revoked`
          : `no fresh revocation list in ${source.name} covers the certificate with serial ${serialNumber}`,
      );
    }
  }

  async #anchors(presented: readonly Certificate[]): Promise<TrustAnchors> {
    const { trust } = this.#options;
    if (trust.kind === "roots") return new TrustAnchors(parseRoots(trust.rootsPem()));
    for (const certificate of presented)
      if (await this.#isPinned(certificate, trust.pin)) return new TrustAnchors([certificate]);
    throw new MeshError(
      "certificate_untrusted",
      "peer",
      `it presented no root with the pin ${trust.pin.text}`,
    );
  }

  /**
   * A public key is no secret: anybody can put the pinned one into a certificate of his own, with rules of his own. Only
   * its holder can have signed the certificate with it.
   */
  async #isPinned(certificate: Certificate, pin: KeyPin): Promise<boolean> {
    if ((await keyPin(certificate, this.#options.provider)).text !== pin.text) return false;
    const isRoot =
      certificate.extensions.basicConstraints?.isCa === true &&
      certificate.hasSubject &&
      isSelfIssued(certificate);
    return isRoot && (await this.#verifier.verify(certificate, certificate));
  }

  #clockAdvice(): string {
    const now = new Date(this.#options.clock.wallMs()).toISOString();
    return `; this host's clock says ${now}: if that is wrong, set it`;
  }
}
