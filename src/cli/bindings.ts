/** What the command line is handed: its words, its terminal, and the few things it asks of the rest of the program. */
import type { SocketAddress } from "../base/ip.ts";
import type { Config } from "../config/node/config.ts";
import type { DocumentText } from "../mesh/documents/yaml.ts";
import type { DocumentError, Location } from "../mesh/location.ts";
import type { ControlBindings } from "./control/bindings.ts";

export interface CliBindings {
  /** Without the program's own name. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
  readonly version: VersionInfo;
  /** @throws MeshError `io`. */
  readText(path: string): Promise<string>;
  /** Every mesh document file at or below the paths, in a stable order. @throws MeshError `io`. */
  readMeshFiles(
    paths: readonly string[],
  ): Promise<readonly { readonly path: string; readonly text: string }[]>;
  /** A document of the control plane's own kinds (Administrator, TokenIssuer), read; null for one of another kind. */
  readControlDocument(part: DocumentText, rootNamespace: string): Promise<ControlDocument | null>;
  /** @returns why waypoints cannot use an expression in CEL; null when they can. */
  expressionFlaw(text: string): Promise<string | null>;
  /** For editors, as `docs/schemas/fairlead.json` has them. */
  schemas(): Promise<DocumentSchemas>;
  /** @throws MeshError when it cannot start as it was told to. */
  startNode(config: Config): Promise<StartedNode>;
  /** A program in a network of its own. @returns its exit code. @throws MeshError when it could not be started. */
  runProgram(request: RunRequest): Promise<number>;
  /**
   * A request to a running node's administration: by the first of its sockets that answers, else, for a GET, at its port.
   *
   * @throws MeshError `connect_refused`, `connect_timeout`; `permission_denied` for a socket that is not for this user.
   */
  askAdmin(
    node: AdminTarget,
    method: "GET" | "POST",
    path: string,
  ): Promise<{ readonly status: number; readonly text: string }>;
  readonly live: LiveBindings;
  readonly control: ControlBindings;
  readonly capture: CaptureBindings;
  readonly names: NamesBindings;
  readonly system: SystemBindings;
  /** SIGTERM and SIGINT. @returns a function that ends the subscription. */
  onStopSignal(listener: () => void): () => void;
}

export interface RunRequest {
  /** `namespace/name` of a workload, or of a service with an endpoint on this host. */
  readonly as: string;
  readonly command: readonly string[];
  readonly config: Config;
  /** Whether peers reach the program. */
  readonly inbound: boolean;
  /** Name or number; null: as this process. */
  readonly user: string | null;
}

/** The JSON Schema of all documents: a definition for each kind. */
export interface DocumentSchemas {
  readonly $schema: string;
  readonly definitions: Readonly<Record<string, object>>;
}

/** What shows things as they happen needs: a screen, keys, time. */
export interface LiveBindings {
  /** Null where the output is no terminal. */
  size(): { readonly columns: number; readonly rows: number } | null;
  /** Each key at once, as the terminal sends it, without showing it. @returns a function that ends it; the terminal is as before then. */
  onKey(listener: (pressed: string) => void): () => void;
  /** @returns false when the reader has gone. */
  write(text: string): boolean;
  /** Monotonic milliseconds. */
  now(): number;
  /** @returns false when a signal to stop came first. */
  sleep(ms: number): Promise<boolean>;
  /**
   * Hands on what a node's socket answers, as it comes, until `take` returns false, the node ends it, or a signal to stop comes.
   *
   * @throws MeshError as `askAdmin`, and `io` with the node's words when it refuses.
   */
  follow(node: AdminTarget, path: string, take: (text: string) => boolean): Promise<void>;
}

/** The capture rules of this host, whoever installed them. */
export interface CaptureBindings {
  /** @throws MeshError `permission_denied` where no program may show its rules. */
  status(): Promise<{
    readonly state: "none" | "in force" | "incomplete" | "left behind";
    readonly backends: readonly { readonly name: string; readonly version: string }[];
    /** Where captured connections go. */
    readonly ports: readonly number[];
    readonly findings: readonly { readonly message: string; readonly remedy: string }[];
  }>;
  /** Of these paths below the root of version 2, those that are no cgroup of this host now. */
  missingCgroups(paths: readonly string[]): Promise<readonly string[]>;
  remove(): Promise<void>;
  /** Waits as long as told, and then takes capture back unless it was released. @returns whether it did. */
  guard(afterMs: number): Promise<boolean>;
}

/** What leads this host's programs to names of the mesh, whichever run set it up. */
export interface NamesBindings {
  isSet(): Promise<"off" | "resolved" | "resolv-conf">;
  /** @returns whether there was something. @throws MeshError `io`. */
  remove(): Promise<boolean>;
}

/** This host as an installation and a check look at it. */
export interface SystemBindings {
  readonly uid: number;
  /** This program is the binary that `npm run build` makes, and not its source. */
  readonly isBuilt: boolean;
  /** The path of this program. */
  executable(): Promise<string>;
  /** Of today, as `2026-11-29`. */
  date(): string;
  exists(path: string): Promise<boolean>;
  /** @throws MeshError `io`. */
  readText(path: string): Promise<string>;
  writeFile(path: string, text: string, mode: number): Promise<void>;
  /** With those above it. Its mode is set where it is there already, too. */
  makeDirectory(path: string, mode: number): Promise<void>;
  /** Since the Unix epoch. */
  nowMs(): number;
  /**
   * Whether TCP is accepted there; nothing is sent.
   *
   * @param mark SO_MARK past capture, or this host's own node would accept it; null without capture. @returns null when this user may not set it.
   */
  connects(address: SocketAddress, timeoutMs: number, mark: number | null): Promise<boolean | null>;
  /** Of `/etc/resolv.conf`, each asked one question. */
  resolvers(): Promise<readonly { readonly server: string; readonly answers: boolean }[]>;
  /** @throws MeshError `io` when it cannot be started. */
  run(argv: readonly string[]): Promise<{ readonly exitCode: number; readonly output: string }>;
}

export interface ControlDocument {
  /** `Administrator ada` */
  readonly key: string;
  readonly location: Location;
  /** Empty when it is good. */
  readonly errors: readonly DocumentError[];
}

/** Where a node's administration may be found. */
export interface AdminTarget {
  /** Unix sockets. */
  readonly sockets: readonly string[];
  /** The port; null when a socket was named. */
  readonly address: SocketAddress | null;
}

export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** A person is watching: progress and colours are for them alone. */
  readonly isTerminal: boolean;
}

/** `version`, and what else tells one build from another (`commit`, `runtime`). */
export type VersionInfo = Readonly<Record<string, string>>;

export interface StartedNode {
  /** The mesh's: as the control plane has it, when there is one. */
  readonly trustDomain: string;
  /** The control plane it takes its mesh from, and its own identity there, if it has one; null without. */
  readonly control: { readonly server: string; readonly identity: string | null } | null;
  /** Whether this start made the local CA. */
  readonly createdAuthority: boolean;
  /** `shop/frontend 127.0.1.1` … of the workloads that run here. */
  readonly localWorkloads: readonly { readonly name: string; readonly addresses: readonly string[] }[];
  /** Ends when the node has stopped, whoever asked for it (`drain`, `/quitquitquit`). Rejects with a MeshError when it could not listen after all. */
  readonly ended: Promise<void>;
  /** Lets open connections finish within the deadline, then stops. */
  drain(): void;
  /** Cuts everything now. */
  stop(): void;
}

/** 0 well, 1 it failed, 2 it was called wrongly. */
export type ExitCode = 0 | 1 | 2;
