/** `ca rotate`: starts, watches, goes on by itself where no word of an operator is needed, and says what it waits for. */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits, rotationLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { Certificate } from "../../pki/x509/certificate.ts";
import { type AuthorityPosition, positions } from "../keys/authority_states.ts";
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
  isAnnounced,
  leaving,
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
  readonly records: Pick<KeyRecords, "certificates" | "revocations" | "settings">;
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
  /** Of the step that is due, and of what is made without an operator's word. */
  #problem: string | null = null;
  #renewalProblem: string | null = null;
  #nextTryAt = 0;
  #failures = 0;
  /** Whether the root's key could be used at the last look: one that has come is used at once. */
  #hadRootKey = false;
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
    const { authorities, records, clock } = this.#options;
    // Before it is made: killed in between, the old one leaves with the next one, and does not stay until its end.
    const before = records.settings.get(leavingSetting);
    const inForce = authorities.view.value.authorities.map((one) => one.id);
    records.settings.set(leavingSetting, inForce.join(" "));
    const newest = currentLeaves(records, clock.wallMs()).map((leaf) => leaf.issuedAtMs);
    records.settings.set(issuedBeforeSetting, String(newest.reduce((a, b) => Math.max(a, b), 0)));
    try {
      await this.#make(() => authorities.prepare(kind));
    } catch (thrown) {
      records.settings.set(leavingSetting, before ?? "");
      throw thrown;
    }
    return this.progress();
  }

  progress(): RotationProgress {
    const facts = this.#facts();
    const step = automaticStep(facts);
    const waiting = step.kind === "wait" ? step.waiting : null;
    return {
      phase: phaseOf(facts),
      active: facts.authorities.find((one) => one.state === "active")?.id ?? null,
      next: facts.authorities.find(isAnnounced)?.id ?? null,
      retiring: leaving(facts).map((one) => one.id),
      waiting: waiting === null ? null : bounded(waiting),
      problem: this.#problem ?? this.#renewalProblem,
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
    this.#revokeRetired(step);
    this.#options.authorities.apply(step.changes);
    for (const { id, state } of step.changes) {
      this.#options.logger.log("info", "rotation", `authority is ${state}`, { id });
      this.#options.mesh.tellOfAuthority(state, id, "");
    }
  }

  /**
   * The key of an intermediate may be why it leaves: it is revoked on the list above it, first, so that there is no moment in which neither
   * that list nor its own says so.
   */
  #revokeRetired({ changes }: Extract<RotationStep, { readonly kind: "change" }>): void {
    const { authorities, mesh } = this.#options;
    for (const { id, state } of changes) {
      const retired = authorities.view.value.authorities.find((one) => one.id === id);
      const [issuer] = retired?.above ?? [];
      if (state === "retired" && retired !== undefined && issuer !== undefined)
        mesh.revokeAuthority(id, retired.certificate, issuer.authorityKey);
    }
  }

  #facts(): RotationFacts {
    const { authorities, records, clock } = this.#options;
    const view = authorities.view.value;
    const nowMs = clock.wallMs();
    const byOperator = new Set((records.settings.get(leavingSetting) ?? "").split(" "));
    const ofActive = new Set(view.active?.roots.map((root) => root.authorityKey));
    const lingers = ({ id, state, kind, certificate, roots }: LoadedAuthority): boolean =>
      state === "retiring" &&
      kind === "intermediate" &&
      !byOperator.has(id) &&
      nowMs <= certificate.notAfterMs &&
      !this.#isRevoked(certificate) &&
      roots.some((root) => ofActive.has(root.authorityKey));
    const places = positions(view.authorities);
    const describe = (one: LoadedAuthority, place: AuthorityPosition): RotatingAuthority => ({
      ...place,
      roots: one.roots.map((root) => root.authorityKey),
      lingers: lingers(one),
      holders: [],
    });
    const found = view.authorities.flatMap((one, index) => {
      const place = places[index];
      return place === undefined ? [] : [describe(one, place)];
    });
    // There is nothing to wait for, and no reason to look at every certificate.
    if (phaseOf({ authorities: found, lackingRoot: [] }) === "idle")
      return { authorities: found, lackingRoot: [] };
    const { knowledge } = this.#options;
    const ownSerials = (node: string) => knowledge.ownSerials?.(node) ?? null;
    const leaves = currentLeaves(records, nowMs, ownSerials).filter(({ holder }) => !this.#isGone(holder));
    const keyOf = new Map(view.authorities.map(({ id, certificate }) => [id, certificate.authorityKey]));
    const held = found.map((one) => ({ ...one, holders: holdersOf(keyOf.get(one.id) ?? "", leaves) }));
    return { authorities: held, lackingRoot: this.#lackingRoot(view, leaves) };
  }

  #lackingRoot({ authorities, active }: AuthorityView, leaves: readonly CurrentLeaf[]): readonly string[] {
    const next = authorities.find((one) => one.state === "next");
    const [root] = (next ?? active)?.roots ?? [];
    if (root === undefined) return [];
    // The root of what issues already: nodes could not be here without it.
    const isHeldByAll =
      next !== undefined && active?.roots.some((one) => one.authorityKey === root.authorityKey);
    if (isHeldByAll === true) return [];
    const { knowledge } = this.#options;
    return lackingRoot(root, this.#announcedAtMs(root.authorityKey), leaves, knowledge, this.#history);
  }

  #isRevoked({ serialNumber }: Certificate): boolean {
    return this.#options.records.revocations.get("serial", serialNumber) !== null;
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
    // What was issued while the clock was ahead says a later time than the announcement, and came before it.
    const issuedBefore = Number(this.#options.records.settings.get(issuedBeforeSetting) ?? 0);
    return Math.max(Math.min(...times), issuedBefore);
  }

  async #make(prepare: () => Promise<AuthorityRow | null>): Promise<void> {
    const making = prepare();
    this.#making = making;
    try {
      const row = await making;
      if (row !== null) {
        this.#options.logger.log("info", "rotation", "authority is next", { id: row.id });
        this.#options.mesh.tellOfAuthority("made", row.id, `a new ${row.kind}`);
      }
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
        this.#renewLater();
      } catch (thrown) {
        // State that cannot be written, a full disk: everything stays as it is, and is tried again.
        this.#problem = this.#say(thrown, this.#problem);
      }
      this.#schedule(clock.now() - startedAt);
    });
  }

  /** Makes what is due now, without waiting for the next look. @throws MeshError why it cannot be made. */
  async renewNow(): Promise<void> {
    await this.#making;
    const prepare = this.#due();
    if (prepare === null) return;
    await this.#make(prepare);
    this.#renewalProblem = null;
  }

  #renewLater(): void {
    const { clock, authorities } = this.#options;
    const hasRootKey = authorities.ownRoot()?.authority.ca != null;
    if (hasRootKey && !this.#hadRootKey) this.#nextTryAt = 0;
    this.#hadRootKey = hasRootKey;
    if (this.#making !== null || clock.now() < this.#nextTryAt) return;
    const prepare = this.#due();
    if (prepare === null) {
      this.#renewalProblem = null;
      return;
    }
    this.#make(prepare).then(
      () => {
        this.#failures = 0;
        this.#renewalProblem = null;
      },
      (thrown) => {
        this.#nextTryAt = clock.now() + backoffMs(++this.#failures, rotationLimits.renewalBackoff);
        this.#renewalProblem = this.#say(thrown, this.#renewalProblem);
      },
    );
  }

  /**
   * What has to be made without an operator's word: an intermediate below a root that issues itself, and one in the place of another long
   * before that ends, as it has the same root and disturbs no node.
   */
  #due(): (() => Promise<AuthorityRow | null>) | null {
    const { authorities, clock } = this.#options;
    const { active, authorities: inForce } = authorities.view.value;
    if (active === null || inForce.some((one) => one.state === "next")) return null;
    if (active.kind === "root") {
      const isOwn = authorities.completesRoots && active.ca !== null;
      return isOwn ? () => authorities.completeRoot() : null;
    }
    const root = authorities.ownRoot()?.authority ?? null;
    const { notBeforeMs, notAfterMs } = active.certificate;
    const nowMs = clock.wallMs();
    const renewAtMs = notBeforeMs + (notAfterMs - notBeforeMs) * keysLimits.intermediateRenewalShare;
    // Whoever has brought the key is not to bring it again soon.
    const isBrought = root?.keptAway === true && root.ca !== null;
    const endMs = Math.min(nowMs + keysLimits.keptAwayLifetimeMs, root?.certificate.notAfterMs ?? notAfterMs);
    const isShort = notAfterMs - nowMs < (endMs - nowMs) * keysLimits.keptAwayRenewalShare;
    // Made while the clock was ahead by more than it is backdated.
    const isEarly = nowMs < notBeforeMs;
    // Of a back-up from before it was replaced, with the revocations of the state that the back-up took the place of.
    const isUnusable = isEarly || this.#isRevoked(active.certificate);
    return isUnusable || nowMs >= renewAtMs || (isBrought && isShort)
      ? () => authorities.prepare("intermediate")
      : null;
  }

  /** @param before what was said last. */
  #say(thrown: unknown, before: string | null): string {
    const { message } = asMeshError(thrown, "authority_unavailable", "local");
    if (message !== before) this.#options.logger.log("warn", "rotation", "a step waits", { error: message });
    return message;
  }
}

/** When the newest leaf was issued that was there before the last rotation began, by the clock of then. */
const issuedBeforeSetting = "authority_issued_before";

/** Ids of authorities that an operator has replaced: they leave as soon as they can. */
const leavingSetting = "authorities_leaving";

function bounded(waiting: Waiting): Waiting & { readonly count: number } {
  return {
    what: waiting.what,
    names: waiting.names.slice(0, rotationLimits.maxNames),
    count: waiting.names.length,
  };
}
