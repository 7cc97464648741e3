/**
 * A bare relay on Bun's sockets: no HTTP/2, no policy, and no TLS, or nothing but TLS. What a tunnel in this runtime could cost at the
 * least. Usage: bun relay.ts [--tls-to | --tls-from CERTIFICATE KEY] LISTEN=TARGET …
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

const handlers = {
  binaryType: "uint8array" as const,
  data: forward,
  drain: flush,
  end: finish,
  close: finish,
};

const [first, certificate = "", key = ""] = process.argv.slice(2);
const tlsTo = first === "--tls-to" ? { tls: { rejectUnauthorized: false } } : {};
const tlsFrom = first === "--tls-from" ? { tls: { cert: Bun.file(certificate), key: Bun.file(key) } } : {};

for (const pair of process.argv.slice(2).filter((word) => word.includes("="))) {
  const [listen, target] = pair.split("=").map((text) => {
    const colon = text.lastIndexOf(":");
    return { hostname: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
  });
  if (listen === undefined || target === undefined) throw new Error(`not LISTEN=TARGET: ${pair}`);
  Bun.listen<Half>({
    ...listen,
    ...tlsFrom,
    allowHalfOpen: true,
    socket: {
      ...handlers,
      open(accepted) {
        accepted.setNoDelay(true);
        accepted.data = { other: null, pending: [], ended: false };
        const begin = (dialled: Bun.Socket<Half>): void => {
          accepted.data.other = dialled;
          flush(dialled);
        };
        void Bun.connect<Half>({
          ...target,
          ...tlsTo,
          allowHalfOpen: true,
          data: { other: accepted, pending: [], ended: false },
          socket: {
            ...handlers,
            open(dialled) {
              dialled.setNoDelay(true);
              if (!("tls" in tlsTo)) begin(dialled);
            },
            handshake: begin,
            connectError: () => accepted.terminate(),
          },
        });
      },
    },
  });
}
console.log("relay ready");
