/** One implementation of a mesh node under the harness. */
import type { Lab } from "../lab/lab.ts";
import type { Subprocess } from "../lab/subprocess.ts";

export interface NodeSubject {
  readonly name: string;
  /** Why it cannot run here, or null. */
  readonly missing: string | null;
  /** Whether it must have a network namespace of its own. */
  readonly needsNamespaces: boolean;
  /** The root it insists on, if it cannot take ours. */
  readonly root: { readonly certPath: string; readonly keyPath: string } | null;
  /** In front of the applications on the server's side, as `shop/db`; `:15008` of the server's address. Resolves when it is ready. */
  startInbound(lab: Lab): Promise<RunningNode>;
  /** On the client's side, as `shop/cart`, with the capture it needs. Resolves when it is ready. */
  startOutbound(lab: Lab): Promise<RunningNode>;
}

export interface RunningNode {
  readonly process: Subprocess;
  /** Outbound only: where the client's application calls to reach this port of the server's application. */
  dial(port: number): string;
  /** What its access log says so far. */
  accessRecords(): readonly AccessRecord[];
}

export interface AccessRecord {
  readonly direction: "inbound" | "outbound";
  readonly sourceIdentity: string | null;
  readonly destinationIdentity: string | null;
  /** `ip:port` of the application, as the record has it. */
  readonly target: string | null;
  /** Null for a connection that went well. */
  readonly error: string | null;
  /** The whole line, for messages. */
  readonly line: string;
}

export const hbonePort = 15008;
