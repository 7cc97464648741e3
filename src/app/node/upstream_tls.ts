/**
 * TLS that documents ask for toward a destination (DestinationRule `tls`, BackendTLSPolicy): to servers outside the mesh, verified before a
 * byte is sent. What cannot be done as it is asked for is an error of the request, never a connection without it.
 */
import { MeshError } from "../../base/errors.ts";
import { parseHostPort } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Host, Socket, TlsCredentials } from "../../host/host.ts";
import type { UpstreamTls } from "../../mesh/traffic/destination_policy.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { ServerCertificateVerifier } from "../../pki/trust/server_certificate.ts";
import { secure } from "../../transport/dial.ts";
import type { Endpoint } from "../../waypoint/exchange.ts";
import type { NamedFiles } from "../../waypoint/named_files.ts";
import type { Wanted } from "../../waypoint/upstream/forward.ts";

/** Where distributions keep the roots that the system trusts. */
const systemRoots = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

export class UpstreamTlsDial {
  readonly #host: Pick<Host, "clock" | "net" | "files">;
  readonly #named: NamedFiles;

  /** @param named files that documents name. */
  constructor(host: Pick<Host, "clock" | "net" | "files">, named: NamedFiles) {
    this.#host = host;
    this.#named = named;
  }

  /** @returns null when the destination has no TLS of its own. @throws MeshError `unsupported` for what cannot be done. */
  of({ policy, service }: Endpoint, wanted: Wanted): ((socket: Socket) => Promise<Socket>) | null {
    if (policy === undefined) return null;
    const { tls, proxyProtocol } = policy;
    if (proxyProtocol !== null)
      throw new MeshError("unsupported", "local", "proxyProtocol of a DestinationRule is not supported");
    if (tls === null) return null;
    if (tls.caCrl !== null)
      throw new MeshError("unsupported", "local", "caCrl of a DestinationRule is not supported");
    const name = serverName(tls, wanted.authority, service?.hostname ?? "");
    return (socket) => this.#secure(socket, tls, name, wanted.http);
  }

  async #secure(socket: Socket, tls: UpstreamTls, name: string, http: Wanted["http"]): Promise<Socket> {
    try {
      const credentials = await this.#credentials(tls);
      const options = {
        credentials,
        alpn: http === 2 ? ["h2"] : [],
        timeoutMs: proxyLimits.handshakeTimeoutMs,
      };
      const verify = tls.insecureSkipVerify ? async () => {} : this.#verifier(tls, name, credentials);
      return (await secure(this.#host.net, socket, options, name === "" ? null : name, verify)).tls;
    } catch (error) {
      socket.reset();
      throw error;
    }
  }

  #verifier({ subjectAltNames }: UpstreamTls, name: string, { trustedRootsPem }: TlsCredentials) {
    const [host = name, ...alternativeHosts] = subjectAltNames;
    const verifier = new ServerCertificateVerifier({
      clock: this.#host.clock,
      provider: runtimeProvider(),
      host,
      alternativeHosts,
      trust: { kind: "roots", rootsPem: () => trustedRootsPem },
      role: "the destination",
    });
    return async (chain: readonly Uint8Array[]): Promise<void> => {
      await verifier.verify(chain);
    };
  }

  /** Read for each connection: files may be renewed, and connections are kept. */
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

/** Its own, else the request's, else the name by which the service is known. */
function serverName({ sni }: UpstreamTls, authority: string, hostname: string): string {
  if (sni !== "") return sni;
  const parsed = parseHostPort(authority);
  if (parsed !== null) return parsed.host;
  return authority === "" ? hostname : authority;
}
