/**
 * A CA on disk. Ours is one file, so that it is there whole or not at all; Istio's layout of four files (`cacerts`) is read
 * as it is. State that is damaged or half there is a refusal to start: a new CA in its place would cut off every peer.
 */
import { MeshError } from "../../base/errors.ts";
import type { Files } from "../../host/host.ts";
import { readSigningKey } from "../crypto/private_key.ts";
import { decodePem, encodePem, type PemBlock } from "../der/pem.ts";
import { parseRootsFile } from "../trust/anchors.ts";
import { type AuthorityOptions, type AuthorityPem, CertificateAuthority } from "./ca.ts";

/** Key, certificate, intermediates, root, in that order. */
export const authorityFile = "authority.pem";

/** Istio's plugged-in CA (`ROOT_CA_DIR`); the chain may be missing when the CA is the root. */
export const istioFiles = {
  certificate: "ca-cert.pem",
  privateKey: "ca-key.pem",
  root: "root-cert.pem",
  chain: "cert-chain.pem",
} as const;

export interface OpenedAuthority {
  readonly authority: CertificateAuthority;
  /** Whether it was made now. */
  readonly created: boolean;
  /** Istio's files, which whoever put them there may replace; null for our own, which no other program writes. */
  readonly paths: AuthorityPaths | null;
}

/**
 * Loads the CA of `directory`, in Istio's layout or ours, and makes one when there is no trace of any.
 *
 * @throws MeshError `configuration`, blame local, for state that cannot be used; `io`.
 */
export async function openAuthority(
  files: Files,
  directory: string,
  options: AuthorityOptions,
): Promise<OpenedAuthority> {
  const own = `${directory}/${authorityFile}`;
  const hasOwn = await files.exists(own);
  const istio = await Promise.all(
    Object.values(istioFiles).map((name) => files.exists(`${directory}/${name}`)),
  );
  const hasIstio = istio.includes(true);
  if (hasOwn && hasIstio)
    throw bad(`${directory} holds both ${authorityFile} and Istio's files; which one is meant?`);
  if (hasIstio) {
    const paths = await istioPaths(files, directory);
    return { authority: await loadAuthority(files, paths, options), created: false, paths };
  }
  if (hasOwn) return { authority: await loadOwnAuthority(files, own, options), created: false, paths: null };
  const authority = await CertificateAuthority.create(options);
  await files.makeDirectory(directory, 0o700);
  await files.writeAtomic(own, new TextEncoder().encode(formatAuthority(authority.exportPem())), 0o600);
  // What is on disk decides: another process may have been here at the same time, and a disk may lie.
  return { authority: await loadOwnAuthority(files, own, options), created: true, paths: null };
}

/** Where a given CA's files are. */
export interface AuthorityPaths {
  readonly certificate: string;
  readonly privateKey: string;
  readonly root: string;
  /** Null when the CA is its own root or is right below it. */
  readonly chain: string | null;
}

/** @throws MeshError `configuration` or `io`, blame local. */
export async function loadAuthority(
  files: Files,
  paths: AuthorityPaths,
  options: AuthorityOptions,
): Promise<CertificateAuthority> {
  const { provider } = options;
  const certificatePem = await readCertificates(files, paths.certificate);
  const key = await inFile(paths.privateKey, async () =>
    readSigningKey(await files.readText(paths.privateKey), provider),
  );
  const rootsPem = await files.readText(paths.root);
  parseRootsFile(rootsPem, paths.root);
  const chainPem = paths.chain === null ? "" : await readCertificates(files, paths.chain);
  const pem = { certificatePem, chainPem, rootsPem };
  try {
    return await CertificateAuthority.withKey({ ...options, pem, key });
  } catch (thrown) {
    throw thrown instanceof MeshError && thrown.code === "configuration" ? explain(thrown, paths) : thrown;
  }
}

/** @throws MeshError `configuration` for a file without a certificate: a key in its place, say. An empty one is an empty chain. */
async function readCertificates(files: Files, path: string): Promise<string> {
  const text = await files.readText(path);
  const blocks = decodeBlocks(text, path);
  if (!blocks.some(({ label }) => label === "CERTIFICATE") && text.trim() !== "")
    throw bad(`${path} holds no certificate`);
  return text;
}

/** An error says which file it is about. */
async function inFile<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (thrown) {
    throw thrown instanceof MeshError && thrown.code !== "io" ? bad(`${path}: ${thrown.message}`) : thrown;
  }
}

/** What is wrong of files that are each good, and what would be right. */
function explain(error: MeshError, { certificate, privateKey, root, chain }: AuthorityPaths): MeshError {
  const above =
    chain === null
      ? `; the certificates between it and the root are missing: add them to ${certificate}, or give them as --ca-chain`
      : `; ${chain} and ${certificate} do not lead to a root in ${root}`;
  const { cause } = error;
  const isUntrusted = cause instanceof MeshError && cause.code === "certificate_untrusted";
  return bad(
    `${error.message} (certificate ${certificate}, key ${privateKey}, root ${root})${isUntrusted ? above : ""}`,
  );
}

/**
 * Where the files of Istio's layout are in `directory`.
 *
 * @throws MeshError `configuration`, blame local, when one is missing.
 */
export async function istioPaths(files: Files, directory: string): Promise<AuthorityPaths> {
  const path = (name: string): string => `${directory}/${name}`;
  for (const name of [istioFiles.certificate, istioFiles.privateKey, istioFiles.root]) {
    if (!(await files.exists(path(name))))
      throw bad(`${path(name)} is missing beside the other files of the CA`);
  }
  const hasChain = await files.exists(path(istioFiles.chain));
  return {
    certificate: path(istioFiles.certificate),
    privateKey: path(istioFiles.privateKey),
    root: path(istioFiles.root),
    chain: hasChain ? path(istioFiles.chain) : null,
  };
}

/** The one file that `fairlead up` keeps its CA in. @throws MeshError `configuration` or `io`, blame local. */
export async function loadOwnAuthority(
  files: Files,
  path: string,
  options: AuthorityOptions,
): Promise<CertificateAuthority> {
  const pem = parseAuthority(await files.readText(path), path);
  try {
    return await CertificateAuthority.load({ ...options, pem });
  } catch (error) {
    throw error instanceof MeshError ? bad(`${path}: ${error.message}`) : error;
  }
}

/** One that is made here is its own root. */
function formatAuthority({ privateKeyPem, certificatePem }: AuthorityPem): string {
  return `${privateKeyPem}${certificatePem}`;
}

function parseAuthority(text: string, path: string): AuthorityPem {
  const blocks = decodeBlocks(text, path);
  const key = blocks.find((block) => block.label === "PRIVATE KEY");
  const certificates = blocks.filter((block) => block.label === "CERTIFICATE");
  const [own] = certificates;
  // Beside its certificates there is the key, and nothing else.
  if (key === undefined || own === undefined || certificates.length + 1 !== blocks.length)
    throw bad(`${path} is damaged: it does not hold one private key and its certificates`);
  const root = certificates.at(-1) ?? own;
  return {
    privateKeyPem: encodePem(key.label, key.der),
    certificatePem: encodePem(own.label, own.der),
    chainPem: certificates
      .slice(1, -1)
      .map((block) => encodePem(block.label, block.der))
      .join(""),
    rootsPem: encodePem(root.label, root.der),
  };
}

function decodeBlocks(text: string, path: string): readonly PemBlock[] {
  try {
    return decodePem(text);
  } catch (error) {
    throw bad(`${path} is damaged: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
