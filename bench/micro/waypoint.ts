/**
 * The waypoint alone, in memory: the tunnel's HTTP/2 in, the pipeline whole, the tunnel's HTTP/2 out. No TLS, no kernel, and the application
 * answers at once; what the two ends beside it cost is measured by themselves, and left in the figure.
 *
 *   bun bench/micro/waypoint.ts [word] [--quick]
 */
import { join } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import type { MeshError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { MetricRegistry } from "../../src/base/metrics.ts";
import { WatchSource } from "../../src/base/watch.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import type { Socket } from "../../src/host/host.ts";
import { systemRandom } from "../../src/host/system/clock.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import type { DocumentsInForce } from "../../src/mesh/documents/in_force.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { diffStates, emptyState } from "../../src/mesh/store/change.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import { context } from "../../src/mesh/testing/convert_text.ts";
import { ip } from "../../src/mesh/testing/fixture.ts";
import { EarlyStream } from "../../src/proxy/carry/early_stream.ts";
import { StreamSocket } from "../../src/proxy/carry/stream_socket.ts";
import { H2Link } from "../../src/transport/h2_link.ts";
import { answered, waypointApp } from "../../src/waypoint/app.ts";
import { Attachment } from "../../src/waypoint/attached.ts";
import { WaypointAuth } from "../../src/waypoint/auth/waypoint_auth.ts";
import { normaliseTarget } from "../../src/waypoint/match/normalise.ts";
import { TelemetryRules } from "../../src/waypoint/telemetry_rules.ts";
import { Traffic } from "../../src/waypoint/traffic.ts";
import { TrafficPlanner } from "../../src/waypoint/traffic_planner.ts";
import { Forwarder } from "../../src/waypoint/upstream/forward.ts";
import { Waypoint } from "../../src/waypoint/waypoint.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { Loop, pipe, somewhere } from "./memory_pipe.ts";
import { record } from "./record.ts";
import { base, emptyMiddleware, middleware, policies, routes } from "./waypoint_documents.ts";

const isQuick = process.argv.includes("--quick");
const word = process.argv.slice(2).find((text) => !text.startsWith("--")) ?? "";
const streams = 32;
const warmUpSeconds = isQuick ? 0.02 : 2;
const roundSeconds = isQuick ? 0.01 : 0.4;
const rounds = isQuick ? 1 : 5;
const text = new TextEncoder();
const host = createBunHost();

interface Case {
  readonly name: string;
  readonly http: 1 | 2;
  readonly documents: string;
  readonly middlewares?: number;
  /** Unary calls with a deadline: an empty message each way, and trailers. */
  readonly grpc?: true;
}

function read(given: string): { store: MeshStore; documents: DocumentsInForce } {
  const { documents, errors } = parseDocuments([{ path: "f", text: given }]);
  if (errors.length > 0) throw new Error(JSON.stringify(errors[0]));
  const store = new MeshStore();
  const change = diffStates(emptyState, convertDocuments(documents, context));
  if (change !== null) store.apply(change);
  return { store, documents: { documents, refused: [] } };
}

async function openWaypoint(
  loop: Loop,
  given: string,
  connect: () => Promise<Socket>,
): Promise<(socket: Socket) => void> {
  const { clock } = loop;
  const { store, documents } = read(given);
  const auth = new WaypointAuth({
    ...{ clock, logger: silentLogger, http: host.http, files: host.files },
    ask: () => Promise.resolve({ kind: "failed", reason: "there is none" }),
    trustDomain: "cluster.local",
    rootNamespace: "istio-system",
    serviceByKey: (key) => store.serviceByKey(key),
    isInside: false,
  });
  const attachment = new Attachment("istio-system", (key) => store.serviceByKey(key));
  const folder = scratchFolder("micro");
  await Bun.write(join(folder, "empty.ts"), emptyMiddleware);
  const metrics = new MetricRegistry();
  const traffic = new Traffic({
    ...{ clock, random: systemRandom, logger: silentLogger, store, metrics },
    ...{ files: host.files, process: host.process, labels: ({ labels }) => labels },
    middleware: {
      folder,
      reply: answered,
      applies: {
        isFor: (document, { downstream }) => attachment.isFor(document, downstream),
        scope: ({ downstream }) => attachment.scopeOf(downstream),
      },
    },
    shared: () => ({ take: () => Promise.reject(new Error("none")) }),
    rules: new TelemetryRules(silentLogger, attachment, "istio-system"),
    ...{ accessFormat: null, tracing: null, logs: null },
  });
  const waypointWorkload = store.workloadByAddress(context.network, ip("10.0.0.1"));
  if (waypointWorkload === null) throw new Error("no waypoint");
  void new TrafficPlanner({
    ...{
      clock,
      store,
      documents: new WatchSource<DocumentsInForce | null>(documents),
      rootNamespace: "istio-system",
    },
    waypoints: () => [waypointWorkload],
    onPlan: (plan) =>
      traffic.update(
        plan,
        documents.documents.flatMap((document) => (document.kind === "Middleware" ? document : [])),
      ),
  });
  await auth.update(documents);
  const forwarder = new Forwarder(clock, connect);
  const stages = { ...auth, ...traffic.stages };
  const waypoint = new Waypoint({
    clock,
    serves: () => true,
    isInside: () => false,
    stages,
    normalise: (path) => normaliseTarget(path, "BASE"),
    answer: waypointApp(
      stages,
      (exchange, endpoint, permit) => forwarder.forward(exchange, endpoint, permit),
      silentLogger,
    ),
    connect: () => connect(),
    drainUpstreams: () => {},
  });
  const service = store.serviceByKey("shop/web.shop");
  const peer = new SpiffeId("cluster.local", "shop", "caller");
  const facts = {
    ...{
      local: waypointWorkload,
      place: { side: "waypoint" } as const,
      peer,
      source: somewhere,
      sourceWorkload: null,
    },
    called: { service, workload: null, ip: ip("240.0.0.1"), port: 80 },
  };
  const accept = (socket: Socket) =>
    waypoint.accept({
      ...facts,
      socket,
      copy: () => {},
      carriedBytes: 0,
      finish: (error: MeshError | null) => {
        if (error !== null) throw error;
      },
      ...{ isOver: false, abort: () => {}, onAbort: () => {} },
    });
  if (documents.documents.some(({ kind }) => kind === "Middleware"))
    while (traffic.middlewares.status.length === 0) await Bun.sleep(5);
  for (const { error } of traffic.middlewares.status) if (error !== null) throw new Error(error);
  return accept;
}

/** The bytes of one CONNECT: counts answers by their last bytes, and sends the next request at each. */
class CallerHttp1 implements H2StreamEvents {
  stream: H2Stream | null = null;
  static readonly request = text.encode(
    "GET /item/42 HTTP/1.1\r\nHost: 127.3.0.1:28390\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
  );
  onHeaders(): void {}
  onData(bytes: Uint8Array): void {
    this.stream?.consume(bytes.length);
    answers++;
  }
  onTrailers(): void {}
  onReset(): void {
    throw new Error("reset");
  }
  onWritable(): void {}
  onClose(): void {}
}

let answers = 0;
let asked = 0;
const answer1 = text.encode(
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 29 Nov 2026 02:00:00 GMT\r\nContent-Length: 12\r\n\r\nhello, world",
);
const answer2 = [
  ":status",
  "200",
  "server",
  "nginx",
  "date",
  "Sun, 29 Nov 2026 02:00:00 GMT",
  "content-length",
  "12",
];
const hello = text.encode("hello, world");
const emptyMessage = new Uint8Array(5);

function answerCall(call: H2Stream): void {
  call.sendHeaders([":status", "200", "content-type", "application/grpc"], false);
  call.sendData(emptyMessage, false);
  call.sendTrailers(["grpc-status", "0", "grpc-message", ""]);
}

async function open(loop: Loop, one: Case): Promise<() => void> {
  // The application's node: each CONNECT is a connection of HTTP.
  const [toApplication, application] = pipe(loop);
  const ofApplication = new H2Link(
    loop.clock,
    application,
    { role: "server" },
    {
      onRequest: (stream) => {
        const early = new EarlyStream(false);
        stream.events = early;
        stream.sendHeaders([":status", "200"], false);
        if (one.http === 1) {
          stream.events = {
            onHeaders: () => {},
            onData: (bytes) => {
              stream.consume(bytes.length);
              stream.sendData(answer1, false);
            },
            ...{ onTrailers: () => {}, onReset: () => {}, onWritable: () => {}, onClose: () => {} },
          };
          return;
        }
        const inner = new H2Link(
          loop.clock,
          new StreamSocket(stream, early, somewhere, somewhere),
          { role: "server" },
          {
            onRequest: (request) => {
              if (one.grpc) {
                request.events = { ...quiet, onData: (_bytes, isEnd) => isEnd && answerCall(request) };
                return;
              }
              request.events = quiet;
              request.sendHeaders(answer2, false);
              request.sendData(hello, true);
            },
          },
        );
        inner.start();
      },
    },
  );
  const toNode = new H2Link(loop.clock, toApplication, { role: "client" }, {});
  ofApplication.start();
  toNode.start();
  const connect = async (): Promise<Socket> => {
    const early = new EarlyStream(false);
    const stream = toNode.connection.request(
      [":method", "CONNECT", ":authority", "10.0.0.2:8080"],
      false,
      early,
    );
    if (stream === null) throw new Error("no stream");
    return new StreamSocket(stream, early, somewhere, somewhere);
  };
  const protocol = one.http === 1 ? "HTTP" : one.grpc ? "GRPC" : "HTTP2";
  const accept = await openWaypoint(loop, base.replace("PROTOCOL", protocol) + one.documents, connect);
  // The caller's node.
  const [toWaypoint, atWaypoint] = pipe(loop);
  const tunnel = new H2Link(
    loop.clock,
    atWaypoint,
    { role: "server" },
    {
      onRequest: (stream) => {
        const early = new EarlyStream(false);
        stream.events = early;
        stream.sendHeaders([":status", "200"], false);
        accept(new StreamSocket(stream, early, somewhere, somewhere));
      },
    },
  );
  const caller = new H2Link(loop.clock, toWaypoint, { role: "client" }, {});
  tunnel.start();
  caller.start();
  const connectTo = [":method", "CONNECT", ":authority", "240.0.0.1:80"];
  if (one.http === 1) {
    const callers = Array.from({ length: streams }, () => {
      const each = new CallerHttp1();
      each.stream = caller.connection.request(connectTo, false, each);
      return each;
    });
    return () => {
      for (const { stream } of callers) stream?.sendData(CallerHttp1.request, false);
    };
  }
  const early = new EarlyStream(false);
  const stream = caller.connection.request(connectTo, false, early);
  if (stream === null) throw new Error("no stream");
  const inner = new H2Link(
    loop.clock,
    new StreamSocket(stream, early, somewhere, somewhere),
    { role: "client" },
    {},
  );
  inner.start();
  const request = [
    ...[":method", one.grpc ? "POST" : "GET", ":scheme", "http", ":authority", "web.shop"],
    ...[":path", one.grpc ? "/grpc.testing.TestService/EmptyCall" : "/item/42", "user-agent", "bench"],
    ...(one.grpc ? ["content-type", "application/grpc", "te", "trailers"] : ["accept", "*/*"]),
  ];
  if (one.grpc)
    return () => {
      for (let i = 0; i < streams; i++) {
        // What is left of a deadline is another time each time, in microseconds as Go's library says it.
        const deadline = ["grpc-timeout", `${29_999_999 - (asked++ % 1_000_000)}u`];
        inner.connection.request([...request, ...deadline], false, counting)?.sendData(emptyMessage, true);
      }
    };
  return () => {
    for (let i = 0; i < streams; i++) inner.connection.request(request, true, counting);
  };
}

const quiet: H2StreamEvents = {
  onHeaders: () => {},
  onData: () => {},
  onTrailers: () => {},
  onReset: () => {},
  onWritable: () => {},
  onClose: () => {},
};
const counting: H2StreamEvents = { ...quiet, onClose: () => void answers++ };

async function measure(one: Case): Promise<void> {
  if (!one.name.includes(word)) return;
  const loop = new Loop();
  const ask = await open(loop, one);
  await loop.run();
  const round = async (seconds: number): Promise<number> => {
    const start = cpuSeconds();
    const before = answers;
    let elapsed = 0;
    do {
      for (let i = 0; i < 20; i++) {
        ask();
        await loop.run();
      }
      elapsed = cpuSeconds() - start;
    } while (elapsed < seconds);
    if (answers === before) throw new Error("nothing was answered");
    return (elapsed / (answers - before)) * 1e6;
  };
  await round(warmUpSeconds);
  const figures: number[] = [];
  for (let i = 0; i < rounds; i++) figures.push(await round(roundSeconds));
  record({ engine: "waypoint", name: one.name, unit: "us", rounds: [...figures] });
  figures.sort((a, b) => a - b);
  console.log(
    `${one.name.padEnd(58)} ${figures[rounds >> 1]?.toFixed(2)} us (best ${figures[0]?.toFixed(2)})`,
  );
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

for (const http of [1, 2] as const) {
  const name = `HTTP/${http === 1 ? "1.1" : "2"}`;
  await measure({ name: `${name}, no documents`, http, documents: "" });
  if (http === 2) await measure({ name: "gRPC, no documents", http, documents: "", grpc: true });
  await measure({ name: `${name}, 10 routes and policies`, http, documents: routes(10) + policies(10) });
  await measure({ name: `${name}, 500 routes and policies`, http, documents: routes(500) + policies(500) });
  await measure({ name: `${name}, three empty middlewares`, http, documents: middleware(3) });
}
process.exit(0);
