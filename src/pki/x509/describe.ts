/** Certificates for people: what administration shows. */

import { decodePemLabel, encodePem } from "../der/pem.ts";
import { parseCertificate } from "./certificate.ts";

export interface CertificateDescription {
  readonly pem: string;
  /** Hexadecimal, lower case. */
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Each certificate of a PEM text, in order. */
export function describeCertificates(pem: string): readonly CertificateDescription[] {
  return decodePemLabel(pem, "CERTIFICATE").map((der) => {
    const { serialNumber, notBeforeMs, notAfterMs } = parseCertificate(der);
    return { pem: encodePem("CERTIFICATE", der), serialNumber, notBeforeMs, notAfterMs };
  });
}
