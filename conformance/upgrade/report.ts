/** What a load is told, and what it tells. */

export interface LoadOptions {
  /** The workload that calls. */
  readonly from: string;
  readonly echo: { readonly ip: string; readonly port: number };
  readonly web: { readonly ip: string; readonly port: number };
  readonly webHost: string;
  /** The names' proxy of the caller's host, and a name that it answers. */
  readonly names: { readonly ip: string; readonly port: number; readonly name: string };
}

export interface Failure {
  readonly kind: string;
  /** Since the Unix epoch. */
  readonly atMs: number;
  /** `ECONNRESET`, `ended`, … */
  readonly code: string;
}

export interface LoadReport {
  readonly counts: Readonly<Record<string, number>>;
  /** Milliseconds. */
  readonly longest: Readonly<Record<string, number>>;
  readonly failures: readonly Failure[];
}
