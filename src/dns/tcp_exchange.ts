/** DNS over TCP: messages with their length in front (RFC 1035 §4.2.2, RFC 7766). */
import { MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import type { Clock, Network, Socket } from "../host/host.ts";
import { maxTcpBytes } from "../wire/dns/message.ts";

/** Cuts a stream into messages. */
export class MessageReader {
  readonly #maxBytes: number;
  #buffered = new Uint8Array(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @returns the messages that are whole by now; null when one would be longer than it may be. */
  receive(bytes: Uint8Array): readonly Uint8Array[] | null {
    const all = new Uint8Array(this.#buffered.length + bytes.length);
    all.set(this.#buffered);
    all.set(bytes, this.#buffered.length);
    const messages: Uint8Array[] = [];
    let at = 0;
    for (;;) {
      if (all.length - at < 2) break;
      const length = ((all[at] ?? 0) << 8) | (all[at + 1] ?? 0);
      if (length > this.#maxBytes) return null;
      if (all.length - at - 2 < length) break;
      messages.push(all.slice(at + 2, at + 2 + length));
      at += 2 + length;
    }
    this.#buffered = all.slice(at);
    return messages;
  }
}

export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(message.length + 2);
  bytes[0] = message.length >> 8;
  bytes[1] = message.length & 0xff;
  bytes.set(message, 2);
  return bytes;
}

/** One query over a connection of its own. @returns null when there was no answer in time. */
export async function exchangeOverTcp(
  clock: Clock,
  net: Network,
  call: {
    readonly server: SocketAddress;
    readonly mark: number | null;
    readonly query: Uint8Array;
    readonly timeoutMs: number;
  },
): Promise<Uint8Array | null> {
  const { server, mark, query, timeoutMs } = call;
  const until = clock.now() + timeoutMs;
  let socket: Socket;
  try {
    socket = await net.connect({ to: server, timeoutMs, ...(mark === null ? {} : { mark }) });
  } catch (thrown) {
    if (thrown instanceof MeshError) return null;
    throw thrown;
  }
  const { promise, resolve } = Promise.withResolvers<Uint8Array | null>();
  const reader = new MessageReader(maxTcpBytes);
  socket.setHandler({
    onData: (bytes) => {
      const messages = reader.receive(bytes);
      if (messages === null) resolve(null);
      else if (messages[0] !== undefined) resolve(messages[0]);
    },
    onDrain: () => {},
    onEnd: () => resolve(null),
    onClose: () => resolve(null),
  });
  const timer = clock.setTimer(Math.max(0, until - clock.now()), () => resolve(null));
  // A kernel's buffer takes a query whole.
  const bytes = framed(query);
  if (socket.write(bytes) < bytes.length) resolve(null);
  try {
    return await promise;
  } finally {
    timer.cancel();
    socket.close();
  }
}
