/** What the command line is handed: this program's parts as a few functions. */
import type { ControlStatus } from "../../agent/join/control_status.ts";
import { ports } from "../../base/limits/ports.ts";
import type { CliBindings, LiveBindings, StartedNode } from "../../cli/bindings.ts";
import type { Config } from "../../config/node/config.ts";
import { removeResolver, resolverIsSet } from "../../dns/resolver_setup.ts";
import { readMeshFiles, refuseMissing } from "../../files/mesh_files.ts";
import type { ServeHttp } from "../../host/bun/serve_http.ts";
import { removeCapture } from "../../host/capture/capture.ts";
import { runGuard } from "../../host/capture/guard.ts";
import { captureStatus } from "../../host/capture/status.ts";
import type { Files, Host } from "../../host/host.ts";
import { serveAdministration } from "../node/administration.ts";
import { prepareNode } from "../node/node.ts";
import { openLog, serveProgram } from "../served.ts";
import { versionFields } from "../version.ts";
import { askAdmin, followAdmin } from "./admin_client.ts";
import { controlBindings, sleep } from "./control_bindings.ts";
import { readControlDocument } from "./control_documents.ts";
import { systemBindings } from "./system_bindings.ts";

/** Outside of a Host because the simulator has no use for it. */
export interface Outside {
  readonly serveHttp: ServeHttp;
  /** Writes all of it to standard output (1) or error (2), waiting for a slow reader. */
  readonly print: (descriptor: 1 | 2, text: string) => boolean;
  /** Asks the person at the terminal; null when there is none. */
  readonly ask: (question: string) => string | null;
  readonly screen: Pick<LiveBindings, "size" | "onKey">;
}

export function cliBindings(host: Host, { serveHttp, print, ask, screen }: Outside): CliBindings {
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
    readControlDocument,
    startNode: (config) => startServed(host, serveHttp, config),
    askAdmin: (node, method, path) => askAdmin(host, node, method, path),
    capture: {
      status: () => captureStatus(host, ports.hbone),
      remove: () => removeCapture(host),
      guard: (afterMs) =>
        runGuard(host, afterMs, async () => {
          await removeCapture(host);
          await removeResolver(host);
        }),
    },
    live: {
      ...screen,
      write: (text) => print(1, text),
      now: () => host.clock.now(),
      sleep: (ms) => sleep(host, ms),
      follow: (node, path, take) => followAdmin(host, node, path, take),
    },
    names: {
      isSet: () => resolverIsSet(host),
      remove: () => removeResolver(host),
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

/** A node with its administration ports. */
async function startServed(host: Host, serveHttp: ServeHttp, config: Config): Promise<StartedNode> {
  const logger = openLog(host, config.log);
  const node = await prepareNode(host, config, logger);
  // With documents it listens now or never; a control plane may be away for long, and administration says so meanwhile.
  if (config.control === null) await node.listening;
  const served = await serveProgram({
    host,
    logger,
    serveHttp,
    program: { ...node, isIdle: () => node.context.connections.size === 0 && node.pending().length === 0 },
    unit: "connection",
    open: (ports, drain) => serveAdministration(host, node, config, logger, ports, drain),
    started: node.listening,
  });
  return {
    ...served,
    createdAuthority: node.createdAuthority,
    trustDomain: node.trustDomain,
    control: describeControl(node.control()),
    localWorkloads: node.context.locals.all.map(({ namespace, name, addresses }) => ({
      name: `${namespace}/${name}`,
      addresses: addresses.map((ip) => ip.text),
    })),
  };
}

function describeControl(status: ControlStatus | null): StartedNode["control"] {
  if (status === null) return null;
  return { server: status.server, identity: status.node?.identity ?? null };
}
