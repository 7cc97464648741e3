/** Versions of the documents: who changed what, how two differ, and the way back. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import {
  compareText,
  filterInSteps,
  flatMapInSteps,
  indexInSteps,
  mergeInSteps,
} from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { canSee, changeRequest, ownerOf, tellChange } from "./document_change.ts";
import { answerJson } from "./json_answer.ts";
import { Problem } from "./problem.ts";
import { pageSize, queryInteger, readJson } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import { notFound, type Session } from "./session.ts";
import type { DocumentSet, StoredDocument } from "./sources.ts";

export function addVersionRoutes(app: ControlApp): void {
  app.get("/v1/history", async (context) => {
    const session = context.get("session");
    session.visible("documents.read");
    const limit = pageSize(context.req.query("limit"));
    const before = queryInteger(context.req.query("before"), "before");
    return answerJson(session.sources.clock, await history(session, limit, before));
  });
  app.get("/v1/diff", async (context) => {
    const session = context.get("session");
    session.visible("documents.read");
    const { documents } = session.sources;
    const to = queryInteger(context.req.query("to"), "to") ?? documents.current().version;
    const from = queryInteger(context.req.query("from"), "from") ?? Math.max(0, to - 1);
    const { clock } = session.sources;
    const changes = await new TimeSlice(clock).run(
      changesBetween(await visibleDocuments(session, from), await visibleDocuments(session, to)),
    );
    return answerJson(clock, { from, to, changes });
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
    const then = await versionOf(session, version);
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
    const { clock } = session.sources;
    return answerJson(clock, await new TimeSlice(clock).run(tellChange(session, result)));
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
async function history(session: Session, limit: number, before: number | null): Promise<object> {
  const { documents, clock } = session.sources;
  const slice = new TimeSlice(clock);
  const versions: unknown[] = [];
  let beforeVersion = before ?? Number.MAX_SAFE_INTEGER;
  let named = 0;
  for (let scanned = 0; scanned < controlAdminLimits.maxScanned && named < controlAdminLimits.maxNamed; ) {
    const page = documents.history(controlAdminLimits.defaultPage, beforeVersion);
    for (const made of page) {
      beforeVersion = made.version;
      scanned++;
      const { seen, isAll, looked } = await slice.run(namesIn(session, made.version));
      named += looked;
      if (seen.length > 0 || session.mayInMesh("documents.read")) {
        const { version, atMs, actor, action } = made;
        // Somebody's words about all of it.
        versions.push({ version, atMs, actor, action, detail: isAll ? made.detail : "", changes: seen });
      }
      if (versions.length === limit || named >= controlAdminLimits.maxNamed)
        return { versions, next: beforeVersion };
      await slice.giveWay();
    }
    if (page.length === 0) return { versions, next: null };
  }
  return { versions, next: beforeVersion };
}

/** What of a version's changes they may see. */
function* namesIn(
  session: Session,
  version: number,
): Generator<void, { readonly seen: readonly object[]; readonly isAll: boolean; readonly looked: number }> {
  const { documents } = session.sources;
  const seen: object[] = [];
  let looked = 0;
  for (let after = ""; ; ) {
    const page = documents.namesChanged(version, after, controlAdminLimits.maxPage);
    looked += page.length;
    for (const one of page)
      if (canSee(session, one)) seen.push({ key: one.key, change: one.isRemoved ? "removed" : "put" });
    const last = page.at(-1);
    if (last === undefined || page.length < controlAdminLimits.maxPage)
      return { seen, isAll: seen.length === looked, looked };
    after = last.key;
    yield;
  }
}

async function versionOf(session: Session, version: number): Promise<DocumentSet> {
  const set = await session.sources.documents.at(version);
  if (set === null) throw notFound(`version ${version} any more, or yet`);
  return set;
}

/** Sorted by key. */
async function visibleDocuments(session: Session, version: number): Promise<readonly StoredDocument[]> {
  const { documents } = await versionOf(session, version);
  return await new TimeSlice(session.sources.clock).run(
    filterInSteps(documents, (one) => canSee(session, one)),
  );
}

/** What is not the same in both, which are sorted by key. */
function* changesBetween(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): Generator<void, readonly object[]> {
  const old = yield* indexInSteps(before, ({ key }) => key);
  const now = yield* indexInSteps(after, ({ key }) => key);
  const all = yield* mergeInSteps(before, yield* filterInSteps(after, ({ key }) => !old.has(key)), (a, b) =>
    compareText(a.key, b.key),
  );
  return yield* flatMapInSteps(all, ({ key }) => {
    const change = { key, before: old.get(key)?.text ?? null, after: now.get(key)?.text ?? null };
    return change.before === change.after ? [] : [change];
  });
}
