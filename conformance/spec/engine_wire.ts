/** The engine over this host's sockets, driven as the product drives it: no policy, no trust. For conformance programs only. */
import type { MeshError } from "../../src/base/errors.ts";
import { IpAddress, type SocketAddress } from "../../src/base/ip.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import type { Socket } from "../../src/host/host.ts";
import { Drive } from "../../src/transport/drive.ts";
import { H2Connection, type H2Options } from "../../src/wire/h2/connection.ts";
import type { H2ConnectionEvents } from "../../src/wire/h2/connection_state.ts";

/** h2spec takes frames of some 20 KB for too large without looking at the peer's SETTINGS. */
export const h2specFrameBytes = 16_384;

export const host = createBunHost();

export function loopback(port: number): SocketAddress {
  const ip = IpAddress.parse("127.0.0.1");
  if (ip === null) throw new Error("127.0.0.1 is an address");
  return { ip, port };
}

/** One connection over one socket. */
export class EngineWire {
  readonly connection: H2Connection;
  readonly #drive: Drive;

  /** @param onGone the transport is gone; null after an orderly end or our own close. */
  constructor(
    socket: Socket,
    options: Omit<H2Options, "now">,
    events: Omit<H2ConnectionEvents, "onOutputReady">,
    onGone: (error: MeshError | null) => void = () => {},
  ) {
    this.connection = new H2Connection(
      { ...options, now: host.clock.now() },
      {
        onRequest: (stream, headers, endStream) => events.onRequest(stream, headers, endStream),
        onClose: (error) => events.onClose(error),
        onOutputReady: () => this.#drive.outputReady(),
      },
    );
    this.#drive = new Drive(host.clock, socket, this.connection, onGone);
    this.#drive.start();
  }
}
