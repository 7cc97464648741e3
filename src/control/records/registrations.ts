/** Hosts that have joined, as they are kept. */

import type { TokenBinding } from "./tokens.ts";

export interface Registration {
  readonly node: string;
  readonly binding: TokenBinding;
  readonly addresses: readonly string[];
  readonly network: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAtMs: number;
  readonly lastSeenMs: number;
  /** Null when it did not join by a token. */
  readonly tokenId: string | null;
  readonly revokedAtMs: number | null;
  readonly revokeReason: string | null;
  /** Serial number of the certificate that it was seen with last; left out where that was not recorded. */
  readonly currentSerial?: string | null;
  /** Of the one that it was given when it renewed, until it shows it: the answer may have been lost. */
  readonly pendingSerial?: string | null;
}
