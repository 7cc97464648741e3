/** The waypoint of a node, or the same inside one workload's tunnel: its stages put together, its way on, and what makes open requests be decided again. */

import type { Watch } from "../../base/watch.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { EndpointDial } from "../../proxy/endpoint_dial.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { waypointApp } from "../../waypoint/app.ts";
import { Authorizers } from "../../waypoint/auth/authorizers.ts";
import { WaypointAuth } from "../../waypoint/auth/waypoint_auth.ts";
import { SharedStores } from "../../waypoint/guard/shared_stores.ts";
import { normaliseTarget } from "../../waypoint/match/normalise.ts";
import { NamedFiles } from "../../waypoint/named_files.ts";
import { TrafficPlanner } from "../../waypoint/traffic_planner.ts";
import { Forwarder } from "../../waypoint/upstream/forward.ts";
import { Waypoint } from "../../waypoint/waypoint.ts";
import { dialAuthorizer } from "./authorizer_dial.ts";
import type { SidecarPolicies } from "./sidecar_policies.ts";
import { UpstreamTlsDial } from "./upstream_tls.ts";
import { waypointStages } from "./waypoint_stages.ts";

/** What a waypoint is made of. */
export interface WaypointParts {
  readonly context: NodeContext;
  readonly host: Host;
  readonly config: Pick<
    Config,
    "waypoints" | "layer7" | "waypointSettings" | "trustDomain" | "rootNamespace"
  >;
  readonly provider: CryptoProvider;
  readonly inForce: Watch<DocumentsInForce | null>;
  readonly dial: EndpointDial;
  /** Of the workload whose tunnel has the application inside; null at a waypoint. */
  readonly sidecar: SidecarPolicies | null;
}

export function openWaypoint(parts: WaypointParts): Waypoint {
  const { context, host, config, provider, inForce, dial, sidecar } = parts;
  const { clock, logger, secrets, store, trust } = context;
  const authorizers = new Authorizers(clock, (authorizer, downstream) =>
    dialAuthorizer(authorizer, downstream, { context, net: host.net, dial }),
  );
  const auth = new WaypointAuth({
    ...{ clock, logger, http: host.http, files: host.files, ask: authorizers.ask },
    trustDomain: config.trustDomain,
    rootNamespace: config.rootNamespace,
    serviceByKey: (key) => store.serviceByKey(key),
    isInside: sidecar !== null,
  });
  const named = new NamedFiles(host.files, config.waypointSettings.filesDirectory);
  const upstreamTls = new UpstreamTlsDial(host, named, provider);
  const shared = new SharedStores(host, named, (socket, tls, name, http) =>
    upstreamTls.secure(socket, tls, name, http),
  );
  const { stages, update, flush } = waypointStages(
    context,
    host,
    config,
    auth,
    shared,
    (socket, name, rootPath) => upstreamTls.secureByRoots(socket, name, rootPath),
  );
  const isInside = (workload: Workload) => sidecar?.isInside(workload) === true;
  const isWaypoint = ({ namespace, name }: Workload) => config.waypoints.includes(`${namespace}/${name}`);
  // For as long as the process: a waypoint that drains still serves what is open.
  const planner = new TrafficPlanner({
    ...{ clock, store, rootNamespace: config.rootNamespace },
    waypoints: () => context.locals.all.filter(isWaypoint),
    client: () => context.locals.all.find(isInside) ?? null,
    documents: inForce,
    onPlan: update,
  });
  context.locals.subscribe(() => planner.refresh());
  const forwarder = new Forwarder(clock, async (endpoint, downstream, wanted) => {
    const { place } = downstream;
    if (place.side === "inbound") return await place.application();
    const keepAlive = endpoint.policy?.pool.keepalive ?? null;
    const opening = await upstreamTls.of(endpoint, downstream, wanted);
    return await dial.connect({
      source: downstream.waypoint,
      workload: endpoint.workload,
      port: endpoint.port,
      service: endpoint.service,
      throughWaypointOf: place.side === "outbound" ? endpoint.servicePort : null,
      client: downstream.source,
      ...(opening === null ? {} : { opening }),
      ...(keepAlive === null ? {} : { keepAlive }),
    });
  });
  const waypoint = new Waypoint({
    clock,
    serves: isWaypoint,
    isInside,
    stages,
    normalise: (path) => normaliseTarget(path, auth.pathNormalization),
    answer: waypointApp(
      stages,
      (exchange, endpoint, permit) => forwarder.forward(exchange, endpoint, permit),
      logger,
    ),
    connect: (endpoint, downstream) => forwarder.connect(endpoint, downstream, { http: null, authority: "" }),
    drainUpstreams: () => {
      forwarder.drain();
      flush();
    },
  });
  secrets.subscribe((svid) => {
    const isOurs = (local: Workload) => waypoint.serves(local) || waypoint.isInside(local);
    if (context.locals.all.some((local) => isOurs(local) && local.identity.equals(svid.id)))
      forwarder.retire();
  });
  const take = async (documents: DocumentsInForce | null) => {
    if (documents === null) return;
    await auth.update(documents);
    sidecar?.read(auth.workloadPolicies);
    waypoint.recheck();
  };
  inForce.subscribe((documents) => void take(documents));
  void take(inForce.value);
  store.subscribe(() => waypoint.recheck());
  sidecar?.changes.subscribe(() =>
    context.connections.recheckPolicy((uid) => {
      const workload = store.workload(uid);
      return workload !== null && isInside(workload);
    }),
  );
  trust.changes.subscribe(() => waypoint.recheck());
  return waypoint;
}
