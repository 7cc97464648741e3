/** What administration shows and does. `app.ts` fills it; nothing here knows the parts it comes from. */
import type { LogLevel } from "../base/log.ts";
import type { MetricRegistry } from "../base/metrics.ts";
import type { DocumentStatus } from "../mesh/conversion.ts";
import type { DocumentError } from "../mesh/location.ts";

export interface AdminSources {
  /** JSON values in ztunnel's shape (`mesh/dump.ts`). */
  meshDump(): {
    readonly workloads: readonly unknown[];
    readonly services: readonly unknown[];
    readonly policies: readonly unknown[];
  };
  /** The configuration in force, without secrets. */
  config(): unknown;
  /** `{ version, runtime, … }`. */
  version(): Readonly<Record<string, string>>;
  certificates(): readonly CertificateEntry[];
  /** Every open connection; listing them does not copy them first. */
  connections(): Iterable<ConnectionEntry>;
  documents(): DocumentsEntry;
  readonly metrics: MetricRegistry;
  /** Names of what readiness still waits for; empty is ready. */
  pending(): readonly string[];
  logLevel(): LogLevel;
  setLogLevel(level: LogLevel): void;
  /** Begins to drain and returns at once. */
  drain(): void;
}

/** One identity of this host. */
export interface CertificateEntry {
  readonly identity: string;
  readonly state: "available" | "initializing" | "unavailable";
  /** Why there is none. */
  readonly error: string | null;
  /** Leaf first. */
  readonly chain: readonly Certificate[];
  readonly roots: readonly Certificate[];
}

export interface Certificate {
  readonly pem: string;
  /** Hexadecimal. */
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** One open connection, as words. */
export interface ConnectionEntry {
  readonly id: number;
  readonly direction: "inbound" | "outbound";
  readonly source: PartyEntry;
  readonly destination: PartyEntry & {
    /** The authority of the CONNECT; null for plain TCP. */
    readonly hboneAddress: string | null;
    /** `namespace/hostname`. */
    readonly service: string | null;
  };
  readonly ageMs: number;
  /** As the access log counts them. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** `namespace/name` of the ALLOW policy that let it in; null when none was needed, or outbound. */
  readonly policy: string | null;
}

export interface PartyEntry {
  readonly address: string;
  /** `namespace/name`. */
  readonly workload: string | null;
  /** Verified; null for plain text. */
  readonly identity: string | null;
}

/** What was made of the mesh documents. */
export interface DocumentsEntry {
  readonly documents: readonly DocumentStatus[];
  /** Of files, and of documents that do not even say what they are. */
  readonly errors: readonly DocumentError[];
}
