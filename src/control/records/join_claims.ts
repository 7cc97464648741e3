/** What a joining host claims, and what of it is found to be its to have. */
import type { IpAddress } from "../../base/ip.ts";

/** What is known of who has which name and address; handed in by whoever knows the mesh's documents. */
export interface JoinClaims {
  check(host: ClaimingHost): Promise<CheckedClaims>;
}

/** A host that joins by the token of a tenant. */
export interface ClaimingHost {
  readonly node: string;
  readonly namespace: string;
  readonly network: string;
  readonly remote: IpAddress;
  /** As it says. */
  readonly addresses: readonly string[];
}

export interface CheckedClaims {
  /** Why it may not be called so; null when it may. */
  readonly nameRefusal: string | null;
  /** Those that it may have. */
  readonly addresses: readonly string[];
  /** Why not the others. */
  readonly refusals: readonly string[];
}
