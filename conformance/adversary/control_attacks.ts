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
  {
    name: "control: xDS, 200 streams of one caller",
    door: "control",
    run: (stage) => subscribe(stage, [request(addressType, ["*"])], 200),
  },
];
