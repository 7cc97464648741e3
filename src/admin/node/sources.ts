/** What administration shows and does. `app/node/` fills it; nothing here knows the parts it comes from. */
import type { LogEntry, LogLevel } from "../../base/log.ts";
import type { MetricSource } from "../../base/metrics.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import type { DocumentError } from "../../mesh/location.ts";
import type { CallQuestion, ExplainAnswer } from "../explained.ts";

export interface AdminSources {
  /** JSON values in ztunnel's shape (`mesh/codec/dump.ts`). */
  meshDump(): {
    readonly workloads: readonly unknown[];
    readonly services: readonly unknown[];
    readonly policies: readonly unknown[];
  };
  /** Who runs on this host. */
  localWorkloads(): readonly LocalWorkloadEntry[];
  /** The configuration in force, without secrets. */
  config(): unknown;
  /** `{ version, runtime, … }`. */
  version(): Readonly<Record<string, string>>;
  certificates(): readonly CertificateEntry[];
  /** Every open connection; listing them does not copy them first. */
  connections(): Iterable<ConnectionEntry>;
  /** Hears of other processes of this node what connections and metrics are to show; left out where there are none. */
  refresh?(): Promise<void>;
  /** How many are open: told without looking at each, and where not all of them are listed. */
  openConnections(): number;
  documents(): DocumentsEntry;
  /** Why something is allowed or denied, as values; in slices. */
  explain(question: ExplainQuestion): Promise<ExplainAnswer>;
  /** Null without a control plane. */
  control(): ControlEntry | null;
  /** Null without one. */
  identitySocket(): IdentitySocketEntry | null;
  readonly metrics: MetricSource;
  /** Names of what readiness still waits for; empty is ready. */
  pending(): readonly string[];
  logLevel(): LogLevel;
  /** @param caller who wants it, in words for the log. */
  setLogLevel(level: LogLevel, caller: string): void;
  /** Adds a listener for what the access log says of connections and requests. @returns a function that ends it. */
  watchRecords(listener: (entry: LogEntry) => void): () => void;
  /** Keeps capture rules that are on trial. @returns null when it is done; why not, else. */
  confirmCapture(caller: string): Promise<string | null>;
  /** Begins to drain and returns at once. */
  drain(caller: string): void;
  readonly upgrades: UpgradeSource;
}

/** This node's place given to another process. */
export interface UpgradeSource {
  status(): Promise<{
    readonly version: string;
    readonly pid: number;
    /** Path of its program; null where it runs from source. */
    readonly executable: string | null;
    /** What is under way, in words; null when nothing is. */
    readonly step: string | null;
  }>;
  /** Resolves when it is over, whichever way. @throws MeshError when it is not begun. */
  run(request: {
    readonly program: string | null;
    readonly by: string;
    readonly checkOnly: boolean;
    readonly readyMs: number;
    readonly deadlineMs: number;
  }): Promise<UpgradeAnswer>;
}

export interface UpgradeAnswer {
  readonly result: "done" | "checked" | "refused" | "rolled back";
  readonly from: string;
  readonly to: string | null;
  readonly program: string;
  readonly sha256: string | null;
  readonly pid: number | null;
  readonly reason: string | null;
}

export type ExplainQuestion =
  | CallQuestion
  /** A connection that has ended, by the `id` of its access line. */
  | { readonly connection: number };

export interface LocalWorkloadEntry {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly trustDomain: string;
  readonly serviceAccount: string;
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

/** How this host stands with its control plane. Times are milliseconds since the Unix epoch. */
export interface ControlEntry {
  /** `HOST:PORT` of xDS, and of who signs. */
  readonly server: string;
  readonly ca: string;
  readonly credential: "node certificate" | "token" | "none";
  /** This host's own certificate; null without one. */
  readonly node: {
    readonly identity: string;
    readonly serialNumber: string;
    readonly notAfterMs: number;
    /** Why the last renewal failed. */
    readonly error: string | null;
  } | null;
  readonly xds: ControlStreamEntry | null;
  /** When the mesh was kept that this run began with; null when it began with none. */
  readonly restoredFromMs: number | null;
  readonly clockSkewMs: number | null;
  /** The newest row of its audit log that is known here (`NUMBER:HASH`), and what did not go on from what was known. */
  readonly audit: {
    readonly head: string | null;
    readonly heads: number;
    readonly conflicts: readonly { readonly seenAtMs: number; readonly reason: string }[];
  } | null;
}

export interface ControlStreamEntry {
  readonly connected: boolean;
  readonly sinceMs: number | null;
  readonly lastAnswerMs: number | null;
  readonly identifier: string | null;
  /** Why it is not connected. */
  readonly error: string | null;
  readonly attempts: number;
  readonly ready: boolean;
  /** Whether the mesh is what the control plane has now; otherwise it is as it was last known. */
  readonly current: boolean;
  readonly types: readonly {
    readonly typeUrl: string;
    readonly resources: number;
    readonly refused: readonly { readonly name: string; readonly reason: string }[];
  }[];
}

/** The Unix socket of SDS and the Workload API. */
export interface IdentitySocketEntry {
  readonly path: string;
  /** Users and what each may have. */
  readonly rules: readonly {
    readonly uid: number | null;
    readonly gid: number | null;
    readonly identity: string;
  }[];
  readonly openStreams: number;
  readonly secrets: readonly {
    readonly caller: string;
    readonly names: readonly string[];
    readonly acknowledged: string | null;
    readonly refused: { readonly version: string; readonly reason: string } | null;
  }[];
}

/** What was made of the mesh documents. */
export interface DocumentsEntry {
  readonly documents: readonly DocumentStatus[];
  /** Of files, and of documents that do not even say what they are. */
  readonly errors: readonly DocumentError[];
}
