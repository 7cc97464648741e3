/** What every node is told to believe. */

export interface TrustBundle {
  /** One or more roots; two while a root is being replaced. */
  readonly rootsPem: string;
  /** DER, one list for each CA that has issued something that is still valid. */
  readonly crls: readonly Uint8Array[];
  /** See `PublishedBundle`. */
  readonly version?: string;
  readonly wantedIssuerKeyId?: string | null;
}

/** A bundle as the authorities publish it: with what tells two of them apart, and with what is wanted of nodes. */
export interface PublishedBundle extends TrustBundle {
  /** SHA-256 over everything in it, hexadecimal: the same content has the same version after a restart. */
  readonly version: string;
  /**
   * Subject key identifier (hexadecimal) of the CA that leaves should be of. A node that holds a leaf of another renews it
   * now rather than at half of its life. Null when nothing is being replaced.
   */
  readonly wantedIssuerKeyId: string | null;
}
