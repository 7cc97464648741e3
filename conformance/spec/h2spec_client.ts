/**
 * What h2specd runs for each of its cases: a client on the engine that asks for a URL, then lives until the connection
 * ends. h2specd gives it about three seconds.
 */
import { BunWire, h2specFrameBytes } from "./bun_wire.ts";

const lifeMs = 2_500;

const url = new URL(process.argv[2] ?? "");
const isTls = url.protocol === "https:";

setTimeout(() => process.exit(0), lifeMs);

await Bun.connect<BunWire | undefined>({
  hostname: url.hostname,
  port: Number(url.port),
  ...(isTls ? { tls: { rejectUnauthorized: false, ALPNProtocols: Buffer.from("\x02h2") } as never } : {}),
  socket: {
    open(socket) {
      const wire = new BunWire(
        socket,
        { role: "client", limits: { maxFrameBytes: h2specFrameBytes } },
        { onRequest: () => {}, onClose: () => {} },
      );
      socket.data = wire;
      const stream = wire.connection.request(
        [
          ":method",
          "GET",
          ":scheme",
          url.protocol.slice(0, -1),
          ":authority",
          url.host,
          ":path",
          url.pathname,
        ],
        true,
        {
          onHeaders: () => {},
          onData: (bytes) => stream?.consume(bytes.length),
          onTrailers: () => {},
          onReset: () => {},
          onWritable: () => {},
          onClose: () => {},
        },
      );
    },
    data(socket, bytes) {
      socket.data?.data(bytes);
    },
    drain(socket) {
      socket.data?.drain();
    },
    close(socket) {
      socket.data?.gone();
      process.exit(0);
    },
    error() {},
  },
});
