/**
 * What the command line is handed: this program's parts as a few functions. A part is loaded when it is called for the first time, so that a
 * command, or a role, starts without the rest of the program.
 */
import { asMeshError } from "../../base/errors.ts";
import { ports } from "../../base/limits/ports.ts";
import type { CliBindings, LiveBindings, SystemBindings } from "../../cli/bindings.ts";
import type { ControlBindings } from "../../cli/control/bindings.ts";
import { readMeshFiles, refuseMissing } from "../../files/mesh_files.ts";
import type { Handover } from "../../host/handover.ts";
import type { Files, Host, ServeHttp } from "../../host/host.ts";
import type { WorkerProcesses } from "../../host/workers.ts";
import { isBuilt, versionFields } from "../version.ts";
import { askAdmin, followAdmin } from "./admin_client.ts";
import type { ProgramsOutside } from "./program_in_mesh.ts";

/** Outside of a Host because the simulator has no use for it. */
export interface Outside extends ProgramsOutside {
  readonly serveHttp: ServeHttp;
  readonly handover: Handover;
  readonly workers: WorkerProcesses;
  /** Writes all of it to standard output (1) or error (2), waiting for a slow reader. */
  readonly print: (descriptor: 1 | 2, text: string) => boolean;
  /** Asks the person at the terminal; null when there is none. */
  readonly ask: (question: string) => string | null;
  readonly screen: Pick<LiveBindings, "size" | "onKey">;
}

export function cliBindings(host: Host, outside: Outside): CliBindings {
  const { serveHttp, print, ask, screen } = outside;
  return {
    arguments: host.process.arguments,
    environment: host.process.environment,
    terminal: {
      isTerminal: host.process.isTerminal,
      out: (text) => void print(1, text),
      error: (text) => void print(2, text),
    },
    version: versionFields(host.name),
    readText: (path) => host.files.readText(path),
    readMeshFiles: (paths) => readEveryMeshFile(host.files, paths),
    readControlDocument: async (part, rootNamespace) =>
      (await import("./control_documents.ts")).readControlDocument(part, rootNamespace),
    expressionFlaw: async (text) => (await import("../../waypoint/auth/conditions.ts")).expressionFlaw(text),
    startNode: async (config) => (await import("./node_start.ts")).startServedNode(host, outside, config),
    runProgram: async (request) => (await import("./program_in_mesh.ts")).runInMesh(host, outside, request),
    schemas: async () =>
      (await import("../../../docs/schemas/fairlead.json", { with: { type: "json" } })).default,
    askAdmin: (node, method, path) => askAdmin(host, node, method, path),
    capture: {
      status: async () => (await import("../../host/capture/status.ts")).captureStatus(host, ports.hbone),
      missingCgroups: async (paths) =>
        (await import("../../host/capture/cgroups.ts")).missingCgroups(host.files, paths),
      remove: async () => (await import("../../host/capture/capture.ts")).removeCapture(host),
      guard: async (afterMs) => {
        // All of it now: by the time that it is needed nothing may be left to load.
        const [{ runGuard }, { removeCapture }, { removeResolver }] = await Promise.all([
          import("../../host/capture/guard.ts"),
          import("../../host/capture/capture.ts"),
          import("../../dns/resolver_setup.ts"),
        ]);
        return await runGuard(host, afterMs, async () => {
          await removeCapture(host);
          await removeResolver(host);
        });
      },
    },
    live: {
      ...screen,
      write: (text) => print(1, text),
      now: () => host.clock.now(),
      sleep: (ms) => sleep(host, ms),
      follow: (node, path, take) => followAdmin(host, node, path, take),
    },
    names: {
      isSet: async () => (await import("../../dns/resolver_setup.ts")).resolverIsSet(host),
      remove: async () => (await import("../../dns/resolver_setup.ts")).removeResolver(host),
    },
    system: systemBindings(host),
    control: controlBindings(host, { serveHttp, ask }),
    onStopSignal: (listener) =>
      host.process.onSignal((signal) => {
        // Documents and revocation lists are watched: there is nothing to reload, and a closed terminal is no reason to stop.
        if (signal !== "SIGHUP") listener();
      }),
  };
}

function controlBindings(
  host: Host,
  { serveHttp, ask }: Pick<Outside, "serveHttp" | "ask">,
): ControlBindings {
  return {
    start: async (config) => (await import("./control_start.ts")).startServedControl(host, serveHttp, config),
    connect: async (config) => (await import("./control_client.ts")).connectControl(host, config),
    restore: async (path, directory, overwrite) => {
      const { restore } = await import("../../control/state/restore.ts");
      const restored = await restore(host, path, directory, { overwrite });
      const { stateId, documentVersion, lastAuditMs, carriedOver } = restored;
      const { revocations: revocationsKept, endedTokens: tokensEnded } = carriedOver;
      return { stateId, documentVersion, lastAuditMs, revocationsKept, tokensEnded };
    },
    exists: (path) => host.files.exists(path),
    ask: async (question) => ask(question),
    sleep: (ms) => sleep(host, ms),
  };
}

/** This host, for installing on it and for checking it. */
function systemBindings(host: Host): SystemBindings {
  const { clock, files, net, process } = host;
  const run = (argv: readonly string[]) => process.run(argv[0] ?? "", argv.slice(1));
  return {
    uid: process.uid,
    isBuilt,
    executable: async () => {
      const path = `/proc/${process.pid}/exe`;
      const { exitCode, output } = await run(["readlink", path]);
      return exitCode === 0 ? output.trim() : path;
    },
    date: () => new Date(clock.wallMs()).toISOString().slice(0, 10),
    nowMs: () => clock.wallMs(),
    exists: (path) => files.exists(path),
    readText: (path) => files.readText(path),
    writeFile: (path, text, mode) => files.writeAtomic(path, new TextEncoder().encode(text), mode),
    makeDirectory: (path, mode) => files.makeDirectory(path, mode),
    connects: (to, timeoutMs, mark) =>
      net.connect({ to, timeoutMs, ...(mark === null ? {} : { mark }) }).then(
        (socket) => {
          socket.close();
          return true;
        },
        (thrown) => (asMeshError(thrown, "io", "local").code === "permission_denied" ? null : false),
      ),
    resolvers: async () => (await import("./resolvers_that_answer.ts")).resolversThatAnswer(host),
    run,
  };
}

/** @returns false when a signal came first. */
function sleep(host: Host, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = host.clock.setTimer(ms, () => finish(true));
    const unsubscribe = host.process.onSignal(() => finish(false));
    const finish = (whole: boolean): void => {
      timer.cancel();
      unsubscribe();
      resolve(whole);
    };
  });
}

/** A node goes on without a file it cannot read; an operator who asks whether files are good wants to know. */
async function readEveryMeshFile(
  files: Files,
  paths: readonly string[],
): Promise<readonly { readonly path: string; readonly text: string }[]> {
  await refuseMissing(files, paths);
  const { texts, unreadable } = await readMeshFiles(files, paths, new Set());
  for (const error of unreadable.values()) throw error;
  return [...texts].map(([path, text]) => ({ path, text }));
}
