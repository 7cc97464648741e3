/** Connections that prove nothing, at both doors: silence, halves of handshakes, and the certificates of others. */
import { MeshError } from "../../src/base/errors.ts";
import type { Socket } from "../../src/host/host.ts";
import type { Attack } from "./attack.ts";
import { type DoorName, isTurnedAway, type Stage } from "./stage.ts";

/** A ClientHello's beginning: a record of the handshake that says it is longer than what comes. */
const halfHello = Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3);

const deaf = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** Opens `count` connections and leaves them, `atATime` in one go. */
async function crowd(
  stage: Stage,
  door: DoorName,
  count: number,
  from: (index: number) => string | null,
  begin: (socket: Socket) => void,
): Promise<void> {
  const sockets: Socket[] = [];
  const atATime = 64;
  for (let at = 0; at < count; at += atATime) {
    const some = await Promise.allSettled(
      Array.from({ length: Math.min(atATime, count - at) }, (_none, index) =>
        stage.tcp(door, from(at + index)),
      ),
    );
    for (const one of some) {
      if (one.status !== "fulfilled") continue;
      one.value.setHandler(deaf);
      begin(one.value);
      sockets.push(one.value);
    }
  }
  // Long enough for callers to meet them.
  await Bun.sleep(500);
  for (const socket of sockets) socket.reset();
}

const silent = () => {};
const here = () => null;
/** Sixty addresses, three neighbourhoods. */
const manyAddresses = (index: number) => `127.${9 + (index % 3)}.0.${1 + (index % 60)}`;

function handshakes(
  stage: Stage,
  door: DoorName,
  count: number,
  who: "member" | "foreign" | "none",
): Promise<unknown> {
  const credentials = who === "member" ? stage.member : who === "foreign" ? stage.foreign : null;
  return Promise.all(
    Array.from({ length: count }, async () => {
      try {
        (await stage.tls(door, credentials)).reset();
      } catch (error) {
        if (!isTurnedAway(error)) throw error;
      }
    }),
  );
}

function atBoth(name: string, run: (stage: Stage, door: DoorName) => Promise<unknown>): Attack[] {
  return (["node", "control"] as const).map((door) => ({
    name: `${door}: ${name}`,
    door,
    run: async (stage) => void (await run(stage, door)),
  }));
}

export const doorAttacks: readonly Attack[] = [
  ...atBoth("2,000 silent sockets from the callers' own address", (stage, door) =>
    crowd(stage, door, 2_000, here, silent),
  ),
  ...atBoth("3,000 silent sockets from sixty addresses", (stage, door) =>
    crowd(stage, door, 3_000, manyAddresses, silent),
  ),
  ...atBoth("1,000 halves of a ClientHello", (stage, door) =>
    crowd(stage, door, 1_000, manyAddresses, (socket) => void socket.write(halfHello)),
  ),
  ...atBoth("1,000 sockets that say something else", (stage, door) =>
    crowd(stage, door, 1_000, manyAddresses, (socket) => void socket.write(new Uint8Array(300).fill(65))),
  ),
  ...atBoth("handshakes with another mesh's certificate", async (stage, door) => {
    for (let round = 0; round < 4; round++) await handshakes(stage, door, 60, "foreign");
  }),
  ...atBoth("handshakes in a crowd, closed at once", async (stage, door) => {
    for (let round = 0; round < 4; round++)
      await handshakes(stage, door, 60, door === "node" ? "member" : "none");
  }),
  {
    name: "control: 400 strangers that shake hands and say nothing",
    door: "control",
    run: async (stage) => {
      const held: Socket[] = [];
      for (let at = 0; at < 400; at += 20) {
        const some = await Promise.allSettled(
          Array.from({ length: 20 }, (_none, index) => stage.tls("control", null, manyAddresses(at + index))),
        );
        for (const one of some) {
          if (one.status === "rejected" && !(one.reason instanceof MeshError)) throw one.reason;
          if (one.status !== "fulfilled") continue;
          one.value.setHandler(deaf);
          held.push(one.value);
        }
      }
      await Bun.sleep(500);
      for (const socket of held) socket.reset();
    },
  },
];
