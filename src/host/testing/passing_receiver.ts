/** A worker that passing tests start: it takes what was passed on, and says for each turn of its event loop which numbers that were. */
import { Passing } from "../bun/passing/passing.ts";
import type { Socket, SocketHandler } from "../host.ts";

const passing = Passing.open(process.env.FAIRLEAD_WORKER ?? "");
let taken: number[] = [];

function adopt(fd: number): void {
  // After this turn, whatever else there is to take.
  if (taken.length === 0)
    setImmediate(() => {
      process.stdout.write(`${JSON.stringify(taken)}\n`);
      taken = [];
    });
  taken.push(fd);
}

passing.share(process.argv[2] ?? "", "connection", adopt);

const connect = Bun.connect as unknown as (options: object) => Promise<unknown>;
await passing.start(async (fd) => {
  let handler: SocketHandler | null = null;
  await connect({ fd, socket: { data: (_: unknown, bytes: Uint8Array) => handler?.onData(bytes) } });
  const bell: Pick<Socket, "setHandler"> = {
    setHandler: (given) => {
      handler = given;
    },
  };
  return bell as Socket;
});
process.stdout.write("[]\n");
