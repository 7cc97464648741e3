/** Administration of the control plane: every route is behind the same door, and every answer that is no success has one form. */
import { type Context, Hono, type Next } from "hono";
import { Administrators } from "./administrators.ts";
import { addAuthorityRoutes } from "./authority_routes.ts";
import { BodyLoad } from "./body_load.ts";
import { ChangeRates } from "./change_rates.ts";
import { addDocumentRoutes } from "./document_routes.ts";
import { addNodeRoutes } from "./node_routes.ts";
import { addOperationRoutes } from "./operation_routes.ts";
import { Problem, problemOf } from "./problem.ts";
import { addRevocationRoutes } from "./revocation_routes.ts";
import type { ControlApp, ControlEnvironment } from "./route.ts";
import { Session } from "./session.ts";
import type { ControlSources } from "./sources.ts";
import { addTokenRoutes } from "./token_routes.ts";
import { addVersionRoutes } from "./version_routes.ts";

/** @returns what answers a request: `app.fetch(request, peer)`, with an `AdminPeer` as its bindings. */
export function createControlApp(sources: ControlSources): ControlApp {
  const app: ControlApp = new Hono<ControlEnvironment>();
  const administrators = new Administrators(sources.administrators, sources.rootNamespace);
  const load = new BodyLoad();
  const rates = new ChangeRates();
  app.onError((error) => {
    const problem = problemOf(error);
    if (problem !== null) return problem.response();
    sources.logger.log("error", "admin", "a request could not be answered", {
      error: error.stack ?? error.message,
    });
    return new Problem(500, "the control plane's log has the reason").response();
  });
  app.notFound(() => new Problem(404, "there is no such path").response());
  app.use(refuseBrowsers);
  app.use(async (context, next) => {
    const session = await authenticate(sources, administrators, load, context);
    context.set("session", session);
    try {
      rates.charge(session, context.req.method, context.req.path);
      await next();
    } finally {
      session.close();
    }
    context.header("cache-control", "no-store");
  });
  addDocumentRoutes(app);
  addVersionRoutes(app);
  addTokenRoutes(app);
  addNodeRoutes(app);
  addRevocationRoutes(app);
  addAuthorityRoutes(app);
  addOperationRoutes(app);
  return app;
}

/** A browser shows its client certificate to whoever makes it send a request; no page is a client of ours. */
async function refuseBrowsers(context: Context, next: Next): Promise<Response | undefined> {
  const site = context.req.header("sec-fetch-site");
  if (context.req.header("origin") !== undefined || (site !== undefined && site !== "none"))
    return new Problem(403, "administration is not for web pages").response();
  await next();
  return undefined;
}

async function authenticate(
  sources: ControlSources,
  administrators: Administrators,
  load: BodyLoad,
  context: Context<ControlEnvironment>,
): Promise<Session> {
  const { chain, remote } = context.env;
  const authorization = context.req.header("authorization") ?? null;
  const subject = await sources.authenticate({ chain, remote, authorization });
  if (subject === "too_many") throw new Problem(429, "too many requests from this address");
  if (subject === "unauthenticated")
    throw new Problem(401, "the request has no client certificate and no token of a trusted issuer");
  context.env.proven?.();
  const session = new Session(sources, administrators, load, subject);
  if (session.grants.length > 0) return session;
  // A member of the mesh without a role learns no more than a stranger, but who they are.
  throw session.refuseStranger();
}
