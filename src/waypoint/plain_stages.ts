/**
 * The stages of a waypoint that has no routes: a request that is allowed goes to an endpoint of what was called, once. Whoever has more
 * replaces them.
 */
import type { MeshError } from "../base/errors.ts";
import { chooseEndpoint } from "../mesh/route/balance.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { Downstream, Endpoint, Exchange, LocalReply } from "./exchange.ts";
import { localReply } from "./local_reply.ts";
import type { AuthStages, Forward, Outcome, Stages, Verdict } from "./stages.ts";

const goOn = (): Verdict => null;

export function plainStages(store: MeshStore, random: () => number, auth: AuthStages): Stages {
  const connect = (downstream: Downstream): Endpoint | LocalReply =>
    calledEndpoint(store, downstream, random);
  return {
    ...auth,
    begin: () => {},
    end: () => {},
    middleware: () => [],
    route: goOn,
    limit: goOn,
    rewrite: goOn,
    fault: goOn,
    attempt: (exchange, forward) => attemptOnce(exchange, connect(exchange.downstream), forward),
    respond: () => {},
    connect,
  };
}

/** An endpoint of the service that was called, or the workload that was. */
export function calledEndpoint(
  store: MeshStore,
  { waypoint, service, workload, destination }: Downstream,
  random: () => number,
): Endpoint | LocalReply {
  const { port } = destination;
  if (workload !== null) return { workload, port, service: null, servicePort: port };
  // As it is now: its ports or its endpoints may have changed since the connection was made.
  const current = service === null ? null : store.serviceByKey(`${service.namespace}/${service.hostname}`);
  const chosen = current === null ? null : chooseEndpoint(store, waypoint, current, port, "standard", random);
  if (current === null || chosen === null)
    return localReply(
      503,
      "UH",
      "no healthy upstream",
      `no healthy endpoint for ${service?.hostname ?? "?"}:${port}`,
    );
  return { workload: chosen.workload, port: chosen.targetPort, service: current, servicePort: port };
}

async function attemptOnce(
  exchange: Exchange,
  endpoint: Endpoint | LocalReply,
  forward: Forward,
): Promise<Verdict> {
  if (!("workload" in endpoint)) return endpoint;
  exchange.endpoint = endpoint;
  exchange.attempts++;
  return conclude(exchange, await forward(exchange, endpoint).outcome);
}

/** What becomes of an attempt's end when there is no other. */
export function conclude(exchange: Exchange, outcome: Outcome): Verdict {
  if (outcome.kind === "failed") return failureReply(outcome);
  exchange.response = outcome.head;
  exchange.responseBody = outcome.body;
  return null;
}

/** 503 where the endpoint was not reached or broke off, 502 where what it said was wrong, 504 where it was late (RFC 9110 §15.6). */
export function failureReply({
  error,
  flag,
}: {
  readonly error: MeshError;
  readonly flag: string;
}): LocalReply {
  const status = flag === "UPE" ? 502 : flag === "UT" ? 504 : 503;
  const message = flag === "UF" ? "the upstream cannot be reached" : "the upstream gave no answer";
  return localReply(status, flag, message, `${error.code}: ${error.message}`);
}
