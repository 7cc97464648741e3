/** One server of the control plane: how it is known, what it is shown, and the calls to it. */
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import type { ServerSettings } from "../../base/settings/node_control.ts";
import type { Host, TlsCredentials } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import { parseKeyPin } from "../../pki/trust/pin.ts";
import { ServerCertificateVerifier, type ServerTrust } from "../../pki/trust/server_certificate.ts";
import { ServerRoots } from "../../pki/trust/server_roots.ts";
import { RpcChannel } from "../../transport/rpc/channel.ts";
import type { ChannelTls } from "../../transport/rpc/client_connection.ts";
import type { MethodDescription } from "../../wire/grpc/method.ts";
import { aggregatedDiscovery } from "../../wire/grpc/services.ts";
import type { GrpcError } from "../../wire/grpc/status.ts";
import type { OpenAdsStream } from "../xds/ads_stream.ts";
import { readBearer } from "./bearer_token.ts";
import type { HostCredentials } from "./host_credentials.ts";
import { describeFailure, type UnaryCaller } from "./unary_caller.ts";

export interface ControlServerOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly provider: CryptoProvider;
  readonly server: ServerSettings;
  /** What this host shows, and the mesh's own roots once they are known: our control plane's certificate leads to them. */
  readonly credentials: Pick<HostCredentials, "present" | "rootsPem">;
  /** For the first contact. */
  readonly pin: string | null;
  readonly clusterId: string;
}

export class ControlServer implements UnaryCaller {
  readonly #options: ControlServerOptions;
  /** The operator's own; null without. */
  readonly #configuredRootsPem: (() => string) | null;
  readonly #endFollowing: () => void;
  readonly #channel: RpcChannel;

  private constructor(
    options: ControlServerOptions,
    rootsPem: (() => string) | null,
    endFollowing: () => void,
  ) {
    this.#options = options;
    this.#configuredRootsPem = rootsPem;
    this.#endFollowing = endFollowing;
    const { host, logger, server } = options;
    this.#channel = new RpcChannel({ host, logger, target: server.address, tls: () => this.#tls() });
  }

  /** @throws MeshError `io` or `configuration` for roots that cannot be used. */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    const { root } = options.server;
    if (root === null) return new ControlServer(options, null, () => {});
    if (root.kind === "pem") {
      parseRoots(root.pem);
      return new ControlServer(
        options,
        () => root.pem,
        () => {},
      );
    }
    const followed = await ServerRoots.follow(options.host.files, root.path, options.logger);
    return new ControlServer(
      options,
      () => followed.pem,
      () => followed.close(),
    );
  }

  /** `HOST:PORT`. */
  get name(): string {
    const { host, port } = this.#options.server.address;
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  }

  async unary<Req, Res>(method: MethodDescription<Req, Res>, request: Req): Promise<Res> {
    const metadata = await this.#metadata();
    return await this.#channel.unary(method, request, { metadata, timeoutMs: joinLimits.callTimeoutMs });
  }

  /** Opens ADS streams; see `XdsClient`. */
  readonly openAds: OpenAdsStream = async (events) => {
    let isCancelled = false;
    try {
      const metadata = await this.#metadata();
      const stream = await this.#channel.stream(
        aggregatedDiscovery.delta,
        {
          onMessage: (response) => {
            if (!isCancelled) events.onResponse(response);
          },
          onEnd: (error) => {
            if (!isCancelled) events.onEnd(error === null ? null : describeEnd(error));
          },
        },
        { metadata, maxResponseBytes: joinLimits.maxResponseBytes },
      );
      return {
        send: (request) => void stream.send(request),
        pause: () => stream.pause(),
        resume: () => stream.resume(),
        cancel: () => {
          isCancelled = true;
          stream.cancel();
        },
      };
    } catch (thrown) {
      throw describeFailure(thrown, "the mesh", adviceForXds);
    }
  };

  /** New calls are made with the credentials of now. */
  renew(): void {
    this.#channel.renew();
  }

  close(): void {
    this.#endFollowing();
    this.#channel.close();
  }

  async #metadata(): Promise<readonly string[]> {
    const { server, credentials, clusterId, host } = this.#options;
    const { bearer, spare } = credentials.present();
    const metadata = Object.entries(server.headers).flat();
    if (bearer === null) return metadata;
    let token: string;
    try {
      token = await readBearer(bearer, host.files);
    } catch (thrown) {
      if (spare === null) throw thrown;
      return metadata;
    }
    // As ztunnel's (`identity/auth.rs`): istiod finds by the cluster whose API it asks about the token.
    return [...metadata, "authorization", `Bearer ${token}`, "clusterid", clusterId];
  }

  async #tls(): Promise<ChannelTls> {
    const { host, provider, server } = this.#options;
    const trust = this.#trust();
    const own = await this.#ownCredentials();
    const verifier = new ServerCertificateVerifier({
      clock: host.clock,
      provider,
      host: server.address.host,
      alternativeHosts: server.name === null ? [] : [server.name],
      trust,
    });
    return {
      credentials: own ?? {
        certificateChainPem: "",
        privateKeyPem: "",
        trustedRootsPem: trust.kind === "roots" ? trust.rootsPem() : "",
      },
      serverName: server.name ?? server.address.host,
      verify: async (chain) => void (await verifier.verify(chain)),
    };
  }

  async #ownCredentials(): Promise<TlsCredentials | null> {
    const { host } = this.#options;
    const { credentials, bearer, spare } = this.#options.credentials.present();
    if (credentials !== null || bearer === null || spare === null) return credentials;
    // A certificate goes before a token there, and may be another workload's than the token is.
    const isReadable = await readBearer(bearer, host.files).then(
      () => true,
      () => false,
    );
    return isReadable ? null : spare;
  }

  /** What an operator names himself, and what came with the join, count alike; the pin is for the time before. */
  #trust(): ServerTrust {
    const { credentials, pin } = this.#options;
    const roots = [this.#configuredRootsPem?.() ?? "", credentials.rootsPem ?? ""].join("\n");
    if (roots.trim() !== "") return { kind: "roots", rootsPem: () => roots };
    if (pin !== null) return { kind: "pin", pin: parseKeyPin(`sha256:${pin}`) };
    throw new MeshError(
      "configuration",
      "local",
      "the control plane cannot be verified: give --control-root",
    );
  }
}

const adviceForXds =
  ". Check that the token is of a service account that the server knows, and that this node is not revoked. The server's log has the reason";

function describeEnd(error: GrpcError): MeshError {
  // The connection's own fault says more than the call's UNAVAILABLE.
  return error.cause instanceof MeshError ? error.cause : describeFailure(error, "the mesh", adviceForXds);
}
