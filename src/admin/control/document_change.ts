/** Changes of documents: what a caller may ask for, and how the outcome is told. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { filterInSteps, inSteps, mapInSteps } from "../../base/turns/steps.ts";
import type { DocumentError } from "../../mesh/location.ts";
import { Problem } from "./problem.ts";
import type { Session } from "./session.ts";
import type { ChangeRequest, ChangeResult, DocumentName } from "./sources.ts";

export interface ChangeOptions {
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly expectedVersion: number | null;
}

/** Whose tenant's a document is. A Namespace is in none, and is its own. */
export function ownerOf({ kind, namespace, name }: DocumentName): string {
  return kind === "Namespace" ? name : namespace;
}

/** The same by the key alone; "" for what is the mesh's. */
export function ownerOfKey(key: string): string {
  const [kind = "", rest = ""] = key.split(" ");
  return kind === "Namespace" ? rest : rest.includes("/") ? (rest.split("/")[0] ?? "") : "";
}

export function canSee(session: Session, document: DocumentName): boolean {
  return session.may("documents.read", ownerOf(document));
}

export function changeRequest(session: Session, from: IpAddress, options: ChangeOptions): ChangeRequest {
  const { subject } = session;
  if (options.force) session.demand("documents.write", null, "force");
  return {
    actor: session.name,
    mayChange: (document) => session.may("documents.write", ownerOf(document)),
    mayRead: (document) => canSee(session, document),
    dryRun: options.dryRun,
    force: options.force,
    ...(options.expectedVersion === null ? {} : { expectedVersion: options.expectedVersion }),
    facts: {
      clients: [from],
      neededIdentities:
        subject.kind === "identity"
          ? [{ identity: subject.id, role: "the caller who asks for this change" }]
          : [],
    },
  };
}

/**
 * Everything that a tenant names must be the tenant's, changed or not: that another's document is just as they wrote it would be told
 * otherwise. Who may change the whole mesh is not asked.
 *
 * @throws Problem 403.
 */
export function demandOwn(session: Session, key: string): void {
  if (!session.mayInMesh("documents.write")) session.demand("documents.write", ownerOfKey(key), key);
}

/** In steps: of ten thousand documents it takes a while. @throws Problem 403, 404, 409, 422, 429. */
export function* tellChange(session: Session, result: ChangeResult): Generator<void, object> {
  if (result.outcome !== "refused") {
    const { version, plan } = result;
    const isEmpty = plan.warnings.length + plan.lockOuts.length === 0;
    const hide = isEmpty ? keep : yield* hidingOthers(session);
    return {
      version,
      dryRun: result.outcome === "planned",
      applied: result.outcome === "applied" && plan.diff.length > 0,
      changes: yield* filterInSteps(plan.diff, (one) => canSee(session, one)),
      warnings: yield* mapInSteps(plan.warnings, ({ resource, warning }) => ({
        location: warning.location,
        resource,
        message: hide(warning.message),
      })),
      lockOuts: yield* mapInSteps(plan.lockOuts, ({ reason }) => hide(reason)),
    };
  }
  const { because, version } = result;
  const hide = yield* hidingOthers(session);
  const errors = yield* tellErrors(session, result.errors, hide);
  switch (because) {
    case "busy":
      throw new Problem(429, result.message);
    case "conflict":
      throw new Problem(409, `the documents are now at version ${version}; look at the difference again`, {
        version,
      });
    case "unknown":
      throw new Problem(404, hide(result.message));
    case "invalid":
      throw new Problem(422, `${many(errors.length, "error")}; nothing was changed`, { errors });
    case "test_failed":
      throw new Problem(422, result.message, {
        errors,
        canForce: session.mayInMesh("documents.write"),
      });
    case "forbidden":
      throw new Problem(403, "you may not change these documents; nothing was changed", { errors });
    case "owned":
      throw new Problem(403, `${errors[0]?.message ?? "another namespace owns this"}; nothing was changed`, {
        errors,
      });
    case "lock_out": {
      const reasons = result.lockOuts.map(({ reason }) => hide(reason));
      throw new Problem(409, "nodes could no longer reach the control plane; nothing was changed", {
        lockOuts: reasons,
        canForce:
          session.mayInMesh("documents.write") && result.lockOuts.every(({ kind }) => kind !== "reserved"),
      });
    }
    default:
      throw new MeshError("configuration", "local", because satisfies never);
  }
}

/**
 * Conversion looks at the whole set, and its words may name what another document claims. Who does not see the whole mesh is told
 * what is wrong with their own documents, and of others only that there is something.
 */
function* tellErrors(
  session: Session,
  errors: readonly DocumentError[],
  hide: (message: string) => string,
): Generator<void, readonly DocumentError[]> {
  if (session.mayInMesh("documents.read")) return errors;
  const mine = yield* filterInSteps(
    errors,
    ({ resource }) =>
      resource === null || session.may("documents.write", ownerOfKey(resource)) || !resource.includes(" "),
  );
  const shown = yield* mapInSteps(mine, (error) => {
    const message = hide(error.message);
    return message === error.message ? error : { location: nowhere, resource: error.resource, message };
  });
  return errors.length > 0 && shown.length === 0
    ? [{ location: nowhere, resource: null, message: hidden }]
    : shown;
}

/**
 * Takes away what names something of a namespace that is not theirs, or a file that such a document came from. The documents are looked
 * through once, however many messages there are.
 */
function* hidingOthers(session: Session): Generator<void, (message: string) => string> {
  if (session.mayInMesh("documents.read")) return keep;
  const others = new Set<string>();
  yield* inSteps(session.sources.documents.current().documents, (one) => {
    if (one.source !== "" && !canSee(session, one)) others.add(one.source);
  });
  return (message) => {
    for (const [, namespace = ""] of message.matchAll(named))
      if (!session.may("documents.read", namespace)) return hidden;
    // `… at FILE:LINE` is how a message says where; a file's name may hold either part itself.
    const ends = [...message.matchAll(/:\d/g)].map(({ index }) => index);
    const tells = [...message.matchAll(/ at /g)].some(({ index }) =>
      ends.some((end) => end > index + 4 && others.has(message.slice(index + 4, end))),
    );
    return tells ? hidden : message;
  };
}

function keep(message: string): string {
  return message;
}

/** `namespace/name`, where it is neither a part of a path nor of an API's group. */
const named = /(?<![\w./:-])([a-z0-9][a-z0-9-]*)\/[a-z0-9]/g;
const nowhere = { file: "request", line: 1, column: 1 };
const hidden = "it conflicts with a document that you may not see; ask an administrator of the mesh";

function many(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
