import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { documentType, layer7Field } from "../../wire/ads/delta.ts";
import { ResourceSchema } from "../../wire/messages/istio_mcp.gen.ts";
import { ServiceEntrySchema } from "../../wire/messages/istio_networking.gen.ts";
import { istioSpec } from "../../wire/messages/istio_specs.ts";
import { decodeMessage, encodeMessage, newMessage } from "../../wire/messages/message.ts";
import { ScriptedServer, type Sent } from "../testing/scripted_server.ts";
import { DocumentStream } from "./document_stream.ts";
import { HeldDocuments } from "./held_documents.ts";
import { istioDocumentTypes } from "./istio_documents.ts";
import { describeNode } from "./xds_node.ts";

interface Recorded {
  readonly type: string;
  readonly name: string;
  readonly value: string;
  readonly spec: unknown;
}

const fixture = new URL("../../../conformance/fixtures/istiod/resources.json", import.meta.url);
const recorded: readonly Recorded[] = JSON.parse(readFileSync(fixture, "utf8")).resources;
const policies = "security.istio.io/v1/AuthorizationPolicy";

const ofType = (type: string): readonly Sent[] =>
  recorded
    .filter((one) => one.type === type)
    .map(({ name, value }) => ({ name, value: Uint8Array.fromBase64(value) }));

const facts = { nodeName: "edge-1", clusterId: "c1", network: "" };

async function started(identifier = "istiod-1", forWorkload: string | null = null) {
  const clock = new FakeClock(1_000_000);
  const server = new ScriptedServer();
  server.identifier = identifier;
  const lines: string[] = [];
  const held = new HeldDocuments("deny");
  const stream = new DocumentStream({
    stream: (more, kind) => ({
      clock,
      random: { fill() {}, float: () => 0.5 },
      logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
      open: server.open,
      server: "istiod:15012",
      node: () =>
        describeNode(
          { instanceIp: "10.0.0.7", podName: "w", podNamespace: "", metadata: {} },
          facts,
          "1.0",
          more,
          kind,
        ),
    }),
    held,
    forWorkload,
    onChange: () => {},
  });
  stream.follow(identifier);
  await clock.advance(0);
  const settle = async () => {
    for (let i = 0; i < 20; i++) await clock.advance(0);
  };
  /** @returns what was refused; "" for nothing. */
  const push = async (type: string, resources: readonly Sent[], removed: readonly string[] = []) => {
    const nonce = server.push(type, resources, removed);
    await settle();
    return server.answer(nonce);
  };
  const all = async () => {
    for (const type of istioDocumentTypes) expect(await push(type, ofType(type))).toBe("");
  };
  return { clock, server, held, stream, lines, push, all, settle };
}

function keys(held: HeldDocuments): readonly string[] {
  return (held.inForce.value?.documents ?? []).map(({ metadata }) => metadata.key).sort();
}

describe("what istiod puts into a body", () => {
  test("is the spec that it was encoded from", () => {
    for (const { value, spec } of recorded) {
      const { body } = decodeMessage(ResourceSchema, Uint8Array.fromBase64(value));
      expect(istioSpec(body?.typeUrl.split("/")[1] ?? "", body?.value ?? new Uint8Array())).toEqual(
        spec as ReturnType<typeof istioSpec>,
      );
    }
  });

  test("a field that is not known is not passed over, wherever it is", () => {
    const type = "istio.security.v1beta1.AuthorizationPolicy";
    // Field 99, a varint; at the top, and in a rule (field 2).
    for (const bytes of [
      [0x98, 0x06, 0x01],
      [0x12, 0x03, 0x98, 0x06, 0x01],
    ])
      expect(() => istioSpec(type, new Uint8Array(bytes))).toThrow(/field 99 of .* is not known/);
    expect(() => istioSpec(type, new Uint8Array([0xff]))).toThrow(/the bytes are no/);
    expect(() => istioSpec("istio.networking.v1alpha3.Sidecar", new Uint8Array())).toThrow(/not known/);
  });
});

describe("documents of a real istiod", () => {
  test("types are asked for by their bare names, with the generator in the node", async () => {
    const { server } = await started();
    expect(server.requests.map(({ typeUrl }) => typeUrl)).toEqual([...istioDocumentTypes]);
    expect(server.requests[0]?.node?.metadata).toMatchObject({ GENERATOR: "api" });
  });

  test("are asked for as a waypoint: the whole istiod ends when a ztunnel asks for ServiceEntries", async () => {
    const { server } = await started();
    // Each type's first request has the node.
    const kinds = server.requests.map(({ node }) => node?.id.split("~")[0]);
    expect(kinds).toEqual(istioDocumentTypes.map(() => "waypoint"));
    // A control plane of ours knows its nodes by what they prove.
    const ours = await started("fairlead/1.0");
    expect(ours.server.requests.map(({ node }) => node?.id.split("~")[0])).toEqual(["ztunnel"]);
  });

  test("are in force when every type was answered, each with its age and its place", async () => {
    const { held, push, all } = await started();
    expect(await push(policies, ofType(policies))).toBe("");
    expect(held.inForce.value).toBeNull();
    await all();
    expect(keys(held)).toEqual([
      "AuthorizationPolicy shop/api-reads",
      "AuthorizationPolicy shop/no-admin",
      "DestinationRule shop/api",
      "RequestAuthentication shop/users",
      "ServiceEntry shop/api",
      "Telemetry shop/errors",
      "VirtualService shop/api",
      // Made of a route of the Gateway API.
      "VirtualService shop/orders-orders.shop.mesh",
    ]);
    expect(held.inForce.value?.refused).toEqual([]);
    const policy = held.inForce.value?.documents.find(({ metadata }) => metadata.name === "api-reads");
    expect(policy).toMatchObject({
      metadata: { createdMs: Date.parse("2026-01-02T03:04:05Z") },
      targetRefs: [{ value: "ServiceEntry api" }],
      location: { file: "istiod AuthorizationPolicy shop/api-reads" },
    });
  });

  test("of a Service of Kubernetes say how its ports are called, and are no reason to refuse anything", async () => {
    const { held, push, all } = await started();
    await all();
    const type = "networking.istio.io/v1/ServiceEntry";
    // As `ServiceToServiceEntry` of istiod makes it: a port without a name, UDP, a protocol that is none, another namespace.
    const spec = newMessage(ServiceEntrySchema, {
      hosts: ["names.shop.svc.cluster.local"],
      addresses: ["10.97.3.4"],
      ports: [
        { number: 53, name: "dns", protocol: "UDP" },
        { number: 53, name: "dns-tcp", protocol: "TCP" },
        { number: 80, name: "", protocol: "UnsupportedProtocol" },
        { number: 81, name: "web", protocol: "UnsupportedProtocol" },
      ],
      location: 1,
      resolution: 1,
      workloadSelector: { labels: { app: "names" } },
      exportTo: ["shop", "istio-system"],
    });
    const resource = newMessage(ResourceSchema, {
      metadata: { name: "shop/synthetic-names", version: "7" },
      body: {
        typeUrl: "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry",
        value: encodeMessage(ServiceEntrySchema, spec),
      },
    });
    const value = encodeMessage(ResourceSchema, resource);
    expect(await push(type, [{ name: "shop/synthetic-names", value }])).toBe("");
    expect(
      held.inForce.value?.documents.find(({ metadata }) => metadata.name === "synthetic-names"),
    ).toMatchObject({
      hosts: [{ value: "names.shop.svc.cluster.local" }],
      ports: [
        { number: 53, name: "dns-tcp" },
        { number: 81, name: "web" },
      ],
      workloadSelector: null,
    });
  });

  test("of a ServiceEntry that an author has written are taken as they are, whatever it is for", async () => {
    const { held, push, all } = await started();
    await all();
    const spec = newMessage(ServiceEntrySchema, {
      hosts: ["names.example.com"],
      ports: [{ number: 81, name: "web", protocol: "HTTP" }],
      location: 1,
      resolution: 1,
      workloadSelector: { labels: { app: "names" } },
    });
    const resource = newMessage(ResourceSchema, {
      metadata: { name: "shop/names", version: "7" },
      body: {
        typeUrl: "type.googleapis.com/istio.networking.v1alpha3.ServiceEntry",
        value: encodeMessage(ServiceEntrySchema, spec),
      },
    });
    const value = encodeMessage(ResourceSchema, resource);
    expect(await push("networking.istio.io/v1/ServiceEntry", [{ name: "shop/names", value }])).toBe("");
    const found = held.inForce.value?.documents.find(({ metadata }) => metadata.name === "names");
    expect(found).toMatchObject({ hosts: [{ value: "names.example.com" }] });
    expect(found).not.toMatchObject({ workloadSelector: null });
  });

  test("change and go", async () => {
    const { held, push, all } = await started();
    await all();
    expect(await push(policies, [], ["shop/no-admin"])).toBe("");
    expect(keys(held)).not.toContain("AuthorizationPolicy shop/no-admin");
  });

  test("one that is refused leaves its last good version; without one it denies what it may be about", async () => {
    const { held, push, all } = await started();
    await all();
    const newer = (name: string, bytes: readonly number[]): Sent => ({
      name,
      value: encodeMessage(
        ResourceSchema,
        newMessage(ResourceSchema, {
          metadata: { name },
          body: {
            typeUrl: "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy",
            value: new Uint8Array(bytes),
          },
        }),
      ),
    });
    const refused = await push(policies, [
      newer("shop/no-admin", [0x98, 0x06, 0x01]),
      newer("shop/newer", [0x98, 0x06, 0x01]),
      { name: "shop/none", value: new Uint8Array([0xff]) },
    ]);
    expect(refused).toContain("shop/no-admin: field 99");
    expect(refused).toContain("shop/newer: field 99");
    expect(keys(held)).toContain("AuthorizationPolicy shop/no-admin");
    expect(held.inForce.value?.refused).toMatchObject([
      { key: "AuthorizationPolicy shop/newer", namespace: "shop", targetRefs: null },
      { key: "AuthorizationPolicy shop/none", namespace: "shop", targetRefs: null },
    ]);
    // What cannot be read of another kind refuses nothing.
    await push("networking.istio.io/v1/VirtualService", [{ name: "shop/x", value: new Uint8Array([0xff]) }]);
    expect(held.inForce.value?.refused).toHaveLength(2);
  });

  test("one without metadata, without a body or of another name is refused with its reason, and denies what it may be about", async () => {
    const { held, push, all } = await started();
    await all();
    const body = {
      typeUrl: "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy",
      value: new Uint8Array(),
    };
    const encoded = (
      name: string,
      fields: Parameters<typeof newMessage<typeof ResourceSchema>>[1],
    ): Sent => ({
      name,
      value: encodeMessage(ResourceSchema, newMessage(ResourceSchema, fields)),
    });
    const refused = await push(policies, [
      encoded("shop/no-body", { metadata: { name: "shop/no-body" } }),
      encoded("shop/no-metadata", { body }),
      encoded("shop/called", { metadata: { name: "shop/otherwise" }, body }),
    ]);
    expect(refused).toContain("shop/no-body: it lacks metadata or a body");
    expect(refused).toContain("shop/no-metadata: it lacks metadata or a body");
    expect(refused).toContain("shop/called: it calls itself shop/otherwise");
    expect(held.inForce.value?.refused.map(({ key }) => key).sort()).toEqual([
      "AuthorizationPolicy shop/called",
      "AuthorizationPolicy shop/no-body",
      "AuthorizationPolicy shop/no-metadata",
    ]);
  });

  test("there is room for so many and no more", async () => {
    const { push, all } = await started();
    await all();
    const value = { length: joinLimits.maxResourceBytes + 1 } as Uint8Array;
    expect(await push(policies, [{ name: "shop/large", value }])).toContain("which is the limit");
  });

  test("a control plane that is followed stays the one it was, whatever the next connection says", async () => {
    const { server, stream, settle } = await started();
    stream.follow("fairlead/1.0");
    await settle();
    expect([server.opened, server.requests.map(({ typeUrl }) => typeUrl)]).toEqual([
      1,
      [...istioDocumentTypes],
    ]);
  });

  test("what an earlier run has not kept of a type is not restored", async () => {
    const { stream, held } = await started();
    const asked: string[] = [];
    await stream.restore((typeUrl) => {
      asked.push(typeUrl);
      return undefined;
    });
    expect([asked.length, held.inForce.value]).toEqual([1 + istioDocumentTypes.length, null]);
  });

  test("who may not have them is told once, tries on quietly, and has none", async () => {
    const { clock, server, held, stream, lines } = await started();
    server.fault = new MeshError("control_refused", "upstream", "PERMISSION_DENIED");
    server.end(server.fault);
    await clock.advance(10 * joinLimits.backoffMaxMs);
    expect(held.inForce.value).toBeNull();
    expect(lines.filter((line) => line.startsWith("warn"))).toHaveLength(1);
    stream.close();
    await clock.advance(10 * joinLimits.backoffMaxMs);
    expect(clock.timers).toBe(0);
  });

  test("are not asked for in sidecar mode, which is said: it does not tell a workload's labels", async () => {
    const { server, lines } = await started("istiod-1", "shop/web");
    expect(server.opened).toBe(0);
    expect(lines.join()).toContain("--l7 shop/web needs documents of fairlead control");
  });

  test("are not asked of a control plane of ours", async () => {
    const ours = await started("fairlead/1.0");
    expect(ours.server.requests.map(({ typeUrl }) => typeUrl)).toEqual([documentType]);
    const inside = await started("fairlead/1.0", "shop/web");
    expect(inside.server.requests[0]?.node?.metadata).toMatchObject({ [layer7Field]: "shop/web" });
  });
});
