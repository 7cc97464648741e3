/** The CA: what it is, its roots for everybody, and its rotation step by step. */
import { Problem } from "./problem.ts";
import { readJson } from "./request_body.ts";
import type { ControlApp, ControlContext } from "./route.ts";
import type { Session } from "./session.ts";
import type { RootKeySource, RotationAnswer, RotationSource } from "./sources.ts";

export function addAuthorityRoutes(app: ControlApp): void {
  app.get("/v1/ca", (context) => {
    const session = context.get("session");
    session.demand("authority.read", null, "the CA");
    const { authority } = session.sources;
    return context.json({
      keyPlace: authority.keyPlace,
      authorities: authority.list(),
      // It names nodes of all tenants.
      rotation: session.mayInMesh("authority.rotate") ? (authority.rotation?.progress() ?? null) : null,
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
    return context.json({ rotation: rotationOf(session).progress() });
  });
  app.post("/v1/ca/rotation", async (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    const body = await readJson(context, ["kind"]);
    const kind = body.oneOf("kind", ["root", "intermediate"]);
    const progress = await session.recorded(
      "authority.rotation.start",
      kind,
      null,
      () => rotationOf(session).start(kind),
      ({ phase, next }) => ({ after: next === null ? phase : `${phase}: ${next}` }),
    );
    return context.json({ rotation: progress }, 201);
  });
  app.post("/v1/ca/rotation/finish", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    const { abandon } = context.req.query();
    if (abandon !== undefined && abandon !== "true" && abandon !== "false")
      throw new Problem(400, '"abandon" is true or false');
    return step(context, session, "finish", () => rotationOf(session).finish(abandon === "true"));
  });
  app.delete("/v1/ca/rotation", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the rotation");
    return step(context, session, "abort", () => rotationOf(session).abort());
  });
  addRootKeyRoutes(app);
}

function addRootKeyRoutes(app: ControlApp): void {
  app.get("/v1/ca/root-key", (context) => {
    const session = context.get("session");
    session.demand("authority.rotate", null, "the root's key");
    return context.json({ rootKey: rootKeyOf(session).status() });
  });
  for (const word of ["export", "import"] as const)
    app.post(`/v1/ca/root-key/${word}`, async (context) => {
      const session = context.get("session");
      session.demand("authority.rotate", null, "the root's key");
      const source = rootKeyOf(session);
      const before = source.status().place;
      const status = await session.recorded(
        `authority.root-key.${word}`,
        source.status().path,
        null,
        () => (word === "export" ? source.export() : source.import()),
        ({ place }) => ({ before, after: place }),
      );
      return context.json({ rootKey: status });
    });
}

function rootKeyOf(session: Session): RootKeySource {
  const { rootKey } = session.sources.authority;
  if (rootKey === null) throw new Problem(409, "the root of this mesh is not the control plane's own");
  return rootKey;
}

function rotationOf(session: Session): RotationSource {
  const { rotation } = session.sources.authority;
  if (rotation === null) throw new Problem(409, "this CA is in files (--ca-cert); replace it there");
  return rotation;
}

async function step(
  context: ControlContext,
  session: Session,
  word: "finish" | "abort",
  work: () => RotationAnswer,
): Promise<Response> {
  const before = rotationOf(session).progress();
  const { done, progress } = await session.recorded(
    `authority.rotation.${word}`,
    before.next ?? before.retiring.join(", "),
    null,
    async () => work(),
    (answer) => ({
      outcome: answer.done ? "ok" : "refused",
      detail: answer.done ? abandoned(before, word) : whyNot(answer, word),
      before: before.phase,
      after: answer.progress.phase,
    }),
  );
  if (!done)
    throw new Problem(409, whyNot({ done, progress }, word), { waitingFor: progress.waiting?.names ?? [] });
  return context.json({ rotation: progress });
}

/** Who was not waited for: they have to join again. */
function abandoned({ waiting }: RotationAnswer["progress"], word: "finish" | "abort"): string {
  if (word !== "finish" || waiting === null || waiting.count === 0) return "";
  const more = waiting.count - waiting.names.length;
  return `without ${waiting.names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function whyNot({ progress }: RotationAnswer, word: "finish" | "abort"): string {
  const { phase, waiting, problem } = progress;
  if (phase === "idle") return "no rotation is under way";
  if (word === "abort")
    return "the new authority already issues; finish this rotation, and start another one if needed";
  if (waiting === null || waiting.what === "finish")
    return problem ?? "the rotation is still going on by itself; look again with `fairlead ca rotate status`";
  const lack =
    waiting.what === "root" ? "still without the new root" : "still with certificates of the old authority";
  return `${lack}: ${waiting.count}`;
}
