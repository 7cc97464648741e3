/** A peer that speaks HBONE by hand, with a certificate of the lab's CA or of whoever the test likes. */
import { assert } from "../../src/base/assert.ts";
import type { MeshError } from "../../src/base/errors.ts";
import type { SocketAddress } from "../../src/base/ip.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Socket, TlsOptions, TlsSocket } from "../../src/host/host.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { SpiffeId } from "../../src/mesh/identity.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { SecretManager } from "../../src/pki/svid/secrets.ts";
import type { Svid } from "../../src/pki/svid/svid.ts";
import { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import { Drive } from "../../src/transport/drive.ts";
import { H2Connection } from "../../src/wire/h2/connection.ts";
import type { HeaderFields } from "../../src/wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { at, type FlowLab } from "./lab.ts";

/** An SVID of the lab's CA. */
export async function svidOf(lab: FlowLab, host: MemoryHost, id: SpiffeId): Promise<Svid> {
  const { clock, random } = host;
  const provider = peculiarProvider();
  const trust = new TrustVerifier({ clock, provider, trustDomain: id.trustDomain });
  const secrets = new SecretManager({
    clock,
    random,
    provider,
    signer: lab.authority,
    lifetimeMs: 3_600_000,
    trust,
    logger: silentLogger,
  });
  const svid = await lab.world.settle(secrets.svid(id));
  secrets.close();
  return svid;
}

export function tlsWith(lab: FlowLab, svid: Svid): TlsOptions {
  return {
    credentials: {
      certificateChainPem: svid.certificateChainPem,
      privateKeyPem: svid.privateKeyPem,
      trustedRootsPem: lab.authority.rootsPem,
    },
    alpn: ["h2"],
    timeoutMs: 5_000,
  };
}

/** What happened on one stream. */
export class StreamLog implements H2StreamEvents {
  status: string | null = null;
  headers: HeaderFields = [];
  text = "";
  ended = false;
  closed = false;
  resetCode: number | null = null;

  onHeaders(headers: HeaderFields, endStream: boolean): void {
    this.headers = headers;
    this.status = headers[1] ?? null;
    this.ended ||= endStream;
  }
  onData(bytes: Uint8Array, endStream: boolean): void {
    this.text += new TextDecoder().decode(bytes);
    this.ended ||= endStream;
  }
  onTrailers(): void {
    this.ended = true;
  }
  onReset(errorCode: number): void {
    this.resetCode = errorCode;
  }
  onWritable(): void {}
  onClose(): void {
    this.closed = true;
  }
}

export class HbonePeer {
  readonly connection: H2Connection;
  readonly remote: SocketAddress;
  gone = false;
  error: MeshError | null = null;
  goAways = 0;

  private constructor(host: MemoryHost, socket: TlsSocket, role: "client" | "server", onRequest: OnRequest) {
    let drive: Drive | null = null;
    this.remote = socket.remote;
    this.connection = new H2Connection(
      { role, now: host.clock.now() },
      {
        onRequest: (stream, headers, endStream) => {
          stream.events = new StreamLog();
          onRequest(stream, headers, endStream);
        },
        onOutputReady: () => drive?.outputReady(),
        onGoAway: () => {
          this.goAways++;
        },
        onClose: (error) => {
          this.error = error;
        },
      },
    );
    drive = new Drive(host.clock, socket, this.connection, () => {
      this.gone = true;
    });
    drive.start();
  }

  /** Dials `to` with `svid`. @throws what the handshake threw. */
  static async dial(lab: FlowLab, host: MemoryHost, to: string, svid: Svid): Promise<HbonePeer> {
    const socket = await lab.world.settle(host.net.connect({ to: at(to), timeoutMs: 5_000 }));
    const tls = await lab.world.settle(host.net.tlsClient(socket, tlsWith(lab, svid)));
    return new HbonePeer(host, tls, "client", () => {});
  }

  /** On a handshake that is done. */
  static over(host: MemoryHost, socket: TlsSocket): HbonePeer {
    return new HbonePeer(host, socket, "client", () => {});
  }

  /** Accepts tunnels on `address`. */
  static listen(
    lab: FlowLab,
    host: MemoryHost,
    address: string,
    svid: Svid,
    onRequest: OnRequest,
  ): HbonePeer[] {
    const peers: HbonePeer[] = [];
    host.net.listen({ address: at(address), tls: true }, (socket: Socket) => {
      void host.net.tlsServer(socket, tlsWith(lab, svid)).then(
        (tls) => peers.push(new HbonePeer(host, tls, "server", onRequest)),
        () => {},
      );
    });
    return peers;
  }

  connect(
    authority: string,
    more: HeaderFields = [],
  ): { readonly stream: H2Stream; readonly log: StreamLog } {
    return this.request([":method", "CONNECT", ":authority", authority, ...more]);
  }

  request(headers: HeaderFields): { readonly stream: H2Stream; readonly log: StreamLog } {
    const log = new StreamLog();
    const stream = this.connection.request(headers, false, log);
    assert(stream !== null, "the peer takes no stream");
    return { stream, log };
  }
}

type OnRequest = (stream: H2Stream, headers: HeaderFields, endStream: boolean) => void;
