/**
 * Which policies of a workload with the application inside its tunnel are decided request by request, and which connection by connection.
 * The mesh and its documents come on two streams: a policy that the mesh has and whose document is not here yet is waited for, in bounded
 * time, and then enforced as any tunnel does, which is never less strict.
 */
import { proxyLimits } from "../../base/limits/proxy.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { type Authorization, authorizationKey } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyEngine } from "../../policy/policy_engine.ts";
import { SplitEngine } from "../../policy/split_engine.ts";

const nothing: ReadonlySet<string> = new Set();

export class SidecarPolicies {
  readonly engine: SplitEngine;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #isInside: (workload: Workload) => boolean;
  readonly #changes = new WatchSource(0);
  /** Null before the first documents were read: nothing passes until then. */
  #read: ReadonlySet<string> | null = null;
  /** Of the mesh, by now. */
  #held: ReadonlySet<string> = nothing;
  #elsewhere: ReadonlySet<string> = nothing;
  /** Waited for, by `namespace/name`. */
  readonly #awaited = new Map<string, Timer>();

  /** @param engine makes one of the two that decide. @param name of the workload, `namespace/name`. */
  constructor(clock: Clock, name: string, engine: () => PolicyEngine) {
    this.#clock = clock;
    this.#name = name;
    // One that hands what it is called to a waypoint behind it (`applicationTunnel`) is none that has the application inside.
    this.#isInside = (workload) =>
      `${workload.namespace}/${workload.name}` === name && workload.applicationTunnel === null;
    this.engine = new SplitEngine(engine(), engine(), this.#isInside);
  }

  isInside(workload: Workload): boolean {
    return this.#isInside(workload);
  }

  /** What readiness waits for, by name: a name that is misspelt has its policies enforced by connection, and is said. */
  pending(locals: readonly Workload[]): readonly string[] {
    return locals.some(this.#isInside) ? [] : [`workload ${this.#name} of --l7, which does not run here`];
  }

  /** Counts how often other policies than before were decided by connection: open connections are to be decided again. */
  get changes(): Watch<number> {
    return this.#changes;
  }

  /** Before the engine is told of them. @param policies new or changed. @param removed keys. */
  expect(policies: readonly Authorization[], removed: readonly string[]): void {
    const held = new Set(policies.map(authorizationKey).filter((key) => !this.#held.has(key)));
    for (const key of held) {
      // Of no document: istiod's own names of what it makes of PeerAuthentication (RFC 1123 §2.1 has no `_`).
      if (this.#read === null || this.#read.has(key) || key.includes("_") || this.#awaited.has(key)) continue;
      const giveUp = () => {
        this.#awaited.delete(key);
        this.#divide();
      };
      this.#awaited.set(key, this.#clock.setTimer(proxyLimits.policyWaitMs, giveUp));
    }
    const gone = new Set(removed);
    this.#held = new Set([...this.#held, ...held].filter((key) => !gone.has(key)));
    this.#divide();
  }

  /** @param keys of the policies that requests are decided by from now on, made of documents that are as new as the mesh, or newer. */
  read(keys: ReadonlySet<string>): void {
    this.#read = keys;
    for (const timer of this.#awaited.values()) timer.cancel();
    this.#awaited.clear();
    this.#divide();
  }

  #divide(): void {
    const elsewhere = new Set([...(this.#read ?? nothing), ...this.#awaited.keys()]);
    if (elsewhere.size === this.#elsewhere.size && elsewhere.isSubsetOf(this.#elsewhere)) return;
    this.#elsewhere = elsewhere;
    this.engine.leaveOut(elsewhere);
    this.#changes.set(this.#changes.value + 1);
  }
}
