/** How this node is, in a few lines: what `fairlead status` shows. */
import type { AdminSources, CertificateEntry } from "./sources.ts";

export interface NodeStatus {
  readonly version: string;
  readonly ready: boolean;
  /** What readiness waits for. */
  readonly pending: readonly string[];
  /** `namespace/name` of those that run here. */
  readonly workloads: readonly string[];
  readonly connections: number;
  readonly certificates: readonly CertificateStatus[];
  readonly documents: { readonly accepted: number; readonly refused: number };
  /** Null without a control plane. */
  readonly control: {
    readonly server: string;
    readonly connected: boolean;
    /** Whether the mesh is what the control plane has now. */
    readonly current: boolean;
    readonly error: string | null;
  } | null;
  readonly logLevel: string;
}

export interface CertificateStatus {
  readonly identity: string;
  readonly state: CertificateEntry["state"];
  readonly error: string | null;
  /** RFC 3339; null where there is none. */
  readonly expires: string | null;
}

export function describeNode(sources: AdminSources): NodeStatus {
  const pending = sources.pending();
  const { documents, errors } = sources.documents();
  const accepted = documents.filter((document) => document.accepted).length;
  const control = sources.control();
  return {
    version: sources.version().version ?? "",
    ready: pending.length === 0,
    pending,
    workloads: sources.localWorkloads().map(({ namespace, name }) => `${namespace}/${name}`),
    connections: sources.openConnections(),
    certificates: sources.certificates().map((entry) => ({
      identity: entry.identity,
      state: entry.state,
      error: entry.error,
      expires: entry.chain[0] === undefined ? null : new Date(entry.chain[0].notAfterMs).toISOString(),
    })),
    // An error of a document is told with it; those beside are of files.
    documents: { accepted, refused: documents.length - accepted + errors.length },
    control:
      control === null
        ? null
        : {
            server: control.server,
            connected: control.xds?.connected ?? false,
            current: control.xds?.current ?? false,
            error: control.xds?.error ?? control.node?.error ?? null,
          },
    logLevel: sources.logLevel(),
  };
}
