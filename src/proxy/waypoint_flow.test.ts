import { expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import { EarlySocket } from "./carry/early_socket.ts";
import { KeptSocket } from "./carry/kept_socket.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import { at } from "./tunnel/testing/tunnel_scene.ts";
import { Call } from "./waypoint_flow.ts";

const local = workload("web", { addresses: [ip("10.0.0.3")] });

function call() {
  const scene = new FlowScene([local]);
  const connection = scene.connections.open({
    direction: "inbound",
    source: { address: at("10.0.0.1", 4711), workload: null, baggage: null, identity: null },
    destination: {
      ...{ address: at("10.0.0.3", 15008), hboneAddress: null, workload: local },
      ...{ baggage: null, service: null, identity: local.identity },
    },
  });
  if (connection instanceof MeshError) throw connection;
  const socket = new FakeSocket();
  const early = new EarlySocket(socket);
  const made = new Call(
    connection,
    new KeptSocket(socket, early),
    {
      ...{
        place: { side: "waypoint" },
        local,
        peer: null,
        source: at("10.0.0.1", 4711),
        sourceWorkload: null,
      },
      called: { service: null, workload: local, ip: null, port: 80 },
    },
    scene.clock,
  );
  return { scene, socket, made };
}

const reason = new MeshError("policy_changed", "policy", "closed");
const early = { handOver: () => {}, isPaused: false };

test("a call that was cut carries nothing more: what it was to be carried to is reset, unread, and it is over", () => {
  const { scene, socket, made } = call();
  made.abort(reason);
  const upstream = new FakeSocket();
  let overs = 0;
  made.copy(early, upstream, () => void overs++);
  expect([upstream.state, upstream.handler, overs]).toEqual(["reset", null, 1]);
  expect([socket.state, made.isOver, scene.codes]).toEqual(["reset", true, ["policy_changed"]]);
});

test("one that is carried unread is over once, with its record, whoever ends it", () => {
  const { scene, made } = call();
  const upstream = new FakeSocket();
  let overs = 0;
  made.copy(early, upstream, () => void overs++);
  expect([overs, made.isOver]).toEqual([0, false]);
  made.abort(reason);
  expect([upstream.state, overs, made.isOver, scene.codes]).toEqual(["reset", 1, true, ["policy_changed"]]);
});
