/** A CONNECT into a workload by itself: its tunnel, its application and its decision are by hand. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import type { Service } from "../mesh/service.ts";
import { gatewayAt, ip, member, service, workload } from "../mesh/testing/fixture.ts";
import type { Workload } from "../mesh/workload.ts";
import { mintPermit, type PolicyConnection } from "../policy/decision.ts";
import type { HeaderFields } from "../wire/h2/headers.ts";
import { resetCode } from "../wire/hbone.ts";
import { FakeStream } from "./carry/testing/fake_stream.ts";
import { InboundFlow } from "./inbound.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import type { ServerTunnel } from "./tunnel/server_tunnel.ts";
import { at, shopId } from "./tunnel/testing/tunnel_scene.ts";
import type { WaypointCall, WaypointService } from "./waypoint_flow.ts";

/** A stream that keeps the heads of answers. */
class AnsweredStream extends FakeStream {
  readonly heads: (readonly [status: string, ended: boolean])[] = [];
  override sendHeaders(headers?: HeaderFields, endStream = false): void {
    if (this.closed) return;
    this.heads.push([headers?.[1] ?? "", endStream]);
    if (endStream) this.localEnded = true;
  }
}

const cart = workload("cart", { addresses: [ip("10.0.0.1")] });
const db = workload("db", {
  addresses: [ip("10.0.0.2")],
  services: new Map([...member("shop/db.shop"), ...member("shop/other.shop")]),
});
const other = workload("other", { addresses: [ip("10.0.0.3")] });
const bound = workload("bound", { addresses: [ip("10.0.0.4")], waypoint: gatewayAt("10.0.0.2") });
const services = [
  ...[service("db", { 5432: 15432 }), service("other", { 5432: 15432 })],
  service(
    "behind",
    { 80: 8080 },
    { addresses: [{ network: "", ip: ip("10.88.0.4") }], waypoint: gatewayAt("10.0.0.2") },
  ),
];

let scene: FlowScene;
let stream: AnsweredStream;
let drains: number;
let served: WaypointCall[];

beforeEach(() => build());

function build(things: readonly (Workload | Service)[] = [cart, db, other, bound, ...services]): void {
  scene = new FlowScene(things, ["10.0.0.2"]);
  stream = new AnsweredStream();
  drains = 0;
  served = [];
}

const waypoint = {
  serves: () => true,
  isInside: () => false,
  accept: (call: WaypointCall) => void served.push(call),
} as unknown as WaypointService;

/** A CONNECT of `caller`. */
async function carry(
  headers: HeaderFields,
  { local = "10.0.0.2", service: by = null as WaypointService | null, caller = shopId("cart") } = {},
): Promise<void> {
  const tunnel = {
    ...{ peer: { id: caller }, svid: { id: db.identity }, tls: null },
    ...{ source: at("10.0.0.1", 4711), destination: at(local, 15008), localIp: ip(local) },
    baggage: () => null,
    drain: () => drains++,
  } as unknown as ServerTunnel;
  const engine = {
    missing: () => [],
    isPreparing: () => false,
    decide: (_local: unknown, asked: PolicyConnection) => mintPermit(asked, 1, null),
    wouldDeny: () => null,
  };
  const context = scene.context({ engine } as unknown as Parameters<FlowScene["context"]>[0]);
  const carried = new InboundFlow(context, by).carry(tunnel, stream, headers, false);
  carried.catch((error) => stream.heads.push([`it threw ${error}`, true]));
  await scene.settle();
}

const connect = (authority: string, ...more: readonly string[]): HeaderFields => [
  ...[":method", "CONNECT", ":authority", authority],
  ...more,
];
const parties = () => [...scene.connections][0]?.record.parties;

describe("is refused, answered and on record", () => {
  const refused = (status: string): unknown[] => [[[status, true]], resetCode.noError, 0];
  const outcome = (): unknown[] => [stream.heads, stream.resetWith, scene.dialled.length];

  test("what is no CONNECT, or has no authority that is one", async () => {
    for (const headers of [
      [":method", "GET", ":scheme", "http", ":authority", "10.0.0.2:80", ":path", "/"],
      connect("10.0.0.2"),
    ]) {
      build();
      await carry(headers);
      expect([...outcome(), scene.codes]).toEqual([...refused("400"), ["hbone_request"]]);
    }
  });

  test("what is for an address that no workload of this host has any more", async () => {
    await carry(connect("10.0.0.77:80"), { local: "10.0.0.77" });
    expect([...outcome(), scene.codes, drains]).toEqual([...refused("503"), ["unknown_workload"], 0]);
  });

  test("what is for another workload than the caller verified, whose tunnel is told to go", async () => {
    await carry(connect("10.0.0.3:80"), { local: "10.0.0.3" });
    expect([...outcome(), scene.codes, drains]).toEqual([...refused("503"), ["workload_changed"], 1]);
  });

  test("what is for an address that is not this workload's", async () => {
    await carry(connect("10.0.0.77:80"));
    expect([...outcome(), scene.codes]).toEqual([...refused("400"), ["hbone_request"]]);
  });

  test("what a waypoint serves for none that is bound to it", async () => {
    await carry(connect("10.0.0.3:80"), { service: waypoint });
    expect([stream.heads[0]?.[1], scene.dialled.length, served.length]).toEqual([true, 0, 0]);
    expect(scene.codes.length).toBe(1);
  });

  test("what a waypoint serves, at a port that it does not have", async () => {
    await carry(connect("10.88.0.4:81"), { service: waypoint });
    expect([...outcome(), scene.codes, served]).toEqual([...refused("503"), ["no_route"], []]);
  });

  test("what there is no room for, and the register has recorded", async () => {
    scene.fill();
    await carry(connect("10.0.0.2:15432"));
    expect([...outcome(), scene.codes]).toEqual([...refused("503"), []]);
    build();
    scene.fill();
    await carry(connect("10.0.0.4:80"), { service: waypoint });
    expect([stream.heads, scene.codes, served]).toEqual([[["503", true]], [], []]);
  });

  test("what the application does not take", async () => {
    await carry(connect("10.0.0.2:15432"));
    await scene.dialled[0]?.fails(new MeshError("connect_refused", "upstream", "no"));
    expect([...outcome(), scene.codes]).toEqual([[["503", true]], resetCode.noError, 1, ["connect_refused"]]);
  });
});

describe("is carried", () => {
  test("to the application, once that is there", async () => {
    await carry(connect("10.0.0.2:15432"));
    expect([scene.dialled[0]?.options.to, stream.heads]).toEqual([at("10.0.0.2", 15432), []]);
    await scene.dialled[0]?.connects();
    expect([stream.heads, stream.resetWith, stream.closed]).toEqual([[["200", false]], null, false]);
    stream.receive("ask");
    expect(scene.dialled[0]?.socket.text).toBe("ask");
  });

  test("through a waypoint for what is bound to it, and past its application to its own address", async () => {
    await carry(connect("10.0.0.4:80"), { service: waypoint });
    expect([served[0]?.called.workload, served[0]?.place, stream.heads]).toEqual([
      bound,
      { side: "waypoint" },
      [["200", false]],
    ]);
    build();
    await carry(connect("10.0.0.2:15432"), { service: waypoint });
    expect([served.length, scene.dialled.length]).toEqual([0, 1]);
  });

  test("by a caller whose address says who it is only where its identity agrees", async () => {
    await carry(connect("10.0.0.4:80"), { service: waypoint });
    expect([parties()?.source.workload, served[0]?.sourceWorkload]).toEqual([cart, cart]);
    build();
    await carry(connect("10.0.0.4:80"), { service: waypoint, caller: shopId("somebody") });
    expect([parties()?.source.workload, served[0]?.sourceWorkload]).toEqual([null, null]);
    expect(parties()?.source.identity).toEqual(shopId("somebody"));
  });

  test("as a call of the service that the caller says, where the port is of several", async () => {
    await carry(connect("10.0.0.2:15432", "forwarded", 'for="10.0.0.1:4711";host=other.shop'));
    expect(parties()?.destination.service?.hostname).toBe("other.shop");
    build();
    await carry(connect("10.0.0.2:15432"));
    expect(parties()?.destination.service?.hostname).toBe("db.shop");
  });
});

describe("ended while its application is dialled", () => {
  test("the application that comes too late is reset unread, and no answer follows the first", async () => {
    await carry(connect("10.0.0.2:15432"));
    const [connection] = scene.connections;
    connection?.abort(new MeshError("policy_changed", "policy", "closed"));
    await scene.dialled[0]?.connects();
    expect([scene.dialled[0]?.socket.state, scene.dialled[0]?.socket.handler]).toEqual(["reset", null]);
    expect([stream.heads, scene.codes]).toEqual([[["401", true]], ["policy_changed"]]);
  });

  test("an application that fails is no second end", async () => {
    await carry(connect("10.0.0.2:15432"));
    stream.closed = true;
    stream.events.onReset(resetCode.cancel, "remote", new MeshError("h2_reset", "peer", "left"));
    await scene.dialled[0]?.fails(new MeshError("connect_refused", "upstream", "no"));
    expect([stream.heads, scene.codes]).toEqual([[], ["h2_reset"]]);
  });
});
