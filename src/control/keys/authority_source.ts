/** The seam to whatever holds the CA's keys: what the CA service, the bundle's publisher and administration work on. */
import type { Watch } from "../../base/watch.ts";
import type { CertificateSigner, SigningRequest, SigningResponse } from "../../pki/issue/ca.ts";
import type { Issuer } from "../../pki/issue/issuer.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";

/** Whom a revocation takes the mesh's trust from. */
export type RevocationTarget =
  /** One certificate. */
  | { readonly kind: "serial"; readonly serialNumber: string }
  /** Every certificate of a SPIFFE ID, and no new one until it is lifted. */
  | { readonly kind: "identity"; readonly uri: string }
  /** Every certificate that a node has asked for, its own and those of its workloads, and no new one until it is lifted. */
  | { readonly kind: "node"; readonly node: string }
  /** Whoever administers by tokens of this `issuer#sub`. */
  | { readonly kind: "operator"; readonly name: string }
  /** One bearer token, `issuer#jti`. */
  | { readonly kind: "token"; readonly id: string };

export interface RevocationOutcome {
  /** Serial numbers, unexpired, that it concerns now. */
  readonly serialNumbers: readonly string[];
  /** Why the list could not be signed yet (Vault away, say); it is published as soon as it can be. Null once it is. */
  readonly pending: string | null;
}

/** Who is behind a request, for the record of what was issued. */
export interface IssuingRequest extends SigningRequest {
  /** A node's name, or the SPIFFE ID of a caller that is no node of ours; what a revocation of the node goes by. */
  readonly requestedBy?: string;
  /** For a host that takes the place of a revoked one of that name: the revocation of the node is not held against it. */
  readonly replaces?: boolean;
}

export interface ServingIssuer {
  readonly issuer: Issuer;
  /** The CA itself when it is no root, then what is above it, without the root. */
  readonly chainPem: readonly string[];
  /** The issuer's own root: the last of what a server presents to a node that knows only its pin. */
  readonly rootPem: string;
  /** Every root in force. */
  readonly rootsPem: string;
}

export interface AuthoritySource extends CertificateSigner {
  readonly bundle: Watch<PublishedBundle>;
  /**
   * Issues, records the serial number durably, and only then returns.
   *
   * @throws MeshError `certificate_*` blame peer for a bad request; `certificate_revoked` blame policy for an identity or node
   *   that is revoked; `authority_unavailable` when the key cannot be used now; `limit_reached` when too many wait for it.
   */
  sign(request: IssuingRequest): Promise<SigningResponse>;
  /** The CA that issues now, for serving certificates (`pki/issue/server.ts`). @throws MeshError `authority_unavailable`. */
  serving(): ServingIssuer;
  /** In PEM: the root of the CA that issues, whether or not its key can be used now. @throws MeshError `authority_unavailable` when there is none. */
  rootPem(): string;
  /**
   * Durable when it resolves, whether or not it is published yet.
   *
   * @param byNamespace by whose right; "" for the mesh's. @throws MeshError `limit_reached` for lists that are full.
   */
  revoke(
    target: RevocationTarget,
    reason: string,
    byWhom: string,
    byNamespace?: string,
  ): Promise<RevocationOutcome>;
  /**
   * Takes from a node's earlier host all that it has asked for, but the certificate that was made for its successor, and lifts what
   * the node was revoked by. Within the caller's transaction; `publish` makes it known after it.
   *
   * @throws MeshError `limit_reached`.
   */
  supersede(
    node: string,
    keptSerialNumber: string,
    by: { readonly reason: string; readonly byWhom: string; readonly byNamespace: string },
  ): void;
  /** Takes from a host that leaves all that it has asked for. Within the caller's transaction; `publish` makes it known. @throws MeshError `limit_reached`. */
  withdraw(
    node: string,
    by: { readonly reason: string; readonly byWhom: string; readonly byNamespace: string },
  ): void;
  /** Brings the published lists up to what is revoked. Never rejects. */
  publish(): Promise<void>;
  /** Allows an identity or a node to have certificates again; what was revoked stays revoked. @returns whether it was revoked. */
  lift(target: RevocationTarget): Promise<boolean>;
  close(): void;
}
