/**
 * A worker that passing tests start, and tell where to listen: to whoever speaks to it it says its number, where the caller wanted to go, how
 * many connections it has passed on, and whether nine tunnels from there would be too many for it. Told to close, it listens no more first.
 */
import { IpAddress } from "../../base/ip.ts";
import { createBunRuntime } from "../bun/host.ts";

const place = process.env.FAIRLEAD_WORKER ?? "";
const { host, workers } = await createBunRuntime();
const { received } = workers;
const ip = IpAddress.parse(process.argv[2] ?? "");
if (received === null || ip === null) throw new Error("a worker is started by a test");
const credentials = JSON.parse(process.argv[4] ?? "null");
const { net } = host;
const listener = net.listen(
  { address: { ip, port: Number(process.argv[3]) }, reusePort: true, tls: credentials !== null },
  async (socket) => {
    const { local } = socket;
    const spoken =
      credentials === null
        ? socket
        : await net.tlsServer(socket, { credentials, alpn: ["test"], timeoutMs: 10_000 }).catch(() => null);
    const words = (): string => {
      const isTooMany = received.hasRoomElsewhere(socket.remote.ip, local, { ofSource: 9, all: 9 });
      const where = `${local.ip.text}:${local.port}`;
      return `${place[0]} ${where} ${received.passedOn()} ${isTooMany ? "too many" : "right"}`;
    };
    spoken?.setHandler({
      onData: ([first]) => {
        if (first === 2) listener.close();
        spoken.write(new TextEncoder().encode(words()));
      },
      onDrain() {},
      onEnd: () => spoken.end(),
      onClose() {},
    });
  },
);
received.socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose: () => process.exit(0) });
received.socket.write(new TextEncoder().encode("ready"));
