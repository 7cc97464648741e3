/** What the two applications of one connection do: well-behaved, slow, rude or broken. */
import type { SeededRandom } from "../../src/host/memory/random.ts";

export interface EndScript {
  /** Payload, besides the header that names the connection. */
  readonly sendBytes: number;
  readonly chunkBytes: number;
  /** Between chunks; 0 sends as fast as the socket takes it. */
  readonly gapMs: number;
  /** When this end closes its half: all sent; all sent and the peer has ended; never. */
  readonly end: "sent" | "peer_ended" | "never";
  /** Stops reading once so much has come, for so long. */
  readonly stall: { readonly afterBytes: number; readonly forMs: number } | null;
  /** Resets, or closes both halves, or says all it has to say and closes with its input unread (413), once so much has come. */
  readonly leave: { readonly how: "reset" | "close" | "answer"; readonly afterBytes: number } | null;
}

export interface Scripts {
  readonly kind: string;
  readonly client: EndScript;
  readonly server: EndScript;
  /** No listener there. */
  readonly refused: boolean;
  /** The server speaks first. */
  readonly banner: boolean;
}

/** Sends nothing, and ends when it has. */
export const polite: EndScript = {
  sendBytes: 0,
  chunkBytes: 4096,
  gapMs: 0,
  end: "sent",
  stall: null,
  leave: null,
};

export function drawScripts(random: SeededRandom): Scripts {
  const size = () => random.pick([0, 1, 100, 5_000, 70_000, 300_000]);
  const chunk = () => random.pick([1_000, 4_096, 16_384]);
  const sends = (sendBytes: number, more: Partial<EndScript> = {}): EndScript => ({
    ...polite,
    sendBytes,
    chunkBytes: chunk(),
    ...more,
  });
  const drawn = <Kind extends string>(
    kind: Kind,
    client: EndScript,
    server: EndScript,
    refused = false,
    banner = false,
  ) => ({
    kind,
    client,
    server,
    refused,
    banner,
  });
  switch (random.below(14)) {
    case 0:
    case 1:
      return drawn("exchange", sends(size()), sends(size(), { end: "peer_ended" }));
    case 2:
      return drawn("source", sends(0), sends(size()));
    case 3:
      return drawn("sink", sends(size(), { end: "peer_ended" }), sends(0));
    case 4:
    case 5:
    case 6: {
      // Long enough to meet every fault; a few bytes at a time both ways.
      const talk = { chunkBytes: 50, gapMs: random.between(50, 300) };
      const sendBytes = 50 * Math.round(random.between(2_000, 15_000) / talk.gapMs);
      return drawn(
        "talk",
        sends(sendBytes, talk),
        sends(sendBytes, { ...talk, end: random.pick(["sent", "peer_ended"]) }),
      );
    }
    case 7: {
      const stall = { afterBytes: random.below(50_000), forMs: random.between(100, 9_000) };
      const bulk = sends(3_000_000, { chunkBytes: 16_384 });
      return random.chance(0.5)
        ? drawn("stalled server", bulk, sends(10, { stall, end: "peer_ended" }))
        : drawn("stalled client", sends(10, { stall, end: "peer_ended" }), bulk);
    }
    case 8: {
      const leave = { how: random.pick(["reset", "close"] as const), afterBytes: random.below(20_000) };
      const bulk = sends(100_000);
      return random.chance(0.5)
        ? drawn(`server leaves by ${leave.how}`, bulk, sends(size(), { leave, end: "peer_ended" }))
        : drawn(`client leaves by ${leave.how}`, sends(size(), { leave, end: "peer_ended" }), bulk);
    }
    case 13: {
      const leave = { how: "answer", afterBytes: random.below(20_000) } as const;
      return drawn(
        "server answers and closes",
        sends(100_000),
        sends(random.pick([1, 100, 5_000]), { leave, end: "never" }),
      );
    }
    case 9:
      return drawn("never closes", sends(size()), sends(size(), { end: "never" }));
    case 11:
      return drawn("banner", sends(size()), sends(size()), false, true);
    case 10:
      return drawn("refused", sends(100), sends(0), true);
    default:
      return drawn("both at once", sends(size()), sends(size()));
  }
}

/** Whether the scripts alone can bring the connection to an end that is not orderly, or to none. */
export function isRude({ client, server, refused }: Pick<Scripts, "client" | "server" | "refused">): boolean {
  return (
    refused ||
    client.leave !== null ||
    server.leave !== null ||
    client.end === "never" ||
    server.end === "never"
  );
}

export const probeScripts: Pick<Scripts, "client" | "server"> = {
  client: { ...polite, sendBytes: 1_000 },
  server: { ...polite, sendBytes: 2_000, end: "peer_ended" },
};
