/**
 * Administration of a node: ztunnel's paths, and some of our own. It is for this host alone. Changes come by a Unix socket, where the
 * kernel says who asks; the port (15000) is for reading, since every user of the host can reach it.
 */
import { type Context, type Env, Hono, type Next } from "hono";
import { asMeshError } from "../../base/errors.ts";
import { IpAddress, parseHostPort } from "../../base/ip.ts";
import { adminLimits } from "../../base/limits/admin.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import type { LogLevel } from "../../base/log.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { dumpCertificates } from "./certificates.ts";
import type { AdminSources, ConnectionEntry, UpgradeSource } from "./sources.ts";
import { describeNode } from "./status.ts";
import { Taps } from "./tap.ts";
import { dumpWorkloadState } from "./workload_state.ts";

const pages: readonly (readonly [path: string, description: string])[] = [
  ["status", "whether this node is ready, and how its workloads, certificates and control plane are"],
  ["config_dump", "everything this node knows: workloads, services, policies, certificates, configuration"],
  ["connections", "open connections: between whom, and which policy allowed each"],
  ["documents", "mesh documents: accepted, refused, and why"],
  [
    "explain",
    "?from=…&to=…&port=…: allowed or denied, and why; ?connection=ID: the same of one that has ended",
  ],
  ["control", "the connection of this host to its control plane"],
  ["identity_socket", "identities for local programs: the rules, and which program has taken which"],
  ["stats/prometheus", "metrics, as on the metrics port"],
  ["tap", "on the socket: connections and requests as they come; ?from= ?to= ?failed=1"],
  ["logging", "on the socket, POST: show the log level; POST ?level=debug|info|warn|error: change it"],
  ["quitquitquit", "on the socket, POST: drain and stop"],
  ["capture/confirm", "on the socket, POST: keep capture rules that are on trial"],
  ["upgrade", "on the socket: whether this node gives its place to another process; POST: let it"],
];

/** Paths that change something, which the socket alone does. */
const changes = ["/logging", "/quitquitquit", "/capture/confirm"] as const;

/** The application of the port. */
export function createAdminApp(sources: AdminSources, access: PortAccess): Hono {
  const app = new Hono();
  app.use(refuseBrowsers);
  if (access.reads === "socket") app.use(refuseReads(access));
  addReads(app, sources);
  app.all("/tap", (context) => context.text(`/tap is not for the port: ${wayIn(access)}\n`, 403));
  for (const path of [...changes, "/upgrade"])
    app.all(path, (context) => context.text(`${path} changes this node: ${wayIn(access)}\n`, 403));
  return app;
}

/** Who asks on the socket, in words for the log: `uid=0,gid=0`. */
export interface SocketBindings {
  readonly caller: string;
  /** Root, or the user that the node runs as: who can start any program as that user anyway. */
  readonly isOwner: boolean;
}

/** The application of the socket, which no web page can reach. */
export function createSocketAdminApp(sources: AdminSources): Hono<{ Bindings: SocketBindings }> {
  const app = new Hono<{ Bindings: SocketBindings }>();
  addReads(app, sources);
  const taps = new Taps((listener) => sources.watchRecords(listener));
  app.get("/tap", (context) => openTap(context, taps));
  app.post("/logging", (context) => changeLogLevel(context, sources, context.env.caller));
  app.post("/quitquitquit", (context) => {
    sources.drain(context.env.caller);
    return context.text("shutdown now\n");
  });
  app.post("/capture/confirm", async (context) => {
    const problem = await sources.confirmCapture(context.env.caller);
    return problem === null ? context.text("capture is confirmed\n") : context.text(`${problem}\n`, 409);
  });
  app.get("/upgrade", async (context) => pretty(context, await sources.upgrades.status()));
  app.post("/upgrade", (context) => upgrade(context, sources.upgrades, context.env));
  for (const path of changes)
    app.all(path, (context) => context.text(`${path} takes POST\n`, 405, { allow: "POST" }));
  return app;
}

/** What every user of this host may do at the port. */
export interface PortAccess {
  /** `anyone` as ztunnel's, for istioctl; `socket`: there alone. */
  readonly reads: "anyone" | "socket";
  /** The Unix socket; null when there is none. */
  readonly socketPath: string | null;
}

function wayIn({ socketPath }: PortAccess): string {
  return socketPath === null
    ? "this node has no administration socket (--admin-socket)"
    : `ask at ${socketPath} (fairlead drain, fairlead log-level, fairlead tap)`;
}

/** Metrics are on a port of their own, for everyone. */
function refuseReads(access: PortAccess) {
  return async (context: Context, next: Next): Promise<Response | undefined> => {
    if (context.req.path !== "/" && context.req.path !== "/stats/prometheus")
      return context.text(
        `this port does not answer, because of --admin-reads socket: ${wayIn(access)}\n`,
        403,
      );
    await next();
    return undefined;
  };
}

function addReads<E extends Env>(app: Hono<E>, sources: AdminSources): void {
  for (const path of ["/status", "/config_dump", "/connections", "/stats/prometheus"])
    app.use(path, async (_, next) => {
      await sources.refresh?.();
      await next();
    });
  app.get("/", (context) => context.html(renderIndex()));
  app.get("/status", (context) => pretty(context, describeNode(sources)));
  app.get("/config_dump", (context) => pretty(context, dumpConfig(sources)));
  app.get("/connections", (context) => pretty(context, listConnections(sources)));
  app.get("/documents", (context) => pretty(context, sources.documents()));
  app.get("/explain", (context) => explain(context, sources));
  app.get("/control", (context) => pretty(context, { control: present(sources.control()) }));
  app.get("/identity_socket", (context) => pretty(context, { sockets: present(sources.identitySocket()) }));
  // Envoy serves its metrics here too; `fairlead get traffic` needs no second address.
  app.get("/stats/prometheus", (context) => context.text(writeMetrics(sources.metrics, "prometheus")));
}

/**
 * A page in a browser must not drain a node or read its configuration: a request with an `Origin` comes from a
 * page, and one for a name instead of an address comes through DNS rebinding.
 */
async function refuseBrowsers(context: Context, next: Next): Promise<Response | undefined> {
  const authority = context.req.header("host") ?? "";
  const host = parseHostPort(authority)?.host ?? authority;
  const named = host !== "localhost" && IpAddress.parse(host) === null;
  if (named || context.req.header("origin") !== undefined)
    return context.text(
      "administration is not for web pages: ask an address of this host, without an Origin\n",
      403,
    );
  await next();
  return undefined;
}

async function explain(context: Context, sources: AdminSources): Promise<Response> {
  const { from, to, port, connection } = context.req.query();
  const number = (text: string): number | null => (/^[0-9]{1,15}$/.test(text) ? Number(text) : null);
  const id = connection === undefined ? null : number(connection);
  const portNumber = port === undefined ? null : number(port);
  const isWrong =
    id === null && (from === undefined || to === undefined || (port !== undefined && portNumber === null));
  if (isWrong) return context.text("give from and to, and port if need be; or connection\n", 400);
  const question = id === null ? { from: from ?? "", to: to ?? "", port: portNumber } : { connection: id };
  const answered = await sources.explain(question);
  return answered.kind === "answer"
    ? pretty(context, answered.answer)
    : context.text(`${answered.message}\n`, 422);
}

function pretty(context: Context, value: unknown): Response {
  return context.body(`${JSON.stringify(value, writeAddress, 2)}\n`, 200, {
    "content-type": "application/json",
  });
}

/** Addresses are words to whoever reads this, not bytes. */
function writeAddress(_: string, value: unknown): unknown {
  return value instanceof IpAddress ? value.text : value;
}

/** ztunnel's keys in ztunnel's order (`admin.rs`, ConfigDump); what it has and we have not is empty. */
function dumpConfig(sources: AdminSources): unknown {
  return {
    ...sources.meshDump(),
    stagedServices: {},
    staticConfig: { workloads: [], policies: [], services: [] },
    version: sources.version(),
    config: sources.config(),
    certificates: dumpCertificates(sources.certificates()),
    workloadState: dumpWorkloadState(sources.localWorkloads(), sources.connections()),
  };
}

/** A list of what there is at most one of, as every other page has lists. */
function present<T>(value: T | null): readonly T[] {
  return value === null ? [] : [value];
}

function openTap(context: Context, taps: Taps): Response {
  const { from, to, failed } = context.req.query();
  const stream = taps.open(
    { from: from ?? null, to: to ?? null, failed: failed === "1" },
    context.req.raw.signal,
  );
  return stream === null
    ? context.text(`${adminLimits.maxTaps} programs watch this node already; end one of them\n`, 503)
    : context.body(stream, 200, { "content-type": "application/x-ndjson" });
}

/** Answers at once, and says how it came out when it is over: one JSON object on the last line. */
async function upgrade(
  context: Context,
  upgrades: UpgradeSource,
  { caller, isOwner }: SocketBindings,
): Promise<Response> {
  if (!isOwner)
    return context.text(`only root and the user of the node may replace it, not ${caller}\n`, 403);
  const { program = null, check, ready, deadline } = context.req.query();
  const readyMs = milliseconds(ready, upgradeLimits.readyMs, upgradeLimits.maxReadyMs);
  const deadlineMs = milliseconds(deadline, upgradeLimits.drainDeadlineMs, upgradeLimits.maxDrainDeadlineMs);
  if (readyMs === null || deadlineMs === null || program?.startsWith("/") === false)
    return context.text("give program as a whole path, and ready and deadline in milliseconds\n", 400);
  const { step } = await upgrades.status();
  if (step !== null) return context.text(`${step}; wait for its end\n`, 409);
  const running = upgrades.run({ program, by: caller, checkOnly: check === "1", readyMs, deadlineMs });
  const words = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(words.encode("\n"));
      const outcome = await running.catch((thrown: unknown) => ({
        result: "refused",
        reason: asMeshError(thrown, "io", "local").message,
      }));
      controller.enqueue(words.encode(`${JSON.stringify(outcome)}\n`));
      controller.close();
    },
  });
  return context.body(body, 200, { "content-type": "application/x-ndjson" });
}

/** @returns null for what is no such number. */
function milliseconds(text: string | undefined, otherwise: number, most: number): number | null {
  if (text === undefined) return otherwise;
  return /^[0-9]{1,12}$/.test(text) && Number(text) <= most ? Number(text) : null;
}

function listConnections(sources: Pick<AdminSources, "connections" | "openConnections">): unknown {
  const listed: ConnectionEntry[] = [];
  for (const connection of sources.connections()) {
    // The others are not looked at either: there may be a hundred thousand, and one turn of the loop is for all.
    if (listed.length === adminLimits.maxListedConnections) break;
    listed.push(connection);
  }
  return { total: sources.openConnections(), connections: listed };
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Envoy's and ztunnel's form. A level we do not have is refused, not rounded. */
function changeLogLevel(context: Context, sources: AdminSources, caller: string): Response {
  const wanted = context.req.query("level");
  const level = levels.find((name) => name === wanted);
  if (wanted !== undefined && level === undefined)
    return context.text(`invalid level "${wanted}": use ${levels.join(", ")}\n`, 400);
  if (level !== undefined) sources.setLogLevel(level, caller);
  return context.text(`current log level is ${sources.logLevel()}\n`);
}

function renderIndex(): string {
  const rows = pages.map(
    ([path, description]) => `<tr><td><a href="${path}">${path}</a></td><td>${description}</td></tr>`,
  );
  return `<!doctype html><title>fairlead</title><h1>fairlead</h1><table>\n${rows.join("\n")}\n</table>\n`;
}
