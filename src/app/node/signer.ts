/** Who signs this node's certificates: a CA of its own, one whose files were given, or the control plane. */

import type { ControlMembership } from "../../agent/join/membership.ts";
import { assert } from "../../base/assert.ts";
import type { Config } from "../../config/node/config.ts";
import type { Files } from "../../host/host.ts";
import type { AuthorityOptions, CertificateSigner } from "../../pki/issue/ca.ts";
import { loadAuthority, openAuthority } from "../../pki/issue/ca_files.ts";

export interface Signing {
  readonly signer: CertificateSigner;
  /** What is trusted from the start; null when nothing is known before the first certificate. */
  readonly rootsPem: string | null;
  /** Whether the local CA was made by this start. */
  readonly created: boolean;
}

/** @throws MeshError `configuration` or `io`. */
export async function openSigner(
  files: Files,
  ca: Config["ca"],
  membership: ControlMembership | null,
  options: AuthorityOptions,
): Promise<Signing> {
  if (ca.kind === "local") {
    const { authority, created } = await openAuthority(files, ca.stateDirectory, options);
    return { signer: authority, rootsPem: authority.rootsPem, created };
  }
  if (ca.kind === "files") {
    const { certificatePath: certificate, keyPath: privateKey, rootPath: root, chainPath: chain } = ca;
    const authority = await loadAuthority(files, { certificate, privateKey, root, chain }, options);
    return { signer: authority, rootsPem: authority.rootsPem, created: false };
  }
  assert(membership !== null, "a control plane that signs is there");
  return { signer: membership.signer, rootsPem: membership.rootsPem, created: false };
}
