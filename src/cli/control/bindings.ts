/** What commands that have to do with a control plane are handed. */
import type { ControlClientConfig } from "../../config/control/client.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";

export interface ControlBindings {
  /** @throws MeshError when it cannot start as it was told to. */
  start(config: ControlPlaneConfig): Promise<StartedControl>;
  /**
   * A connection to a control plane that has proven itself; nothing is sent before.
   *
   * @throws MeshError `connect_*`, `tls_*`, `certificate_*`, `io` for files that cannot be read.
   */
  connect(config: ControlClientConfig): Promise<ControlConnection>;
  /** Puts a back-up in the place of a state that no control plane runs on. @throws MeshError. */
  restore(backupPath: string, stateDirectory: string, overwrite: boolean): Promise<RestoredState>;
  exists(path: string): Promise<boolean>;
  /** What a person types to it; null when there is no person to ask. */
  ask(question: string): Promise<string | null>;
  /** Ends early, with false, when a stop is asked for. */
  sleep(ms: number): Promise<boolean>;
}

export interface StartedControl {
  /** Where it listens. */
  readonly address: string;
  /** What join lines say. */
  readonly url: string;
  /** The first administrator's certificate. */
  readonly administratorPath: string;
  readonly ended: Promise<void>;
  drain(): void;
  stop(): void;
}

export interface ControlConnection {
  /** @throws MeshError when the connection is lost or the answer does not come. */
  request(request: ControlRequest): Promise<ControlAnswer>;
  /**
   * The body of an answer that is a success into a file that only its owner reads, as it comes; of another one as `request`.
   *
   * @returns the answer without its body, and how many bytes the file has. @throws MeshError `io`, also for a file that is there and an
   *   answer that is shorter than it said.
   */
  download(request: ControlRequest, path: string): Promise<ControlAnswer & { readonly written: number }>;
  close(): void;
}

export interface ControlRequest {
  readonly method: "GET" | "POST" | "DELETE";
  /** With its query. */
  readonly path: string;
  /** JSON. */
  readonly body: string | null;
  /** Longer answers are a failure. */
  readonly maxBytes: number;
}

export interface ControlAnswer {
  readonly status: number;
  readonly body: Uint8Array;
}

/** What a back-up held. */
export interface RestoredState {
  readonly stateId: string;
  readonly documentVersion: number;
  /** Of its newest audit row; null when it has none. */
  readonly lastAuditMs: number | null;
  /** Revocations of the state before that it did not have, and that hold on; null where that state could not be read. */
  readonly revocationsKept: number | null;
  /** Join tokens that were valid in it: they may have been used since, so they are no longer valid. */
  readonly tokensEnded: number;
}
