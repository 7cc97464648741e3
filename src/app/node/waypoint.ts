/** The waypoint of a node: its stages put together, its way on, and what makes open requests be decided again. */

import type { Workload } from "../../mesh/workload.ts";
import type { EndpointDial } from "../../proxy/endpoint_dial.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { waypointApp } from "../../waypoint/app.ts";
import { normaliseTarget } from "../../waypoint/match/normalise.ts";
import { Forwarder } from "../../waypoint/upstream/forward.ts";
import { Waypoint } from "../../waypoint/waypoint.ts";
import { waypointStages } from "./waypoint_stages.ts";

/** @param names `namespace/name` of the workloads of this host that are waypoints. */
export function openWaypoint(context: NodeContext, names: readonly string[], dial: EndpointDial): Waypoint {
  const { clock, logger, secrets, store, trust } = context;
  const { stages } = waypointStages(context);
  const forwarder = new Forwarder(clock, (endpoint, downstream) =>
    dial.connect({
      source: downstream.waypoint,
      workload: endpoint.workload,
      port: endpoint.port,
      service: endpoint.service,
      client: downstream.source,
    }),
  );
  const waypoint = new Waypoint({
    clock,
    serves: (local: Workload) => names.includes(`${local.namespace}/${local.name}`),
    stages,
    // Istio's default (`MeshConfig.pathNormalization`).
    normalise: (path) => normaliseTarget(path, "BASE"),
    answer: waypointApp(stages, (exchange, endpoint) => forwarder.forward(exchange, endpoint), logger),
    connect: (endpoint, downstream) => forwarder.connect(endpoint, downstream),
    drainUpstreams: () => forwarder.drain(),
  });
  secrets.subscribe((svid) => {
    if (context.locals.all.some((local) => waypoint.serves(local) && local.identity.equals(svid.id)))
      forwarder.retire();
  });
  store.subscribe(() => waypoint.recheck());
  trust.changes.subscribe(() => waypoint.recheck());
  return waypoint;
}
