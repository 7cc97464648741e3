/** Certificates in the shape of ztunnel's `/config_dump` (`admin.rs`, CertsDump), which `istioctl ztunnel-config` reads. */
import type { Certificate, CertificateEntry } from "./sources.ts";

export interface CertificatesDump {
  readonly identity: string;
  /** `Available`, `Initializing`, or `Unavailable: why`. */
  readonly state: string;
  readonly certChain: readonly CertificateDump[];
  readonly rootCerts: readonly CertificateDump[];
}

export interface CertificateDump {
  /** Base64 of the PEM text. */
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
  /** RFC 3339, seconds, UTC. */
  readonly validFrom: string;
  readonly expirationTime: string;
}

/** Sorted by identity, as ztunnel does, so that two dumps can be compared. */
export function dumpCertificates(entries: readonly CertificateEntry[]): readonly CertificatesDump[] {
  return entries
    .map((entry) => ({
      identity: entry.identity,
      state: describeState(entry),
      certChain: entry.chain.map(dumpCertificate),
      rootCerts: entry.roots.map(dumpCertificate),
    }))
    .sort((left, right) => (left.identity < right.identity ? -1 : 1));
}

function describeState(entry: CertificateEntry): string {
  switch (entry.state) {
    case "available":
      return "Available";
    case "initializing":
      return "Initializing";
    case "unavailable":
      return `Unavailable: ${entry.error ?? "unknown"}`;
  }
}

function dumpCertificate(certificate: Certificate): CertificateDump {
  return {
    pem: btoa(certificate.pem),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: formatTime(certificate.notBeforeMs),
    expirationTime: formatTime(certificate.notAfterMs),
  };
}

function formatTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}
