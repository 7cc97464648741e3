/** Envoy's secret discovery (SDS), by a service of its own or over ADS, for callers on the Unix socket. */
import type { PeerCredentials } from "../../host/host.ts";
import type { MethodDescription } from "../../wire/grpc/method.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import type { ServerStream, StreamEvents } from "../../wire/grpc/server_stream.ts";
import { aggregatedDiscovery, secretDiscovery } from "../../wire/grpc/services.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { DiscoveryRequest, DiscoveryResponse } from "../../wire/messages/envoy_discovery.gen.ts";
import type { CallAudit } from "./call_audit.ts";
import { IdentityFeed, type IdentitySources, identityUnavailable } from "./identity_feed.ts";
import type { LocalCaller, LocalCallers } from "./local_callers.ts";
import { DeltaSecrets } from "./sds_delta.ts";
import { SotwSecrets } from "./sds_sotw.ts";
import type { Acknowledgements } from "./secret_nonces.ts";
import { lookUpSecret, type SecretLookup, type SecretNaming } from "./secret_resources.ts";

/** Whoever called: an `RpcPeer` of the control plane's server. */
export interface LocalPeer {
  readonly credentials: PeerCredentials | null;
}

export interface SecretStreamStatus extends Acknowledgements {
  readonly caller: string;
  readonly names: readonly string[];
}

/** One of the two xDS variants. */
interface Variant<Req, Res> {
  readonly names: readonly string[];
  readonly acknowledgements: Acknowledgements;
  receive(request: Req): Res | null;
  refresh(): Res | null;
}

const action = "secrets.stream";

export class SecretDiscovery {
  readonly #callers: LocalCallers;
  readonly #audit: CallAudit;
  readonly #sources: IdentitySources;
  readonly #naming: SecretNaming;
  readonly #open = new Set<() => SecretStreamStatus>();

  constructor(callers: LocalCallers, audit: CallAudit, sources: IdentitySources, naming: SecretNaming) {
    this.#callers = callers;
    this.#audit = audit;
    this.#sources = sources;
    this.#naming = naming;
  }

  register<Peer extends LocalPeer>(service: GrpcService<Peer>): void {
    for (const method of [secretDiscovery.stream, aggregatedDiscovery.stream])
      this.#registerVariant(service, method, (lookUp) => new SotwSecrets(lookUp));
    for (const method of [secretDiscovery.delta, aggregatedDiscovery.delta])
      this.#registerVariant(service, method, (lookUp) => new DeltaSecrets(lookUp));
    service.unary(secretDiscovery.fetch, (request, { peer }) => this.#fetch(request, peer));
  }

  /** Every open stream, for people. */
  status(): readonly SecretStreamStatus[] {
    return [...this.#open].map((tell) => tell());
  }

  #registerVariant<Req, Res, Peer extends LocalPeer>(
    service: GrpcService<Peer>,
    method: MethodDescription<Req, Res>,
    makeVariant: (lookUp: (name: string) => SecretLookup) => Variant<Req, Res>,
  ): void {
    service.stream(method, (stream) => this.#serve(stream, makeVariant));
  }

  #serve<Req, Res>(
    stream: ServerStream<Req, Res, LocalPeer>,
    makeVariant: (lookUp: (name: string) => SecretLookup) => Variant<Req, Res>,
  ): StreamEvents<Req> {
    const caller = this.#callers.identify(stream.peer.credentials, action);
    const slot = this.#callers.takeStream(caller, action);
    const send = (response: Res | null) => {
      if (response === null) return;
      stream.send(response);
      this.#audit.granted(caller.name, action, variant.names.map(printable).join(" "));
    };
    const push = () => {
      // One who does not read is told the latest when he does, and nothing in between.
      if (stream.aboveHighWater) return;
      send(variant.refresh());
    };
    const feed = new IdentityFeed(this.#sources, push);
    const variant = makeVariant((name) => this.#lookUp(name, caller, feed));
    const status = () => ({
      caller: caller.name,
      names: variant.names,
      acknowledged: variant.acknowledgements.acknowledged,
      refused: variant.acknowledgements.refused,
    });
    this.#open.add(status);
    return {
      onMessage: (request) => send(variant.receive(request)),
      onHalfClose: () => stream.end(),
      onWritable: push,
      onClose: () => {
        feed.close();
        slot.release();
        this.#open.delete(status);
      },
    };
  }

  async #fetch(request: DiscoveryRequest, peer: LocalPeer): Promise<DiscoveryResponse> {
    const caller = this.#callers.identify(peer.credentials, action);
    const slot = this.#callers.takeStream(caller, action);
    const changed = Promise.withResolvers<void>();
    const feed = new IdentityFeed(this.#sources, () => {
      if (!feed.isAsking) changed.resolve();
    });
    try {
      const secrets = new SotwSecrets((name) => this.#lookUp(name, caller, feed));
      let response = secrets.receive(request);
      if (feed.isAsking) {
        await changed.promise;
        response = secrets.refresh() ?? response;
      }
      if (response !== null) {
        this.#audit.granted(caller.name, action, secrets.names.map(printable).join(" "));
        return response;
      }
    } finally {
      feed.close();
      slot.release();
    }
    throw feed.failure === null
      ? new GrpcError(grpcCode.notFound, "none of these secrets is for this caller")
      : identityUnavailable(feed.failure);
  }

  #lookUp(name: string, caller: LocalCaller, feed: IdentityFeed): SecretLookup {
    const found = lookUpSecret(name, caller, feed, this.#naming);
    if (found === "forbidden")
      this.#audit.refused(caller.name, action, printable(name), "the secret is not for this caller");
    return found;
  }
}

/** A name is whatever a caller has sent. */
function printable(name: string): string {
  return JSON.stringify(name.slice(0, 256));
}
