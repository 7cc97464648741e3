/**
 * What documents ask for of each connection to a destination: a PROXY protocol header, and TLS (DestinationRule `tls`, BackendTLSPolicy) to
 * servers outside the mesh or inside HBONE, verified before a byte is sent. What cannot be done as it is asked for is an error of the
 * request, never a connection without it.
 */
import { MeshError } from "../../base/errors.ts";
import { parseHostPort } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Host, Socket, TlsCredentials } from "../../host/host.ts";
import type { UpstreamTls } from "../../mesh/traffic/destination_policy.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { ServerCertificateVerifier } from "../../pki/trust/server_certificate.ts";
import type { EndpointOpening } from "../../proxy/endpoint_dial.ts";
import { secure } from "../../transport/dial.ts";
import type { Downstream, Endpoint } from "../../waypoint/exchange.ts";
import type { NamedFiles } from "../../waypoint/named_files.ts";
import type { Wanted } from "../../waypoint/upstream/forward.ts";
import { encodeProxyHeader, encodeProxyLine } from "../../wire/proxy_protocol.ts";

/** Where distributions keep the roots that the system trusts. */
const systemRoots = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** The parts of a host that are needed. */
type HostParts = Pick<Host, "clock" | "net" | "files">;

const byNameAlone = { subjectAltNames: [], namespace: "", caCrl: null } as const;

interface Ready {
  readonly credentials: TlsCredentials;
  readonly verify: (chain: readonly Uint8Array[]) => Promise<void>;
}

export class UpstreamTlsDial {
  readonly #host: HostParts;
  readonly #named: NamedFiles;
  readonly #provider: CryptoProvider;

  /** @param named files that documents name. */
  constructor(host: HostParts, named: NamedFiles, provider: CryptoProvider) {
    this.#host = host;
    this.#named = named;
    this.#provider = provider;
  }

  /**
   * @returns null when the destination wants nothing of its own. @throws MeshError `configuration`, `io` for files that cannot be had: nothing
   *   is dialled then.
   */
  async of(
    { policy, service }: Endpoint,
    { source, destination }: Pick<Downstream, "source" | "destination">,
    wanted: Wanted,
  ): Promise<EndpointOpening | null> {
    if (policy === undefined) return null;
    const { tls, proxyProtocol } = policy;
    if (tls === null && proxyProtocol === null) return null;
    const name = tls === null ? "" : serverName(tls, wanted.authority, service?.hostname ?? "");
    const ready = tls === null ? null : await this.#prepare(tls, name);
    return {
      header: proxyProtocol === null ? null : proxyHeader(proxyProtocol, source, destination),
      secure: ready === null ? null : (socket) => this.#handshake(socket, ready, name, wanted.http),
    };
  }

  /** @param name by which the server is asked for and verified; "" sends none. @throws MeshError; the socket is gone then. */
  async secure(socket: Socket, tls: UpstreamTls, name: string, http: Wanted["http"]): Promise<Socket> {
    let ready: Ready;
    try {
      ready = await this.#prepare(tls, name);
    } catch (error) {
      socket.reset();
      throw error;
    }
    return await this.#handshake(socket, ready, name, http);
  }

  /** The same to a server of the operator's own settings. @param rootPath its roots; null: the system's. */
  async secureByRoots(socket: Socket, name: string, rootPath: string | null): Promise<Socket> {
    let ready: Ready;
    try {
      const rootsPem =
        rootPath === null ? await this.#systemRoots() : await this.#host.files.readText(rootPath);
      ready = {
        credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: rootsPem },
        verify: await this.#verifier(byNameAlone, name, rootsPem),
      };
    } catch (error) {
      socket.reset();
      throw error;
    }
    return await this.#handshake(socket, ready, name, 2);
  }

  /** Read for each connection: files may be renewed, and connections are kept. */
  async #prepare(tls: UpstreamTls, name: string): Promise<Ready> {
    const credentials = await this.#credentials(tls);
    const verify = tls.insecureSkipVerify
      ? async () => {}
      : await this.#verifier(tls, name, credentials.trustedRootsPem);
    return { credentials, verify };
  }

  async #handshake(
    socket: Socket,
    { credentials, verify }: Ready,
    name: string,
    http: Wanted["http"],
  ): Promise<Socket> {
    const options = {
      credentials,
      alpn: http === 2 ? ["h2"] : [],
      timeoutMs: proxyLimits.handshakeTimeoutMs,
    };
    return (await secure(this.#host.net, socket, options, name === "" ? null : name, verify)).tls;
  }

  async #verifier(
    { subjectAltNames, namespace, caCrl }: Pick<UpstreamTls, "subjectAltNames" | "namespace" | "caCrl">,
    name: string,
    rootsPem: string,
  ): Promise<(chain: readonly Uint8Array[]) => Promise<void>> {
    const revoked = caCrl === null ? null : await this.#named.readBytes(namespace, caCrl);
    const verifier = new ServerCertificateVerifier({
      clock: this.#host.clock,
      provider: this.#provider,
      host: name,
      alternativeHosts: [],
      trust: { kind: "roots", rootsPem: () => rootsPem },
      role: "the destination",
      // As Envoy has it, the name is not looked at then.
      ...(subjectAltNames.length === 0 ? {} : { names: subjectAltNames }),
      ...(caCrl === null || revoked === null ? {} : { revocationLists: { name: caCrl, bytes: revoked } }),
    });
    return async (chain) => {
      await verifier.verify(chain);
    };
  }

  async #credentials({
    namespace,
    caCertificates,
    clientCertificate,
    privateKey,
  }: UpstreamTls): Promise<TlsCredentials> {
    const read = (name: string) => this.#named.readText(namespace, name);
    return {
      certificateChainPem: clientCertificate === null ? "" : await read(clientCertificate),
      privateKeyPem: privateKey === null ? "" : await read(privateKey),
      trustedRootsPem: caCertificates === null ? await this.#systemRoots() : await read(caCertificates),
    };
  }

  async #systemRoots(): Promise<string> {
    for (const path of systemRoots)
      if (await this.#host.files.exists(path)) return await this.#host.files.readText(path);
    throw new MeshError(
      "configuration",
      "local",
      `this host has no trusted roots in ${systemRoots.join(", ")}`,
    );
  }
}

/** Null in `destination` where the client called a name: then no address can be told. */
function proxyHeader(
  version: 1 | 2,
  source: Downstream["source"],
  { ip, port }: Downstream["destination"],
): Uint8Array {
  const called = ip === null ? null : { ip, port };
  return version === 1 ? encodeProxyLine(source, called) : encodeProxyHeader(source, called, null);
}

/** Its own, else the request's, else the name by which the service is known. */
function serverName({ sni }: UpstreamTls, authority: string, hostname: string): string {
  if (sni !== "") return sni;
  const parsed = parseHostPort(authority);
  if (parsed !== null) return parsed.host;
  return authority === "" ? hostname : authority;
}
