/** What the control plane is made of, for those that look at all of it. */
import type { DocumentInput } from "../../admin/control/sources.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import type { ControlIdentity } from "../../control/ca/control_identity.ts";
import type { FirstRole } from "../../control/ca/first_role.ts";
import type { HostRemoval } from "../../control/ca/host_removal.ts";
import type { ServingCertificates } from "../../control/ca/serving_certificates.ts";
import type { GroupMembers } from "../../control/documents/group_members.ts";
import type { MeshDocuments } from "../../control/documents/mesh_documents.ts";
import type { AuthorityList } from "../../control/keys/authority_description.ts";
import type { MeshAuthority } from "../../control/keys/mesh_authority.ts";
import type { OpenedKeys } from "../../control/keys/open_keys.ts";
import type { Rotation } from "../../control/rotation/rotation.ts";
import type { ControlState } from "../../control/state/control_state.ts";
import type { XdsServer } from "../../control/xds/server.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { TrustVerifier } from "../../pki/trust/verifier.ts";
import type { KeptAudit } from "./audit.ts";

export interface ControlParts extends KeptAudit {
  readonly config: ControlPlaneConfig;
  /** Administrator documents that are in force whatever is applied. */
  readonly administrators: () => readonly DocumentInput[];
  readonly firstRole: FirstRole;
  readonly controlId: SpiffeId;
  readonly startedAtMs: number;
  readonly state: ControlState;
  readonly keys: OpenedKeys;
  readonly authorityList: AuthorityList;
  readonly authority: MeshAuthority;
  readonly serving: ServingCertificates;
  /** Null where the CA is an operator's own, in files. */
  readonly rotation: Rotation | null;
  readonly members: GroupMembers;
  readonly hostRemoval: HostRemoval;
  readonly documents: MeshDocuments;
  readonly identity: ControlIdentity;
  readonly trust: TrustVerifier;
  readonly xds: XdsServer;
  readonly store: MeshStore;
}
