/**
 * The waypoint's pipeline on one screen: telemetry, who calls, whether they may, users' middleware, and the way on. Middleware of users is
 * a Hono application with what is behind it as its innermost handler: `c.env` is the Exchange, and what `c.req.raw` and `c.res` hold is made
 * when somebody looks at it (`lazy_request.ts`, `lazy_response.ts`). A request without user code takes the same stages in the same order, and
 * pays for no Context and for no promise but that of its upstream.
 */
import { type Context, Hono } from "hono";
import { faultOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Exchange, LocalReply } from "./exchange.ts";
import { LazyRequest } from "./lazy_request.ts";
import { LazyResponse } from "./lazy_response.ts";
import { localReply, replyBody, replyHead } from "./local_reply.ts";
import type { OnDone, PermittedForward, Stage, Stages, UserStage, Verdict } from "./stages.ts";

type Env = { Bindings: Exchange };
type MaybeLater = void | Promise<void>;

/**
 * Answers one exchange: `response` and `responseBody` are set when `onAnswered` is called. It is called once, whatever happens, and never
 * from within.
 */
export type Answer = (exchange: Exchange, onAnswered: () => void) => void;

export function waypointApp(stages: Stages, forward: PermittedForward, logger: Logger): Answer {
  const decide = inTurn([begun(stages), stages.authenticate, stages.authorize]);
  const carry = inTurn([
    ...[stages.route, stages.limit, stages.rewrite, stages.fault],
    attempt(stages, forward),
  ]);
  const bug = (thrown: unknown, what: string): LocalReply => {
    const { message, cause } = faultOf(thrown);
    const error = cause instanceof Error ? (cause.stack ?? message) : message;
    logger.log("error", "bug", `please report this bug of fairlead: ${what}`, { error });
    return localReply(500, "-", "internal error", message, 13);
  };

  /** Of requests that are under way through user code. */
  const chains = new WeakMap<Exchange, readonly UserStage[]>();
  const app = new Hono<Env>({ getPath: () => "/" });
  app.all("*", (c) => {
    const behind = (onDone: OnDone) => {
      const answer = () => {
        try {
          c.res = new LazyResponse(c.env);
        } catch (thrown) {
          return onDone({ thrown });
        }
        onDone(null);
      };
      const carriedLater = whenKnown(c.env, carry, carried);
      if (carriedLater === undefined) answer();
      else void carriedLater.then(answer);
    };
    return new Promise<Response>((resolve, reject) => {
      run(chains.get(c.env) ?? [], 0, c, behind, (error) => {
        if (error === null) resolve(c.res);
        else reject(error.thrown);
      });
    });
  });
  app.onError((error, c) => answered(c, bug(error, "a request could not be answered")));

  const throughUsers = async (exchange: Exchange): Promise<void> => {
    try {
      LazyResponse.take(await app.fetch(new LazyRequest(exchange), exchange), exchange);
    } catch (thrown) {
      // Hono's own: the answer is there, unless it was user code's and no answer at all.
      const reply = bug(thrown, "an answer could not be taken");
      if (exchange.response === null) settle(exchange, reply);
    }
  };
  const carried = (exchange: Exchange, verdict: Verdict): void => {
    if (verdict !== null) settle(exchange, verdict);
    respond(stages, exchange);
  };
  const decided = (exchange: Exchange, verdict: Verdict): MaybeLater => {
    if (verdict !== null) return settle(exchange, verdict);
    const chain = stages.middleware(exchange);
    if (chain.length > 0) {
      chains.set(exchange, chain);
      return throughUsers(exchange);
    }
    return whenKnown(exchange, carry, carried);
  };
  const failed = (exchange: Exchange, thrown: unknown): void => {
    try {
      carried(exchange, bug(thrown, "a request could not be answered"));
    } catch (again) {
      settle(exchange, bug(again, "an answer could not be changed"));
    }
  };
  type Then = (exchange: Exchange, verdict: Verdict) => MaybeLater;
  const carefully = (exchange: Exchange, then: Then, verdict: Verdict): MaybeLater => {
    try {
      return then(exchange, verdict);
    } catch (thrown) {
      return failed(exchange, thrown);
    }
  };
  const whenKnown = (exchange: Exchange, stage: Stage, then: Then): MaybeLater => {
    try {
      const verdict = stage(exchange);
      if (!(verdict instanceof Promise)) return then(exchange, verdict);
      return verdict.then(
        (later) => carefully(exchange, then, later),
        (thrown: unknown) => failed(exchange, thrown),
      );
    } catch (thrown) {
      return failed(exchange, thrown);
    }
  };
  return (exchange, onAnswered) => {
    void (whenKnown(exchange, decide, decided) ?? atOnce).then(onAnswered);
  };
}

const atOnce = Promise.resolve();

/** Telemetry sees each request before anybody else. */
function begun(stages: Stages): Stage {
  return (exchange) => {
    stages.begin(exchange);
    return null;
  };
}

/** One after the other, until one answers; without waiting where none has to. */
function inTurn(stages: readonly Stage[], from = 0): Stage {
  return (exchange) => {
    for (let index = from; index < stages.length; index++) {
      const verdict = stages[index]?.(exchange) ?? null;
      if (verdict instanceof Promise)
        return index === stages.length - 1
          ? verdict
          : verdict.then((later) => later ?? inTurn(stages, index + 1)(exchange));
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

/** Our answer takes the place of whatever there was. */
function settle(exchange: Exchange, reply: LocalReply): void {
  // What had been on its way as an answer is not any more.
  exchange.responseBody?.cancel(null);
  exchange.reply = reply;
  exchange.response = replyHead(exchange, reply);
  exchange.responseBody = replyBody(exchange, reply);
}

/** For middleware of users that failed, too. */
export function answered(c: Context<Env>, reply: LocalReply): Response {
  settle(c.env, reply);
  return new LazyResponse(c.env);
}

function respond(stages: Stages, exchange: Exchange): void {
  stages.respond(exchange);
  const { added, response } = exchange;
  if (added !== null && response !== null) response.fields.push(...added);
}

/** Middleware of users, in its order, as if it had been added to the application for this service alone. @param last what is behind all of them. */
function run(
  chain: readonly UserStage[],
  index: number,
  c: Context<Env>,
  last: (onDone: OnDone) => void,
  onDone: OnDone,
): void {
  const stage = chain[index];
  if (stage === undefined) last(onDone);
  else stage(c, (onNextDone) => run(chain, index + 1, c, last, onNextDone), onDone);
}
