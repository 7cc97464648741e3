import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { NodeSchema } from "../../wire/messages/envoy_core.gen.ts";
import { ResourceSchema } from "../../wire/messages/istio_mcp.gen.ts";
import { encodeMessage, newMessage } from "../../wire/messages/message.ts";
import { ScriptedServer, type Sent } from "../testing/scripted_server.ts";
import { DocumentClient, waypointDocumentTypes } from "./document_client.ts";

const virtualService = "networking.istio.io/v1/VirtualService";
const gateway = "networking.istio.io/v1/Gateway";

async function started(types: readonly string[] = [virtualService, gateway]) {
  const clock = new FakeClock(1_000_000);
  const server = new ScriptedServer();
  const lines: string[] = [];
  const client = new DocumentClient({
    clock,
    random: { fill() {}, float: () => 0.5 },
    logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
    open: server.open,
    server: "istiod:15012",
    node: () => newMessage(NodeSchema, { metadata: { GENERATOR: "api" } }),
    types,
  });
  client.start();
  await clock.advance(0);
  return { clock, server, client, lines };
}

function resource(name: string, body: number[], fields: { version?: string } = {}): Sent {
  const value = encodeMessage(
    ResourceSchema,
    newMessage(ResourceSchema, {
      metadata: {
        name,
        version: fields.version ?? "",
        createTime: { seconds: 1_700_000_000n, nanos: 5_000_000 },
        labels: { app: "x" },
      },
      body: {
        typeUrl: "type.googleapis.com/istio.networking.v1alpha3.VirtualService",
        value: new Uint8Array(body),
      },
    }),
  );
  return { name, value };
}

describe("documents of a real istiod", () => {
  test("types are asked for by their bare names, with the generator in the node", async () => {
    const { server } = await started(waypointDocumentTypes);
    expect(server.requests.map(({ typeUrl }) => typeUrl)).toEqual([...waypointDocumentTypes]);
    expect(server.requests[0]?.node?.metadata).toEqual({ GENERATOR: "api" });
  });

  test("a document is its names, its age and the bytes of its body, told once for each answer", async () => {
    const { server, client } = await started();
    const watch = client.documents(virtualService);
    let told = 0;
    watch?.subscribe(() => void told++);
    server.push(virtualService, [resource("shop/cart", [1, 2], { version: "7" }), resource("shop/db", [3])]);
    expect(told).toBe(1);
    expect(watch?.value[0]).toEqual({
      type: virtualService,
      namespace: "shop",
      name: "cart",
      version: "7",
      createdAtMs: 1_700_000_000_005,
      labels: { app: "x" },
      annotations: {},
      bodyType: "istio.networking.v1alpha3.VirtualService",
      body: new Uint8Array([1, 2]),
    });
    server.push(virtualService, [resource("shop/cart", [9])], ["shop/db"]);
    expect(watch?.value.map(({ name, body }) => [name, ...body])).toEqual([["cart", 9]]);
    expect(client.documents("networking.istio.io/v1/Sidecar")).toBeNull();
  });

  test("what is no document is refused alone, and the last good one of that name stays", async () => {
    const { server, client } = await started();
    server.push(virtualService, [resource("shop/cart", [1])]);
    const nonce = server.push(virtualService, [
      { name: "shop/cart", value: new Uint8Array([0xff]) },
      { name: "shop/empty", value: new Uint8Array() },
      resource("shop/db", [2]),
    ]);
    expect(server.answer(nonce)).toBe(
      "shop/cart: the bytes are not an istio.mcp.v1alpha1.Resource; shop/empty: it lacks metadata or a body",
    );
    expect(client.documents(virtualService)?.value.map(({ name }) => name)).toEqual(["cart", "db"]);
  });

  test("somebody who may not have them is told once, tries on quietly, and is never ready", async () => {
    const { clock, server, client, lines } = await started();
    server.fault = new MeshError("control_refused", "upstream", "PERMISSION_DENIED");
    server.end(server.fault);
    let ready = false;
    void client.ready.then(() => {
      ready = true;
    });
    await clock.advance(10 * joinLimits.backoffMaxMs);
    expect(ready).toBe(false);
    expect(lines.filter((line) => line.startsWith("warn"))).toHaveLength(1);
    expect(client.status()).toMatchObject({ connected: false, error: "PERMISSION_DENIED" });
    client.close();
    await clock.advance(10 * joinLimits.backoffMaxMs);
    expect(clock.timers).toBe(0);
  });
});
