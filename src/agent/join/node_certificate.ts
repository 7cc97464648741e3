/** A new key for this host, and what the control plane made of it: checked like anything else that a server says. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { SignatureVerifier } from "../../pki/crypto/signature.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { checkIssuedChain, readIssuedChain } from "../../pki/trust/issued_chain.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import type { JoinResponse } from "../../wire/messages/fairlead.gen.ts";
import { type JoinedNode, readCredential } from "./node_file.ts";

export interface NodeKey {
  readonly csrPem: string;
  readonly privateKeyPem: string;
}

/**
 * @param name what the request says; the server decides the name and does not look at it (istiod `CreateCertificate` of
 * `security/pkg/server/ca/server.go`).
 */
export async function createNodeKey(
  provider: CryptoProvider,
  trustDomain: string,
  name: string,
): Promise<NodeKey> {
  const id = new SpiffeId(trustDomain, nodeNamespace, name === "" ? "joining" : name);
  const { csrPem, keys } = await createCertificateRequest(provider, id);
  const pkcs8 = new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { csrPem, privateKeyPem: encodePem("PRIVATE KEY", pkcs8) };
}

export interface AnswerOptions {
  readonly provider: CryptoProvider;
  /** `HOST:PORT`. */
  readonly control: string;
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: number;
}

/**
 * Chain, key, identity and path of an answer to Join or Renew (chain rules as ztunnel's `fetch_certificate`,
 * `src/identity/caclient.rs`).
 *
 * A clock that is wrong is no reason to throw the answer away: the token is used up by then, and the certificate will hold once
 * the clock does. So the path is judged at the nearest time at which the leaf is valid.
 *
 * @throws MeshError `control_refused`, blame upstream, for an answer that does not hold.
 */
export async function readJoinAnswer(
  response: JoinResponse,
  key: NodeKey,
  options: AnswerOptions,
): Promise<JoinedNode> {
  const { certChain, nodeName, workloads, trustDomain, clusterId, rootNamespace, network } = response;
  if (certChain.length < 2) throw unusable("it has no certificate and roots");
  if (certChain.length > pkiLimits.maxPathCertificates) throw unusable("its chain is too long");
  try {
    const rootsPem = certChain[certChain.length - 1] ?? "";
    const issued = readIssuedChain(certChain.slice(0, -1).join("\n"), rootsPem);
    const { leaf, certificates } = issued;
    const chainPem = certificates.map(({ der }) => encodePem("CERTIFICATE", der)).join("");
    // Knows that the key is the certificate's, since it reads both.
    const credential = await readCredential(chainPem, key.privateKeyPem, options.provider);
    const id = new SpiffeId(trustDomain, nodeNamespace, nodeName);
    const nowMs = Math.min(Math.max(options.nowMs, leaf.notBeforeMs), leaf.notAfterMs);
    const expected = { publicKeyInfo: leaf.publicKeyInfo, id, usages: ["clientAuth"] as const, nowMs };
    await checkIssuedChain(issued, expected, new SignatureVerifier(options.provider));
    const membership = {
      control: options.control,
      node: nodeName,
      trustDomain,
      clusterId,
      rootNamespace,
      network,
      workloads,
    };
    return { membership, credential, rootsPem };
  } catch (thrown) {
    throw unusable(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function unusable(reason: string): MeshError {
  return new MeshError("control_refused", "upstream", `the control plane's answer cannot be used: ${reason}`);
}
