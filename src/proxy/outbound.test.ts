/** Calls of a workload by themselves: the mesh is a store, connections and tunnels come when the test says so. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import type { HostPort, SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { FakeSocket } from "../host/testing/fake_socket.ts";
import { VirtualAddresses } from "../mesh/names/virtual_addresses.ts";
import { gatewayAt, ip, member, service, workload } from "../mesh/testing/fixture.ts";
import type { HeaderFields } from "../wire/h2/headers.ts";
import type { H2StreamEvents } from "../wire/h2/stream.ts";
import { EarlySocket } from "./carry/early_socket.ts";
import { FakeStream } from "./carry/testing/fake_stream.ts";
import type { NodeContext } from "./node_context.ts";
import { OutboundFlow } from "./outbound.ts";
import { FlowScene, socketFrom } from "./testing/flow_scene.ts";
import type { ClientTunnel, TunnelTarget } from "./tunnel/client_tunnel.ts";
import type { TunnelPool } from "./tunnel/pool.ts";
import { at, shopId } from "./tunnel/testing/tunnel_scene.ts";
import type { WaypointCall, WaypointService } from "./waypoint_flow.ts";

const cart = workload("cart", { addresses: [ip("10.0.0.1")] });
const db = workload("db", { addresses: [ip("10.0.0.2")], services: member("shop/db.shop") });
const plain = workload("plain", { addresses: [ip("10.0.0.4")], tunnelProtocol: "NONE" });
const named = workload("named", { hostname: "named.internal", services: member("shop/named.shop") });
const namedPlain = workload("named-plain", {
  ...{ hostname: "plain.internal", tunnelProtocol: "NONE", services: member("shop/named-plain.shop") },
});
const far = workload("far", {
  ...{ network: "west", networkGateway: gatewayAt("10.0.0.7"), services: member("shop/far.shop") },
});
const gateway = workload("gateway", { addresses: [ip("10.0.0.7")] });
const dbService = service("db", { 5432: 15432 }, { addresses: [{ network: "", ip: ip("10.88.0.2") }] });
const things = [
  ...[cart, db, plain, named, namedPlain, far, gateway, dbService],
  ...[service("named", { 80: 8080 }), service("named-plain", { 80: 8080 })],
  service("far", { 80: 8080 }, { subjectAltNames: [shopId("far").uri] }),
  service(
    "anywhere",
    { 80: 80 },
    {
      addresses: ["192.0.2.1", "192.0.2.2"].map((text) => ({ network: "", ip: ip(text) })),
      loadBalancing: { routingPreferences: [], mode: "PASSTHROUGH", healthPolicy: "ONLY_HEALTHY" },
    },
  ),
];

let scene: FlowScene;
let client: FakeSocket;
/** What the client was told of its connection: a code, or that it is there. */
let answers: string[];
/** Tunnels that were asked for, each with what lets it be there. */
let acquired: {
  readonly target: TunnelTarget;
  opens(): Promise<void>;
  fails(error: MeshError): Promise<void>;
}[];
let connects: HeaderFields[];
let streams: FakeStream[];

beforeEach(() => {
  scene = new FlowScene(things);
  client = socketFrom(at("10.0.0.1", 4711), at("10.0.0.1", 8080));
  [answers, acquired, connects, streams] = [[], [], [], []];
});

const tunnel = {
  peer: { id: shopId("db") },
  tls: null,
  request: (headers: HeaderFields, events: H2StreamEvents) => {
    connects.push(headers);
    const stream = new FakeStream();
    streams.push(stream);
    events.onHeaders([":status", "200"], false);
    return stream;
  },
} as unknown as ClientTunnel;

const pool = {
  acquire: (target: TunnelTarget) => {
    const { promise, resolve, reject } = Promise.withResolvers<ClientTunnel>();
    acquired.push({
      target,
      opens: () => {
        resolve(tunnel);
        return scene.settle();
      },
      fails: (error) => {
        reject(error);
        return scene.settle();
      },
    });
    return promise;
  },
} as unknown as TunnelPool;

async function call(
  destination: SocketAddress | HostPort,
  {
    more = {},
    inside = null,
    isTold = true,
  }: { more?: Partial<NodeContext>; inside?: WaypointService | null; isTold?: boolean } = {},
): Promise<void> {
  const early = new EarlySocket(client);
  client.setHandler(early);
  const answer = (error: MeshError | null) => void answers.push(error?.code ?? "there");
  const carried = new OutboundFlow(scene.context(more), pool, inside).carry({
    ...{ socket: client, source: cart, destination, early, answer: isTold ? answer : null },
  });
  carried.catch((error) => answers.push(`it threw ${error}`));
  await scene.settle();
}

const name = (host: string, port = 80): HostPort => ({ host, port });
const refused = () => new MeshError("connect_refused", "upstream", "refused");
const parties = () => [...scene.connections][0]?.record.parties;

describe("where nothing can be called", () => {
  test("a virtual address that stands for nothing now has no route; one of a service is called as that", async () => {
    const virtual = new VirtualAddresses();
    const pair = virtual.of("db.shop");
    if (pair === null) throw new Error("no virtual address");
    await call({ ip: pair.ipv4, port: 5432 }, { more: { virtual } });
    expect([acquired.map(({ target }) => target.dial), answers]).toEqual([[at("10.0.0.2", 15008)], []]);
    virtual.prune(() => false);
    await call({ ip: pair.ipv4, port: 5432 }, { more: { virtual } });
    expect([answers, scene.codes, scene.dialled]).toEqual([["no_route"], ["no_route"], []]);
  });

  test("a network behind a gateway is none that this version reaches", async () => {
    await call(name("far.shop"));
    expect([answers, scene.codes, acquired]).toEqual([["unsupported"], ["unsupported"], []]);
    expect(client.state).toBe("closed");
  });

  test("without room in the register an application inside is not given the call", async () => {
    const accepted: WaypointCall[] = [];
    const inside = {
      isInside: () => true,
      accept: (one: WaypointCall) => void accepted.push(one),
    } as unknown as WaypointService;
    await call(name("db.shop", 5432), { inside });
    expect([accepted[0]?.place, answers]).toEqual([{ side: "outbound" }, ["there"]]);
    scene.fill();
    await call(name("db.shop", 5432), { inside });
    expect([accepted.length, answers, client.state]).toEqual([1, ["there", "limit_reached"], "closed"]);
  });
});

describe("without room in the register", () => {
  test("a client is told so where it can be, and closed; else its connection is reset. Nothing is dialled", async () => {
    scene.fill();
    await call(name("db.shop", 5432));
    expect([answers, client.state]).toEqual([["limit_reached"], "closed"]);
    client = socketFrom(at("10.0.0.1", 4712), at("10.0.0.1", 15001));
    await call(name("db.shop", 5432), { isTold: false });
    expect([answers.length, client.state, acquired, scene.codes]).toEqual([1, "reset", [], []]);
  });
});

describe("a name outside the mesh", () => {
  test("whose address is a workload's that takes no HBONE is that workload's call, and names no identity", async () => {
    scene.named.set("plain.example", [ip("10.0.0.4")]);
    await call(name("plain.example", 8080));
    await scene.dialled[0]?.connects();
    expect([parties()?.destination.workload, parties()?.destination.identity]).toEqual([plain, null]);
    expect([parties()?.source.identity, answers]).toEqual([null, ["there"]]);
  });

  test("with an address that may not be called goes to another one that may, and is refused where there is none", async () => {
    scene.own.add(at("10.0.0.1", 80));
    scene.named.set("both.example", [ip("10.0.0.1"), ip("192.0.2.9")]);
    await call(name("both.example"));
    await scene.dialled[0]?.connects();
    expect([scene.dialled.map(({ options }) => options.to), answers]).toEqual([
      [at("192.0.2.9", 80)],
      ["there"],
    ]);
    scene.named.set("self.example", [ip("10.0.0.1")]);
    await call(name("self.example"));
    expect([scene.dialled.length, answers.at(-1), scene.codes.at(-1)]).toEqual([1, "self_call", "self_call"]);
  });

  test("that resolves to no address is said to be unreachable", async () => {
    scene.named.set("empty.example", []);
    await call(name("empty.example"));
    expect(answers).toEqual(["connect_unreachable"]);
  });

  test("that is nowhere may be a service's, misspelt; another failure of its look-up is told as it is", async () => {
    await call(name("nowhere.example"));
    expect(String(scene.lines[0]?.error)).toContain(
      "name_not_found: no service of the mesh has the name nowhere.example, and it does not resolve",
    );
    scene.named.set("busy.example", new MeshError("limit_reached", "local", "too many names"));
    await call(name("busy.example"));
    expect(scene.lines[1]?.error).toBe("limit_reached: too many names");
  });

  test("is looked up again when nothing could be connected to, and not for another reason", async () => {
    scene.named.set("web.example", [ip("192.0.2.9")]);
    await call(name("web.example"));
    await scene.dialled[0]?.fails(refused());
    expect([answers, scene.forgotten]).toEqual([["connect_refused"], ["web.example"]]);
    await call(name("web.example"));
    await scene.dialled[1]?.fails(new MeshError("io", "local", "no descriptors"));
    expect([answers.at(-1), scene.forgotten.length]).toEqual(["io", 1]);
  });
});

describe("a workload that is known by its name", () => {
  test("is looked up again when its tunnel could not be connected, and not when that was not believed", async () => {
    scene.named.set("named.internal", [ip("10.0.0.8")]);
    await call(name("named.shop"));
    await acquired[0]?.fails(refused());
    expect([answers, scene.forgotten]).toEqual([["connect_refused"], ["named.internal"]]);
    await call(name("named.shop"));
    await acquired[1]?.fails(new MeshError("certificate_unexpected", "peer", "somebody else"));
    expect([answers.at(-1), scene.forgotten.length]).toEqual(["certificate_unexpected", 1]);
    await call(at("10.0.0.2", 5432));
    await acquired[2]?.fails(refused());
    expect([answers.at(-1), scene.forgotten.length]).toEqual(["connect_refused", 1]);
  });

  test("with a dead address is reached at its other one, after a moment", async () => {
    scene.named.set("named.internal", [ip("10.0.0.8"), ip("10.0.0.9")]);
    await call(name("named.shop"));
    expect(acquired.map(({ target }) => target.dial)).toEqual([at("10.0.0.8", 15008)]);
    await scene.clock.advance(proxyLimits.attemptDelayMs);
    expect(acquired.map(({ target }) => target.dial.ip.text)).toEqual(["10.0.0.8", "10.0.0.9"]);
    await acquired[1]?.opens();
    expect([answers, connects[0]?.[3]]).toEqual([["there"], "10.0.0.9:8080"]);
  });

  test("and leads to this node itself is not dialled", async () => {
    scene.own.add(at("10.0.0.1", 8080));
    scene.named.set("plain.internal", [ip("10.0.0.1")]);
    await call(name("named-plain.shop"));
    expect([scene.dialled, answers]).toEqual([[], ["self_call"]]);
  });
});

test("a service that says where it is, called by name: each of its addresses at its port, and none is looked up", async () => {
  await call(name("anywhere.shop"));
  await scene.clock.advance(proxyLimits.attemptDelayMs);
  expect(scene.dialled.map(({ options }) => options.to)).toEqual([at("192.0.2.1", 80), at("192.0.2.2", 80)]);
  expect(scene.lookups).toEqual([]);
});

test("a connection that ends while its upstream is made: that is given up unread, and the client hears no second word", async () => {
  await call(at("10.0.0.4", 8080));
  const [connection] = scene.connections;
  connection?.abort(new MeshError("draining", "local", "cut"));
  await scene.dialled[0]?.connects();
  expect([scene.dialled[0]?.socket.state, scene.dialled[0]?.socket.handler]).toEqual(["reset", null]);
  expect([answers.filter((answer) => answer === "there"), scene.codes]).toEqual([[], ["draining"]]);
});

test("what a tunnel carries is of the identity that was verified", async () => {
  await call(at("10.0.0.2", 5432));
  await acquired[0]?.opens();
  expect([parties()?.destination.identity, parties()?.source.identity]).toEqual([db.identity, cart.identity]);
  client.receive("ask");
  streams[0]?.receive("answer");
  expect([streams[0]?.sent, client.text]).toEqual(["ask", "answer"]);
});
