/** The xDS server behind the control plane's own port: TLS, HTTP/2, gRPC, over Bun's sockets. */
import { afterAll, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { adsLimits, grpcLimits } from "../../base/limits/rpc.ts";
import { silentLogger } from "../../base/log.ts";
import { WatchSource } from "../../base/watch.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { testAuthority } from "../../host/testing/credentials.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { workload } from "../../mesh/testing/fixture.ts";
import { RpcChannel } from "../../transport/rpc/channel.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { emptyRequest } from "../../wire/ads/client.ts";
import { addressType, authorizationType } from "../../wire/ads/delta.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import { aggregatedDiscovery } from "../../wire/grpc/services.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { XdsServer } from "./server.ts";
import { nodeCaller, nodeOf } from "./testing/xds_lab.ts";

const host = createBunHost();
const authority = await testAuthority();
const store = new MeshStore();
const xds = new XdsServer({
  clock: host.clock,
  logger: silentLogger,
  store,
  bundle: new WatchSource({ rootsPem: "", crls: [] }),
  authenticator: {
    authenticate: async ({ authorization }) => {
      if (authorization !== "Bearer good") throw new GrpcError(grpcCode.unauthenticated, "no");
      return nodeCaller("edge-1");
    },
  },
  version: "test",
});
const service = new GrpcService<RpcPeer>();
xds.register(service);
const server = new RpcServer({
  host,
  logger: silentLogger,
  service,
  credentials: () => authority.server.credentials,
});
const ip = IpAddress.parse("127.0.0.1");
if (ip === null) throw new Error("127.0.0.1");
const { port } = server.listen({ ip, port: 0 }).address;
const channel = new RpcChannel({
  host,
  logger: silentLogger,
  target: { host: "localhost", port },
  tls: () => ({ credentials: authority.anonymous, serverName: "localhost", verify: async () => {} }),
});

afterAll(() => {
  xds.close();
  channel.close();
  server.close();
});

/** A stream whose responses and end are waited for. */
async function open(authorization: string) {
  const responses: DeltaDiscoveryResponse[] = [];
  let wake = () => {};
  let ended: GrpcError | null | undefined;
  const stream = await channel.stream(
    aggregatedDiscovery.delta,
    {
      onMessage: (response) => {
        responses.push(response);
        wake();
      },
      onEnd: (error) => {
        ended = error;
        wake();
      },
    },
    { metadata: ["authorization", authorization] },
  );
  const until = async (holds: () => boolean) => {
    while (!holds()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      await promise;
    }
  };
  return {
    request: (fields: object) => stream.send(newMessage(DeltaDiscoveryRequestSchema, fields)),
    next: async () => {
      await until(() => responses.length > 0 || ended !== undefined);
      const response = responses.shift();
      if (response === undefined) throw ended ?? new Error("the stream ended");
      return response;
    },
    end: async () => {
      await until(() => ended !== undefined);
      return ended;
    },
  };
}

test("a node is answered, told of changes, and cut when it is revoked", async () => {
  const stream = await open("Bearer good");
  for (const typeUrl of [addressType, authorizationType]) stream.request({ node: nodeOf("edge-1"), typeUrl });
  for (const typeUrl of [authorizationType, addressType]) {
    const response = await stream.next();
    expect(response).toMatchObject({ typeUrl, resources: [], controlPlane: { identifier: "fairlead/test" } });
    stream.request(emptyRequest(typeUrl, response.nonce));
  }
  store.apply({ workloads: { upsert: [workload("db", { uid: "u" })] } });
  expect((await stream.next()).resources.map(({ name }) => name)).toEqual(["u"]);
  expect(xds.cutStreams(() => true)).toBe(1);
  expect(await stream.end()).toMatchObject({ code: grpcCode.unauthenticated });
});

/** What a client says it has: 106 bytes each in the message. */
function held(count: number): Record<string, string> {
  const versions: Record<string, string> = {};
  for (let index = 0; index < count; index++)
    versions[`Kubernetes//Pod/shop/${index}`.padEnd(84, "-")] = "0123456789abcdef";
  return versions;
}

test("a client that comes back may say that it has 60,000 things; past its bound the stream is refused", async () => {
  const node = nodeOf("edge-1");
  const many = held(60_000);
  expect(60_000 * 106).toBeGreaterThan(grpcLimits.maxRequestBytes);
  const stream = await open("Bearer good");
  stream.request({ node, typeUrl: authorizationType, initialResourceVersions: many });
  const left = new Set(Object.keys(many));
  while (left.size > 0) {
    const { nonce, removedResources } = await stream.next();
    for (const name of removedResources) expect(left.delete(name)).toBe(true);
    stream.request(emptyRequest(authorizationType, nonce));
  }
  const greedy = await open("Bearer good");
  const tooMany = held(adsLimits.maxRequestBytes / 106 + 1);
  greedy.request({ node, typeUrl: authorizationType, initialResourceVersions: tooMany });
  expect(await greedy.end()).toMatchObject({ code: grpcCode.resourceExhausted });
});

test("who cannot say who it is gets nothing", async () => {
  const stream = await open("Bearer bad");
  stream.request({ node: nodeOf("edge-1"), typeUrl: authorizationType });
  expect(await stream.end()).toMatchObject({ code: grpcCode.unauthenticated, message: "no" });
});
