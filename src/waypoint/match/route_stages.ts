/**
 * The pipeline's stages that follow from routes: which rule and destination a request has, what it is answered at once, how its head is
 * changed, and the faults that are put in its way.
 */
import { assert } from "../../base/assert.ts";
import type { Clock, Random } from "../../host/host.ts";
import { formatLocation } from "../../mesh/location.ts";
import { serviceKey } from "../../mesh/service.ts";
import type { Destination, HttpRule, RoutePlan, WeightedDestination } from "../../mesh/traffic/route_plan.ts";
import { routeKey, type TrafficPlan } from "../../mesh/traffic/traffic_plan.ts";
import type { Downstream, Exchange, LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { Stages, Verdict } from "../stages.ts";
import { chooseDestination, decideFault } from "./chance.ts";
import { CorsRules } from "./cors.ts";
import { redirectLocation } from "./redirect.ts";
import { changedFields, type PathRewriter, pathRewriter } from "./rewrite.ts";
import { RouteIndex } from "./route_index.ts";

export class RouteStages implements Pick<Stages, "route" | "rewrite" | "fault"> {
  readonly #clock: Clock;
  readonly #random: () => number;
  #plan: TrafficPlan;
  /** By the rules that it is compiled of: services that share them share it, and a change of one service costs the others nothing. */
  readonly #indexes = new WeakMap<readonly HttpRule[], RouteIndex>();
  /** Of connections, so that their requests look nothing up. */
  #planned = new WeakMap<Downstream, RoutePlan | null>();
  readonly #compiled = new WeakMap<HttpRule, CompiledRule>();
  /** Answered here: their answer says of origins what it should. */
  readonly #preflights = new WeakSet<Exchange>();

  constructor(plan: TrafficPlan, clock: Clock, random: Random) {
    this.#plan = plan;
    this.#clock = clock;
    this.#random = () => random.float();
  }

  /** Requests that are under way keep the rule they have. */
  update(plan: TrafficPlan): void {
    this.#plan = plan;
    this.#planned = new WeakMap();
  }

  readonly route = (exchange: Exchange): Verdict => {
    const plan = this.#planOf(exchange.downstream);
    if (plan === null || plan.http.length === 0) return null;
    const found = this.#index(plan).find(exchange.request);
    if (found === null)
      return localReply(404, "NR", "", `no route of ${plan.service}, port ${plan.port}, takes this request`);
    exchange.rule = found.rule;
    exchange.match = found.match;
    return this.#preflight(exchange, found.rule) ?? this.#act(exchange, found.rule);
  };

  #planOf(downstream: Downstream): RoutePlan | null {
    const known = this.#planned.get(downstream);
    if (known !== undefined) return known;
    const { service, destination } = downstream;
    // A workload that is called by its own address has no routes.
    const plan =
      service === null
        ? null
        : (this.#plan.routes.get(routeKey(serviceKey(service), destination.port)) ?? null);
    this.#planned.set(downstream, plan);
    return plan;
  }

  readonly rewrite = (exchange: Exchange): Verdict => {
    const { rule, request } = exchange;
    if (rule === null) return null;
    request.fields = changedFields(request.fields, rule.headers.request, exchange);
    const own = weighted(exchange.destination);
    if (own !== null) request.fields = changedFields(request.fields, own.headers.request, exchange);
    const rewriter = this.#compile(rule).rewriter;
    if (rewriter !== null) request.path = rewriter(request.path, exchange.match);
    const authority = rule.rewrite?.authority ?? own?.authority ?? null;
    if (authority !== null) request.authority = authority;
    return null;
  };

  readonly fault = (exchange: Exchange): Verdict | Promise<Verdict> => {
    const fault = exchange.rule?.fault ?? null;
    if (exchange.rule === null || fault === null) return null;
    const { delayMs, abort } = decideFault(fault, this.#random);
    const where = formatLocation(exchange.rule.location);
    const reply: LocalReply | null =
      abort === null
        ? null
        : localReply(
            abort.httpStatus ?? 200,
            "FI",
            "fault filter abort",
            `the fault of ${exchange.rule.name} (${where}) ended it`,
            abort.grpcStatus,
          );
    return delayMs === 0 ? reply : this.#wait(exchange, delayMs).then(() => reply);
  };

  /** Changes the head of the answer; our own answers' too. */
  respond(exchange: Exchange): void {
    const { rule, response } = exchange;
    if (rule === null || response === null) return;
    response.fields = changedFields(response.fields, rule.headers.response, exchange);
    const own = weighted(exchange.destination);
    if (own !== null) response.fields = changedFields(response.fields, own.headers.response, exchange);
    const { cors } = this.#compile(rule);
    if (cors !== null && !this.#preflights.has(exchange))
      response.fields = cors.answered(exchange.request, response.fields);
  }

  #index(plan: RoutePlan): RouteIndex {
    const known = this.#indexes.get(plan.http);
    if (known !== undefined) return known;
    const index = new RouteIndex(plan.http);
    this.#indexes.set(plan.http, index);
    return index;
  }

  #compile(rule: HttpRule): CompiledRule {
    const known = this.#compiled.get(rule);
    if (known !== undefined) return known;
    const path = rule.rewrite?.path ?? null;
    const compiled = {
      cors: rule.cors === null ? null : new CorsRules(rule.cors),
      rewriter: path === null ? null : pathRewriter(path),
    };
    this.#compiled.set(rule, compiled);
    return compiled;
  }

  #preflight(exchange: Exchange, rule: HttpRule): LocalReply | null {
    const answer = this.#compile(rule).cors?.preflight(exchange.request) ?? null;
    if (answer === null || answer.kind === "forward") return null;
    const detail = `the preflight was answered by ${rule.name} (${formatLocation(rule.location)})`;
    this.#preflights.add(exchange);
    return { ...localReply(200, "-", "", detail), fields: answer.fields };
  }

  #act(exchange: Exchange, rule: HttpRule): LocalReply | null {
    const { action } = rule;
    const where = `${rule.name} (${formatLocation(rule.location)})`;
    if (action.kind === "answer") {
      const { status, body, contentType } = action;
      const fields = body.length === 0 ? [] : ["content-type", contentType];
      return { status, fields, body, grpcStatus: null, flag: "-", detail: `answered by ${where}` };
    }
    if (action.kind === "redirect") {
      const { port } = exchange.downstream.destination;
      const location = redirectLocation(action.redirect, exchange.request, exchange.match, port);
      const reply = localReply(action.redirect.status, "-", "", `redirected by ${where}`);
      return { ...reply, fields: ["location", location] };
    }
    const destination = chooseDestination(action.destinations, this.#random);
    if (destination === null)
      return localReply(500, "NC", "", `every destination of ${where} has the weight 0`);
    const { missing } = destination;
    if (missing !== null) return localReply(missing.status, "NC", "", `${where}: ${missing.detail}`);
    exchange.destination = destination;
    return null;
  }

  /** Ends early when the client goes away. */
  #wait(exchange: Exchange, delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      assert(delayMs > 0, "a delay of nothing is no delay");
      const timer = this.#clock.setTimer(delayMs, resolve);
      exchange.onAbort(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

interface CompiledRule {
  readonly cors: CorsRules | null;
  readonly rewriter: PathRewriter | null;
}

/** What a rule chose by weight says more than where to. */
function weighted(destination: Destination | null): WeightedDestination | null {
  return destination !== null && isWeighted(destination) ? destination : null;
}

function isWeighted(destination: Destination): destination is WeightedDestination {
  return "headers" in destination;
}
