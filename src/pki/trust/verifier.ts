/**
 * Who may be believed. Every peer is verified here, on both sides of a connection, before a byte is read or written:
 * the TLS library only proves that the peer holds its leaf's key.
 */

import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { encodePem } from "../der/pem.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { parseRoots, TrustAnchors } from "./anchors.ts";
import { leafIdentity } from "./leaf_identity.ts";
import { type CertificationPath, validatePath } from "./path.ts";
import { checkExpected, checkPresented, checkTrustDomain, type PeerExpectation } from "./peer_expectation.ts";
import { type CrlSource, type CrlStatus, type IssuedCertificate, RevocationLists } from "./revocation.ts";
import { ChainMap, type PresentedChain, VerifiedChains } from "./verified_chains.ts";

export interface TrustOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  readonly trustDomain: string;
  /** Refuse a peer whose issuer has no revocation list in force that is fresh. Istio does not: unknown is accepted. */
  readonly crlRequired?: boolean;
}

const mintKey = Symbol("verified peer");

/** Proof that a peer was verified. It cannot be made outside this file. */
export class VerifiedPeer {
  readonly id: SpiffeId;
  /** Of the leaf; lower case hexadecimal. */
  readonly serialNumber: string;
  /** When the first certificate of the path begins, or ends, to be invalid: milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** The leaf's issuer, for people. */
  readonly issuer: string;
  /** Every certificate of the path but the anchor. */
  readonly issued: readonly IssuedCertificate[];
  /** The anchor's name and key. */
  readonly anchor: string;
  readonly #proof: typeof mintKey;

  constructor(key: typeof mintKey, id: SpiffeId, path: CertificationPath) {
    if (key !== mintKey) throw new TypeError("a VerifiedPeer is made by pki/trust alone");
    this.#proof = key;
    const [leaf, ...issuers] = path.certificates;
    this.id = id;
    this.serialNumber = leaf.serialNumber;
    this.notBeforeMs = Math.max(...path.certificates.map((one) => one.notBeforeMs));
    // A certificate is valid to the end of the second it names.
    this.notAfterMs = Math.min(...path.certificates.map((one) => one.notAfterMs)) + 999;
    this.issuer = leaf.issuerText;
    this.issued = issuers.map((issuer, index) => issuedBy(issuer, path.certificates[index] ?? leaf));
    this.anchor = issuers[issuers.length - 1]?.authorityKey ?? "";
  }

  /** Whether this really is a VerifiedPeer, not an object that looks like one. */
  static isGenuine(value: unknown): value is VerifiedPeer {
    return typeof value === "object" && value !== null && #proof in value;
  }
}

export class TrustVerifier {
  readonly #options: TrustOptions;
  readonly #verifier: SignatureVerifier;
  readonly #revocation: RevocationLists;
  readonly #changes = new WatchSource(0);
  readonly #rootsBySource = new Map<string, readonly Certificate[]>();
  #anchors = new TrustAnchors([]);
  readonly #knownIssuers = new KnownIssuers();
  /** Emptied by every change. */
  readonly #verified = new VerifiedChains<VerifiedPeer>();
  readonly #inFlight = new ChainMap<Promise<VerifiedPeer>>();
  /** One after the other: each sees what the one before has put in force. */
  readonly #crlWork = new Gate(1);

  constructor(options: TrustOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
    this.#revocation = new RevocationLists(this.#verifier);
  }

  /** Bumped after roots or revocation lists changed: re-check what is open. */
  get changes(): Watch<number> {
    return this.#changes;
  }

  /** All trust anchors in PEM. */
  get rootsPem(): string {
    return this.#anchors.certificates.map((root) => encodePem("CERTIFICATE", root.der)).join("");
  }

  /**
   * Replaces the roots of one source; anchors are those of all sources together. The old ones stay when the new are bad.
   *
   * @param source `configured` for the operator's own bundle, `signer` for what came with our SVIDs.
   * @throws MeshError `configuration`, blame local.
   */
  setRoots(rootsPem: string, source = "configured"): void {
    this.#rootsBySource.set(source, parseRoots(rootsPem));
    const anchors = new TrustAnchors([...this.#rootsBySource.values()].flat());
    const isSame =
      anchors.certificates.length === this.#anchors.certificates.length &&
      anchors.certificates.every((certificate) => this.#anchors.has(certificate));
    if (isSame) return;
    this.#anchors = anchors;
    this.#bump();
    void this.#crlWork.run(() => this.#adopt(anchors.certificates));
  }

  /**
   * Replaces the revocation lists. Bad ones are refused and reported, and the last good ones stay. Resolves when the lists
   * are in force and `changes` was bumped; never rejects.
   */
  setCrls(sources: readonly CrlSource[]): Promise<readonly CrlStatus[]> {
    return this.#crlWork.run(async () => {
      await this.#revocation.replace(sources, this.#issuers());
      this.#bump();
      return this.crlStatus();
    });
  }

  /** The revocation lists in force, in DER, for whoever checks peers by itself. */
  get revocationLists(): readonly Uint8Array[] {
    return this.#revocation.inForce;
  }

  crlStatus(): readonly CrlStatus[] {
    return this.#revocation.status(this.#options.clock.wallMs());
  }

  /**
   * Verifies what a peer has presented. An open connection is to be re-checked once after it was registered with whoever
   * listens to `changes`, as trust may have changed between this answer and the registration.
   *
   * @param chain DER, leaf first, then intermediates in any order.
   * @throws MeshError `certificate_*`, blame peer.
   */
  async verify(chain: readonly Uint8Array[], expect: PeerExpectation): Promise<VerifiedPeer> {
    checkPresented(chain);
    const presented = { chain, usage: expect.usage };
    const peer = this.#remembered(presented) ?? (await this.#verifyShared(presented));
    checkExpected(peer.id, expect);
    return peer;
  }

  /**
   * Looks again at the peer of an open connection: roots, revocation and, unless it is to be ignored, time. Istio leaves
   * connections open that outlive the certificate they began with; who wants that ignores expiry.
   *
   * @returns null when it still may be believed.
   */
  recheck(peer: VerifiedPeer, expiry: "refuse" | "ignore" = "refuse"): MeshError | null {
    const nowMs = this.#options.clock.wallMs();
    if (expiry === "refuse" && nowMs > peer.notAfterMs) {
      return new MeshError(
        "certificate_expired",
        "peer",
        `the certificate of ${peer.id} or one of its issuers has expired`,
      );
    }
    if (!this.#anchors.hasAuthority(peer.anchor)) {
      return new MeshError("certificate_untrusted", "peer", `the trust root of ${peer.id} was removed`);
    }
    return this.#checkRevocation(peer, nowMs);
  }

  /** Connections that a peer opens at the same time share one verification. */
  async #verifyShared(presented: PresentedChain): Promise<VerifiedPeer> {
    const underWay = this.#inFlight.get(presented);
    if (underWay !== null) return await underWay;
    const verification = this.#verifyAgainstLatest(presented);
    this.#inFlight.set(presented, verification);
    try {
      return await verification;
    } finally {
      this.#inFlight.delete(presented);
    }
  }

  async #verifyAgainstLatest(presented: PresentedChain): Promise<VerifiedPeer> {
    for (;;) {
      const version = this.#changes.value;
      const peer = await this.#verifyOnce(presented);
      // Trust changed under way: what was found holds for a state that is gone.
      if (version !== this.#changes.value) continue;
      this.#verified.set(presented, peer);
      return peer;
    }
  }

  async #verifyOnce({ chain, usage }: PresentedChain): Promise<VerifiedPeer> {
    const [leaf, ...intermediates] = chain.map(parseCertificate);
    assert(leaf !== undefined, "an empty chain was refused before");
    const id = leafIdentity(leaf);
    checkTrustDomain(id, this.#options.trustDomain);
    if (this.#anchors.certificates.length === 0) {
      throw new MeshError("certificate_untrusted", "local", "no trust roots are loaded");
    }
    const nowMs = this.#options.clock.wallMs();
    const path = await validatePath(
      { leaf, intermediates, anchors: this.#anchors, usage, nowMs },
      this.#verifier,
    );
    await this.#learnIssuers(path);
    const peer = new VerifiedPeer(mintKey, id, path);
    const revoked = this.#checkRevocation(peer, nowMs);
    if (revoked !== null) throw revoked;
    return peer;
  }

  #checkRevocation(peer: VerifiedPeer, nowMs: number): MeshError | null {
    for (const certificate of peer.issued) {
      const finding = this.#revocation.look(certificate, nowMs);
      if (finding === "revoked" || finding === "doubtful") {
        const what = `certificate with serial ${certificate.serialNumber} on the path of ${peer.id}`;
        const how =
          finding === "revoked" ? "is revoked" : "is named by a revocation list that cannot be checked";
        return new MeshError("certificate_revoked", "peer", `${what} ${how}`);
      }
      if (finding === "unknown" && this.#options.crlRequired === true) {
        const message = `no fresh revocation list covers serial ${certificate.serialNumber} on the path of ${peer.id}`;
        return new MeshError("certificate_revocation_unknown", "peer", message);
      }
    }
    return null;
  }

  /** Keeps the path's intermediates, and proves pending revocation lists of theirs. */
  async #learnIssuers(path: CertificationPath): Promise<void> {
    const intermediates = path.certificates.slice(1, -1);
    for (const issuer of intermediates) this.#knownIssuers.see(issuer);
    if (!intermediates.some((issuer) => this.#revocation.hasPending(issuer.subject))) return;
    await this.#crlWork.run(() => this.#adopt(intermediates));
  }

  async #adopt(issuers: readonly Certificate[]): Promise<void> {
    if (await this.#revocation.adopt(issuers)) this.#bump();
  }

  #issuers(): readonly Certificate[] {
    return [...this.#anchors.certificates, ...this.#knownIssuers.all()];
  }

  #bump(): void {
    this.#verified.clear();
    this.#changes.set(this.#changes.value + 1);
  }

  #remembered(presented: PresentedChain): VerifiedPeer | null {
    const nowMs = this.#options.clock.wallMs();
    const peer = this.#verified.get(presented, nowMs);
    // Every change of trust empties what is remembered; only a list's becoming stale is no change.
    return peer !== null && this.#checkRevocation(peer, nowMs) === null ? peer : null;
  }
}

function issuedBy(issuer: Certificate, certificate: Certificate): IssuedCertificate {
  return {
    authorityKey: issuer.authorityKey,
    issuer: certificate.issuer,
    serialNumber: certificate.serialNumber,
  };
}

/** Intermediates of verified paths, so that their revocation lists can be proven as soon as they arrive. */
class KnownIssuers {
  /** By name and key, the longest unseen first. */
  readonly #issuers = new Map<string, Certificate>();

  see(issuer: Certificate): void {
    this.#issuers.delete(issuer.authorityKey);
    this.#issuers.set(issuer.authorityKey, issuer);
    const [oldest] = this.#issuers.keys();
    if (oldest !== undefined && this.#issuers.size > pkiLimits.maxKnownIssuers) this.#issuers.delete(oldest);
  }

  all(): readonly Certificate[] {
    return [...this.#issuers.values()];
  }
}
