/** Where an issuer's keys are read from: a file, an address, or what OpenID Connect Discovery says. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import type { Files, HttpClient } from "../../host/host.ts";
import { isRecord, PublishedKeys, parseJson } from "./jwks_keys.ts";

/** How an issuer is reached over the network. */
interface Reachable {
  /** `public` refuses private, loopback and link-local addresses, which is what a URL from a document must not reach. */
  readonly reach: "public" | "any";
  /** Roots in place of the system's: a Kubernetes API server has its own. */
  readonly rootsPath: string | null;
  /** `host` or `host:port` of those that may be inside all the same, and be reached by plain HTTP; each address on the way is held against it. */
  readonly privateHosts?: readonly string[];
  /** Default `tokenLimits.fetchTimeoutMs`. */
  readonly timeoutMs?: number;
}

export type JwksSource =
  | { readonly kind: "inline"; readonly text: string }
  /** Read again for each refresh. */
  | { readonly kind: "file"; readonly path: string }
  | ({ readonly kind: "uri"; readonly uri: string } & Reachable)
  /** OpenID Connect Discovery 1.0 §4: `ISSUER/.well-known/openid-configuration` names the address of the keys. */
  | ({ readonly kind: "discovery" } & Reachable);

export interface JwksReader {
  readonly files: Files;
  readonly http: HttpClient;
}

/**
 * Reads the keys again.
 *
 * @throws MeshError blame upstream for what the issuer has done wrong, local for a file of ours.
 */
export async function readJwks(
  reader: JwksReader,
  issuer: string,
  source: JwksSource,
): Promise<PublishedKeys> {
  switch (source.kind) {
    case "inline":
      return PublishedKeys.parse(source.text);
    case "file":
      return PublishedKeys.parse(await readFile(reader.files, source.path));
    case "uri":
      return PublishedKeys.parse(await download(reader, source.uri, source));
    case "discovery":
      return PublishedKeys.parse(await download(reader, await discover(reader, issuer, source), source));
  }
}

async function discover(reader: JwksReader, issuer: string, source: Reachable): Promise<string> {
  const base = issuer.endsWith("/") ? issuer.slice(0, -1) : issuer;
  const text = await download(reader, `${base}/.well-known/openid-configuration`, source);
  const document = parseJson(text);
  if (!isRecord(document)) throw wrong("the discovery document is no object");
  // OpenID Connect Discovery §4.3: exactly the same, or one issuer could speak for another.
  if (document.issuer !== issuer) throw wrong("the discovery document is of another issuer");
  if (typeof document.jwks_uri !== "string") throw wrong("the discovery document names no jwks_uri");
  return document.jwks_uri;
}

async function download(reader: JwksReader, url: string, source: Reachable): Promise<string> {
  const isPrivate = isOneOf(source.privateHosts ?? [], url);
  if (!isPrivate && !isHttps(url)) throw wrong("keys are fetched by https alone");
  const roots = source.rootsPath === null ? null : await readFile(reader.files, source.rootsPath);
  const response = await reader.http.send({
    method: "GET",
    url,
    headers: { accept: "application/json" },
    timeoutMs: source.timeoutMs ?? tokenLimits.fetchTimeoutMs,
    maxResponseBytes: tokenLimits.maxJwksBytes,
    reach: isPrivate ? "any" : source.reach,
    ...(roots === null ? {} : { trustedRootsPem: roots }),
  });
  // A redirect is not followed: where it points to was not checked by whoever configured the address.
  if (response.status !== 200) throw wrong(`${new URL(url).host} answered ${response.status}`);
  return decodeText(response.body);
}

async function readFile(files: Files, path: string): Promise<string> {
  const bytes = await files.readBytes(path);
  if (bytes.length <= tokenLimits.maxJwksBytes) return decodeText(bytes);
  throw new MeshError("configuration", "local", `${path} is larger than a set of keys may be`);
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw asMeshError(error, "configuration", "upstream");
  }
}

function isOneOf(hosts: readonly string[], url: string): boolean {
  const parsed = URL.parse(url);
  return parsed !== null && (hosts.includes(parsed.host) || hosts.includes(parsed.hostname));
}

/** @returns whether `url` is an https URL without user information. */
export function isHttps(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, username, password } = new URL(url);
  return protocol === "https:" && username === "" && password === "";
}

function wrong(message: string): MeshError {
  return new MeshError("configuration", "upstream", message);
}
