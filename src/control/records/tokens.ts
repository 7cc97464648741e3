/** Join tokens as they are kept: of the secret only a hash. */

/** What a join token is good for. Workloads and groups are `namespace/name`. */
export type TokenBinding =
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "workload"; readonly workload: string }
  | { readonly kind: "group"; readonly group: string };

export interface NewToken {
  readonly id: string;
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array;
  readonly binding: TokenBinding;
  readonly expiresAtMs: number;
  readonly createdBy: string;
  /** By whose right: a namespace's, or "" for the mesh's. */
  readonly byNamespace: string;
  /** May take the place of a host that has joined under the same name. */
  readonly replace: boolean;
}

export interface StoredToken extends NewToken {
  readonly createdAtMs: number;
  readonly usedAtMs: number | null;
  readonly usedBy: string | null;
  readonly revokedAtMs: number | null;
}

export type TokenRefusal = "unknown" | "wrong" | "expired" | "used" | "revoked";
