/** Mesh documents: shown, applied all or nothing, taken away. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { filterInSteps, inSteps, mapInSteps } from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { administratorKind, administratorsInSteps } from "./administrator.ts";
import { applyAdministrators, listAdministrators, removeAdministrators } from "./administrator_routes.ts";
import { canSee, changeRequest, demandOwn, ownerOf, ownerOfKey, tellChange } from "./document_change.ts";
import { answerJson } from "./json_answer.ts";
import { Problem } from "./problem.ts";
import { JsonFields, readJson } from "./request_body.ts";
import { type ControlApp, yaml } from "./route.ts";
import { notFound, type Session } from "./session.ts";
import type { DocumentInput, StoredDocument } from "./sources.ts";

export function addDocumentRoutes(app: ControlApp): void {
  app.get("/v1/documents", async (context) => {
    const session = context.get("session");
    const { kind, namespace, output } = context.req.query();
    if (kind === administratorKind) return listAdministrators(context, session);
    if (namespace !== undefined) session.see("documents.read", namespace, `namespace ${namespace}`);
    else session.visible("documents.read");
    const { version, documents } = session.sources.documents.current();
    const { clock } = session.sources;
    const slice = new TimeSlice(clock);
    const shown = await slice.run(
      filterInSteps(
        documents,
        (document) =>
          canSee(session, document) &&
          (kind === undefined || document.kind === kind) &&
          (namespace === undefined || document.namespace === namespace),
      ),
    );
    if (output === "yaml") return yaml(clock, shown);
    return answerJson(clock, { version, documents: await slice.run(mapInSteps(shown, describe)) });
  });
  for (const path of ["/v1/documents/:kind/:namespace/:name", "/v1/documents/:kind/:name"] as const)
    app.get(path, (context) => {
      const session = context.get("session");
      const document = visibleDocument(session, keyOf(context.req.param()));
      return context.req.query("output") === "yaml"
        ? yaml(session.sources.clock, [document])
        : context.json(describe(document));
    });
  for (const path of ["/v1/documents/:kind/:namespace/:name", "/v1/documents/:kind/:name"] as const)
    app.delete(path, async (context) => {
      const { dryRun, force } = context.req.query();
      const options = { dryRun: dryRun === "true", force: force === "true", expectedVersion: null };
      const session = context.get("session");
      return answerJson(
        session.sources.clock,
        await remove(session, context.env.remote.ip, [keyOf(context.req.param())], options),
      );
    });
  app.post("/v1/delete", async (context) => {
    const session = context.get("session");
    session.visible("documents.write");
    const body = await readJson(
      context,
      ["keys", "dryRun", "force", "expectedVersion"],
      controlAdminLimits.maxApplyBytes,
    );
    const { clock } = session.sources;
    const keys = await new TimeSlice(clock).run(mapInSteps(body.list("keys"), readKey));
    return answerJson(clock, await remove(session, context.env.remote.ip, keys, readOptions(body)));
  });
  app.post("/v1/apply", async (context) => {
    const session = context.get("session");
    // Before a byte of a large body is read.
    session.visible("documents.write");
    const body = await readJson(
      context,
      ["documents", "prune", "dryRun", "force", "expectedVersion"],
      controlAdminLimits.maxApplyBytes,
    );
    const { clock } = session.sources;
    const slice = new TimeSlice(clock);
    const inputs = await slice.run(mapInSteps(body.list("documents"), readInput));
    const prune = readPrune(session, body);
    const options = readOptions(body);
    const administrators = await slice.run(administratorsInSteps(inputs, session.sources.rootNamespace));
    if (administrators.administrators.length + administrators.errors.length > 0) {
      if (administrators.others > 0 || prune !== null) throw apart();
      return context.json(applyAdministrators(session, administrators, options.dryRun));
    }
    const request = {
      ...changeRequest(session, context.env.remote.ip, options),
      onNamed: (key: string) => demandOwn(session, key),
      ...(prune === null ? {} : { prune }),
    };
    const texts = await slice.run(mapInSteps(inputs, ({ path, text }) => ({ source: path, text })));
    const result = await session.sources.documents.apply(texts, request);
    return answerJson(clock, await slice.run(tellChange(session, result)));
  });
}

async function remove(
  session: Session,
  from: Parameters<typeof changeRequest>[1],
  keys: readonly string[],
  options: Parameters<typeof changeRequest>[2],
): Promise<object> {
  const administrators = keys.filter((key) => key.startsWith(`${administratorKind} `));
  if (administrators.length > 0) {
    if (administrators.length < keys.length) throw apart();
    return removeAdministrators(
      session,
      administrators.map((key) => key.slice(administratorKind.length + 1)),
      options.dryRun,
    );
  }
  const slice = new TimeSlice(session.sources.clock);
  await slice.run(
    inSteps(keys, (key) => session.demand("documents.write", ownerOf(visibleDocument(session, key)), key)),
  );
  const request = changeRequest(session, from, options);
  return await slice.run(tellChange(session, await session.sources.documents.delete(keys, request)));
}

function apart(): Problem {
  return new Problem(
    400,
    `${administratorKind} documents cannot be changed together with documents of the mesh`,
  );
}

function visibleDocument(session: Session, key: string): StoredDocument {
  const document = session.sources.documents.get(key);
  if (document !== null && canSee(session, document)) return document;
  // Whether it is there makes no difference to the answer, nor to what is recorded.
  session.see("documents.read", ownerOfKey(key), key);
  throw notFound(key);
}

function keyOf({ kind, namespace, name }: { kind?: string; namespace?: string; name?: string }): string {
  return readKey(namespace === undefined ? `${kind} ${name}` : `${kind} ${namespace}/${name}`);
}

function describe({ key, kind, namespace, name, source, line, text }: StoredDocument): unknown {
  return { key, kind, namespace, name, source, line, text };
}

function readInput(value: unknown): DocumentInput {
  const fields = new JsonFields(value, ["path", "text"], "a document");
  const text = fields.optionalText("text");
  if (text === null) throw new Problem(400, 'a document needs "text"');
  const path = fields.optionalText("path") ?? "request";
  if (path.length > meshLimits.maxSourceChars)
    throw new Problem(400, `a path has more than ${meshLimits.maxSourceChars} characters`);
  return { path, text };
}

function readOptions(body: JsonFields): Parameters<typeof changeRequest>[2] {
  return {
    dryRun: body.flag("dryRun"),
    force: body.flag("force"),
    expectedVersion: body.optionalInteger("expectedVersion"),
  };
}

/** Namespaces whose other documents go; `true` is all of them. */
function readPrune(session: Session, body: JsonFields): readonly string[] | "all" | null {
  const prune = body.value("prune");
  if (prune === null || prune === false) return null;
  if (prune === true) {
    session.demand("documents.write", null, "all documents");
    return "all";
  }
  if (!Array.isArray(prune) || !prune.every((one) => typeof one === "string"))
    throw new Problem(400, '"prune" is true, or a list of namespaces');
  for (const namespace of prune) session.demand("documents.write", namespace, `namespace ${namespace}`);
  return prune;
}

function readKey(value: unknown): string {
  if (typeof value === "string" && /^[A-Za-z]{1,64} [a-z0-9./-]{1,320}$/.test(value)) return value;
  throw new Problem(400, 'a document is called as in "AuthorizationPolicy shop/only-cart"');
}
