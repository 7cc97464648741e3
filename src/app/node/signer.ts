/** Who signs this node's certificates: a CA of its own, one whose files were given, or the control plane. */

import type { ControlMembership } from "../../agent/join/membership.ts";
import { assert } from "../../base/assert.ts";
import type { Config } from "../../config/node/config.ts";
import type { Files } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { AuthorityOptions, CertificateAuthority, CertificateSigner } from "../../pki/issue/ca.ts";
import { type AuthorityPaths, openAuthority } from "../../pki/issue/ca_files.ts";
import { FollowedAuthority } from "../../pki/issue/followed_authority.ts";

export interface Signing {
  readonly signer: CertificateSigner;
  /** What is trusted from the start; null when nothing is known before the first certificate. */
  readonly rootsPem: string | null;
  /** Whether the local CA was made by this start. */
  readonly created: boolean;
  /** `listener` runs when another CA has taken the place of this one. */
  onReplaced(listener: (authority: CertificateAuthority) => void): void;
  close(): void;
}

const neverReplaced = { onReplaced: () => {}, close: () => {} };

/** @throws MeshError `configuration` or `io`. */
export async function openSigner(
  files: Files,
  ca: Config["ca"],
  membership: ControlMembership | null,
  options: AuthorityOptions,
  logger: LogWriter,
): Promise<Signing> {
  const follow = async (paths: AuthorityPaths): Promise<Signing> => {
    const followed = await FollowedAuthority.open({ ...options, files, logger, paths });
    return {
      signer: followed,
      rootsPem: followed.authority.value.rootsPem,
      created: false,
      onReplaced: (listener) => void followed.authority.subscribe(listener),
      close: () => followed.close(),
    };
  };
  if (ca.kind === "local") {
    const { authority, created, paths } = await openAuthority(files, ca.stateDirectory, options);
    if (paths !== null) return await follow(paths);
    return { signer: authority, rootsPem: authority.rootsPem, created, ...neverReplaced };
  }
  if (ca.kind === "files") {
    const { certificatePath: certificate, keyPath: privateKey, rootPath: root, chainPath: chain } = ca;
    return await follow({ certificate, privateKey, root, chain });
  }
  assert(membership !== null, "a control plane that signs is there");
  return { signer: membership.signer, rootsPem: membership.rootsPem, created: false, ...neverReplaced };
}
