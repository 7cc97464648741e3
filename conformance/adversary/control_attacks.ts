/** Calls of the control plane that make it work for those it does not know, and for one it does. */
import { create, toBinary } from "@bufbuild/protobuf";
import { addressType, deltaAdsPath } from "../../src/wire/ads/delta.ts";
import { frameFlag, frameType } from "../../src/wire/h2/frame.ts";
import { concat, frameBytes } from "../../src/wire/h2/testing/wired.ts";
import { DeltaDiscoveryRequestSchema } from "../../src/wire/messages/envoy_discovery.gen.ts";
import type { Attack } from "./attack.ts";
import { RawPeer } from "./raw_peer.ts";
import type { Stage } from "./stage.ts";

const certificatePath = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const joinPath = "/fairlead.v1.JoinService/Join";

function call(path: string, authorization: string | null, method = "POST"): readonly string[] {
  return [
    ...[":method", method, ":scheme", "https", ":authority", "control", ":path", path],
    ...["content-type", "application/grpc", "te", "trailers"],
    ...(authorization === null ? [] : ["authorization", authorization]),
  ];
}

/** gRPC's framing: not compressed, the length, the message. */
function message(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  return concat([Uint8Array.of(0, length >>> 24, length >>> 16, length >>> 8, length), bytes]);
}

/** An address that shares its limits with no other: what an address has used up is its own. */
async function stranger(stage: Stage): Promise<RawPeer> {
  return new RawPeer(await stage.tls("control", null, "127.8.8.8"));
}

/** Calls again and again over one connection, each with a message. */
function calls(
  name: string,
  fields: (turn: number, stage: Stage) => readonly string[],
  body: Uint8Array,
): Attack {
  return {
    name: `control: ${name}`,
    door: "control",
    run: async (stage) => {
      const peer = await stranger(stage);
      await peer.flood(100, (turn) =>
        concat(
          Array.from({ length: 50 }, (_none, at) => {
            const id = 1 + (turn * 50 + at) * 2;
            return concat([
              peer.headers(id, fields(turn * 50 + at, stage), false),
              frameBytes(frameType.data, frameFlag.endStream, id, message(body)),
            ]);
          }),
        ),
      );
      peer.end();
    },
  };
}

/** One call with one large message, over and over. */
function large(name: string, path: string, body: Uint8Array): Attack {
  return {
    name: `control: ${name}`,
    door: "control",
    run: async (stage) => {
      const peer = await stranger(stage);
      const pieces: Uint8Array[] = [];
      for (let call_ = 0; call_ < 2; call_++) {
        const id = 1 + call_ * 2;
        pieces.push(peer.headers(id, call(path, null), false));
        const framed = message(body);
        for (let from = 0; from < framed.length; from += 16_000)
          pieces.push(frameBytes(frameType.data, 0, id, framed.subarray(from, from + 16_000)));
      }
      await peer.flood(pieces.length, (turn) => pieces[turn] ?? empty);
      await Bun.sleep(300);
      peer.end();
    },
  };
}

const empty = new Uint8Array(0);
const base64 = (text: string) => Buffer.from(text).toString("base64url");
const forgedJwt = (kid: string, padding: number) =>
  [
    base64(JSON.stringify({ alg: "RS256", kid })),
    base64(
      JSON.stringify({
        iss: "https://issuer.example",
        aud: ["istio-ca"],
        sub: "x",
        pad: "p".repeat(padding),
      }),
    ),
    base64("s".repeat(256)),
  ].join(".");

/** One stream of delta xDS by a caller that is known, with `requests` in it. */
async function subscribe(stage: Stage, requests: readonly Uint8Array[], streams = 1): Promise<void> {
  const peer = new RawPeer(await stage.tls("control", null, "127.8.8.9"));
  const authorization = `Bearer ${await stage.token({ sub: "system:serviceaccount:shop:busy" })}`;
  const body = concat(requests.map(message));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < streams; at++) {
    const id = 1 + at * 2;
    pieces.push(peer.headers(id, call(deltaAdsPath, authorization), false));
    for (let from = 0; from < body.length; from += 16_000)
      pieces.push(frameBytes(frameType.data, 0, id, body.subarray(from, from + 16_000)));
  }
  await peer.flood(pieces.length, (turn) => pieces[turn] ?? empty);
  await Bun.sleep(700);
  peer.end();
}

function request(typeUrl: string, names: readonly string[]): Uint8Array {
  const fields = {
    node: { id: "ztunnel~127.0.0.1~busy.shop~shop.svc.cluster.local" },
    typeUrl,
    resourceNamesSubscribe: [...names],
  };
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, fields));
}

/** As of one who comes back to a mesh of so many resources. @param typeUrl one that is there, or any. */
function returning(typeUrl: string, count: number): Uint8Array {
  const fields = {
    node: { id: "ztunnel~127.0.0.1~busy.shop~shop.svc.cluster.local" },
    typeUrl,
    resourceNamesSubscribe: ["*"],
    initialResourceVersions: Object.fromEntries(names(count).map((name) => [name, "0123456789ab"])),
  };
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, fields));
}

/** One field again and again, up to what a request may have of bytes. */
function again(...field: readonly number[]): Uint8Array {
  const count = Math.floor((4 * 1024 * 1024 - 100) / field.length);
  return new Uint8Array(Array.from({ length: count }, () => field).flat());
}

/** `again` within the fields that are given: each one's number, from the outermost one. */
function within(numbers: readonly number[], inner: Uint8Array): Uint8Array {
  let value = inner;
  for (const number of [...numbers].reverse()) {
    const { length } = value;
    const size = [length & 0x7f, (length >>> 7) & 0x7f, (length >>> 14) & 0x7f, length >>> 21];
    value = concat([
      Uint8Array.of((number << 3) | 2, ...size.map((byte, at) => (at < 3 ? byte | 0x80 : byte))),
      value,
    ]);
  }
  return value;
}

const names = (count: number, from = 0) =>
  Array.from({ length: count }, (_none, at) => `c1//shop/workload-${from + at}`);

export const controlAttacks: readonly Attack[] = [
  calls("calls of methods that are not there", (turn) => call(`/no.Such/Method${turn}`, null), empty),
  calls("calls without a word of who calls", () => call(certificatePath, null), empty),
  calls("garbage in place of a message", () => call(joinPath, null), new Uint8Array(1000).fill(0xff)),
  calls(
    "tokens that a key of the issuer never signed",
    () => call(certificatePath, `Bearer ${forgedJwt("one", 10)}`),
    empty,
  ),
  calls("tokens of 40 KiB", () => call(certificatePath, `Bearer ${forgedJwt("one", 40_000)}`), empty),
  calls(
    "tokens that name a new key each time",
    (turn) => call(certificatePath, `Bearer ${forgedJwt(`key-${turn}`, 10)}`),
    empty,
  ),
  calls("tokens with a thousand dots", () => call(certificatePath, `Bearer ${".".repeat(1000)}`), empty),
  calls("administration without a certificate", () => call("/v1/documents", null, "GET"), empty),
  calls(
    "administration with a forged token",
    () => call("/v1/apply", `Bearer ${forgedJwt("one", 10)}`),
    new Uint8Array(10_000),
  ),
  {
    name: "control: messages of nothing, by the thousand, in one call",
    door: "control",
    run: async (stage) => {
      const peer = await stranger(stage);
      await peer.send(peer.headers(1, call(deltaAdsPath, null), false));
      const piece = frameBytes(
        frameType.data,
        0,
        1,
        concat(Array.from({ length: 3_000 }, () => message(empty))),
      );
      await peer.flood(30, () => piece);
      peer.end();
    },
  },
  {
    name: "control: xDS, a subscription to 9,000 names",
    door: "control",
    run: (stage) => subscribe(stage, [request(addressType, names(9_000))]),
  },
  {
    name: "control: xDS, 900 requests for ten names each",
    door: "control",
    run: (stage) =>
      subscribe(
        stage,
        Array.from({ length: 900 }, (_none, at) => request(addressType, names(10, at * 10))),
      ),
  },
  {
    name: "control: xDS, 200 types that are not there",
    door: "control",
    run: (stage) =>
      subscribe(
        stage,
        Array.from({ length: 200 }, (_none, at) => request(`type.example/t${at}`, ["*"])),
      ),
  },
  {
    name: "control: xDS, a request of 15 MiB",
    door: "control",
    run: (stage) => subscribe(stage, [request(addressType, names(500_000))]),
  },
  ...[150_000, 300_000].map((count) => ({
    name: `control: xDS, whoever comes back and names ${count} resources`,
    door: "control" as const,
    run: (stage: Stage) => subscribe(stage, [returning(addressType, count)]),
  })),
  {
    name: "control: xDS, the same of a type that is not there",
    door: "control",
    run: (stage) => subscribe(stage, [returning("type.example/none", 150_000)]),
  },
  {
    name: "control: xDS, a node of a million small facts",
    door: "control",
    // node, metadata, fields of it.
    run: (stage) => subscribe(stage, [within([1, 3], again(0x0a, 0x00))]),
  },
  large("a join with two million labels", joinPath, again(0x32, 0x00)),
  large(
    "a join with two million labels behind a group",
    joinPath,
    concat([Uint8Array.of(0x9b, 0x06), again(0x32, 0x00)]),
  ),
  large("a certificate asked for with a million facts", certificatePath, within([4], again(0x0a, 0x00))),
  // Its validity_duration is a number: a decoder that does not look takes what is in it for fields.
  large(
    "a certificate asked for with a million fields in a number",
    certificatePath,
    within([3], again(0x0a, 0x00)),
  ),
  {
    name: "control: xDS, 200 streams of one caller",
    door: "control",
    run: (stage) => subscribe(stage, [request(addressType, ["*"])], 200),
  },
];
