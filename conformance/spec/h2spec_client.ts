/**
 * What h2specd runs for each of its cases: a client on the engine that asks for a URL, then lives until the connection
 * ends. h2specd gives it about three seconds.
 */
import { EngineWire, h2specFrameBytes, host, loopback } from "./engine_wire.ts";

const lifeMs = 2_500;
const connectTimeoutMs = 2_000;
/** Our own close still has to reach h2specd, which reads what is there before it ends its side. */
const lastWordsMs = 100;

const url = new URL(process.argv[2] ?? "");
const isTls = url.protocol === "https:";

setTimeout(() => process.exit(0), lifeMs);

const plain = await host.net.connect({ to: loopback(Number(url.port)), timeoutMs: connectTimeoutMs });
const socket = isTls
  ? await host.net.tlsClient(plain, {
      credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: "" },
      alpn: ["h2"],
      timeoutMs: connectTimeoutMs,
    })
  : plain;
const wire = new EngineWire(
  socket,
  { role: "client", limits: { maxFrameBytes: h2specFrameBytes } },
  { onRequest: () => {}, onClose: () => {} },
  () => setTimeout(() => process.exit(0), lastWordsMs),
);
const stream = wire.connection.request(
  [":method", "GET", ":scheme", url.protocol.slice(0, -1), ":authority", url.host, ":path", url.pathname],
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
