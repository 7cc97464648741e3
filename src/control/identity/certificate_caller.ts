/** From a client certificate to a caller. A refusal is a value; its reason is for the audit log. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Clock } from "../../host/host.ts";
import { nodeNamespace, type SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { SignatureVerifier } from "../../pki/crypto/signature.ts";
import { parseRoots, TrustAnchors } from "../../pki/trust/anchors.ts";
import { leafIdentity } from "../../pki/trust/leaf_identity.ts";
import { validatePath } from "../../pki/trust/path.ts";
import { checkPresented, checkTrustDomain } from "../../pki/trust/peer_expectation.ts";
import type { TrustVerifier, VerifiedPeer } from "../../pki/trust/verifier.ts";
import { type Certificate, parseCertificate } from "../../pki/x509/certificate.ts";
import type { Registration } from "../records/registrations.ts";
import type { NodeCaller, WorkloadCaller } from "./caller.ts";
import type { RegistrationStore, RevocationStore } from "./identity_state.ts";

export interface CertificateCallerOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  /** Of the mesh, with the control plane's own revocation lists. */
  readonly trust: TrustVerifier;
  readonly trustDomain: string;
  /** The control plane's own identity, which never calls. */
  readonly controlId: SpiffeId;
  readonly registrations: RegistrationStore;
  readonly revocations: RevocationStore;
}

export interface CallerRefusal {
  readonly kind: "refused";
  readonly reason: string;
  readonly detail: string;
}

export class CertificateCallers {
  readonly #options: CertificateCallerOptions;
  readonly #verifier: SignatureVerifier;
  /** What stood behind callers that came by a certificate, for as long as they are known. */
  readonly #peers = new WeakMap<NodeCaller | WorkloadCaller, VerifiedPeer>();

  constructor(options: CertificateCallerOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
  }

  /** @param chain not empty. */
  async caller(chain: readonly Uint8Array[]): Promise<NodeCaller | WorkloadCaller | CallerRefusal> {
    try {
      const peer = await this.#options.trust.verify(chain, { usage: "clientAuth", identities: null });
      const caller = this.#believe(peer.id, parseLeaf(chain), "valid");
      if (caller.kind !== "refused") this.#peers.set(caller, peer);
      return caller;
    } catch (error) {
      return refusalOf(error);
    }
  }

  /**
   * A node that was away for longer than its certificate lived. The certificate must have held to its last second, under a
   * root that is still ours; whether it was revoked since then the tables say, as lists may forget what has expired
   * (RFC 5280 §3.3).
   */
  async expiredNode(chain: readonly Uint8Array[]): Promise<NodeCaller | CallerRefusal> {
    try {
      checkPresented(chain);
      const [leaf, ...intermediates] = chain.map(parseCertificate);
      if (leaf === undefined) return refuse("certificate_missing", "the caller showed no certificate");
      const id = leafIdentity(leaf);
      checkTrustDomain(id, this.#options.trustDomain);
      const anchors = new TrustAnchors(parseRoots(this.#options.trust.rootsPem));
      const wallMs = this.#options.clock.wallMs();
      if (wallMs - leaf.notAfterMs > identityLimits.maxAbsenceMs)
        return refuse(
          "certificate_expired",
          `${id} was away for too long; it has to join again with a new token`,
        );
      const nowMs = Math.min(leaf.notAfterMs, wallMs);
      const path = await validatePath(
        { leaf, intermediates, anchors, usage: "clientAuth", nowMs },
        this.#verifier,
      );
      // Whoever holds the key of an intermediate that was revoked can make certificates that expired whenever they like.
      const revoked = path.certificates.find((one) =>
        this.#options.revocations.isRevokedSerial(one.serialNumber),
      );
      if (revoked !== undefined)
        return refuse("revoked", `serial ${revoked.serialNumber} on the path of ${id} is revoked`);
      const caller = this.#believe(id, leaf, "expired");
      return caller.kind === "workload" ? refuse("certificate_expired", `${id} is not a node`) : caller;
    } catch (error) {
      return refusalOf(error);
    }
  }

  /**
   * Whether a caller of before may still be believed: revocation, its root, its registration. Time is left out, as streams
   * outlive the certificates they were opened with.
   *
   * @returns null, or why not.
   */
  recheck(caller: NodeCaller | WorkloadCaller): string | null {
    const { revocations, trust } = this.#options;
    if (revocations.isRevokedIdentity(caller.id.uri)) return `${caller.id} is revoked`;
    const peer = this.#peers.get(caller);
    const distrusted = peer === undefined ? null : trust.recheck(peer, "ignore");
    if (distrusted !== null) return distrusted.message;
    const serialNumber = caller.kind === "node" ? caller.serialNumber : peer?.serialNumber;
    if (serialNumber !== undefined && revocations.isRevokedSerial(serialNumber))
      return `serial ${serialNumber} of ${caller.id} is revoked`;
    if (caller.kind === "workload") return null;
    const found = this.#registrationOf(caller.node);
    if ("reason" in found) return found.detail;
    return found.joinedAtMs === caller.registration.joinedAtMs ? null : `${caller.node} has joined again`;
  }

  #believe(
    id: SpiffeId,
    leaf: Certificate,
    credential: NodeCaller["credential"],
  ): NodeCaller | WorkloadCaller | CallerRefusal {
    const { revocations, controlId } = this.#options;
    const { serialNumber } = leaf;
    if (revocations.isRevokedSerial(serialNumber))
      return refuse("revoked", `serial ${serialNumber} of ${id} is revoked`);
    if (revocations.isRevokedIdentity(id.uri)) return refuse("revoked", `${id} is revoked`);
    if (id.equals(controlId)) return refuse("control", "the control plane does not call itself");
    if (id.namespace !== nodeNamespace) return { kind: "workload", id, via: "certificate", serialNumber };
    const node = id.serviceAccount;
    const registration = this.#registrationOf(node);
    if ("reason" in registration) return registration;
    // By its number first: a clock that was set back makes the certificate of a renewal older than the host's joining.
    const { currentSerial = null, pendingSerial = null } = registration;
    if (serialNumber === pendingSerial) this.#confirm(node, serialNumber);
    else if (serialNumber !== currentSerial && isOfEarlierHost(leaf, registration))
      return refuse("replaced", `serial ${serialNumber} is of an earlier host with the name ${node}`);
    const { notBeforeMs } = leaf;
    return { kind: "node", id, node, registration, serialNumber, notBeforeMs, credential };
  }

  /** The host has what it was given: from here on what it had before renews nothing. */
  #confirm(node: string, serialNumber: string): void {
    try {
      this.#options.registrations.setSerials(node, serialNumber, null);
    } catch (thrown) {
      // A disk that is full is no reason to disbelieve a caller; it is confirmed by the next call, or by its renewal.
      if (!(thrown instanceof MeshError)) throw thrown;
    }
  }

  #registrationOf(node: string): Registration | CallerRefusal {
    const registration = this.#options.registrations.byNode(node);
    if (registration === null) return refuse("not_registered", `node ${node} is not registered`);
    const { revokedAtMs, revokeReason } = registration;
    if (revokedAtMs !== null)
      return refuse("revoked", `node ${node} was revoked: ${revokeReason ?? "no reason given"}`);
    if (this.#options.revocations.isRevokedNode(node)) return refuse("revoked", `node ${node} is revoked`);
    return registration;
  }
}

/** A host that took another's name over has a registration that is younger than the other's certificates. */
function isOfEarlierHost(leaf: Certificate, registration: Registration): boolean {
  const issuedAtMs = leaf.notBeforeMs + pkiLimits.backdateMs;
  return issuedAtMs + identityLimits.registrationSlackMs < registration.joinedAtMs;
}

function parseLeaf(chain: readonly Uint8Array[]): Certificate {
  return parseCertificate(chain[0] ?? new Uint8Array());
}

function refusalOf(error: unknown): CallerRefusal {
  const { code, message } = asMeshError(error, "certificate_malformed", "peer");
  return refuse(code, message);
}

function refuse(reason: string, detail: string): CallerRefusal {
  return { kind: "refused", reason, detail };
}
