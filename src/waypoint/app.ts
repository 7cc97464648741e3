/**
 * The waypoint's pipeline: one Hono application. `c.env` is the Exchange; what `c.req.raw` and `c.res` hold is made when somebody looks
 * at it (`lazy_request.ts`, `lazy_response.ts`), so that a request without user code pays for neither.
 */
import { type Context, Hono, type MiddlewareHandler, type Next } from "hono";
import { faultOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Exchange } from "./exchange.ts";
import { LazyRequest } from "./lazy_request.ts";
import { LazyResponse } from "./lazy_response.ts";
import { localReply, replyBody, replyHead } from "./local_reply.ts";
import type { PermittedForward, Stage, Stages, Verdict } from "./stages.ts";

type Env = { Bindings: Exchange };
type Step = MiddlewareHandler<Env>;

/** Answers one exchange: `response` and `responseBody` are set when it resolves, which it always does. */
export type Answer = (exchange: Exchange) => Promise<void>;

export function waypointApp(stages: Stages, forward: PermittedForward, logger: Logger): Answer {
  const app = new Hono<Env>({ getPath: () => "/" });
  app.use(recorded(stages));
  app.use(gate(inTurn([stages.authenticate, stages.authorize])));
  app.use(users(stages));
  app.use(responding(stages));
  app.use(gate(inTurn([stages.route, stages.limit, stages.rewrite, stages.fault])));
  app.use(gate(attempt(stages, forward)));
  app.all("*", (c) => new LazyResponse(c.env));
  app.onError((error, c) => {
    const { message, cause } = faultOf(error);
    const stack = cause instanceof Error ? (cause.stack ?? message) : message;
    logger.log("error", "bug", "please report this bug of fairlead: a request could not be answered", {
      error: stack,
    });
    return answered(c, localReply(500, "-", "internal error", message, 13));
  });
  return async (exchange) => {
    try {
      await app.fetch(new LazyRequest(exchange), exchange);
    } catch (thrown) {
      // Hono's own: the answer is there, unless it was user code's and no answer at all.
      const { message } = faultOf(thrown);
      logger.log("error", "bug", "please report this bug of fairlead: an answer could not be taken", {
        error: message,
      });
      if (exchange.response !== null) return;
      const reply = localReply(500, "-", "internal error", message, 13);
      exchange.reply = reply;
      exchange.response = replyHead(exchange, reply);
      exchange.responseBody = replyBody(exchange, reply);
    }
  };
}

/** Telemetry, and what becomes of an answer that user code has put in the place of the upstream's. */
function recorded(stages: Stages): Step {
  return async (c, next) => {
    stages.begin(c.env);
    await next();
    LazyResponse.take(c.res, c.env);
  };
}

/** The end of the way for a request that the stage answers. */
function gate(stage: Stage): Step {
  return (c, next) => {
    const verdict = stage(c.env);
    if (verdict instanceof Promise) return verdict.then((later) => pass(c, next, later));
    return pass(c, next, verdict);
  };
}

function pass(c: Context<Env>, next: Next, verdict: Verdict): Promise<Response | void> {
  return verdict === null ? next() : Promise.resolve(answered(c, verdict));
}

/** One after the other, until one answers; without waiting where none has to. */
function inTurn(stages: readonly Stage[], from = 0): Stage {
  return (exchange) => {
    for (let index = from; index < stages.length; index++) {
      const verdict = stages[index]?.(exchange) ?? null;
      if (verdict instanceof Promise)
        return verdict.then((later) => later ?? inTurn(stages, index + 1)(exchange));
      if (verdict !== null) return verdict;
    }
    return null;
  };
}

/** The last stage is reached with a permit alone, and what it sends goes by it. */
function attempt(stages: Stages, forward: PermittedForward): Stage {
  return (exchange) => {
    const { permit } = exchange;
    if (permit === null) return localReply(500, "-", "internal error", "the request was not authorized", 13);
    return stages.attempt(exchange, (sent, endpoint) => forward(sent, endpoint, permit));
  };
}

/** For middleware of users that failed, too: our answer takes the place of whatever there was. */
export function answered(c: Context<Env>, reply: NonNullable<Verdict>): Response {
  const exchange = c.env;
  // What had been on its way as an answer is not any more.
  exchange.responseBody?.cancel(null);
  exchange.reply = reply;
  exchange.response = replyHead(exchange, reply);
  exchange.responseBody = replyBody(exchange, reply);
  return new LazyResponse(exchange);
}

function responding(stages: Stages): Step {
  return async (c, next) => {
    await next();
    stages.respond(c.env);
    const { added, response } = c.env;
    if (added !== null && response !== null) response.fields.push(...added);
  };
}

/** Middleware of users, in its order, as if it had been added to the application for this service alone. */
function users(stages: Stages): Step {
  return (c, next) => {
    const handlers = stages.middleware(c.env);
    return handlers.length === 0 ? next() : run(handlers, 0, c, next);
  };
}

async function run(
  handlers: readonly MiddlewareHandler[],
  index: number,
  c: Context<Env>,
  next: Next,
): Promise<void> {
  const handler = handlers[index];
  if (handler === undefined) return await next();
  let called = false;
  const response = await handler(c, () => {
    if (called) throw new Error("next() was called more than once");
    called = true;
    return run(handlers, index + 1, c, next);
  });
  if (response instanceof Response && (!called || !c.finalized)) c.res = response;
}
