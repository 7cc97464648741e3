/** Administrators are applied like documents and kept apart from them: no rollback of the mesh brings one back. */
import { type Administrator, administratorKind, type ParsedAdministrators } from "./administrator.ts";
import { firstAdministratorName } from "./administrators.ts";
import { Problem } from "./problem.ts";
import { type ControlContext, yaml } from "./route.ts";
import { notFound, type Session } from "./session.ts";

export function listAdministrators(context: ControlContext, session: Session): Response {
  session.demand("administrators.read", null, "administrators");
  const { given, applied } = session.administrators;
  const all = [...given, ...applied];
  if (context.req.query("output") === "yaml") return yaml(session.sources.clock, all);
  return context.json({
    documents: all.map((one) => ({
      ...describe(one),
      source: given.includes(one) ? "given" : "applied",
      text: one.text,
    })),
  });
}

export function applyAdministrators(session: Session, parsed: ParsedAdministrators, dryRun: boolean): object {
  session.demand("administrators.write", null, "administrators");
  const errors = [...parsed.errors, ...session.administrators.clashes(parsed.administrators)];
  if (errors.length > 0)
    throw new Problem(422, "the administrators are not valid; nothing was changed", { errors });
  return change(session, parsed.administrators, [], dryRun);
}

export function removeAdministrators(session: Session, names: readonly string[], dryRun: boolean): object {
  session.demand("administrators.write", null, `${administratorKind} ${names.join(", ")}`);
  if (names.length === 1 && names[0] === firstAdministratorName) return retireFirst(session, dryRun);
  for (const name of names) {
    if (session.administrators.find(name) !== null) continue;
    if (session.administrators.given.some((one) => one.name === name))
      throw new Problem(
        409,
        `${administratorKind} ${name} comes from a file of the control plane (--administrators); change it there`,
      );
    throw notFound(`${administratorKind} ${name}`);
  }
  return change(session, [], names, dryRun);
}

/** Its role goes at once, its certificate is renewed no more, and its file is removed. */
function retireFirst(session: Session, dryRun: boolean): object {
  const { administrators, sources } = session;
  const key = `${administratorKind} ${firstAdministratorName}`;
  const first = administrators.given.find(({ name }) => name === firstAdministratorName);
  if (first === undefined) throw notFound(key);
  const action = "administrators.delete";
  const reason = administrators.refuseRetiring(session.subject);
  if (reason !== null) throw session.refuse(409, action, key, null, reason);
  if (!dryRun)
    sources.transaction(() => {
      sources.audit.append(session.entry(action, key, null, { before: first.text }));
      administrators.retireFirst();
    });
  const names = { key, kind: administratorKind, namespace: "", name: firstAdministratorName };
  const changes = [{ ...names, before: first.text, after: null, change: "removed" }];
  return { version: null, dryRun, applied: !dryRun, changes, warnings: [], lockOuts: [] };
}

function change(
  session: Session,
  put: readonly Administrator[],
  remove: readonly string[],
  dryRun: boolean,
): object {
  const { administrators, sources } = session;
  const names = [...remove, ...put.map(({ name }) => name)];
  const changes = names
    .map((name) => ({
      key: `${administratorKind} ${name}`,
      kind: administratorKind,
      namespace: "",
      name,
      before: administrators.find(name)?.text ?? null,
      after: put.find((one) => one.name === name)?.text ?? null,
    }))
    .filter(({ before, after }) => before?.trim() !== after?.trim())
    .map((one) => ({
      ...one,
      change: one.before === null ? "added" : one.after === null ? "removed" : "changed",
    }));
  const next = administrators.changed(put, remove);
  const reason = administrators.refuse(next, session.subject);
  const action = remove.length > 0 ? "administrators.delete" : "administrators.apply";
  if (reason !== null) throw session.refuse(409, action, names.join(", "), null, reason);
  if (!dryRun && changes.length > 0)
    sources.transaction(() => {
      administrators.write(next);
      for (const { key, before, after } of changes)
        sources.audit.append(session.entry(action, key, null, { before, after }));
    });
  return {
    version: null,
    dryRun,
    applied: !dryRun && changes.length > 0,
    changes,
    warnings: [],
    lockOuts: [],
  };
}

function describe({ name, role, namespaces, subjects }: Administrator): object {
  return {
    key: `${administratorKind} ${name}`,
    kind: administratorKind,
    namespace: "",
    name,
    role,
    namespaces,
    subjects,
  };
}
