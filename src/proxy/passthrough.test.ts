/** Plain text into a workload by itself. */
import { beforeEach, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import type { FakeSocket } from "../host/testing/fake_socket.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import { mintPermit, type PolicyConnection } from "../policy/decision.ts";
import { PassthroughFlow } from "./passthrough.ts";
import { FlowScene, socketFrom } from "./testing/flow_scene.ts";
import { at } from "./tunnel/testing/tunnel_scene.ts";

let scene: FlowScene;
let client: FakeSocket;
let decisions: number;

beforeEach(() => {
  scene = new FlowScene([workload("db", { addresses: [ip("10.0.0.2")] })], ["10.0.0.2"]);
  client = socketFrom(at("10.0.0.9", 4711), at("10.0.0.2", 15006));
  decisions = 0;
});

async function carry(): Promise<void> {
  const engine = {
    missing: () => [],
    isPreparing: () => false,
    decide: (_local: unknown, asked: PolicyConnection) => {
      decisions++;
      return mintPermit(asked, 1, null);
    },
    wouldDeny: () => null,
  };
  const context = scene.context({ engine } as unknown as Parameters<FlowScene["context"]>[0]);
  void new PassthroughFlow(context).carry(client, at("10.0.0.2", 8080));
  await scene.settle();
}

test("a listener of this process is refused before anything is asked or registered", async () => {
  scene.own.add(at("10.0.0.2", 8080));
  await carry();
  expect([client.state, scene.codes, decisions, scene.dialled]).toEqual(["reset", ["self_call"], 0, []]);
});

test("an application that comes when its connection has ended is reset, unread", async () => {
  await carry();
  const [connection] = scene.connections;
  connection?.abort(new MeshError("draining", "local", "cut"));
  await scene.dialled[0]?.connects();
  expect([client.state, scene.dialled[0]?.socket.state, scene.dialled[0]?.socket.handler]).toEqual([
    "reset",
    "reset",
    null,
  ]);
  expect(scene.codes).toEqual(["draining"]);
});

test("without room in the register nothing is decided or dialled", async () => {
  scene.fill();
  await carry();
  expect([client.state, decisions, scene.dialled, scene.codes]).toEqual(["reset", 0, [], []]);
});
