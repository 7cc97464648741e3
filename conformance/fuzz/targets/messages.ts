/** Messages of gRPC as both ends read them: their frames, their fields, and delta xDS over them. */
import { create, toBinary } from "@bufbuild/protobuf";
import { runSteps } from "../../../src/base/turns/time_slice.ts";
import { DeltaClient, emptyRequest } from "../../../src/wire/ads/client.ts";
import { addressType, authorizationType } from "../../../src/wire/ads/delta.ts";
import { ResourceSet } from "../../../src/wire/ads/resource_set.ts";
import { ResponseEncoder } from "../../../src/wire/ads/response_parts.ts";
import { DeltaSession } from "../../../src/wire/ads/server_session.ts";
import {
  percentDecode,
  percentEncode,
  readStatus,
  readTimeoutMs,
} from "../../../src/wire/grpc/call_headers.ts";
import { deltaRequestCodec } from "../../../src/wire/grpc/delta_request.ts";
import { frameMessage, MessageReader } from "../../../src/wire/grpc/message_reader.ts";
import { messageCodec } from "../../../src/wire/grpc/method.ts";
import { GrpcError } from "../../../src/wire/grpc/status.ts";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
} from "../../../src/wire/messages/envoy_discovery.gen.ts";
import { CheckResponseSchema } from "../../../src/wire/messages/envoy_ext_authz.gen.ts";
import { RateLimitResponseSchema } from "../../../src/wire/messages/envoy_ratelimit.gen.ts";
import {
  DocumentSchema,
  JoinRequestSchema,
  JoinResponseSchema,
  RenewRequestSchema,
  TrustBundleSchema,
} from "../../../src/wire/messages/fairlead.gen.ts";
import { HealthCheckRequestSchema } from "../../../src/wire/messages/grpc_health.gen.ts";
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from "../../../src/wire/messages/istio_citadel.gen.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

const codecs = [
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  CheckResponseSchema,
  RateLimitResponseSchema,
  JoinRequestSchema,
  RenewRequestSchema,
  JoinResponseSchema,
  TrustBundleSchema,
  DocumentSchema,
  HealthCheckRequestSchema,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
].map((schema) => messageCodec(schema, {}));

const maxMessageBytes = 512;

/** What is no message is an Error, told to whoever sent it. */
function decoded<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (error) {
    holds(error instanceof Error && error.name !== "AssertionError", `a refusal, not ${String(error)}`);
    return null;
  }
}

function checkFrames(bytes: Uint8Array, look: Look): void {
  const messages = readCut(bytes, look, (parts) => {
    const reader = new MessageReader({ maxMessageBytes, encoding: null, end: "server" });
    const found: string[] = [];
    let pushed = 0;
    let read = 0;
    for (const part of parts) {
      reader.push(part);
      pushed += part.length;
      for (;;) {
        const message = reader.next();
        read += reader.takeReadBytes();
        if (message === null) break;
        if (message instanceof GrpcError) return [...found, `error ${message.code}`];
        found.push(latin1(message));
      }
      holds(reader.assembledBytes <= maxMessageBytes, "no more is kept than a message");
    }
    holds(read + reader.drop() === pushed, "every byte is given back to the window");
    return found;
  });
  const framed = Buffer.concat(
    messages.filter((one) => !one.startsWith("error")).flatMap((one) => frameMessage(bytesOf(one))),
  );
  holds(latin1(bytes).startsWith(latin1(framed)), "framed again they are the same bytes");
}

function checkMessage(codec: (typeof codecs)[number] | undefined, bytes: Uint8Array, look: Look): void {
  if (codec === undefined) return;
  const message = look.turn(() => decoded(() => codec.decode(bytes)));
  if (message === null) return;
  const encoded = codec.encode(message as never);
  same(codec.encode(codec.decode(encoded) as never), encoded, "encoded, decoded and encoded again");
}

function checkRequests(bytes: Uint8Array, look: Look): void {
  const policies = new ResourceSet(authorizationType);
  const addresses = new ResourceSet(addressType);
  const resources = ["a", "b/c", "x"].map((name) => ({ name, version: "1", value: Uint8Array.of(1) }));
  addresses.apply(resources, []);
  policies.apply(resources, []);
  const sets = new Map([policies, addresses].map((set) => [set.typeUrl, set]));
  const session = new DeltaSession(sets, new ResponseEncoder("fairlead/fuzz"));
  const reader = new MessageReader({ maxMessageBytes: 4096, encoding: null, end: "server" });
  reader.push(bytes);
  for (let message = reader.next(); message instanceof Uint8Array; message = reader.next()) {
    const own = message;
    const whole = look.turn(() => decoded(() => deltaRequestCodec.decode(own)));
    const inSteps = decoded(() => runSteps(deltaRequestCodec.decodeInSteps?.(own) ?? nothing()));
    holds((whole === null) === (inSteps === null), "read at once and in steps: both or none");
    if (whole === null || inSteps === null) continue;
    same(
      new Map(Object.entries(whole.initialResourceVersions)),
      new Map(inSteps.heldEntries),
      "what is held, at once and in steps",
    );
    const fault = session.onRequest(inSteps, 0);
    if (fault !== null) return;
    for (let turn = 0; turn < 50; turn++) {
      const response = session.next(10_000);
      if (response === null) break;
      if ("kind" in response) return;
      session.onRequest(emptyRequest(response.typeUrl, response.nonce), 10_000);
    }
  }
}

function* nothing(): Generator<void, never> {
  yield;
  throw new Error("there are no steps");
}

function checkResponses(bytes: Uint8Array): void {
  const client = new DeltaClient([
    { typeUrl: authorizationType, mode: "wildcard" },
    { typeUrl: addressType, mode: "on-demand" },
  ]);
  client.connect();
  const codec = messageCodec(DeltaDiscoveryResponseSchema);
  const reader = new MessageReader({ maxMessageBytes: 4096, encoding: null, end: "client" });
  reader.push(bytes);
  for (let message = reader.next(); message instanceof Uint8Array; message = reader.next()) {
    const own = message;
    const response = decoded(() => codec.decode(own));
    if (response === null) continue;
    const delivery = client.onResponse(response);
    if (delivery === null) {
      client.acknowledgeUnknown(response);
      continue;
    }
    const names = delivery.resources.map(({ name }) => name);
    holds(!delivery.removed.some((name) => names.includes(name)), "a name is not both there and removed");
    const answer = client.acknowledge(
      delivery,
      names.slice(0, 1).map((name) => ({ name, reason: "no" })),
    );
    same(answer.responseNonce, response.nonce, "the nonce that is answered");
    holds(names.length > 0 === (answer.errorDetail !== undefined), "what is refused is said");
  }
}

function checkHeaders(bytes: Uint8Array): void {
  const text = latin1(bytes);
  same(
    percentDecode(percentEncode(text)),
    text.slice(0, percentDecode(percentEncode(text)).length),
    "a status' message",
  );
  percentDecode(text);
  readStatus(["grpc-status", text, "grpc-message", text]);
  decoded(() => readTimeoutMs(["grpc-timeout", text]));
}

function run(input: Uint8Array, look: Look): void {
  const kind = input[0] ?? 0;
  const bytes = input.slice(1);
  if (kind < codecs.length) checkMessage(codecs[kind], bytes, look);
  else if (kind === 32) checkFrames(bytes, look);
  else if (kind === 33) checkRequests(bytes, look);
  else if (kind === 34) checkResponses(bytes);
  else if (kind === 35) checkHeaders(bytes);
}

function framedOf(...messages: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(messages.flatMap((message) => frameMessage(message)));
}

function seeds(): readonly Uint8Array[] {
  const asked = toBinary(
    DeltaDiscoveryRequestSchema,
    create(DeltaDiscoveryRequestSchema, {
      typeUrl: addressType,
      resourceNamesSubscribe: ["*", "a"],
      resourceNamesUnsubscribe: ["x"],
      initialResourceVersions: { a: "1", gone: "2" },
      responseNonce: "1",
      node: { id: "n" },
      errorDetail: { code: 3, message: "no" },
    }),
  );
  const answered = toBinary(
    DeltaDiscoveryResponseSchema,
    create(DeltaDiscoveryResponseSchema, {
      typeUrl: authorizationType,
      nonce: "n",
      systemVersionInfo: "1",
      removedResources: ["gone"],
      resources: [
        {
          name: "a/b",
          version: "1",
          resource: { typeUrl: authorizationType, value: Uint8Array.of(10, 1, 97) },
        },
      ],
      controlPlane: { identifier: "fairlead/x" },
    }),
  );
  const certificate = toBinary(
    IstioCertificateRequestSchema,
    create(IstioCertificateRequestSchema, {
      csr: "-----BEGIN",
      validityDuration: 3600n,
      metadata: { ImpersonatedIdentity: "spiffe://a/ns/b/sa/c", more: [1, null, { a: true }] },
    }),
  );
  return [
    Uint8Array.of(0, ...asked),
    Uint8Array.of(1, ...answered),
    ...codecs.map((_codec, index) => Uint8Array.of(index, 10, 1, 97)),
    Uint8Array.of(11, ...certificate),
    Uint8Array.of(32, ...framedOf(asked, answered, new Uint8Array(0))),
    Uint8Array.of(32, 1, 0, 0, 0, 1, 1),
    Uint8Array.of(33, ...framedOf(asked, asked)),
    Uint8Array.of(34, ...framedOf(answered, answered)),
    Uint8Array.of(35, ...bytesOf("12%20x")),
    Uint8Array.of(35, ...bytesOf("15S")),
  ];
}

export const target: Target = { maxBytes: 2048, seeds, run };
