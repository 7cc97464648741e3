/** An X.509 SVID: our own certificate and key for one identity. The key lives in memory only. */

import type { SpiffeId } from "../../mesh/identity.ts";
import { parseCertificate } from "../x509/certificate.ts";

export interface Svid {
  readonly id: SpiffeId;
  /** DER, leaf first, then intermediates; never the root. */
  readonly chain: readonly Uint8Array[];
  readonly certificateChainPem: string;
  /** PKCS#8 PEM, for the TLS library. It is never written anywhere. */
  readonly privateKeyPem: string;
  /** Hexadecimal, lower case. */
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Authority key identifier of the leaf, hexadecimal; null when it does not say. */
export function svidIssuerKeyId(svid: Svid): string | null {
  const [leaf] = svid.chain;
  return leaf === undefined ? null : parseCertificate(leaf).extensions.authorityKeyId;
}
