/**
 * A bare relay on Bun's sockets: no TLS, no HTTP/2, no policy. What a tunnel in this runtime could cost at the least.
 * Usage: bun relay.ts LISTEN=TARGET …
 */
interface Half {
  /** Null while the target is being dialled. */
  other: Bun.Socket<Half> | null;
  /** What the other side has not taken yet. While there is some, this side is not read. */
  readonly pending: Buffer[];
  ended: boolean;
}

function forward(from: Bun.Socket<Half>, data: Buffer): void {
  const { other, pending } = from.data;
  if (other === null || pending.length > 0) {
    pending.push(data);
    from.pause();
    return;
  }
  const taken = other.write(data);
  if (taken >= data.length) return;
  pending.push(data.subarray(Math.max(taken, 0)));
  from.pause();
}

/** `to` can be written again: what its peer left over goes first. */
function flush(to: Bun.Socket<Half>): void {
  const from = to.data.other;
  if (from === null) return;
  const { pending } = from.data;
  for (let first = pending[0]; first !== undefined; first = pending[0]) {
    const taken = to.write(first);
    if (taken < first.length) {
      pending[0] = first.subarray(Math.max(taken, 0));
      return;
    }
    pending.shift();
  }
  from.resume();
  if (from.data.ended) to.end();
}

function finish(from: Bun.Socket<Half>): void {
  from.data.ended = true;
  if (from.data.pending.length === 0) from.data.other?.end();
}

const handlers = { data: forward, drain: flush, end: finish, close: finish };

for (const pair of process.argv.slice(2)) {
  const [listen, target] = pair.split("=").map((text) => {
    const colon = text.lastIndexOf(":");
    return { hostname: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
  });
  if (listen === undefined || target === undefined) throw new Error(`not LISTEN=TARGET: ${pair}`);
  Bun.listen<Half>({
    ...listen,
    allowHalfOpen: true,
    socket: {
      ...handlers,
      open(accepted) {
        accepted.setNoDelay(true);
        accepted.data = { other: null, pending: [], ended: false };
        void Bun.connect<Half>({
          ...target,
          allowHalfOpen: true,
          data: { other: accepted, pending: [], ended: false },
          socket: {
            ...handlers,
            open(dialled) {
              dialled.setNoDelay(true);
              accepted.data.other = dialled;
              flush(dialled);
            },
            connectError: () => accepted.terminate(),
          },
        });
      },
    },
  });
}
console.log("relay ready");
