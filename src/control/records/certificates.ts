/** What was issued, as it is kept. */

export interface IssuedCertificate {
  /** Hexadecimal. */
  readonly serial: string;
  /** The SPIFFE URI. */
  readonly identity: string;
  /** The issuer's `Certificate.authorityKey`. */
  readonly issuerKey: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** A node's name, or the caller's SPIFFE URI. */
  readonly requestedBy: string;
  readonly issuedAtMs: number;
}

/** All that is given must hold. */
export interface CertificateQuery {
  readonly identity?: string;
  readonly requestedBy?: string;
  readonly issuerKey?: string;
  /** Not expired at this time. */
  readonly validAtMs?: number;
  /** At most `stateLimits.maxPageRows`, which is the default. */
  readonly limit?: number;
  /** Only those after this place in the list; of the last one of a page. */
  readonly after?: { readonly issuedAtMs: number; readonly serial: string };
}
