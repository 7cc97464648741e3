/** A small control plane on a simulated host: it lets hosts join, renews and issues certificates, and answers streams with what it is told. */
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { silentLogger } from "../../base/log.ts";
import type { ServerSettings } from "../../base/settings/node_control.ts";
import type { MemoryWorld } from "../../host/memory/world.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { issueServingCertificate } from "../../pki/issue/server.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { controlPlanePrefix } from "../../wire/ads/delta.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import type { ServerStream } from "../../wire/grpc/server_stream.ts";
import { aggregatedDiscovery, istioCertificate, join } from "../../wire/grpc/services.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { headerValue } from "../../wire/h2/headers.ts";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { type JoinRequest, JoinResponseSchema } from "../../wire/messages/fairlead.gen.ts";
import { IstioCertificateResponseSchema } from "../../wire/messages/istio_citadel.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";

const [address, trustDomain] = ["10.0.0.9", "cluster.local"];
const lifetimeMs = 24 * 3_600_000;

/** Who called, by what: the serial number of its certificate, and the token. */
export interface SeenCall {
  readonly port: number;
  readonly serial: string | null;
  readonly bearer: string | null;
}

type Stream = ServerStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse, RpcPeer>;

export class ControlPlane {
  readonly world: MemoryWorld;
  readonly ca: CertificateAuthority;
  readonly joins: JoinRequest[] = [];
  readonly renewals: SeenCall[] = [];
  readonly signed: SeenCall[] = [];
  /** The first request of each stream. */
  readonly streams: DeltaDiscoveryRequest[] = [];
  /** Refuses each join and each stream. */
  refusal: GrpcError | null = null;
  /** What there is of a type: one resource, by its name. */
  readonly resources = new Map<string, { readonly name: string; readonly value: Uint8Array }>();
  readonly #open = new Set<Stream>();
  #nonce = 0;

  private constructor(world: MemoryWorld, ca: CertificateAuthority) {
    this.world = world;
    this.ca = ca;
  }

  /** @param hosts what its certificate says it is called. */
  static async start(world: MemoryWorld, hosts: readonly string[] = [address]): Promise<ControlPlane> {
    const host = world.machine("control", { addresses: [address] }).start();
    const provider = peculiarProvider();
    const ca = await CertificateAuthority.create({ clock: host.clock, provider, trustDomain });
    const serving = await issueServingCertificate({
      issuer: ca.issuer,
      chainPem: ca.sentPem,
      rootPem: ca.rootsPem,
      rootsPem: ca.rootsPem,
      id: new SpiffeId(trustDomain, "istio-system", "istiod"),
      hosts,
      nowMs: host.clock.wallMs(),
    });
    const control = new ControlPlane(world, ca);
    const server = new RpcServer({
      host,
      logger: silentLogger,
      service: control.#service(),
      credentials: () => serving.credentials,
    });
    const ip = IpAddress.parse(address);
    assert(ip !== null, address);
    for (const port of [15_012, 15_013]) server.listen({ ip, port });
    return control;
  }

  /** How a host is told of it. */
  settings(port = 15_012): ServerSettings {
    const root = { kind: "pem", pem: this.ca.rootsPem } as const;
    return { address: { host: address, port }, name: null, root, headers: {} };
  }

  /** Tells whoever follows what there is of a type now. */
  push(typeUrl: string, name: string, value: Uint8Array): void {
    this.resources.set(typeUrl, { name, value });
    for (const stream of this.#open) this.#answer(stream, typeUrl);
  }

  endStreams(error: GrpcError): void {
    for (const stream of this.#open) stream.end(error);
  }

  #service(): GrpcService<RpcPeer> {
    const service = new GrpcService<RpcPeer>();
    service.unary(join.join, async (request) => {
      this.joins.push(request);
      if (this.refusal !== null) throw this.refusal;
      return await this.#joined(request.csr);
    });
    service.unary(join.renew, async ({ csr }, call) => {
      this.renewals.push(seen(call));
      return await this.#joined(csr);
    });
    service.unary(istioCertificate.createCertificate, async ({ csr: csrPem }, call) => {
      this.signed.push(seen(call));
      const id = new SpiffeId(trustDomain, "shop", "cart");
      const { chainPem, rootsPem } = await this.ca.sign({ csrPem, id, lifetimeMs });
      return newMessage(IstioCertificateResponseSchema, { certChain: [...chainPem, rootsPem] });
    });
    service.stream(aggregatedDiscovery.delta, (stream) => this.#follow(stream));
    return service;
  }

  async #joined(csrPem: string) {
    const id = new SpiffeId(trustDomain, nodeNamespace, "edge-1");
    const { chainPem, rootsPem } = await this.ca.sign({ csrPem, id, lifetimeMs });
    const certChain = [...chainPem, rootsPem];
    return newMessage(JoinResponseSchema, {
      ...{ certChain, nodeName: "edge-1", trustDomain, clusterId: "c1", rootNamespace: "istio-system" },
    });
  }

  #follow(stream: Stream) {
    let isFirst = true;
    this.#open.add(stream);
    return {
      onMessage: (request: DeltaDiscoveryRequest) => {
        if (isFirst) this.streams.push(request);
        isFirst = false;
        if (this.refusal !== null) stream.end(this.refusal);
        else if (request.responseNonce === "") this.#answer(stream, request.typeUrl);
      },
      onHalfClose: () => stream.end(),
      onWritable() {},
      onClose: () => void this.#open.delete(stream),
    };
  }

  #answer(stream: Stream, typeUrl: string): void {
    const resource = this.resources.get(typeUrl);
    stream.send(
      newMessage(DeltaDiscoveryResponseSchema, {
        typeUrl,
        nonce: `n${++this.#nonce}`,
        controlPlane: { identifier: `${controlPlanePrefix}test` },
        resources:
          resource === undefined
            ? []
            : [
                {
                  name: resource.name,
                  version: `${this.#nonce}`,
                  resource: { typeUrl, value: resource.value },
                },
              ],
      }),
    );
  }
}

function seen({
  peer,
  metadata,
}: {
  readonly peer: RpcPeer;
  readonly metadata: readonly string[];
}): SeenCall {
  const [leaf] = peer.chain;
  return {
    port: peer.local.port,
    serial: leaf === undefined ? null : parseCertificate(leaf).serialNumber,
    bearer: headerValue(metadata, "authorization"),
  };
}

export const refusedByControl = new GrpcError(grpcCode.permissionDenied, "no");
