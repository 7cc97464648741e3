/** The three reasons for which a change that can be read is refused all the same. */
import { meshLimits } from "../../base/limits/mesh.ts";
import type { Logger } from "../../base/log.ts";
import { flatMapInSteps, indexInSteps, mapInSteps } from "../../base/turns/steps.ts";
import { type DocumentError, formatLocation } from "../../mesh/location.ts";
import type { ChangeRefusal, ChangeRequest } from "./change_request.ts";
import type { ConvertedSet } from "./converted_documents.ts";
import type { DocumentIdentity, Replacement } from "./document_diff.ts";
import type { LockOut } from "./lock_out.ts";
import { findStored } from "./stored_set.ts";

export function refusal(
  because: ChangeRefusal["because"],
  version: number,
  message: string,
  { errors = [], lockOuts = [] }: Partial<Pick<ChangeRefusal, "errors" | "lockOuts">> = {},
): ChangeRefusal {
  return { outcome: "refused", because, version, message, errors, lockOuts };
}

/** So many as a person reads; the others are counted. */
export function told(errors: readonly DocumentError[]): readonly DocumentError[] {
  const untold = errors.length - meshLimits.maxErrorsTold;
  if (untold <= 0) return errors;
  const location = { file: "", line: 1, column: 1 };
  const message = `and ${untold} more errors`;
  return [...errors.slice(0, meshLimits.maxErrorsTold), { location, resource: null, message }];
}

/** What a caller may not change it is not shown either: the refusal names documents, and nothing of them. */
export function* checkTenancy(
  replacements: readonly Replacement[],
  { mayChange }: ChangeRequest,
  version: number,
): Generator<void, ChangeRefusal | null> {
  const errors = yield* flatMapInSteps(replacements, ({ change }): readonly DocumentError[] => {
    if (mayChange(identityOf(change))) return [];
    const location = { file: change.source, line: change.line, column: 1 };
    return [{ location, resource: change.key, message: `you may not change ${change.key}` }];
  });
  const [first] = errors;
  return first === undefined
    ? null
    : refusal("forbidden", version, `nothing was changed: ${first.message}`, { errors: told(errors) });
}

/**
 * Errors anywhere in the set refuse the change, but for those that stood before in documents that it does not touch: otherwise two
 * documents that a later program refuses could never be mended one by one.
 */
export function* checkErrors(
  before: ConvertedSet,
  next: ConvertedSet,
  replacements: readonly Replacement[],
  request: ChangeRequest,
  version: number,
): Generator<void, ChangeRefusal | null> {
  const touched = new Set(yield* mapInSteps(replacements, ({ change }) => change.key));
  const own = yield* flatMapInSteps(next.errors, ([key, found]): readonly DocumentError[] => {
    if (!touched.has(key) && before.errors.has(key)) return [];
    const document = findStored(next.stored, key);
    const isTold = touched.has(key) || (document !== null && mayRead(request, document));
    return isTold ? found : [hidden(found)];
  });
  const errors = [...own, ...(yield* evictedMembers(before, next, request))];
  if (errors.length === 0) return null;
  return refusal("invalid", version, "nothing was changed: the documents conflict with each other", {
    errors: told(errors),
  });
}

/** A host that has joined a group was at its address first: no document that comes later takes it. */
function* evictedMembers(
  before: ConvertedSet,
  next: ConvertedSet,
  request: ChangeRequest,
): Generator<void, readonly DocumentError[]> {
  const refused = next.statuses.slice(next.stored.length).filter(({ error }) => error !== null);
  if (refused.length === 0) return [];
  const were = new Set(
    yield* flatMapInSteps(before.statuses.slice(before.stored.length), ({ accepted, resource }) =>
      accepted ? [resource] : [],
    ),
  );
  const byKey = yield* indexInSteps(next.derived, ({ metadata }) => metadata.key);
  return yield* flatMapInSteps(refused, ({ resource, error }): readonly DocumentError[] => {
    const member = byKey.get(resource);
    if (error === null || member === undefined || !were.has(resource)) return [];
    const { key, namespace, name } = member.metadata;
    const message = `${key}, a host that has joined, would be left out of the mesh: ${error.message}`;
    const told = { location: error.location, resource, message };
    return [mayRead(request, { key, kind: member.kind, namespace, name }) ? told : hidden([told])];
  });
}

function mayRead({ mayRead, mayChange }: ChangeRequest, document: DocumentIdentity): boolean {
  return (mayRead ?? mayChange)(identityOf(document));
}

function hidden(errors: readonly DocumentError[]): DocumentError {
  const location = { file: "", line: 1, column: 1 };
  return {
    location,
    resource: null,
    message: `a document of another tenant would be refused (${errors.length} errors)`,
  };
}

/** @returns null where there are none, or where they may be insisted on and are. */
export function checkLockOuts(
  lockOuts: readonly LockOut[],
  { force }: ChangeRequest,
  version: number,
): ChangeRefusal | null {
  const standing = force === true ? lockOuts.filter(({ kind }) => kind === "reserved") : lockOuts;
  const [first] = standing;
  if (first === undefined) return null;
  const way = first.kind === "reserved" ? "" : "; --force makes the change nevertheless";
  const message = `nothing was changed, because nodes could no longer reach the control plane: ${first.reason}${way}`;
  return refusal("lock_out", version, message, { lockOuts: standing.slice(0, meshLimits.maxErrorsTold) });
}

/** At a start: what an earlier program took, and this one does not. */
export function tellErrors(logger: Logger, { errors }: ConvertedSet): void {
  for (const [resource, found] of errors)
    for (const { location, message } of found)
      logger.log("error", "documents", "a stored document is refused", {
        resource,
        at: formatLocation(location),
        reason: message,
      });
}

function identityOf({ key, kind, namespace, name }: DocumentIdentity): DocumentIdentity {
  return { key, kind, namespace, name };
}
