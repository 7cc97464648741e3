/** One request's caller, what they may do, and the record of what they did and were refused. */

import type { AuditEntry } from "../../control/records/audit.ts";
import { nodeNamespace } from "../../mesh/identity.ts";
import type { Administrators } from "./administrators.ts";
import type { BodyLoad, HeldBody } from "./body_load.ts";
import { Problem } from "./problem.ts";
import { type Action, allowedNamespaces, type Grant, isAllowed, meshScope, type Scope } from "./roles.ts";
import type { ControlSources, Subject } from "./sources.ts";

export class Session {
  readonly subject: Subject;
  readonly grants: readonly Grant[];
  readonly sources: ControlSources;
  readonly administrators: Administrators;

  readonly #load: BodyLoad;
  #body: HeldBody | null = null;

  constructor(sources: ControlSources, administrators: Administrators, load: BodyLoad, subject: Subject) {
    this.#load = load;
    this.sources = sources;
    this.administrators = administrators;
    this.subject = subject;
    this.grants = administrators.grants(subject);
  }

  /** What this request's body may take of memory, until `close`. */
  holdBody(maxBytes: number): HeldBody {
    this.#body ??= this.#load.open(this.name, maxBytes);
    return this.#body;
  }

  /** The request is answered. */
  close(): void {
    this.#body?.release();
  }

  get name(): string {
    return this.subject.name;
  }

  /** "", the root namespace and the nodes' own are the mesh's. */
  scopeOf(namespace: string | null): Scope {
    const { rootNamespace } = this.sources;
    return namespace === null ||
      namespace === "" ||
      namespace === rootNamespace ||
      namespace === nodeNamespace
      ? meshScope
      : { kind: "namespace", namespace };
  }

  may(action: Action, namespace: string | null): boolean {
    return isAllowed(this.grants, action, this.scopeOf(namespace));
  }

  mayInMesh(action: Action): boolean {
    return isAllowed(this.grants, action, meshScope);
  }

  /** By whose right they do it, once it is known that they may: the mesh's ("") where they have it, else the namespace's. */
  rightTo(action: Action, namespace: string | null): string {
    return this.mayInMesh(action) ? "" : (namespace ?? "");
  }

  /** For reads: of another tenant's thing not even that it is there is told. @throws Problem 404. */
  see(action: Action, namespace: string | null, target: string): void {
    if (this.may(action, namespace)) return;
    this.#refused(action, target, "may not be seen by the caller");
    throw notFound(target);
  }

  /** @throws Problem 403. */
  demand(action: Action, namespace: string | null, target: string): void {
    if (this.may(action, namespace)) return;
    const scope = this.scopeOf(namespace);
    const where = scope.kind === "mesh" ? "the whole mesh" : `namespace ${scope.namespace}`;
    this.#refused(action, target, `needs a role for ${where}`);
    throw new Problem(403, `${action} of ${target} needs a role for ${where}`);
  }

  /** For lists: whoever may not see any of it at all is told so. @throws Problem 403. */
  visible(action: Action): "all" | ReadonlySet<string> {
    const namespaces = allowedNamespaces(this.grants, action);
    if (namespaces !== "all" && namespaces.size === 0) {
      this.#refused(action, "", "has no role that may read this");
      throw new Problem(403, `you have no role for ${action}`);
    }
    return namespaces;
  }

  /** Writes a change down. Inside a transaction it is there with the change or not at all. */
  entry(
    action: string,
    target: string,
    namespace: string | null,
    rest: Partial<Pick<AuditEntry, "outcome" | "detail" | "before" | "after">> = {},
  ): AuditEntry {
    const scope = this.scopeOf(namespace);
    return {
      atMs: this.sources.clock.wallMs(),
      actor: this.name,
      action,
      target,
      namespace: scope.kind === "namespace" ? scope.namespace : null,
      outcome: "ok",
      detail: "",
      before: null,
      after: null,
      ...rest,
    };
  }

  /** Does what takes its time, and writes down how it went, a failure too. */
  async recorded<T>(
    action: string,
    target: string,
    namespace: string | null,
    work: () => Promise<T>,
    describe: (done: T) => Partial<AuditEntry>,
  ): Promise<T> {
    // Before the effect: what was done and could not be written down afterwards is there all the same.
    this.sources.audit.append(this.entry(action, target, namespace, { detail: "begun" }));
    let done: T;
    try {
      done = await work();
    } catch (thrown) {
      const detail = thrown instanceof Error ? thrown.message : String(thrown);
      this.sources.recordRefusal(this.entry(action, target, namespace, { outcome: "failed", detail }));
      throw thrown;
    }
    this.sources.audit.append({ ...this.entry(action, target, namespace), ...describe(done) });
    return done;
  }

  /** A refusal that is not about roles. */
  refuse(
    status: 409 | 400 | 403,
    action: string,
    target: string,
    namespace: string | null,
    detail: string,
  ): Problem {
    this.sources.recordRefusal(this.entry(action, target, namespace, { outcome: "refused", detail }));
    return new Problem(status, detail);
  }

  /** Somebody of the mesh who has no role at all. */
  refuseStranger(): Problem {
    this.#refused("connect", "", "has no role");
    return new Problem(403, `${this.name} has no role here`);
  }

  /** For the mesh's auditors alone: who was refused what is not for the tenant that was tried. */
  #refused(action: string, target: string, detail: string): void {
    this.sources.recordRefusal(this.entry(action, target, null, { outcome: "refused", detail }));
  }
}

export function notFound(target: string): Problem {
  return new Problem(404, `there is no ${target}`);
}
