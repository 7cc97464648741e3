/**
 * Copies of requests, sent to see what another version would do: nothing waits for them, nothing of their answers is passed on, and whatever
 * becomes of them the original does not notice (Envoy `request_mirror_policies`; the authority gets `-shadow`, as there).
 */
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { Clock } from "../../host/host.ts";
import type { Mirror } from "../../mesh/traffic/route_plan.ts";
import { Body } from "../body.ts";
import { Exchange } from "../exchange.ts";
import type { Forward } from "../stages.ts";
import type { Clusters } from "./clusters.ts";

export interface MirrorsContext {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly clusters: Clusters;
  /** Of those that the exchange's rule has, the ones that the dice say. */
  readonly chosen: (exchange: Exchange) => readonly Mirror[];
}

export class Mirrors {
  readonly #context: MirrorsContext;
  #open = 0;
  /** That were not made, or given up: too many at one time, no endpoint, too slow. */
  lost = 0;

  constructor(context: MirrorsContext) {
    this.#context = context;
  }

  /** Copies that are under way. */
  get open(): number {
    return this.#open;
  }

  send(exchange: Exchange, forward: Forward): void {
    if (exchange.rule === null || exchange.rule.mirrors.length === 0) return;
    for (const mirror of this.#context.chosen(exchange)) this.#copy(exchange, mirror, forward);
  }

  #copy(exchange: Exchange, { destination }: Mirror, forward: Forward): void {
    const { clock, random, clusters } = this.#context;
    const cluster =
      destination.missing === null ? clusters.of(destination, exchange.downstream.waypoint) : null;
    const choice = { hash: null, tried: [], remoteLocalities: false, random, now: clock.now() };
    const host = cluster?.choose(choice) ?? null;
    if (cluster === null || host === null || this.#open >= waypointLimits.maxMirrors) {
      this.lost++;
      return;
    }
    this.#open++;
    const copy = copyOf(exchange, clock.now());
    cluster.begun(host);
    const service = clusters.serviceOf(destination.service);
    const { workload, targetPort } = host.endpoint;
    const attempt = forward(copy, {
      ...{ workload, port: targetPort, service, servicePort: destination.port },
      policy: cluster.policy,
    });
    let isOver = false;
    const end = () => {
      if (isOver) return;
      isOver = true;
      timer.cancel();
      this.#open--;
      // What the copy met is no reason to leave the host out for others.
      cluster.ended(host, null, clock.now());
    };
    const giveUp = (error: MeshError) => {
      if (isOver) return;
      this.lost++;
      attempt.cancel(error);
      end();
    };
    const timer = clock.setTimer(waypointLimits.mirrorTimeoutMs, () =>
      giveUp(new MeshError("idle_timeout", "upstream", "a mirrored request took too long")),
    );
    copy.onAbort(giveUp);
    attempt.tell((outcome) => {
      if (outcome.kind !== "answered" || outcome.body === null) return end();
      outcome.body.pipe({ write: () => true, end, fail: end });
    });
  }
}

/** The head as it is now, and the content as it comes. */
function copyOf(exchange: Exchange, now: number): Exchange {
  const { request, downstream } = exchange;
  const head = { ...request, fields: [...request.fields], authority: shadow(request.authority) };
  if (exchange.body === null) return new Exchange(downstream, head, null, now);
  let waiting = 0;
  const body = new Body({
    onResume: () => {
      waiting = 0;
    },
    onCancel: () => {},
  });
  const copy = new Exchange(downstream, head, body, now);
  exchange.body.observe({
    onBytes: (bytes) => {
      if (copy.error !== null) return;
      if (!body.push(bytes)) waiting += bytes.length;
      if (waiting > waypointLimits.mirrorBacklogBytes)
        copy.abort(
          new MeshError("limit_reached", "upstream", "a mirrored request's content was taken too slowly"),
        );
    },
    onEnd: (trailers) => body.finish(trailers),
    onFail: (error) => {
      body.fail(error);
      copy.abort(error);
    },
  });
  return copy;
}

/** Before the port, if there is one. */
function shadow(authority: string): string {
  const port = /:[0-9]+$/.exec(authority);
  return port === null ? `${authority}-shadow` : `${authority.slice(0, port.index)}-shadow${port[0]}`;
}
