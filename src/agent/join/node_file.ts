/**
 * What a host keeps of having joined: its own certificate and key, the mesh's roots, and what it was told. One file, so that it is
 * there whole or not at all. It is the only key of this program, besides a local CA's, that is ever written.
 */
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { Files } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { importSigningKey } from "../../pki/crypto/private_key.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import { leafIdentity } from "../../pki/trust/leaf_identity.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";

export const nodeFileName = "node.json";

/** What the control plane has said of this host. */
export interface Membership {
  /** `HOST:PORT` that was joined. */
  readonly control: string;
  readonly node: string;
  readonly trustDomain: string;
  readonly clusterId: string;
  readonly rootNamespace: string;
  readonly network: string;
  /** `namespace/name` it may run; empty: those whose node is its name. */
  readonly workloads: readonly string[];
}

export interface NodeCredential {
  readonly id: SpiffeId;
  /** Leaf, then intermediates; never a root. */
  readonly chainPem: string;
  /** PKCS#8. */
  readonly privateKeyPem: string;
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface JoinedNode {
  readonly membership: Membership;
  readonly credential: NodeCredential;
  /** The mesh's roots, as they were last known. */
  readonly rootsPem: string;
}

/** @returns null when this host has not joined. @throws MeshError `configuration` for a damaged file, `io`. */
export async function readNodeFile(
  files: Files,
  directory: string,
  provider: CryptoProvider,
): Promise<JoinedNode | null> {
  const path = `${directory}/${nodeFileName}`;
  if (!(await files.exists(path))) return null;
  try {
    return await parseNodeFile(await files.readText(path), provider);
  } catch (thrown) {
    if (thrown instanceof MeshError && thrown.code === "io") throw thrown;
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError(
      "configuration",
      "local",
      `${path} is damaged (${reason}). Nothing was changed. To join again, move the file away, and make a new token with ` +
        "`fairlead join-token create --node NAME --replace`",
    );
  }
}

export async function writeNodeFile(files: Files, directory: string, node: JoinedNode): Promise<void> {
  const { chainPem, privateKeyPem } = node.credential;
  const content = { version: 1, ...node.membership, chainPem, privateKeyPem, rootsPem: node.rootsPem };
  const bytes = new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`);
  await files.makeDirectory(directory, 0o700);
  await files.writeAtomic(`${directory}/${nodeFileName}`, bytes, 0o600);
}

async function parseNodeFile(text: string, provider: CryptoProvider): Promise<JoinedNode> {
  if (text.length > joinLimits.maxNodeFileBytes) throw new Error("it is too large");
  const content: unknown = JSON.parse(text);
  if (typeof content !== "object" || content === null) throw new Error("it is not an object");
  const word = (name: string): string => {
    const value: unknown = Reflect.get(content, name);
    if (typeof value !== "string") throw new Error(`"${name}" is missing`);
    return value;
  };
  if (Reflect.get(content, "version") !== 1) throw new Error("it is of another version");
  const workloads: unknown = Reflect.get(content, "workloads");
  if (!Array.isArray(workloads) || !workloads.every((name) => typeof name === "string"))
    throw new Error('"workloads" is no list of names');
  const rootsPem = word("rootsPem");
  parseRoots(rootsPem);
  const credential = await readCredential(word("chainPem"), word("privateKeyPem"), provider);
  const membership: Membership = {
    control: word("control"),
    node: word("node"),
    trustDomain: word("trustDomain"),
    clusterId: word("clusterId"),
    rootNamespace: word("rootNamespace"),
    network: word("network"),
    workloads,
  };
  return { membership, credential, rootsPem };
}

/** A certificate and its key as a credential. @throws Error when they are none, or not of each other. */
export async function readCredential(
  chainPem: string,
  privateKeyPem: string,
  provider: CryptoProvider,
): Promise<NodeCredential> {
  const [leaf, ...above] = decodePemLabel(chainPem, "CERTIFICATE").map(parseCertificate);
  const [key] = decodePemLabel(privateKeyPem, "PRIVATE KEY");
  if (leaf === undefined || key === undefined) throw new Error("the certificate or its key is missing");
  if (!(await isKeyOf(key, leaf.publicKeyInfo, provider)))
    throw new Error("the key is not the certificate's");
  return {
    id: leafIdentity(leaf),
    chainPem,
    privateKeyPem,
    serialNumber: leaf.serialNumber,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: Math.min(leaf.notAfterMs, ...above.map(({ notAfterMs }) => notAfterMs)),
  };
}

const nodeKey = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

async function isKeyOf(
  pkcs8: Uint8Array,
  publicKeyInfo: Uint8Array,
  provider: CryptoProvider,
): Promise<boolean> {
  const { subtle } = provider.crypto;
  const words = new TextEncoder().encode("is this key of that certificate?");
  try {
    const signature = await (await importSigningKey(pkcs8, provider)).sign(words);
    const publicKey = await subtle.importKey("spki", buffer(publicKeyInfo), nodeKey, false, ["verify"]);
    return await subtle.verify(nodeKey, publicKey, buffer(signature), buffer(words));
  } catch {
    return false;
  }
}
