/** The process of the nodes: as many connections as there are nodes, which take and acknowledge and do not look inside. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { RpcChannel } from "../../src/transport/rpc/channel.ts";
import { emptyRequest } from "../../src/wire/ads/client.ts";
import { addressType, authorizationType } from "../../src/wire/ads/delta.ts";
import type { ClientStream } from "../../src/wire/grpc/client_stream.ts";
import { aggregatedDiscovery } from "../../src/wire/grpc/services.ts";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
} from "../../src/wire/messages/envoy_discovery.gen.ts";
import { newMessage } from "../../src/wire/messages/message.ts";
import { type Arrivals, type ClientsAnswer, type ClientsCommand, wallMs } from "./words.ts";

/** A response without its content. */
interface Head {
  readonly bytes: Uint8Array;
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: number;
}

const method = {
  ...aggregatedDiscovery.delta,
  response: { encode: () => new Uint8Array(), decode: readHead },
};
const host = createBunHost();

interface Node {
  readonly channel: RpcChannel;
  readonly typesSeen: Set<string>;
  resources: number;
  arrivedAtMs: number | null;
}

const nodes: Node[] = [];
let wanted = 0;
let bytes = 0;
let responses = 0;
let report: ((arrivals: Arrivals) => void) | null = null;
/** First responses as one node had them, by type: what all hold when they come again, and that as it is in a request. */
const firstResponses = new Map<string, Uint8Array>();
const heldVersions = new Map<string, Uint8Array>();

process.on("message", (command: ClientsCommand) => void obey(command));
answer({ kind: "ready" });

async function obey(command: ClientsCommand): Promise<void> {
  switch (command.kind) {
    case "connect": {
      if (command.holding) readHeld();
      const beganAtMs = wallMs();
      const arrivals = nextArrivals(0);
      const added = await Promise.all(
        Array.from({ length: command.count }, (_, index) => connect(command, index)),
      );
      nodes.push(...added);
      for (const node of added) settle(node);
      answer({ kind: "connected", beganAtMs, arrivals: await arrivals });
      break;
    }
    case "expect":
      for (const node of nodes) {
        node.arrivedAtMs = null;
        node.resources = 0;
      }
      answer({ kind: "arrived", arrivals: await nextArrivals(command.resources) });
      break;
    case "disconnect":
      for (const { channel } of nodes.splice(0)) channel.close();
      answer({ kind: "disconnected" });
      break;
  }
}

async function connect(command: Extract<ClientsCommand, { kind: "connect" }>, index: number): Promise<Node> {
  const { rootsPem: trustedRootsPem, certificateChainPem, privateKeyPem, port } = command;
  const channel = new RpcChannel({
    host,
    logger: silentLogger,
    target: { host: "localhost", port },
    tls: () => ({
      credentials: { certificateChainPem, privateKeyPem, trustedRootsPem },
      serverName: "localhost",
      verify: async () => {},
    }),
  });
  const node: Node = { channel, typesSeen: new Set(), resources: 0, arrivedAtMs: null };
  const name = `node-${nodes.length + index}`;
  let stream: ClientStream<DeltaDiscoveryRequest> | null = null;
  stream = await channel.stream(
    method,
    {
      onMessage: (head) => {
        stream?.send(newMessage(DeltaDiscoveryRequestSchema, emptyRequest(head.typeUrl, head.nonce)));
        take(node, head);
      },
      onEnd: (error) => {
        if (error !== null && nodes.includes(node)) throw error;
      },
    },
    { metadata: ["authorization", name] },
  );
  const id = `ztunnel~127.0.0.1~${name}.bench~bench.svc.cluster.local`;
  for (const typeUrl of [authorizationType, addressType]) {
    const first = encodeRequest({ node: { id }, typeUrl });
    const held = command.holding ? heldVersions.get(typeUrl) : undefined;
    // Encoded once for all: what that costs is not the control plane's. One message behind another is both together.
    stream.sendEncoded(held === undefined ? first : Buffer.concat([first, held]));
  }
  return node;
}

function take(node: Node, head: Head): void {
  bytes += head.bytes.length;
  responses++;
  node.resources += head.resources;
  if (!node.typesSeen.has(head.typeUrl)) {
    node.typesSeen.add(head.typeUrl);
    if (!firstResponses.has(head.typeUrl)) firstResponses.set(head.typeUrl, head.bytes);
  }
  settle(node);
}

function settle(node: Node): void {
  if (node.arrivedAtMs !== null || node.typesSeen.size < 2 || node.resources < wanted) return;
  node.arrivedAtMs = wallMs();
  finish();
}

function finish(): void {
  if (report === null || nodes.length === 0 || nodes.some(({ arrivedAtMs }) => arrivedAtMs === null)) return;
  const done = report;
  report = null;
  const atMs = nodes.map(({ arrivedAtMs }) => arrivedAtMs ?? 0).sort((a, b) => a - b);
  done({ atMs, bytes, responses });
}

function nextArrivals(resources: number): Promise<Arrivals> {
  wanted = resources;
  bytes = 0;
  responses = 0;
  return new Promise((resolve) => {
    report = resolve;
  });
}

function readHead(message: Uint8Array): Head {
  const reader = new BinaryReader(message);
  let typeUrl = "";
  let nonce = "";
  let resources = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 4) typeUrl = reader.string();
    else if (field === 5) nonce = reader.string();
    else {
      if (field === 2) resources++;
      reader.skip(wireType);
    }
  }
  return { bytes: message, typeUrl, nonce, resources };
}

function readHeld(): void {
  for (const [typeUrl, message] of firstResponses) {
    const { resources } = aggregatedDiscovery.delta.response.decode(message);
    const initialResourceVersions = Object.fromEntries(resources.map(({ name, version }) => [name, version]));
    heldVersions.set(typeUrl, encodeRequest({ initialResourceVersions }));
  }
}

function encodeRequest(fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): Uint8Array {
  return aggregatedDiscovery.delta.request.encode(newMessage(DeltaDiscoveryRequestSchema, fields));
}

function answer(message: ClientsAnswer): void {
  process.send?.(message);
}
