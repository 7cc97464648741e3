/** Where a node's mesh comes from: documents in files, or a control plane. Whoever carries traffic by it cannot tell which. */
import type { DocumentsEntry } from "../../admin/node/sources.ts";
import type { ControlStatus } from "../../agent/join/control_status.ts";
import type { ControlMembership } from "../../agent/join/membership.ts";
import type { HeldDocuments } from "../../agent/xds/held_documents.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Config } from "../../config/node/config.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { SecretManager } from "../../pki/svid/secrets.ts";
import { svidIssuerKeyId } from "../../pki/svid/svid.ts";
import type { CrlSource, CrlStatus } from "../../pki/trust/revocation.ts";
import type { TrustVerifier } from "../../pki/trust/verifier.ts";

export interface MeshSource {
  /** Resolves when there is a mesh to carry traffic by; nothing listens before. */
  readonly ready: Promise<void>;
  /** What readiness waits for, by name. */
  pending(): readonly string[];
  documents(): DocumentsEntry;
  /** For waypoints; null while they are not known. */
  readonly inForce: Watch<DocumentsInForce | null>;
  /** Null without a control plane. */
  control(): ControlStatus | null;
  close(): void | Promise<void>;
}

export interface ControlledParts {
  readonly store: MeshStore;
  readonly trust: TrustVerifier;
  readonly crls: CrlSets;
  readonly secrets: SecretManager;
  readonly missingPolicy: Config["missingPolicy"];
  /** Null on a host that reads no HTTP. */
  readonly documents: HeldDocuments | null;
  /** `namespace/name` of the workload whose tunnel has the application inside; null at a waypoint. */
  readonly documentsFor: string | null;
  /** Resolves when what holds now decides, in this host's workers too. */
  readonly inForce: () => Promise<void>;
}

export function followControl(membership: ControlMembership, parts: ControlledParts): MeshSource {
  const { store, trust, crls, secrets, missingPolicy, documents, documentsFor, inForce } = parts;
  let isReady = false;
  const ready = membership
    .follow({
      store,
      refusedPolicies: missingPolicy,
      setRoots: (rootsPem) => {
        secrets.ignoreSignerRoots();
        trust.setRoots(rootsPem, "control");
        // What came with our certificates is of an earlier time: a root that is no longer in the bundle is to be gone.
        trust.setRoots(rootsPem, "signer");
      },
      setCrls: (sources) => crls.set("control", sources),
      moveToIssuer: (issuerKeyId) =>
        void secrets.renewAll(
          "its CA is being replaced",
          (svid) => svidIssuerKeyId(svid) !== issuerKeyId,
          pkiLimits.replacementSpreadMs,
        ),
      onConnected: () => secrets.retry(),
      ...(documents === null ? {} : { documents }),
      ...(documentsFor === null ? {} : { documentsFor }),
      inForce,
    })
    .then(() => {
      isReady = true;
    });
  return {
    ready,
    pending: () => [
      ...(isReady ? [] : ["mesh from the control plane"]),
      // A waypoint that does not know its policies lets nothing through.
      ...(documents?.inForce.value === null
        ? [
            `documents ${documentsFor === null ? "of the waypoint" : `for ${documentsFor}`} from the control plane`,
          ]
        : []),
    ],
    documents: () => ({ documents: [], errors: [] }),
    inForce: documents?.inForce ?? new WatchSource<DocumentsInForce | null>(null),
    control: () => membership.status(),
    close: () => membership.close(),
  };
}

/** Revocation lists of several sources: a verifier knows one set, and a source must not take another's lists away. */
export class CrlSets {
  readonly #trust: TrustVerifier;
  readonly #sets = new Map<string, readonly CrlSource[]>();

  constructor(trust: TrustVerifier) {
    this.#trust = trust;
  }

  /** Of all sources. */
  get lists(): readonly CrlSource[] {
    return [...this.#sets.values()].flat();
  }

  /** @returns the status of this source's lists, once all are in force. */
  async set(source: string, lists: readonly CrlSource[]): Promise<readonly CrlStatus[]> {
    this.#sets.set(source, lists);
    const statuses = await this.#trust.setCrls(this.lists);
    const own = new Set(lists.map(({ name }) => name));
    return statuses.filter((status) => own.has(status.source));
  }
}
