/** Exchanges for tests of stages: every part has a value, and what the test is about on top. */
import { SpiffeId } from "../../mesh/identity.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { type HttpRule, noHeaderChanges } from "../../mesh/traffic/route_plan.ts";
import type { Body } from "../body.ts";
import { type Downstream, Exchange, type RequestHead } from "../exchange.ts";

export interface ExchangeParts {
  readonly request?: Partial<RequestHead>;
  readonly downstream?: Partial<Downstream>;
  readonly body?: Body;
  readonly startedAtMs?: number;
}

/** GET http://cart.shop/ by `shop/web`, to port 80 of the service `cart.shop`. */
export function exchangeOf({
  request = {},
  downstream = {},
  body,
  startedAtMs = 0,
}: ExchangeParts = {}): Exchange {
  return new Exchange(
    {
      place: { side: "waypoint" },
      peer: new SpiffeId("cluster.local", "shop", "web"),
      source: { ip: ip("10.0.0.9"), port: 4000 },
      sourceWorkload: null,
      destination: { ip: ip("10.96.0.1"), port: 80 },
      service: service("cart", { 80: 8080 }),
      workload: null,
      sni: "",
      waypoint: workload("waypoint"),
      ...downstream,
    },
    {
      method: "GET",
      scheme: "http",
      authority: "cart.shop",
      path: "/",
      fields: [],
      version: "1.1",
      protocol: null,
      ...request,
    },
    body ?? null,
    startedAtMs,
  );
}

/** A rule that forwards everything, without retries or time-outs. */
export function ruleOf(fields: Partial<HttpRule> = {}): HttpRule {
  return {
    name: "r",
    location: { file: "routes.yaml", line: 1, column: 1 },
    matches: [],
    action: { kind: "forward", destinations: [] },
    rewrite: null,
    headers: noHeaderChanges,
    timeoutMs: null,
    retries: null,
    fault: null,
    mirrors: [],
    cors: null,
    session: null,
    ...fields,
  };
}
