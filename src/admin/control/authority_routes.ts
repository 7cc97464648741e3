/** The CA: what it is, its roots for everybody, and its rotation step by step. */
import { Problem } from "./problem.ts";
import { readJson } from "./request_body.ts";
import type { ControlApp, ControlContext } from "./route.ts";
import type { Session } from "./session.ts";
import type { RotationEntry, RotationRefusal } from "./sources.ts";

export function addAuthorityRoutes(app: ControlApp): void {
  app.get("/v1/ca", (context) => {
    const session = context.get("session");
    session.demand("authority.read", null, "the CA");
    const { authority } = session.sources;
    return context.json({
      keyPlace: authority.keyPlace,
      authorities: authority.list(),
      // It names nodes of all tenants.
      rotation: session.mayInMesh("authority.rotate") ? authority.rotation() : null,
    });
  });
  app.get("/v1/ca/roots", (context) => {
    const session = context.get("session");
    session.demand("authority.read", null, "the roots");
    return context.body(session.sources.authority.rootsPem(), 200, {
      "content-type": "application/x-pem-file",
    });
  });
  app.get("/v1/ca/rotation", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    return context.json({ rotation: session.sources.authority.rotation() });
  });
  app.post("/v1/ca/rotation", async (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    const body = await readJson(context.req.raw, ["kind"]);
    const kind = body.oneOf("kind", ["root", "intermediate"]);
    return step(
      context,
      session,
      "start",
      kind,
      () => session.sources.authority.startRotation(kind, session.name),
      201,
    );
  });
  app.post("/v1/ca/rotation/finish", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    const kind = session.sources.authority.rotation()?.kind ?? "";
    return step(
      context,
      session,
      "finish",
      kind,
      () => session.sources.authority.finishRotation(session.name),
      200,
    );
  });
  app.delete("/v1/ca/rotation", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    const kind = session.sources.authority.rotation()?.kind ?? "";
    return step(
      context,
      session,
      "abort",
      kind,
      () => session.sources.authority.abortRotation(session.name),
      200,
    );
  });
}

async function step(
  context: ControlContext,
  session: Session,
  word: "start" | "finish" | "abort",
  target: string,
  work: () => Promise<RotationEntry | RotationRefusal | null>,
  status: 200 | 201,
): Promise<Response> {
  const done = await session.recorded(`authority.rotation.${word}`, target, null, work, (result) =>
    result !== null && "refused" in result
      ? { outcome: "refused", detail: result.refused }
      : { after: result === null ? null : result.step },
  );
  if (done !== null && "refused" in done)
    throw new Problem(409, done.refused, { waitingFor: done.waitingFor });
  return context.json({ rotation: done }, status);
}
