/** Whom the trust of the mesh was taken from, as it is kept. */

export interface Revocation {
  readonly kind: "serial" | "identity" | "node" | "operator" | "token";
  /** Serial number in hexadecimal, SPIFFE URI, the node's name; of an operator `issuer#sub`, of a token `issuer#jti`. */
  readonly value: string;
  /** Of a serial number: the issuer's `Certificate.authorityKey`; "" otherwise. */
  readonly issuerKey: string;
  readonly reason: string;
  readonly byWhom: string;
  /** By whose right: a namespace's, or "" for the mesh's. */
  readonly byNamespace: string;
  readonly atMs: number;
  /** Of a serial number: when the certificate ends, after which the revocation can be forgotten. Null: never. */
  readonly expiresAtMs: number | null;
}

/** Of the mesh unless it says otherwise. */
export type NewRevocation = Omit<Revocation, "issuerKey" | "expiresAtMs" | "byNamespace"> &
  Partial<Pick<Revocation, "issuerKey" | "expiresAtMs" | "byNamespace">>;

/** Where a page of a list ends. */
export interface RevocationCursor {
  readonly atMs: number;
  readonly row: number;
}
