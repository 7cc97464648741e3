/** Revocations: made, listed, lifted. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import type { RevocationCursor } from "../../control/records/revocations.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { namespaceOf } from "./node_routes.ts";
import { Problem } from "./problem.ts";
import { pageSize, readJson } from "./request_body.ts";
import type { ControlApp } from "./route.ts";
import { notFound, type Session } from "./session.ts";
import type { RevocationEntry, RevocationTarget } from "./sources.ts";
import { bindingNamespace } from "./token_routes.ts";

const kinds = ["serial", "identity", "node", "operator", "token"] as const;

export function addRevocationRoutes(app: ControlApp): void {
  app.get("/v1/revocations", (context) => {
    const session = context.get("session");
    session.visible("revocations.read");
    const { limit, after } = context.req.query();
    return context.json(
      listRevocations(session, pageSize(limit), after === undefined ? null : readCursor(after)),
    );
  });
  app.post("/v1/revocations", async (context) => {
    const session = context.get("session");
    session.visible("revocations.write");
    const body = await readJson(context, ["kind", "value", "reason"]);
    const target = readTarget(body.oneOf("kind", kinds), body.text("value"));
    const reason = body.optionalText("reason") ?? "";
    if (reason.length > controlAdminLimits.maxReasonLength)
      throw new Problem(400, `"reason" is longer than ${controlAdminLimits.maxReasonLength} characters`);
    const namespace = targetNamespace(session, target);
    const words = `${target.kind} ${target.value}`;
    // Of a serial number or a node it is told only here whose it is: what is not theirs is not there for a tenant.
    if (target.kind !== "identity") session.see("revocations.read", namespace, words);
    session.demand("revocations.write", namespace, words);
    refuseSelf(session, target, words);
    const { serialNumbers, pending } = await session.recorded(
      "revocations.create",
      words,
      namespace,
      () =>
        session.sources.revocations.revoke(
          target,
          reason,
          session.name,
          session.rightTo("revocations.write", namespace),
        ),
      (done) => ({
        detail: done.pending === null ? reason : `${reason} (pending: ${done.pending})`,
        after: words,
      }),
    );
    return context.json({ ...target, reason, serialNumbers, pending }, 201);
  });
  app.delete("/v1/revocations/:kind/:value", async (context) => {
    const session = context.get("session");
    const { kind, value } = context.req.param();
    const known = kinds.find((one) => one === kind);
    if (known === undefined) throw notFound(`revocation of a ${kind}`);
    const target = readTarget(known, value);
    const words = `${known} ${target.value}`;
    const namespace = targetNamespace(session, target);
    session.see("revocations.read", namespace, `revocation of ${words}`);
    session.demand("revocations.write", namespace, words);
    if (known === "serial")
      throw session.refuse(
        409,
        "revocations.delete",
        words,
        namespace,
        "a revoked certificate stays revoked; get a new one",
      );
    const revoked = session.sources.revocations.find(target);
    if (revoked !== null && !mayLift(session, revoked))
      throw session.refuse(
        403,
        "revocations.delete",
        words,
        namespace,
        `${words} was revoked by ${
          revoked.byNamespace === ""
            ? "an administrator of the mesh"
            : `one of namespace ${revoked.byNamespace}`
        }; whoever lifts that needs the same right`,
      );
    const lifted = await session.recorded(
      "revocations.delete",
      words,
      namespace,
      () => session.sources.revocations.lift(target),
      (was) => (was ? { before: words } : { outcome: "failed", detail: "was not revoked" }),
    );
    if (!lifted) throw notFound(`revocation of ${words}`);
    return context.body(null, 204);
  });
}

/** Whose each one is takes a look for each, so only so many are looked at for one page. */
function listRevocations(session: Session, limit: number, cursor: RevocationCursor | null): unknown {
  const { revocations } = session.sources;
  const isAll = session.mayInMesh("revocations.read");
  const shown: unknown[] = [];
  let after = cursor;
  for (let scanned = 0; scanned < controlAdminLimits.maxScanned; ) {
    const page = revocations.page(after, isAll ? limit - shown.length : controlAdminLimits.maxPage);
    for (const { revocation, cursor } of page) {
      scanned++;
      after = cursor;
      if (!isAll && !session.may("revocations.read", targetNamespace(session, revocation))) continue;
      const { kind, value, reason, byWhom, atMs } = revocation;
      shown.push({ kind, value, reason, byWhom, atMs });
      if (shown.length === limit) return { revocations: shown, next: writeCursor(cursor) };
    }
    if (page.length === 0) return { revocations: shown, next: null };
  }
  return { revocations: shown, next: after === null ? null : writeCursor(after) };
}

function writeCursor({ atMs, row }: RevocationCursor): string {
  return `${atMs}-${row}`;
}

function readCursor(text: string): RevocationCursor {
  const match = /^([0-9]{1,15})-([0-9]{1,15})$/.exec(text);
  if (match === null) throw new Problem(400, '"after" is not the "next" of a page');
  return { atMs: Number(match[1]), row: Number(match[2]) };
}

/** What the mesh took away the mesh gives back. */
function mayLift(session: Session, { byNamespace }: RevocationEntry): boolean {
  return session.may("revocations.write", byNamespace === "" ? null : byNamespace);
}

function readTarget(kind: RevocationTarget["kind"], value: string): RevocationTarget {
  if (kind === "identity" && SpiffeId.parse(value) === null)
    throw new Problem(400, "an identity has to be spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME");
  if (kind === "node" && !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(value))
    throw new Problem(400, "a node's name has to be one DNS label");
  if ((kind === "operator" || kind === "token") && !/^[^#]{1,512}#.{1,512}$/s.test(value))
    throw new Problem(
      400,
      `the value for a ${kind} has to be the issuer, # and ${kind === "token" ? "the token's jti" : "its sub"}`,
    );
  if (kind !== "serial") return { kind, value };
  const serial = value.toLowerCase().replaceAll(":", "");
  if (!/^[0-9a-f]{1,64}$/.test(serial)) throw new Problem(400, "a serial number has to be hexadecimal");
  return { kind, value: serial };
}

function targetNamespace(session: Session, { kind, value }: RevocationTarget): string | null {
  switch (kind) {
    case "identity":
      return namespaceOf(value);
    case "serial": {
      const certificate = session.sources.certificates.bySerial(value);
      return certificate === null ? null : namespaceOf(certificate.identity);
    }
    case "operator":
    case "token":
      return null;
    case "node": {
      const binding = session.sources.bindingOf(value);
      return binding === null ? null : bindingNamespace(binding);
    }
  }
}

/** What would end the administration of the mesh by one word. */
function refuseSelf(session: Session, target: RevocationTarget, words: string): void {
  const { controlIdentity, certificates } = session.sources;
  const identity =
    target.kind === "identity"
      ? target.value
      : target.kind === "serial"
        ? (certificates.bySerial(target.value)?.identity ?? null)
        : null;
  const refuse = (detail: string): Problem => session.refuse(409, "revocations.create", words, null, detail);
  if (identity === controlIdentity)
    throw refuse("this is the control plane's own identity; rotate its CA instead");
  const { subject } = session;
  const isSelf =
    subject.kind === "token"
      ? (target.kind === "operator" && target.value === subject.name) ||
        (target.kind === "token" && target.value === `${subject.issuer}#${subject.claims.jti}`)
      : target.kind === "identity" && subject.id.uri === identity;
  if (isSelf) throw refuse("this is your own identity; ask another administrator to revoke it");
}
