/** `ca rotate`: starts, watches, goes on by itself where no word of an operator is needed, and says what it waits for. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits, rotationLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { isAboveOthers } from "../keys/authority_states.ts";
import type { AuthorityView, LoadedAuthority } from "../keys/authority_view.ts";
import type { MeshAuthority } from "../keys/mesh_authority.ts";
import type { StateAuthorities } from "../keys/state_authorities.ts";
import type { AuthorityRow, KeyRecords } from "../records/keys.ts";
import {
  BundleHistory,
  type CurrentLeaf,
  currentLeaves,
  holdersOf,
  lackingRoot,
  type NodeKnowledge,
} from "./root_holders.ts";
import {
  abortStep,
  automaticStep,
  finishStep,
  phaseOf,
  type RotatingAuthority,
  type RotationFacts,
  type RotationPhase,
  type RotationStep,
  type Waiting,
} from "./rotation_machine.ts";

export interface RotationOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly records: Pick<KeyRecords, "certificates" | "revocations">;
  readonly authorities: StateAuthorities;
  readonly mesh: MeshAuthority;
  readonly knowledge: NodeKnowledge;
}

export interface RotationProgress {
  readonly phase: RotationPhase;
  readonly active: string | null;
  readonly next: string | null;
  readonly retiring: readonly string[];
  /** What has to come before the next step; at most `rotationLimits.maxNames` names. Null when nothing is under way. */
  readonly waiting: (Waiting & { readonly count: number }) | null;
  /** Why the step that is due was not possible; it is tried again. */
  readonly problem: string | null;
}

/** A refusal says why in its progress. */
export interface RotationAnswer {
  readonly done: boolean;
  readonly progress: RotationProgress;
}

export class Rotation {
  readonly #options: RotationOptions;
  readonly #history: BundleHistory;
  #timer: Timer | null = null;
  /** A new authority is being made, which takes a while. */
  #making: Promise<unknown> | null = null;
  #problem: string | null = null;
  #nextTryAt = 0;
  #closed = false;

  constructor(options: RotationOptions) {
    this.#options = options;
    this.#history = new BundleHistory(options.mesh.bundle);
    this.#schedule();
  }

  /**
   * Makes and announces the next authority. It issues by itself as soon as every node holds its root.
   *
   * @throws MeshError `configuration`, blame local, when a rotation is under way; `authority_unavailable` when it cannot be made.
   */
  async start(kind: AuthorityRow["kind"]): Promise<RotationProgress> {
    if (this.#making !== null || phaseOf(this.#facts()) !== "idle") {
      throw new MeshError("configuration", "local", "a rotation is under way; finish or abort it first");
    }
    await this.#make(kind);
    return this.progress();
  }

  progress(): RotationProgress {
    const facts = this.#facts();
    const named = (state: string): readonly string[] =>
      facts.authorities.filter((one) => one.state === state && !one.isAboveOthers).map((one) => one.id);
    const step = automaticStep(facts);
    const waiting = step.kind === "wait" ? step.waiting : null;
    return {
      phase: phaseOf(facts),
      active: facts.authorities.find((one) => one.state === "active")?.id ?? null,
      next: named("next")[0] ?? null,
      retiring: named("retiring"),
      waiting: waiting === null ? null : bounded(waiting),
      problem: this.#problem,
    };
  }

  /**
   * Takes the old root out of the bundle. Refused while somebody lacks the new one or has a leaf of the old one.
   *
   * @param abandon the next step is taken without those that it waits for: first the new authority issues, then the old root leaves.
   */
  finish(abandon = false): RotationAnswer {
    this.advance();
    return this.#answer(finishStep(this.#facts(), abandon));
  }

  /** Takes the next authority back. Refused once it issues. */
  abort(): RotationAnswer {
    return this.#answer(abortStep(this.#facts()));
  }

  /** Does what is due and needs no word of an operator; also by itself every `keysLimits.checkIntervalMs`. */
  advance(): void {
    // Bounded by the states there are: each change moves an authority forward.
    for (
      let step = automaticStep(this.#facts());
      step.kind === "change";
      step = automaticStep(this.#facts())
    ) {
      this.#apply(step);
    }
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#history.close();
  }

  #answer(step: RotationStep): RotationAnswer {
    if (step.kind === "change") this.#apply(step);
    return { done: step.kind === "change", progress: this.progress() };
  }

  #apply(step: Extract<RotationStep, { readonly kind: "change" }>): void {
    this.#options.authorities.apply(step.changes);
    for (const { id, state } of step.changes) {
      this.#options.logger.log("info", "rotation", `authority is ${state}`, { id });
    }
  }

  #facts(): RotationFacts {
    const { authorities, records, clock } = this.#options;
    const view = authorities.view.value;
    const rows = authorities.rows();
    // With one authority there is nothing to wait for, and no reason to look at every certificate.
    const leaves =
      view.authorities.length < 2
        ? []
        : currentLeaves(records, clock.wallMs()).filter(({ holder }) => !this.#isGone(holder));
    const describe = (one: LoadedAuthority): RotatingAuthority => {
      const row = rows.find((candidate) => candidate.id === one.id);
      const others = view.authorities.filter((other) => other.id !== one.id);
      const isKept = (key: string): boolean =>
        others.some((other) => other.roots.some((root) => root.authorityKey === key));
      return {
        id: one.id,
        state: one.state,
        isAboveOthers: row !== undefined && isAboveOthers(row, rows),
        takesRootAlong: one.roots.some((root) => !isKept(root.authorityKey)),
        holders: holdersOf(one.certificate.authorityKey, leaves),
      };
    };
    return { authorities: view.authorities.map(describe), lackingRoot: this.#lackingRoot(view, leaves) };
  }

  #lackingRoot({ authorities, active }: AuthorityView, leaves: readonly CurrentLeaf[]): readonly string[] {
    const next = authorities.find((one) => one.state === "next");
    const [root] = (next ?? active)?.roots ?? [];
    if (root === undefined || authorities.length < 2) return [];
    // The root of what issues already: nodes could not be here without it.
    const isHeldByAll =
      next !== undefined && active?.roots.some((one) => one.authorityKey === root.authorityKey);
    if (isHeldByAll === true) return [];
    const { knowledge } = this.#options;
    return lackingRoot(root, this.#announcedAtMs(root.authorityKey), leaves, knowledge, this.#history);
  }

  #isGone(holder: string): boolean {
    return this.#options.knowledge.isGone?.(holder) ?? false;
  }

  /** Since when answers carry a root: since the first authority of it that is in force. */
  #announcedAtMs(rootKey: string): number {
    const { authorities } = this.#options.authorities.view.value;
    const times = authorities
      .filter((one) => one.roots.some((root) => root.authorityKey === rootKey))
      .map((one) => one.createdAtMs);
    return Math.min(...times);
  }

  async #make(kind: AuthorityRow["kind"]): Promise<void> {
    const making = this.#options.authorities.prepare(kind);
    this.#making = making;
    try {
      const row = await making;
      this.#options.logger.log("info", "rotation", "authority is next", { id: row.id });
    } finally {
      this.#making = null;
    }
    this.advance();
  }

  /** @param tookMs of the last look: with very many certificates it is looked less often. */
  #schedule(tookMs = 0): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const delayMs = Math.max(keysLimits.checkIntervalMs, tookMs * rotationLimits.restPerWork);
    this.#timer = clock.setTimer(delayMs, () => {
      const startedAt = clock.now();
      try {
        this.advance();
        this.#problem = null;
        this.#renewIntermediate();
      } catch (thrown) {
        // State that cannot be written, a full disk: everything stays as it is, and is tried again.
        this.#note(thrown);
      }
      this.#schedule(clock.now() - startedAt);
    });
  }

  /** An intermediate is replaced long before it ends; one of the same root needs no word of an operator and disturbs no node. */
  #renewIntermediate(): void {
    const { authorities, clock } = this.#options;
    const view = authorities.view.value;
    const { active } = view;
    if (active === null || active.kind !== "intermediate" || this.#making !== null) return;
    if (view.authorities.some((one) => one.state === "next") || clock.now() < this.#nextTryAt) return;
    const { notBeforeMs, notAfterMs } = active.certificate;
    const renewAtMs = notBeforeMs + (notAfterMs - notBeforeMs) * keysLimits.intermediateRenewalShare;
    if (clock.wallMs() < renewAtMs) return;
    this.#nextTryAt = clock.now() + rotationLimits.renewalRetryMs;
    this.#make("intermediate").catch((thrown) => this.#note(thrown));
  }

  #note(thrown: unknown): void {
    const { message } = asMeshError(thrown, "authority_unavailable", "local");
    if (message !== this.#problem)
      this.#options.logger.log("warn", "rotation", "a step waits", { error: message });
    this.#problem = message;
  }
}

function bounded(waiting: Waiting): Waiting & { readonly count: number } {
  return {
    what: waiting.what,
    names: waiting.names.slice(0, rotationLimits.maxNames),
    count: waiting.names.length,
  };
}
