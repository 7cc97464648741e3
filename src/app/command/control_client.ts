/** The command line's way to a control plane: the files of its identity, our verdict on the server, and requests. */
import { MeshError } from "../../base/errors.ts";
import type { ControlConnection, ControlRequest } from "../../cli/control/bindings.ts";
import type { ControlClientConfig } from "../../config/control/client.ts";
import type { Files, Host, TlsCredentials } from "../../host/host.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { decodePem, encodePem } from "../../pki/der/pem.ts";
import { ServerCertificateVerifier } from "../../pki/trust/server_certificate.ts";
import { isSelfIssued, parseLocalCertificate } from "../../pki/x509/certificate.ts";
import { HttpConnection } from "../../transport/http/client_connection.ts";
import { type HttpAnswer, readAll } from "../../transport/http/request.ts";

interface ClientFiles {
  readonly credentials: TlsCredentials;
  readonly rootsPem: string;
  /** The file of the bearer token. */
  readonly tokenPath: string | null;
}

/** @throws MeshError `io` and `configuration` for files, `connect_*`, `tls_*`, `certificate_*` for the server. */
export async function connectControl(host: Host, config: ControlClientConfig): Promise<ControlConnection> {
  const { server, name } = config;
  const files = await readClientFiles(host.files, config);
  const verifier = new ServerCertificateVerifier({
    clock: host.clock,
    provider: runtimeProvider(),
    host: server.host,
    alternativeHosts: name === null ? [] : [name],
    trust: { kind: "roots", rootsPem: () => files.rootsPem },
  });
  const connection = await HttpConnection.open(host, {
    server,
    credentials: files.credentials,
    verify: async (chain) => void (await verifier.verify(chain)),
  });
  return {
    request: async (request) => {
      const answer = await send(host.files, connection, files, request);
      return { status: answer.status, body: await readAll(answer.body, request.maxBytes) };
    },
    download: async (request, path) => {
      if (await host.files.exists(path)) throw new MeshError("io", "local", `${path} is there already`);
      const { status, headers, body } = await send(host.files, connection, files, request);
      if (status !== 200) return { status, body: await readAll(body, request.maxBytes), written: 0 };
      const expected = Number(headers.get("content-length") ?? Number.NaN);
      const written = await host.files.writeStream(path, whole(body, expected), 0o600);
      return { status, body: new Uint8Array(0), written };
    },
    close: () => connection.close(),
  };
}

async function send(
  files: Files,
  connection: HttpConnection,
  { tokenPath }: ClientFiles,
  { method, path, body }: ControlRequest,
): Promise<HttpAnswer> {
  // Read for each request: whoever renews it renews the file.
  const token = tokenPath === null ? null : (await files.readText(tokenPath)).trim();
  return await connection.request({
    method,
    path,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === null ? {} : { "content-type": "application/json" }),
    },
    body: body === null ? null : new TextEncoder().encode(body),
  });
}

/** @throws MeshError `io` at an end that comes before what was announced. */
async function* whole(body: ReadableStream<Uint8Array>, expected: number): AsyncGenerator<Uint8Array> {
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    yield piece;
  }
  if (!Number.isNaN(expected) && length !== expected)
    throw new MeshError("io", "upstream", `the answer ended after ${length} bytes of ${expected}`);
}

async function readClientFiles(files: Files, config: ControlClientConfig): Promise<ClientFiles> {
  const { identityPath, rootPath, tokenPath } = config;
  const identity =
    identityPath === null ? null : splitIdentity(await files.readText(identityPath), identityPath);
  const rootsPem = rootPath === null ? (identity?.rootsPem ?? "") : await files.readText(rootPath);
  if (rootsPem === "")
    throw new MeshError(
      "configuration",
      "local",
      `there is no root in ${identityPath ?? "the given files"} that verifies the control plane`,
    );
  const credentials = {
    certificateChainPem: identity?.chainPem ?? "",
    privateKeyPem: identity?.keyPem ?? "",
    trustedRootsPem: rootsPem,
  };
  return { credentials, rootsPem, tokenPath };
}

/** A key, our certificate and what is between it and the root, and roots, in one file and any order but that of the chain. */
function splitIdentity(
  text: string,
  path: string,
): { readonly keyPem: string; readonly chainPem: string; readonly rootsPem: string } {
  const blocks = decodePem(text);
  const keys = blocks.filter(({ label }) => label === "PRIVATE KEY");
  const certificates = blocks.filter(({ label }) => label === "CERTIFICATE");
  const isRoot = ({ der }: { readonly der: Uint8Array }): boolean =>
    isSelfIssued(parseLocalCertificate(der, path));
  const [key] = keys;
  const chain = certificates.filter((one) => !isRoot(one));
  if (key === undefined || keys.length > 1 || chain.length === 0)
    throw new MeshError(
      "configuration",
      "local",
      `${path} does not hold one private key and its certificate`,
    );
  const write = (some: readonly { readonly der: Uint8Array }[]): string =>
    some.map(({ der }) => encodePem("CERTIFICATE", der)).join("");
  return {
    keyPem: encodePem("PRIVATE KEY", key.der),
    chainPem: write(chain),
    rootsPem: write(certificates.filter(isRoot)),
  };
}
