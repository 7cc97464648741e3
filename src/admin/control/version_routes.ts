/** Versions of the documents: who changed what, how two differ, and the way back. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { canSee, changeRequest, ownerOf, tellChange } from "./document_change.ts";
import { Problem } from "./problem.ts";
import { pageSize, queryInteger, readJson } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import { notFound, type Session } from "./session.ts";
import type { DocumentSet, StoredDocument } from "./sources.ts";

export function addVersionRoutes(app: ControlApp): void {
  app.get("/v1/history", (context) => {
    const session = context.get("session");
    session.visible("documents.read");
    const limit = pageSize(context.req.query("limit"));
    return context.json(history(session, limit, queryInteger(context.req.query("before"), "before")));
  });
  app.get("/v1/diff", (context) => {
    const session = context.get("session");
    session.visible("documents.read");
    const { documents } = session.sources;
    const to = queryInteger(context.req.query("to"), "to") ?? documents.current().version;
    const from = queryInteger(context.req.query("from"), "from") ?? Math.max(0, to - 1);
    const before = visibleTexts(session, versionOf(session, from));
    const after = visibleTexts(session, versionOf(session, to));
    const keys = [...new Set([...before.keys(), ...after.keys()])].sort();
    const changes = keys
      .map((key) => ({ key, before: before.get(key)?.text ?? null, after: after.get(key)?.text ?? null }))
      .filter((one) => one.before !== one.after);
    return context.json({ from, to, changes });
  });
  app.post("/v1/rollback", async (context) => {
    const session = context.get("session");
    session.visible("documents.write");
    const body = await readJson(context, ["version", "namespaces", "dryRun", "force", "expectedVersion"]);
    const version = body.integer("version");
    const namespaces = body.value("namespaces") === null ? null : body.list("namespaces").map(readNamespace);
    if (namespaces?.length === 0)
      throw new Problem(400, '"namespaces" is empty; leave it out for all of them');
    for (const namespace of namespaces ?? [null])
      session.demand(
        "documents.write",
        namespace,
        namespace === null ? "all documents" : `namespace ${namespace}`,
      );
    const then = versionOf(session, version);
    const request = changeRequest(session, context.env.remote.ip, {
      dryRun: body.flag("dryRun"),
      force: body.flag("force"),
      expectedVersion: body.optionalInteger("expectedVersion"),
    });
    const { documents } = session.sources;
    const result =
      namespaces === null
        ? await documents.rollback(version, request)
        : // What was there then, and nothing else: the way back of a part is a change of that part.
          await documents.apply(textsOf(then, namespaces), { ...request, prune: namespaces });
    return context.json(tellChange(session, result));
  });
}

function textsOf({ documents }: DocumentSet, namespaces: readonly string[]) {
  return documents
    .filter((one) => namespaces.includes(ownerOf(one)))
    .map(({ source, text }) => ({ source, text }));
}

function readNamespace(value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new Problem(400, '"namespaces" is a list of names');
}

/** A tenant's history is that of its documents: versions that touched none of them are not in it. */
function history(session: Session, limit: number, before: number | null): unknown {
  const { documents } = session.sources;
  const versions: unknown[] = [];
  let beforeVersion = before ?? Number.MAX_SAFE_INTEGER;
  for (let scanned = 0; scanned < controlAdminLimits.maxScanned; ) {
    const page = documents.history(controlAdminLimits.defaultPage, beforeVersion);
    for (const made of page) {
      beforeVersion = made.version;
      scanned++;
      const changes = documents.changesOf(made.version);
      const seen = changes.filter((one) => canSee(session, one));
      if (seen.length === 0 && !session.mayInMesh("documents.read")) continue;
      const { version, atMs, actor, action } = made;
      versions.push({
        version,
        atMs,
        actor,
        action,
        // Somebody's words about all of it.
        detail: seen.length === changes.length ? made.detail : "",
        changes: seen.map(({ key, text }) => ({ key, change: text === null ? "removed" : "put" })),
      });
      if (versions.length === limit) return { versions, next: beforeVersion };
    }
    if (page.length === 0) return { versions, next: null };
  }
  return { versions, next: beforeVersion };
}

function versionOf(session: Session, version: number): DocumentSet {
  const set = session.sources.documents.at(version);
  if (set === null) throw notFound(`version ${version} any more, or yet`);
  return set;
}

function visibleTexts(session: Session, set: DocumentSet): ReadonlyMap<string, StoredDocument> {
  return new Map(set.documents.filter((one) => canSee(session, one)).map((one) => [one.key, one]));
}
