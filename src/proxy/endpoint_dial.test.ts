/** A waypoint's calls by themselves: the mesh is a store, tunnels and sockets are by hand. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import type { ConnectOptions, Socket } from "../host/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../mesh/testing/fixture.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import type { HeaderFields } from "../wire/h2/headers.ts";
import type { H2StreamEvents } from "../wire/h2/stream.ts";
import { resetCode } from "../wire/hbone.ts";
import { FakeStream } from "./carry/testing/fake_stream.ts";
import { type EndpointCall, EndpointDial } from "./endpoint_dial.ts";
import type { NodeContext, NodeSettings } from "./node_context.ts";
import { OwnListeners } from "./own_listeners.ts";
import type { TunnelTarget } from "./tunnel/client_tunnel.ts";
import type { TunnelPool } from "./tunnel/pool.ts";
import { at } from "./tunnel/testing/tunnel_scene.ts";

const source = workload("waypoint", { addresses: [ip("10.0.0.9")] });
const web = workload("web", { addresses: [ip("10.0.0.3")] });
const plain = workload("plain", { addresses: [ip("10.0.0.4")], tunnelProtocol: "NONE" });
const named = workload("named", { hostname: "named.internal", tunnelProtocol: "NONE" });
const far = workload("far", { addresses: [ip("10.0.0.5")], network: "west" });
const other = workload("other", { addresses: [ip("10.0.0.8")] });
const gateway = workload("gateway", { addresses: [ip("10.0.0.7")] });
const remote = workload("remote", {
  network: "west",
  networkGateway: gatewayAt("10.0.0.7"),
  services: member("shop/remote.shop"),
});
const open = service("open", { 80: 8080 });
const behind = service("behind", { 80: 8080 }, { waypoint: gatewayAt("10.0.0.8") });
const lost = service("lost", { 80: 8080 }, { waypoint: gatewayAt("10.9.9.9") });
const remoteWaypoint = service(
  "remote",
  { 15008: 15008 },
  { subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/remote"] },
);
const abroad = service("abroad", { 80: 8080 }, { waypoint: gatewayNamed("shop", "remote.shop") });

let dialled: ConnectOptions[];
let sockets: FakeSocket[];
/** Bytes that a new connection in the clear takes. */
let room: number;
let acquired: TunnelTarget[];
let connects: HeaderFields[];
let streams: FakeStream[];
/** Of so many CONNECTs that come first the peer takes none. */
let refusals: number;
let inside: readonly [FakeSocket, FakeSocket];

beforeEach(() => {
  [dialled, sockets, acquired, connects, streams] = [[], [], [], [], []];
  room = Number.POSITIVE_INFINITY;
  refusals = 0;
  inside = [new FakeSocket(), new FakeSocket()];
});

const pool = {
  acquire: async (target: TunnelTarget) => {
    acquired.push(target);
    return {
      request: (headers: HeaderFields, events: H2StreamEvents) => {
        connects.push(headers);
        const stream = new FakeStream();
        stream.aboveHighWater = room === 0;
        streams.push(stream);
        if (refusals-- > 0)
          events.onReset(resetCode.refusedStream, "remote", new MeshError("h2_reset", "upstream", "busy"));
        else events.onHeaders([":status", "200"], false);
        return stream;
      },
    };
  },
} as unknown as TunnelPool;

interface Scene {
  readonly settings?: Partial<NodeSettings>;
  readonly own?: readonly SocketAddress[];
}

function connect(call: Partial<EndpointCall>, { settings = {}, own = [] }: Scene = {}): Promise<Socket> {
  const store = new MeshStore();
  store.apply({
    workloads: { upsert: [source, web, plain, named, far, other, gateway, remote] },
    services: { upsert: [open, behind, lost, remoteWaypoint, abroad] },
  });
  const net = {
    connect: async (options: ConnectOptions) => {
      dialled.push(options);
      const socket = new FakeSocket();
      socket.room = room;
      sockets.push(socket);
      return socket;
    },
    socketPair: async () => inside,
    localAddresses: () => [ip("10.0.0.4")],
    listen: () => ({ address: at("10.0.0.9", 0), close() {} }),
  };
  const context = {
    ...{ clock: new FakeClock(0), net, store },
    own: new OwnListeners(net, own),
    random: { float: () => 0 },
    locals: { isHostAddress: () => true },
    names: { resolve: async (name: string) => (name === "named.internal" ? [ip("192.0.2.7")] : []) },
    settings: { network: "", hbonePort: 15008, mark: null, applicationAddresses: new Map(), ...settings },
  } as unknown as NodeContext;
  return new EndpointDial(context, pool).connect({
    ...{ source, workload: web, port: 8080, service: null, throughWaypointOf: null },
    client: at("10.0.0.1", 4711),
    ...call,
  });
}

const header = Uint8Array.from(Buffer.from("PROXY"));

describe("where a call goes", () => {
  test("over a tunnel to the workload, as the waypoint, and says for whom", async () => {
    const socket = await connect({ service: open });
    expect(acquired.map(({ dial, expected, from }) => [dial, expected, from?.text])).toEqual([
      [at("10.0.0.3", 15008), [web.identity], "10.0.0.9"],
    ]);
    expect(connects[0]).toContain("10.0.0.3:8080");
    expect(connects[0]).toContain('for="10.0.0.1:4711";host=open.shop');
    expect([socket.local, socket.remote]).toEqual([at("10.0.0.1", 4711), at("10.0.0.3", 8080)]);
    expect(dialled).toEqual([]);
  });

  test("in the clear to one that takes no HBONE, by its address or by its name", async () => {
    await connect({ workload: plain });
    await connect({ workload: named });
    expect(dialled.map(({ to, timeoutMs }) => [to, timeoutMs])).toEqual([
      [at("10.0.0.4", 8080), proxyLimits.connectTimeoutMs],
      [at("192.0.2.7", 8080), proxyLimits.connectTimeoutMs],
    ]);
    expect(acquired).toEqual([]);
  });

  test("nowhere, where there is no route, and the reason is told", async () => {
    for (const one of [far, workload("gone", { addresses: [ip("10.0.0.6")] })])
      expect(await rejectionOf(connect({ workload: one }))).toMatchObject({ code: "no_route" });
    expect([dialled, acquired]).toEqual([[], []]);
  });

  test("not to a listener of this process", async () => {
    const failing = connect({ workload: plain }, { own: [at("10.0.0.4", 8080)] });
    expect(await rejectionOf(failing)).toMatchObject({ code: "self_call" });
    expect(dialled).toEqual([]);
  });

  test("on another tunnel, when the peer has not taken it", async () => {
    refusals = 1;
    await connect({});
    expect([acquired.length, connects.length]).toEqual([2, 2]);
  });

  test("a tunnel's own client: through the waypoint of a service that has one, else direct", async () => {
    await connect({ service: behind, throughWaypointOf: 80 });
    await connect({ service: open, throughWaypointOf: 80 });
    await connect({ service: behind });
    await connect({ throughWaypointOf: 80 });
    expect(acquired.map(({ dial }) => dial.ip.text)).toEqual([
      "10.0.0.8",
      "10.0.0.3",
      "10.0.0.3",
      "10.0.0.3",
    ]);
  });

  test("never past a waypoint that is not there, or that is on another network", async () => {
    const fails = (one: typeof lost) => rejectionOf(connect({ service: one, throughWaypointOf: 80 }));
    expect(await fails(lost)).toMatchObject({ code: "no_route" });
    expect(await fails(abroad)).toMatchObject({
      code: "unsupported",
      message: "the waypoint of abroad.shop is on another network",
    });
    expect([dialled, acquired]).toEqual([[], []]);
  });
});

describe("a connection in the clear", () => {
  test("has the mark that capture leaves alone, and keep-alive as it is wanted, or neither", async () => {
    const keepAlive = { probes: 3, timeMs: 1_000, intervalMs: null };
    await connect({ workload: plain }, { settings: { mark: 1337 } });
    await connect({ workload: plain, keepAlive });
    expect(dialled.map((options) => [options.mark, options.keepAlive])).toEqual([
      [1337, undefined],
      [undefined, keepAlive],
    ]);
    expect(dialled.map((options) => ["mark" in options, "keepAlive" in options])).toEqual([
      [true, false],
      [false, true],
    ]);
  });
});

describe("what a destination wants first", () => {
  test("a PROXY header is written before anything else, over a tunnel as in the clear", async () => {
    const opening = { header, secure: null };
    const inClear = await connect({ workload: plain, opening });
    expect([sockets[0]?.text, inClear === sockets[0]]).toEqual(["PROXY", true]);
    await connect({ opening });
    expect(streams[0]?.sent).toBe("PROXY");
    await connect({ opening: { header: null, secure: null } });
    expect(streams[1]?.sent).toBe("");
  });

  test("a connection that does not take all of it is given up", async () => {
    const opening = { header, secure: null };
    room = 2;
    expect(await rejectionOf(connect({ workload: plain, opening }))).toMatchObject({
      code: "connection_closed",
    });
    expect(sockets[0]?.state).toBe("reset");
    room = 0;
    expect(await rejectionOf(connect({ opening }))).toMatchObject({ code: "connection_closed" });
    expect(streams[0]?.resetWith).toBe(resetCode.connectError);
  });

  test("TLS of its own is spoken on the connection, or inside the tunnel", async () => {
    const secured: Socket[] = [];
    const made = new FakeSocket();
    const secure = async (socket: Socket) => {
      secured.push(socket);
      return made;
    };
    expect(await connect({ workload: plain, opening: { header, secure } })).toBe(made);
    expect([secured[0] === sockets[0], sockets[0]?.text]).toEqual([true, "PROXY"]);
    const socket = await connect({ opening: { header: null, secure } });
    expect([secured[1] === inside[0], socket.remote]).toEqual([true, at("10.0.0.3", 8080)]);
    made.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
    inside[1].receive("hello");
    expect(streams[0]?.sent).toBe("hello");
  });

  test("is the business of the waypoint on the way, where there is one", async () => {
    let calls = 0;
    const secure = async (socket: Socket) => {
      calls++;
      return socket;
    };
    await connect({ service: behind, throughWaypointOf: 80, opening: { header, secure } });
    expect([streams[0]?.sent, calls]).toEqual(["", 0]);
  });
});
