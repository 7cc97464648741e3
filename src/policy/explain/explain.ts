/**
 * Why one workload may reach another, or may not: the route as a node would take it, the decision as the node at the other end would
 * make it, and what would have to change. Pure: the mesh in, words and values out.
 */
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { targetPortOf } from "../../mesh/route/balance.ts";
import { resolveOutbound } from "../../mesh/route/outbound_route.ts";
import type { HboneRoute, Route } from "../../mesh/route/route.ts";
import { serviceVip } from "../../mesh/route/route_target.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyConnection } from "../decision.ts";
import type { PolicySet } from "../policy_set.ts";
import { connectionPolicies, routesInside, traceInside } from "./inside_trace.ts";
import { type Called, type Caller, type Parties, Unclear } from "./parties.ts";
import { type PolicyTrace, tracePolicies } from "./policy_trace.ts";
import { traceWaypoint, type WaypointTrace } from "./waypoint_trace.ts";

export interface ExplainedMesh {
  readonly store: MeshStore;
  readonly parties: Parties;
  readonly policies: PolicySet;
  readonly missingPolicy: "deny" | "skip";
  readonly rootNamespace: string;
  /** For what waypoints decide; null where they are not known (a node that has its mesh from a control plane). */
  readonly documents: readonly MeshDocument[] | null;
  /** `namespace/name` of the workload whose tunnel has the application inside (`--l7`); null where none is known to. */
  readonly layer7: string | null;
}

export interface Question {
  readonly from: string;
  readonly to: string;
  readonly port: number | null;
}

/** One place where the connection may arrive. */
export interface Arrival {
  /** `shop/backend`; null outside of the mesh. */
  readonly workload: string | null;
  readonly address: string | null;
  /** Null where nothing decides: outside of the mesh, or a workload without a tunnel. */
  readonly trace: PolicyTrace | null;
  /** What is decided about its requests, by the application inside its tunnel; null where there is none. */
  readonly requests: WaypointTrace | null;
}

export interface Explanation {
  /** `mixed`: some endpoints allow it, others do not. `depends`: each request is decided, by a waypoint or inside a tunnel. */
  readonly verdict: "allowed" | "denied" | "mixed" | "depends";
  readonly from: string;
  readonly to: string;
  /** Shown by the caller to the other end; null for plain text. */
  readonly identity: string | null;
  /** How it gets there, in one line. */
  readonly route: string;
  readonly waypoint: (WaypointTrace & { readonly workload: string; readonly known: boolean }) | null;
  readonly arrivals: readonly Arrival[];
  /** Why, when it never arrives anywhere. */
  readonly refusal: string | null;
}

/** @throws Unclear when the words do not say who or what is meant. */
export function explain(mesh: ExplainedMesh, question: Question): Explanation {
  const caller = mesh.parties.caller(question.from);
  const namespace = caller.kind === "workload" ? caller.workload.namespace : null;
  const called = withPort(mesh.store, mesh.parties.called(question.to, namespace), question);
  return caller.kind === "workload" ? throughMesh(mesh, caller, called) : inPlainText(mesh, caller, called);
}

type CalledAt = Called & { readonly port: number };

function withPort(store: MeshStore, called: Called, { to, port }: Question): CalledAt {
  if (port !== null && called.port !== null && port !== called.port)
    throw new Unclear(`--port ${port} and --to ${to} name different ports`);
  const said = port ?? called.port;
  if (said !== null) return { ...called, port: said };
  const candidates = portsOf(store, called);
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return { ...called, port: only };
  throw new Unclear(
    candidates.length === 0
      ? `give --port: nothing says which port of ${to} is meant`
      : `give --port: ${to} has ${candidates.join(", ")}`,
  );
}

function portsOf(store: MeshStore, called: Called): readonly number[] {
  if (called.kind === "service") return [...called.service.ports.keys()];
  if (called.kind !== "workload") return [];
  const found = new Set<number>();
  for (const [key, own] of called.workload.services)
    for (const { servicePort, targetPort } of store.serviceByKey(key)?.ports.values() ?? [])
      found.add(own.get(servicePort) ?? targetPort);
  return [...found].filter((port) => port > 0);
}

function throughMesh(
  mesh: ExplainedMesh,
  { workload: source, ip }: Extract<Caller, { kind: "workload" }>,
  called: CalledAt,
): Explanation {
  const { store } = mesh;
  const destination = destinationOf(called, source.network);
  const route = resolveOutbound(
    store,
    { source, sourceIp: ip, destination, network: source.network },
    () => 0,
  );
  const head = {
    from: nameOf(source),
    to: describeCalled(called),
    identity: source.identity.uri,
    waypoint: null,
    refusal: null,
  };
  switch (route.protocol) {
    case "REFUSED":
      return { ...head, verdict: "denied", route: "none", arrivals: [], refusal: route.message };
    case "DOUBLE_HBONE": {
      const refusal = "it is on another network, behind a gateway, which this version does not reach";
      return { ...head, verdict: "denied", route: "none", arrivals: [], refusal };
    }
    case "NAME": {
      const words = `${route.hostname} is no name of the mesh: plain TCP to wherever it resolves, outside of the mesh`;
      return { ...head, verdict: "allowed", route: words, arrivals: [outside(null)] };
    }
    case "TCP":
      if (route.destination === null) {
        const words = "plain TCP, outside of the mesh: nothing in the mesh has this address";
        return { ...head, verdict: "allowed", route: words, arrivals: [outside(describeCalled(called))] };
      }
      return judged(
        mesh,
        { ...head, route: directWords(mesh, source, route) },
        endsOf(mesh, called, route.destination),
        {
          identity: source.identity,
          ip,
        },
      );
    case "HBONE":
      return route.via === "direct"
        ? judged(
            mesh,
            { ...head, route: directWords(mesh, source, route) },
            endsOf(mesh, called, route.destination),
            {
              identity: source.identity,
              ip,
            },
          )
        : throughWaypoint(mesh, head, called, source, ip, route);
  }
}

type Head = Pick<Explanation, "from" | "to" | "identity" | "waypoint" | "refusal">;

function throughWaypoint(
  mesh: ExplainedMesh,
  head: Head,
  called: CalledAt,
  source: Workload,
  callerIp: IpAddress,
  route: HboneRoute,
): Explanation {
  const { store, documents } = mesh;
  const waypoint = route.destination;
  const known = documents !== null;
  const trace: WaypointTrace = known
    ? traceWaypoint(documents, (key) => store.serviceByKey(key), mesh.rootNamespace, {
        waypoint,
        service: called.kind === "service" ? called.service : route.service,
        caller: source.identity,
        callerIp,
        port: called.port,
      })
    : {
        verdict: "depends",
        because: "its policies are not known here; ask the control plane, or give the documents with -f",
        policies: [],
      };
  const words = `HBONE to the waypoint ${nameOf(waypoint)}, which calls the workload by its own identity`;
  const ip = waypoint.addresses[0] ?? callerIp;
  const beyond = judged(
    mesh,
    { ...head, route: words, waypoint: { ...trace, workload: nameOf(waypoint), known } },
    endsOf(mesh, called, null),
    { identity: waypoint.identity, ip },
  );
  if (trace.verdict === "denied") return { ...beyond, verdict: "denied" };
  const verdict = trace.verdict === "depends" && beyond.verdict === "allowed" ? "depends" : beyond.verdict;
  return { ...beyond, verdict };
}

/** Around the mesh, to each workload that stands behind what is called. */
function inPlainText(
  mesh: ExplainedMesh,
  { ip, workload }: Extract<Caller, { kind: "plaintext" }>,
  called: CalledAt,
): Explanation {
  const head = {
    from: workload === null ? ip.text : `${nameOf(workload)}, which has no tunnel`,
    to: describeCalled(called),
    identity: null,
    waypoint: null,
    route: "plain TCP, not through the mesh",
  };
  const ends = endsOf(mesh, called, null);
  if (ends.length === 0) {
    const refusal =
      called.kind === "service" ? "no endpoint takes this port" : "nothing in the mesh is there";
    return { ...head, verdict: "denied", arrivals: [], refusal };
  }
  return judged(mesh, { ...head, refusal: null }, ends, { identity: null, ip });
}

const unspecified = IpAddress.loopback(true);

interface End {
  readonly workload: Workload;
  readonly port: number;
}

/** @param routed what the route chose, where a single workload or address was called. */
function endsOf(
  { store, parties }: ExplainedMesh,
  called: CalledAt,
  routed: Workload | null,
): readonly End[] {
  const { port } = called;
  switch (called.kind) {
    case "workload":
      return [{ workload: called.workload, port }];
    case "service":
      return serviceEnds(store, called.service, port);
    case "address": {
      const workload = parties.at(called.ip);
      if (workload !== null) return [{ workload, port }];
      const service = store.serviceByVip(routed?.network ?? "", called.ip, null);
      return service === null ? [] : serviceEnds(store, service, port);
    }
    case "name":
      return [];
  }
}

function serviceEnds(store: MeshStore, service: Service, port: number): readonly End[] {
  return store.endpoints(serviceKey(service)).flatMap((endpoint): readonly End[] => {
    const target = targetPortOf(endpoint, service, port);
    return target === null ? [] : [{ workload: endpoint.workload, port: target }];
  });
}

function judged(
  mesh: ExplainedMesh,
  head: Head & Pick<Explanation, "route">,
  ends: readonly End[],
  source: { readonly identity: SpiffeId | null; readonly ip: IpAddress },
): Explanation {
  const arrivals = ends.map(({ workload, port }): Arrival => {
    const ip = workload.addresses[0];
    const address = ip === undefined ? `${workload.hostname}:${port}` : formatSocketAddress({ ip, port });
    if (workload.tunnelProtocol === "NONE")
      return { workload: nameOf(workload), address, trace: null, requests: null };
    const connection = {
      sourceIp: source.ip,
      sourceIdentity: source.identity,
      // What is known by its name alone is somewhere; rules about its address are rare.
      destinationIp: ip ?? unspecified,
      destinationPort: port,
    };
    const trace = traceConnection(mesh, workload, connection);
    return {
      workload: nameOf(workload),
      address,
      trace,
      requests: traceOfRequests(mesh, workload, connection),
    };
  });
  if (arrivals.length === 0) {
    const refusal = "no healthy endpoint takes this port";
    return { ...head, verdict: "denied", arrivals, refusal: head.refusal ?? refusal };
  }
  const denied = arrivals.filter(
    ({ trace, requests }) => trace?.allowed === false || requests?.verdict === "denied",
  ).length;
  if (denied > 0) return { ...head, verdict: denied === arrivals.length ? "denied" : "mixed", arrivals };
  const isUndecided = arrivals.some(({ requests }) => requests?.verdict === "depends");
  return { ...head, verdict: isUndecided ? "depends" : "allowed", arrivals };
}

/** One that hands what it is called to a waypoint behind it is none. */
function isInside({ layer7 }: ExplainedMesh, workload: Workload): boolean {
  return nameOf(workload) === layer7 && workload.applicationTunnel === null;
}

/** What is decided about a connection. Null: it is not known which policies are left for it. */
export function traceConnection(
  mesh: ExplainedMesh,
  workload: Workload,
  connection: PolicyConnection,
): PolicyTrace | null {
  const { documents, store, policies, missingPolicy } = mesh;
  if (!isInside(mesh, workload)) return tracePolicies(policies, workload, connection, missingPolicy);
  if (documents === null) return null;
  const rest = connectionPolicies(documents, store, workload);
  return tracePolicies(rest.policies, rest.workload, connection, missingPolicy);
}

function traceOfRequests(
  mesh: ExplainedMesh,
  workload: Workload,
  { sourceIdentity: caller, sourceIp: callerIp, destinationPort: port }: PolicyConnection,
): WaypointTrace | null {
  const { documents, store, rootNamespace } = mesh;
  if (!isInside(mesh, workload)) return null;
  if (documents !== null)
    return traceInside(documents, store, rootNamespace, workload, { caller, callerIp, port });
  const because = "the documents that decide about its requests are not here yet";
  return { verdict: "depends", because, policies: [] };
}

function outside(address: string | null): Arrival {
  return { workload: null, address, trace: null, requests: null };
}

function destinationOf(
  called: CalledAt,
  network: string,
): SocketAddress | { readonly host: string; readonly port: number } {
  const { port } = called;
  switch (called.kind) {
    case "address":
      return { ip: called.ip, port };
    case "name":
      return { host: called.hostname, port };
    case "service": {
      const vip = serviceVip(called.service, network);
      return vip === null ? { host: called.service.hostname, port } : { ip: vip, port };
    }
    case "workload": {
      const [ip] = called.workload.addresses;
      if (ip === undefined)
        throw new Unclear(`${nameOf(called.workload)} has no address; ask about its service`);
      return { ip, port };
    }
  }
}

function describeCalled(called: CalledAt): string {
  switch (called.kind) {
    case "address":
      return formatSocketAddress({ ip: called.ip, port: called.port });
    case "name":
      return `${called.hostname}:${called.port}`;
    case "service":
      return `${called.service.hostname}:${called.port}`;
    case "workload":
      return `${nameOf(called.workload)}:${called.port}`;
  }
}

function directWords(
  mesh: ExplainedMesh,
  source: Workload,
  route: Extract<Route, { protocol: "HBONE" | "TCP" }>,
): string {
  const by = route.protocol === "HBONE" ? "HBONE (mutual TLS)" : "plain TCP, since it has no tunnel,";
  const { service } = route;
  if (service === null) return `${by} to the workload`;
  const words = `service ${serviceKey(service)}, ${by} to its endpoint`;
  return isInside(mesh, source) ? `${words}; ${routesInside(mesh.documents, source, service)}` : words;
}

function nameOf({ namespace, name }: Workload): string {
  return `${namespace}/${name}`;
}
