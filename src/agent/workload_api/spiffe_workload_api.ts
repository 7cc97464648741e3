/**
 * The SPIFFE Workload API (SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md): X.509-SVIDs and bundles, pushed when they change.
 * JWT-SVIDs are not served: who signs them needs a key that every verifier knows as the trust domain's, and that is the CA's to have.
 */
import { sha256Hex } from "../../base/sha256.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { MethodDescription } from "../../wire/grpc/method.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import type { ServerStream, StreamEvents } from "../../wire/grpc/server_stream.ts";
import { spiffeWorkload } from "../../wire/grpc/services.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { headerValue } from "../../wire/h2/headers.ts";
import { newMessage } from "../../wire/messages/message.ts";
import {
  type X509BundlesResponse,
  X509BundlesResponseSchema,
  type X509SVIDResponse,
  X509SVIDResponseSchema,
} from "../../wire/messages/spiffe_workload.gen.ts";
import type { CallAudit } from "./call_audit.ts";
import { IdentityFeed, type IdentitySources, identityUnavailable } from "./identity_feed.ts";
import type { LocalCaller, LocalCallers } from "./local_callers.ts";
import type { LocalPeer } from "./sds.ts";

/** What there is to say, with what tells it from what was said before. */
type Answer<Res> = { readonly version: string; readonly message: Res } | GrpcError | null;

export class SpiffeWorkloadApi {
  readonly #callers: LocalCallers;
  readonly #audit: CallAudit;
  readonly #sources: IdentitySources;
  readonly #trustDomain: string;

  constructor(callers: LocalCallers, audit: CallAudit, sources: IdentitySources, trustDomain: string) {
    this.#callers = callers;
    this.#audit = audit;
    this.#sources = sources;
    this.#trustDomain = trustDomain;
  }

  register<Peer extends LocalPeer>(service: GrpcService<Peer>): void {
    this.#stream(service, spiffeWorkload.fetchX509Svid, "svid.x509", (caller, feed) =>
      this.#svids(caller, feed),
    );
    this.#stream(service, spiffeWorkload.fetchX509Bundles, "bundles.x509", (_, feed) => this.#bundles(feed));
    service.unary(spiffeWorkload.fetchJwtSvid, (_, call) => refuseJwt(call));
    service.stream(spiffeWorkload.fetchJwtBundles, (call) => refuseJwt(call));
    service.unary(spiffeWorkload.validateJwtSvid, (_, call) => refuseJwt(call));
  }

  #stream<Req, Res, Peer extends LocalPeer>(
    service: GrpcService<Peer>,
    method: MethodDescription<Req, Res>,
    action: string,
    answer: (caller: LocalCaller, feed: IdentityFeed) => Answer<Res>,
  ): void {
    service.stream(method, (stream) => this.#serve(stream, action, answer));
  }

  #serve<Req, Res>(
    stream: ServerStream<Req, Res, LocalPeer>,
    action: string,
    answer: (caller: LocalCaller, feed: IdentityFeed) => Answer<Res>,
  ): StreamEvents<Req> {
    checkSecurityHeader(stream);
    const caller = this.#callers.identify(stream.peer.credentials, action);
    const slot = this.#callers.takeStream(caller, action);
    let asked = false;
    let sent: string | null = null;
    const push = () => {
      if (!asked || stream.aboveHighWater) return;
      const found = answer(caller, feed);
      if (found === null) return;
      if (found instanceof GrpcError) {
        // What was sent before is still in force; the stream waits for something better.
        if (sent === null) stream.end(found);
        return;
      }
      if (found.version === sent) return;
      sent = found.version;
      this.#audit.granted(caller.name, action, caller.ids.map((id) => id.uri).join(" "));
      stream.send(found.message);
    };
    const feed = new IdentityFeed(this.#sources, push);
    return {
      onMessage: () => {
        asked = true;
        push();
      },
      // The client has nothing more to say; answers go on.
      onHalfClose: () => {},
      onWritable: push,
      onClose: () => {
        feed.close();
        slot.release();
      },
    };
  }

  #svids(caller: LocalCaller, feed: IdentityFeed): Answer<X509SVIDResponse> {
    const svids = caller.ids.map((id) => feed.svid(id)).filter((svid) => svid !== null);
    // The first is the caller's default (SPIFFE Workload API §5.2.1), so none is sent before it is known which one that is.
    if (feed.isAsking || feed.bundle.rootsPem === "") return null;
    if (svids.length === 0) return identityUnavailable(feed.failure);
    const { rootsPem, crls } = feed.bundle;
    const bundle = concatenate(decodePemLabel(rootsPem, "CERTIFICATE"));
    const message = newMessage(X509SVIDResponseSchema, {
      svids: svids.map((svid) => ({
        spiffeId: svid.id.uri,
        x509Svid: concatenate(svid.chain),
        x509SvidKey: privateKeyDer(svid),
        bundle,
        hint: `${svid.id.namespace}/${svid.id.serviceAccount}`,
      })),
      crl: [...crls],
    });
    const version = sha256Hex(...svids.flatMap(({ chain }) => chain), bundle, ...crls);
    return { version, message };
  }

  #bundles(feed: IdentityFeed): Answer<X509BundlesResponse> {
    const { rootsPem, crls } = feed.bundle;
    if (rootsPem === "") return null;
    const bundle = concatenate(decodePemLabel(rootsPem, "CERTIFICATE"));
    const message = newMessage(X509BundlesResponseSchema, {
      crl: [...crls],
      bundles: { [`spiffe://${this.#trustDomain}`]: bundle },
    });
    return { version: sha256Hex(bundle, ...crls), message };
  }
}

/** SPIFFE Workload Endpoint §6.1: a header that a browser or proxy made to call us (SSRF) would not send. */
function checkSecurityHeader(call: { readonly metadata: readonly string[] }): void {
  if (headerValue(call.metadata, "workload.spiffe.io") !== "true")
    throw new GrpcError(grpcCode.invalidArgument, "security header missing from request");
}

function refuseJwt(call: { readonly metadata: readonly string[] }): never {
  checkSecurityHeader(call);
  throw new GrpcError(grpcCode.unimplemented, "JWT-SVIDs are not issued here");
}

function privateKeyDer(svid: Svid): Uint8Array {
  return concatenate(decodePemLabel(svid.privateKeyPem, "PRIVATE KEY"));
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
