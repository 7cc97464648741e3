/** Who is known to hold a root, and who still has leaves of an authority. */
import { rotationLimits } from "../../base/limits/control.ts";
import type { Watch } from "../../base/watch.ts";
import { nodeNamespace } from "../../mesh/identity.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import type { Certificate } from "../../pki/x509/certificate.ts";
import type { IssuedRow, KeyRecords } from "../records/keys.ts";

/** What the rest of the control plane knows about nodes. */
export interface NodeKnowledge {
  /** Nodes that have joined and are not revoked, connected or not: each of them will come back. */
  nodes(): Iterable<string>;
  /**
   * Serial numbers of the certificates of its own that a node may go by: the one it was seen with, and the one it was given since. Null
   * for whoever is no node, or where that was not recorded.
   */
  ownSerials?(node: string): readonly string[] | null;
  /** Whether a host that has joined will not come back: a member of a group that has scaled in. */
  isGone?(holder: string): boolean;
  /** The version of the bundle that a node has acknowledged last. A real ztunnel asks for no bundle and has none. */
  acknowledged(): ReadonlyMap<string, string>;
}

/** Which roots were in which version of the bundle, since the start; the same content has the same version. */
export class BundleHistory {
  readonly #roots = new Map<string, ReadonlySet<string>>();
  readonly #unsubscribe: () => void;

  constructor(bundle: Watch<PublishedBundle>) {
    this.#remember(bundle.value);
    this.#unsubscribe = bundle.subscribe((value) => this.#remember(value));
  }

  hasRoot(version: string, root: Certificate): boolean {
    return this.#roots.get(version)?.has(root.authorityKey) ?? false;
  }

  close(): void {
    this.#unsubscribe();
  }

  #remember({ version, rootsPem }: PublishedBundle): void {
    if (version === "") return;
    this.#roots.delete(version);
    this.#roots.set(version, new Set(parseRoots(rootsPem).map((root) => root.authorityKey)));
    const [oldest] = this.#roots.keys();
    if (this.#roots.size > rotationLimits.maxRememberedBundles && oldest !== undefined)
      this.#roots.delete(oldest);
  }
}

/** A leaf that is valid and the newest of those that its holder has of that identity, or one that a host may go by itself. */
export interface CurrentLeaf {
  readonly holder: string;
  readonly identity: string;
  readonly issuerKey: string;
  readonly issuedAtMs: number;
}

/**
 * A host that is revoked is not believed and not waited for. A host's own certificate counts once the host was seen with it: a renewed
 * one may have been lost on the way, or not have been kept on a disk that is full, and the host goes on with the one before.
 */
export function currentLeaves(
  records: Pick<KeyRecords, "certificates" | "revocations">,
  nowMs: number,
  ownSerials: NonNullable<NodeKnowledge["ownSerials"]> = () => null,
): readonly CurrentLeaf[] {
  const newest = new Map<string, IssuedRow>();
  for (const row of records.certificates.all({ validAtMs: nowMs })) {
    const own = row.identity.endsWith(`/ns/${nodeNamespace}/sa/${row.requestedBy}`)
      ? ownSerials(row.requestedBy)
      : null;
    if (own !== null && !own.includes(row.serial)) continue;
    const key = `${row.requestedBy} ${row.identity}${own === null ? "" : ` ${row.issuerKey}`}`;
    const held = newest.get(key);
    if (held === undefined || row.issuedAtMs > held.issuedAtMs) newest.set(key, row);
  }
  const revoked = new Set(records.revocations.list().map((row) => `${row.kind} ${row.value}`));
  const isRevoked = (row: IssuedRow): boolean =>
    revoked.has(`serial ${row.serial}`) ||
    revoked.has(`identity ${row.identity}`) ||
    revoked.has(`node ${row.requestedBy}`);
  return [...newest.values()]
    .filter((row) => !isRevoked(row))
    .map(({ requestedBy, identity, issuerKey, issuedAtMs }) => ({
      holder: requestedBy,
      identity,
      issuerKey,
      issuedAtMs,
    }));
}

/**
 * Everybody who would be lost without `root`: nodes, and whoever else has a valid leaf. A node holds the root when it has
 * acknowledged a bundle with it. That a certificate was issued to it since says nothing: the answer may have been lost, and by the
 * bundle alone does it know the control plane. Of whoever asks for no bundle, a real ztunnel, there is nothing better to go by than
 * a certificate it has fetched since the root was announced, as every answer carries all roots.
 *
 * @param announcedAtMs since when answers carry it.
 */
export function lackingRoot(
  root: Certificate,
  announcedAtMs: number,
  leaves: readonly CurrentLeaf[],
  knowledge: NodeKnowledge,
  history: BundleHistory,
): readonly string[] {
  const fetchedAtMs = new Map<string, number>();
  for (const leaf of leaves) {
    fetchedAtMs.set(leaf.holder, Math.max(leaf.issuedAtMs, fetchedAtMs.get(leaf.holder) ?? 0));
  }
  const acknowledged = knowledge.acknowledged();
  const nodes = new Set(knowledge.nodes());
  const holds = (name: string): boolean => {
    const version = acknowledged.get(name);
    if (version !== undefined && history.hasRoot(version, root)) return true;
    // Of the same millisecond it may have been either way.
    return !nodes.has(name) && (fetchedAtMs.get(name) ?? 0) > announcedAtMs;
  };
  return [...new Set([...nodes, ...fetchedAtMs.keys()])].filter((name) => !holds(name)).sort();
}

/** `edge-1`, or `edge-1 (spiffe://…)` for a workload's leaf that a node holds. */
export function holdersOf(issuerKey: string, leaves: readonly CurrentLeaf[]): readonly string[] {
  return leaves
    .filter((leaf) => leaf.issuerKey === issuerKey)
    .map((leaf) => (leaf.holder === leaf.identity ? leaf.holder : `${leaf.holder} (${leaf.identity})`))
    .sort();
}
