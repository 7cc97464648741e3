/** The process of the control plane: the product's own server, over TLS, with callers taken at their word. */
import { IpAddress } from "../../src/base/ip.ts";
import { grpcLimits } from "../../src/base/limits/rpc.ts";
import { silentLogger } from "../../src/base/log.ts";
import { WatchSource } from "../../src/base/watch.ts";
import { XdsServer } from "../../src/control/xds/server.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { testAuthority } from "../../src/host/testing/credentials.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import { type RpcPeer, RpcServer } from "../../src/transport/rpc/server.ts";
import { GrpcService } from "../../src/wire/grpc/server.ts";
import { type MeshSize, meshOf, policyAt, serviceAt, workloadAt } from "./mesh.ts";
import { type ServerAnswer, type ServerCommand, type Usage, wallMs } from "./words.ts";

const store = new MeshStore();
let size: MeshSize = { workloads: 0, services: 0, policies: 0 };

process.on("message", (command: ServerCommand) => void obey(command));

async function obey(command: ServerCommand): Promise<void> {
  switch (command.kind) {
    case "start":
      answer(await start(command.size));
      break;
    case "change":
      change(command);
      answer({ kind: "changed", usage: usage() });
      break;
    case "usage":
      if (command.collect) Bun.gc(true);
      answer({ kind: "usage", usage: usage() });
      break;
  }
}

async function start(of: MeshSize): Promise<ServerAnswer> {
  size = of;
  store.apply(meshOf(size));
  const authority = await testAuthority();
  Bun.gc(true);
  const rssBeforeBytes = process.memoryUsage().rss;
  const host = createBunHost();
  const cpuBefore = usage().cpuMs;
  const began = performance.now();
  const xds = new XdsServer({
    clock: host.clock,
    logger: silentLogger,
    store,
    bundle: new WatchSource({ rootsPem: "", crls: [] }),
    authenticator: {
      authenticate: async ({ authorization, proven }) => {
        proven?.();
        const id = new SpiffeId("cluster.local", "bench", authorization ?? "none");
        return { kind: "workload", id, via: "token" };
      },
    },
    version: "bench",
  });
  const encodeMs = performance.now() - began;
  const encodeCpuMs = usage().cpuMs - cpuBefore;
  const service = new GrpcService<RpcPeer>();
  xds.register(service);
  const rpc = new RpcServer({
    host,
    logger: silentLogger,
    service,
    credentials: () => authority.server.credentials,
    // All nodes are at one address here, and come at once.
    limits: {
      maxUnproven: grpcLimits.maxConnections,
      maxUnprovenPerAddress: grpcLimits.maxConnections,
      maxUnprovenPerNeighbourhood: grpcLimits.maxConnections,
      maxAssembledBytesPerAddress: grpcLimits.maxAssembledBytes,
    },
  });
  const ip = IpAddress.parse("127.0.0.1");
  if (ip === null) throw new Error("no loopback");
  const { port } = rpc.listen({ ip, port: 0 }).address;
  const { rootsPem } = { rootsPem: authority.anonymous.trustedRootsPem };
  const { certificateChainPem, privateKeyPem } = authority.client.credentials;
  return {
    kind: "started",
    port,
    rootsPem,
    certificateChainPem,
    privateKeyPem,
    encodeMs,
    encodeCpuMs,
    usage: usage(),
    rssBeforeBytes,
  };
}

function change({ what, count, revision }: Extract<ServerCommand, { kind: "change" }>): void {
  const indexes = Array.from({ length: count }, (_, index) => (revision * 37 + index) % countOf(what));
  if (what === "workload") {
    store.apply({ workloads: { upsert: indexes.map((index) => workloadAt(index, size, revision)) } });
  } else if (what === "service") {
    store.apply({ services: { upsert: indexes.map((index) => serviceAt(index, 8080 + revision)) } });
  } else store.apply({ policies: { upsert: indexes.map((index) => policyAt(index, 8080 + revision)) } });
}

function countOf(what: "workload" | "service" | "policy"): number {
  if (what === "workload") return size.workloads;
  return what === "service" ? size.services : size.policies;
}

function usage(): Usage {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return { atMs: wallMs(), cpuMs: (user + system) / 1000, rssBytes: rss, heapBytes: heapUsed };
}

function answer(message: ServerAnswer): void {
  process.send?.(message);
}
