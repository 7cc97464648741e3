/** Which CA an SVID is of. */
import { parseCertificate } from "../x509/certificate.ts";
import type { Svid } from "./svid.ts";

/** Authority key identifier of the leaf, hexadecimal; null when it does not say. */
export function svidIssuerKeyId(svid: Svid): string | null {
  const [leaf] = svid.chain;
  return leaf === undefined ? null : parseCertificate(leaf).extensions.authorityKeyId;
}
