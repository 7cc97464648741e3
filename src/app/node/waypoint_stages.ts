/** The stages of a node's waypoint, each by its owner: routes, retries and circuits, copies, affinity, telemetry. */
import { noTraffic, type TrafficPlan } from "../../mesh/traffic/traffic_plan.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { Affinity } from "../../waypoint/match/affinity.ts";
import { chooseMirrors } from "../../waypoint/match/chance.ts";
import { RouteStages } from "../../waypoint/match/route_stages.ts";
import { plainStages } from "../../waypoint/plain_stages.ts";
import type { AuthStages, Stages } from "../../waypoint/stages.ts";
import { RequestTelemetry } from "../../waypoint/telemetry/request_telemetry.ts";
import { Attempts } from "../../waypoint/upstream/attempts.ts";
import { Clusters } from "../../waypoint/upstream/clusters.ts";
import { Mirrors } from "../../waypoint/upstream/mirrors.ts";

export interface WaypointStages {
  readonly stages: Stages;
  /** Requests that are under way keep the rules they have. */
  update(plan: TrafficPlan): void;
}

export function waypointStages(context: NodeContext, auth: AuthStages): WaypointStages {
  const { clock, logger, random, store, telemetry } = context;
  const dice = () => random.float();
  let plan = noTraffic;
  const routes = new RouteStages(plan, clock, random);
  const affinity = new Affinity(clock, random);
  const clusters = new Clusters({
    clock,
    store,
    plan: (service) => plan.destinations.get(service) ?? null,
    labels: ({ labels }) => labels,
    events: {
      onEjected: ({ key }, cause, untilMs) =>
        logger.log("warn", "upstream", "endpoint is left out", {
          endpoint: key,
          cause: String(cause),
          for: `${Math.round(untilMs - clock.now())}ms`,
        }),
      onReturned: ({ key }) => logger.log("info", "upstream", "endpoint is used again", { endpoint: key }),
    },
  });
  const chosen = (exchange: Parameters<Stages["attempt"]>[0]) =>
    chooseMirrors(exchange.rule?.mirrors ?? [], dice);
  const mirrors = new Mirrors({ clock, random: dice, clusters, chosen });
  const attempts = new Attempts({
    clock,
    random: dice,
    clusters,
    hash: (exchange, policy) => affinity.hash(exchange, policy),
    session: (exchange) => affinity.session(exchange),
    answered: (exchange, hostKey) => affinity.answered(exchange, hostKey),
    mirror: (exchange, forward) => mirrors.send(exchange, forward),
  });
  const requests = new RequestTelemetry({
    clock,
    random,
    logger,
    metrics: telemetry.metrics,
    format: null,
    isLogged: () => true,
    tracing: null,
  });
  return {
    stages: {
      ...plainStages(store, dice, auth),
      begin: (exchange) => requests.begin(exchange),
      route: routes.route,
      rewrite: routes.rewrite,
      fault: routes.fault,
      attempt: (exchange, forward) => attempts.run(exchange, forward),
      respond: (exchange) => {
        routes.respond(exchange);
        exchange.response?.fields.push(...(exchange.permit?.grounds.responseFields ?? []));
        requests.answering(exchange);
      },
      end: (exchange) => {
        attempts.ended(exchange);
        requests.end(exchange);
      },
    },
    update: (next) => {
      plan = next;
      routes.update(next);
    },
  };
}
