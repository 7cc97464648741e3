/** The audit log, how the control plane is, who is asking, and its back-up. */
import { auditLimits, controlAdminLimits } from "../../base/limits/control.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { AuditQuery, StoredAuditEntry } from "../../control/records/audit.ts";
import { administratorKind } from "./administrator.ts";
import { answerJson } from "./json_answer.ts";
import { Problem } from "./problem.ts";
import { JsonFields, pageSize, queryInteger, readJson } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import type { Session } from "./session.ts";

export function addOperationRoutes(app: ControlApp): void {
  app.get("/v1/audit", async (context) => {
    const session = context.get("session");
    const visible = session.visible("audit.read");
    const { limit, after, before, namespace, actor, action } = context.req.query();
    if (namespace !== undefined) session.see("audit.read", namespace, `namespace ${namespace}`);
    const afterId = queryInteger(after, "after");
    const beforeId = queryInteger(before, "before");
    if (afterId !== null && beforeId !== null)
      throw new Problem(400, '"after" and "before" exclude each other');
    const query: AuditQuery = {
      limit: pageSize(limit),
      ...(afterId === null ? {} : { afterId }),
      ...(beforeId === null ? {} : { beforeId }),
      ...(actor === undefined ? {} : { actor }),
      ...(action === undefined ? {} : { action }),
    };
    const wanted = namespace === undefined ? visible : new Set([namespace]);
    return answerJson(session.sources.clock, { entries: await readAudit(session, query, wanted) });
  });
  app.get("/v1/audit/strangers", (context) => {
    const session = context.get("session");
    session.demand("audit.read", null, "refusals of strangers");
    const { limit, before } = context.req.query();
    const beforeId = queryInteger(before, "before") ?? undefined;
    return context.json({ entries: session.sources.audit.strangers(pageSize(limit), beforeId) });
  });
  app.get("/v1/audit/records", (context) => {
    const session = context.get("session");
    session.demand("audit.read", null, "the audit log");
    return context.json(
      session.sources.audit.records(queryInteger(context.req.query("after"), "after") ?? 0),
    );
  });
  app.post("/v1/audit/verify", async (context) => {
    const session = context.get("session");
    session.demand("audit.read", null, "the audit log");
    const body = await readJson(context, ["heads", "archive"], controlAdminLimits.maxApplyBytes);
    const heads = body.list("heads").map((one) => {
      const fields = new JsonFields(one, ["id", "hash"], "a head");
      return { id: fields.integer("id"), hash: fields.text("hash") };
    });
    if (heads.length > auditLimits.maxKnownHeads)
      throw new Problem(400, `more than ${auditLimits.maxKnownHeads} heads`);
    return context.json(await session.sources.audit.check(heads, body.flag("archive")));
  });
  app.get("/v1/explain", async (context) => {
    const session = context.get("session");
    // A part of the documents would give a wrong answer, and the whole answer tells of all of them.
    session.demand("documents.read", null, "explanations");
    const { from, to, port } = context.req.query();
    if (from === undefined || to === undefined) throw new Problem(400, "give from and to");
    const question = { from, to, port: queryInteger(port, "port") };
    const answered = await session.sources.explain(question);
    if (answered.kind === "unclear") throw new Problem(422, answered.message);
    return context.json(answered.answer);
  });
  app.post("/v1/prune", async (context) => {
    const session = context.get("session");
    session.demand("backup", null, "the state");
    const body = await readJson(context, ["auditRows", "versions", "force"]);
    const force = body.flag("force");
    const bounds = { auditRows: body.integer("auditRows"), versions: body.integer("versions"), force };
    const { sources } = session;
    const { clock, audit } = sources;
    const detail = `down to ${bounds.auditRows} rows of the audit log and ${bounds.versions} versions`;
    audit.append({ ...session.entry("state.prune", "state", null), detail });
    const slice = new TimeSlice(clock);
    while (await sources.makeRoom(bounds)) await slice.giveWay();
    // Rows that a receiver does not have stay, and whoever needs the room is told which.
    const waiting = sources.status().auditExports.filter((one) => one.waiting > bounds.auditRows);
    return context.json({
      ...bounds,
      waiting: waiting.map(({ target, waiting: rows }) => ({ target, rows })),
    });
  });
  app.get("/v1/status", (context) => {
    const session = context.get("session");
    session.demand("status.read", null, "the status");
    const { version, startedAtMs, pending, readOnly, auditExports } = session.sources.status();
    const { joined, connected } = session.sources.nodeCounts();
    return context.json({
      version,
      startedAtMs,
      ready: pending.length === 0,
      readOnly,
      documentVersion: session.sources.documents.current().version,
      you: { name: session.name, roles: session.grants },
      ...(session.mayInMesh("nodes.read")
        ? {
            pending,
            auditExports,
            nodes: joined,
            connected,
          }
        : {}),
    });
  });
  app.get("/v1/administrators", (context) =>
    context.redirect(`/v1/documents?kind=${administratorKind}`, 307),
  );
  app.get("/v1/backup", async (context) => {
    const session = context.get("session");
    session.demand("backup", null, "the state");
    const { bytes, stream } = session.sources.backup();
    try {
      session.sources.audit.append({ ...session.entry("backup", "state", null), detail: `${bytes} bytes` });
    } catch (thrown) {
      await stream.cancel();
      throw thrown;
    }
    return new Response(stream, {
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(bytes),
        "cache-control": "no-store",
      },
    });
  });
}

/** One query a namespace, put together in order. */
async function readAudit(
  session: Session,
  query: AuditQuery,
  namespaces: "all" | ReadonlySet<string>,
): Promise<readonly unknown[]> {
  const { clock } = session.sources;
  const slice = new TimeSlice(clock);
  if (namespaces === "all") return await readRows(session, query, slice);
  const ascending = query.afterId !== undefined;
  const rows: StoredAuditEntry[] = [];
  for (const namespace of namespaces) rows.push(...(await readRows(session, { ...query, namespace }, slice)));
  return rows.sort((a, b) => (ascending ? a.id - b.id : b.id - a.id)).slice(0, query.limit);
}

/** A few rows at a time: each may hold two texts of 32 KiB. */
async function readRows(
  session: Session,
  query: AuditQuery,
  slice: TimeSlice,
): Promise<readonly StoredAuditEntry[]> {
  const rows: StoredAuditEntry[] = [];
  let from: Pick<AuditQuery, "afterId" | "beforeId"> = {};
  for (;;) {
    const limit = Math.min(controlAdminLimits.auditRowsPerRead, query.limit - rows.length);
    const page = session.sources.audit.read({ ...query, ...from, limit });
    rows.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < limit || rows.length >= query.limit) return rows;
    from = query.afterId === undefined ? { beforeId: last.id } : { afterId: last.id };
    await slice.giveWay();
  }
}
