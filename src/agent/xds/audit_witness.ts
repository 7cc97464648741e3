/**
 * Keeps the signed heads of the control plane's audit log that this host was sent, and sees whether each goes on from the one before: a
 * control plane whose log was cut off, or written again, is found by any host that knew it before.
 */
import { chainDigest } from "../../base/audit_chain.ts";
import { asMeshError } from "../../base/errors.ts";
import { witnessLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files } from "../../host/host.ts";
import { type HeadSigner, type SignedHead, signerOf } from "../../pki/trust/audit_head.ts";
import {
  auditHeadType,
  type Delivery,
  type DeltaResource,
  type RejectedResource,
} from "../../wire/ads/delta.ts";
import type { AuditHead } from "../../wire/messages/fairlead.gen.ts";
import { decodeAuditHeadMessage } from "../../wire/messages/mesh_resources.ts";
import type { ResourceHandler } from "./resource_handler.ts";

export interface WitnessedHead extends SignedHead {
  readonly stateId: string;
  /** Whether it is known to go on from the head before it; false for the first, and after a long absence. */
  readonly proven: boolean;
}

/** Two heads that cannot be of one log, both signed by the control plane. */
export interface AuditConflict {
  readonly seenAtMs: number;
  readonly reason: string;
  readonly before: WitnessedHead;
  readonly after: WitnessedHead;
}

export interface AuditWitnessStatus {
  /** The newest row that is known, as `NUMBER:HASH`; null for none. */
  readonly head: string | null;
  readonly heads: number;
  readonly conflicts: readonly AuditConflict[];
}

export interface AuditWitnessOptions extends HeadSigner {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly path: string;
}

export class AuditWitness implements ResourceHandler {
  readonly typeUrl = auditHeadType;
  readonly #options: AuditWitnessOptions;
  #heads: readonly WitnessedHead[] = [];
  #conflicts: readonly AuditConflict[] = [];
  #savedAtMs = Number.NEGATIVE_INFINITY;
  /** Monotonic: when the last head came. */
  #takenAtMs = Number.NEGATIVE_INFINITY;

  private constructor(options: AuditWitnessOptions) {
    this.#options = options;
  }

  /** With what earlier runs have kept. Never rejects. */
  static async open(options: AuditWitnessOptions): Promise<AuditWitness> {
    const witness = new AuditWitness(options);
    await witness.#read();
    return witness;
  }

  get status(): AuditWitnessStatus {
    const newest = this.#heads.at(-1);
    return {
      head: newest === undefined ? null : `${newest.id}:${newest.hash}`,
      heads: this.#heads.length,
      conflicts: this.#conflicts,
    };
  }

  /** They are kept in a file of their own, and judged when they come: nothing of them goes into the snapshot. */
  *resources(): Iterable<DeltaResource> {}

  async apply({ resources }: Delivery): Promise<readonly RejectedResource[]> {
    const rejected: RejectedResource[] = [];
    for (const { name, resource } of resources) {
      const reason = await this.#take(resource?.value ?? new Uint8Array()).catch(
        (thrown: unknown) => asMeshError(thrown, "message_malformed", "upstream").message,
      );
      if (reason !== null) rejected.push({ name, reason });
    }
    return rejected;
  }

  /** @returns why the control plane is told that this is wrong; null when it is not. */
  async #take(bytes: Uint8Array): Promise<string | null> {
    const message = decodeAuditHeadMessage(bytes);
    const { maxDigests, maxChainChars } = witnessLimits;
    if (message.digests.length > 32 * maxDigests || message.chainPem.length > maxChainChars)
      return "the head is larger than any of ours";
    const head = readHead(message);
    if ((await signerOf(message.stateId, head, this.#options)) !== "control plane")
      return `the head of row ${head.id} is not signed by the control plane`;
    const before = this.#heads.at(-1) ?? null;
    const step = before === null ? "unknown" : stepTo(before, { ...head, stateId: message.stateId }, message);
    if (before !== null && step === "same") return null;
    const known = { ...head, stateId: message.stateId, proven: step === "proven" };
    this.#heads = thinned([...this.#heads, known]);
    const followedAtMs = this.#takenAtMs;
    this.#takenAtMs = this.#options.clock.now();
    if (before === null || step === "proven" || step === "same" || step === "unknown") {
      if (before !== null && step === "unknown") this.#tellGap(before, head, followedAtMs);
      await this.#save(before === null ? "now" : "when due");
      return null;
    }
    // What was found stays found, whatever the control plane says from now on.
    const conflict = { seenAtMs: this.#options.clock.wallMs(), reason: step.reason, before, after: known };
    const isFull = this.#conflicts.length >= witnessLimits.maxConflicts;
    const first = this.#conflicts.slice(0, witnessLimits.maxConflicts / 2);
    const rest = this.#conflicts.slice(first.length + (isFull ? 1 : 0));
    this.#conflicts = [...first, ...rest, conflict];
    this.#options.logger.log(
      "error",
      "audit",
      "the control plane's audit log is not the one that this host knew: it was cut off, written again, or restored from a back-up",
      { reason: step.reason, before: `${before.id}:${before.hash}`, after: `${head.id}:${head.hash}` },
    );
    // Not as often as somebody can make them.
    await this.#save(isFull ? "when due" : "now");
    return step.reason;
  }

  /** After an absence of ours it says nothing; else the log has grown as fast as it hardly does, or somebody hides what is between. */
  #tellGap(before: WitnessedHead, head: SignedHead, followedAtMs: number): void {
    const { clock, logger } = this.#options;
    const wasFollowed = clock.now() - followedAtMs < witnessLimits.followedMs;
    logger.log(
      wasFollowed ? "warn" : "info",
      "audit",
      "the audit log cannot be followed from the head known here",
      { known: String(before.id), head: String(head.id) },
    );
  }

  async #read(): Promise<void> {
    const { files, path, logger } = this.#options;
    try {
      if (!(await files.exists(path))) return;
      const { heads, conflicts } = JSON.parse(await files.readText(path)) as {
        readonly heads: readonly WitnessedHead[];
        readonly conflicts: readonly AuditConflict[];
      };
      if (!heads.every(isHead) || !conflicts.every(({ before, after }) => isHead(before) && isHead(after)))
        throw new TypeError("no heads");
      this.#heads = heads;
      this.#conflicts = conflicts;
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "audit", "what was known of the control plane's audit log cannot be read", {
        path,
        reason: message,
      });
    }
  }

  async #save(when: "now" | "when due"): Promise<void> {
    const { clock, files, path, logger } = this.#options;
    if (when === "when due" && clock.now() - this.#savedAtMs < witnessLimits.saveIntervalMs) return;
    this.#savedAtMs = clock.now();
    const text = JSON.stringify({ heads: this.#heads, conflicts: this.#conflicts });
    try {
      await files.writeAtomic(path, new TextEncoder().encode(`${text}\n`), 0o600);
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("warn", "audit", "heads of the control plane's audit log could not be kept", {
        path,
        reason: message,
      });
    }
  }
}

type Step = "proven" | "unknown" | "same" | { readonly reason: string };

/** Whether a head may be of the log that another one is of. */
function stepTo(before: WitnessedHead, head: Omit<WitnessedHead, "proven">, message: AuditHead): Step {
  if (before.stateId !== head.stateId)
    return { reason: `the log is of state ${head.stateId}, and was of ${before.stateId}` };
  if (head.id < before.id) return { reason: `the log ends at row ${head.id}, and had row ${before.id}` };
  if (head.id === before.id)
    return head.hash === before.hash ? "same" : { reason: `row ${head.id} is another one than it was` };
  const sinceId = Number(message.sinceId);
  if (sinceId > before.id) return "unknown";
  if (message.digests.length !== 32 * (head.id - sinceId))
    return { reason: `the digests of rows ${sinceId + 1} to ${head.id} are not all there` };
  let hash: Uint8Array = message.sinceHash;
  for (let id = sinceId; id < head.id; id++) {
    if (id === before.id && hash.toHex() !== before.hash)
      return { reason: `row ${id} is another one than it was` };
    hash = chainDigest(hash, message.digests.subarray(32 * (id - sinceId), 32 * (id - sinceId + 1)));
  }
  return hash.toHex() === head.hash
    ? "proven"
    : { reason: `row ${head.id} does not go on from those before it` };
}

function readHead({ id, hash, atMs, signature, chainPem }: AuditHead): SignedHead {
  return {
    id: Number(id),
    hash: hash.toHex(),
    atMs: Number(atMs),
    signature: signature.toBase64(),
    chainPem,
  };
}

function isHead(head: Partial<WitnessedHead>): boolean {
  return (
    typeof head.id === "number" &&
    typeof head.atMs === "number" &&
    [head.hash, head.stateId, head.signature, head.chainPem].every((text) => typeof text === "string")
  );
}

/** The newest, and of each day before them the last one, for as long as there is room. */
function thinned(heads: readonly WitnessedHead[]): readonly WitnessedHead[] {
  const recent = heads.length - witnessLimits.recentHeads;
  const day = ({ atMs }: WitnessedHead): number => Math.floor(atMs / witnessLimits.dayMs);
  const kept = heads.filter((head, index) => {
    const next = heads[index + 1];
    return index >= recent || next === undefined || day(next) !== day(head);
  });
  return kept.slice(-witnessLimits.maxHeads);
}
