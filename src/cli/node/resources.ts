/** What `fairlead get` can show: where each is asked, and its columns. */
import { count, type Json, list, member, number, text } from "../admin_json.ts";
import { formatDuration } from "../age.ts";
import { type Columns, field } from "../table.ts";

export interface Resource {
  readonly description: string;
  readonly path: string;
  /** The list within the answer. */
  readonly member: string;
  readonly columns: Columns;
  /** For `--namespace`; "" when it has none. */
  namespace(item: Json): string;
}

const ofItself = field("namespace");

export const resources: Readonly<Record<string, Resource>> = {
  workloads: {
    description: "all workloads of the mesh that this node knows",
    path: "/config_dump",
    member: "workloads",
    columns: {
      NAMESPACE: field("namespace"),
      NAME: field("name"),
      // An endpoint given by name has no address until it is called.
      ADDRESS: (item) =>
        list(item, "workloadIps").length > 0 ? text(item, "workloadIps") : text(item, "hostname"),
      PROTOCOL: field("protocol"),
      "SERVICE ACCOUNT": field("serviceAccount"),
      NODE: field("node"),
      STATUS: field("status"),
      POLICIES: field("authorizationPolicies"),
    },
    namespace: ofItself,
  },
  services: {
    description: "services, with their addresses and number of endpoints",
    path: "/config_dump",
    member: "services",
    columns: {
      NAMESPACE: field("namespace"),
      HOSTNAME: field("hostname"),
      ADDRESS: (item) =>
        [...list(item, "vips"), ...list(item, "cidrVips").map((range) => member(range, "cidr"))]
          .map((address) => text(address))
          .join(",") || "-",
      PORTS: (item) => Object.keys((item as { ports?: object }).ports ?? {}).join(",") || "-",
      ENDPOINTS: (item) => String(count(item, "endpoints")),
    },
    namespace: ofItself,
  },
  policies: {
    description: "authorization policies in force, including those made from PeerAuthentication",
    path: "/config_dump",
    member: "policies",
    columns: {
      NAMESPACE: field("namespace"),
      NAME: field("name"),
      ACTION: field("action"),
      SCOPE: field("scope"),
      RULES: (item) => String(list(item, "rules").length),
      "DRY RUN": field("dryRun"),
    },
    namespace: ofItself,
  },
  certificates: {
    description: "the identities of this host and their certificates",
    path: "/config_dump",
    member: "certificates",
    columns: {
      IDENTITY: field("identity"),
      STATE: field("state"),
      "VALID FROM": field("certChain", "0", "validFrom"),
      "NOT AFTER": field("certChain", "0", "expirationTime"),
      SERIAL: field("certChain", "0", "serialNumber"),
    },
    namespace: (item) => /\/ns\/([^/]+)\//.exec(text(item, "identity"))?.[1] ?? "",
  },
  connections: {
    description: "open connections: between whom, and which policy allowed each",
    path: "/connections",
    member: "connections",
    columns: {
      ID: field("id"),
      DIRECTION: field("direction"),
      SOURCE: (item) => party(item, "source"),
      DESTINATION: (item) => party(item, "destination"),
      ADDRESS: field("destination", "address"),
      SENT: field("bytesSent"),
      RECEIVED: field("bytesReceived"),
      AGE: (item) => formatDuration(number(item, "ageMs")),
      POLICY: field("policy"),
    },
    namespace: (item) => text(item, "destination", "workload").split("/")[0] ?? "",
  },
  documents: {
    description: "mesh documents: whether each was accepted, and if not, why",
    path: "/documents",
    member: "documents",
    columns: {
      DOCUMENT: field("resource"),
      WHERE: (item) => `${text(item, "location", "file")}:${text(item, "location", "line")}`,
      ACCEPTED: field("accepted"),
      SAYS: (item) =>
        [text(item, "error", "message"), ...list(item, "warnings").map((warning) => text(warning, "message"))]
          .filter((words) => words !== "-")
          .join("; "),
    },
    namespace: (item) => / (.+)\//.exec(text(item, "resource"))?.[1] ?? "",
  },
  control: {
    description: "the connection of this host to its control plane",
    path: "/control",
    member: "control",
    columns: {
      "CONTROL PLANE": field("server"),
      STREAM: stream,
      SINCE: (item) => time(item, "xds", "sinceMs"),
      MESH: meshState,
      SHOWS: (item) =>
        member(item, "node") === null ? text(item, "credential") : text(item, "node", "identity"),
      RESOURCES: (item) => String(sumOf(item, (type) => number(type, "resources"))),
      REFUSED: (item) => String(sumOf(item, (type) => list(type, "refused").length)),
      SAYS: (item) =>
        [text(item, "xds", "error"), text(item, "node", "error")].filter((words) => words !== "-").join("; "),
    },
    namespace: () => "",
  },
  "identity-socket": {
    description: "which program has taken which identity on the identity socket",
    path: "/identity_socket",
    member: "sockets",
    columns: {
      SOCKET: field("path"),
      STREAMS: field("openStreams"),
      FOR: (item) => list(item, "rules").map(selector).join("; "),
      IDENTITY: (item) =>
        list(item, "rules")
          .map((rule) => text(rule, "identity"))
          .join("; "),
    },
    namespace: () => "",
  },
  traffic: {
    description: "who talked to whom since the node started, and who was refused",
    path: "/stats/prometheus",
    member: "",
    columns: {
      SOURCE: field("source"),
      DESTINATION: field("destination"),
      "SEEN BY": field("reporter"),
      SECURITY: field("security"),
      OPENED: field("opened"),
      DENIED: field("denied"),
      FAILED: field("failed"),
      "BYTES TO": field("bytesToDestination"),
      "BYTES BACK": field("bytesToSource"),
    },
    namespace: (item) => text(item, "destination").split("/")[0] ?? "",
  },
};

function stream(item: Json): string {
  if (member(item, "xds", "connected") === true) return "open";
  return number(item, "xds", "attempts") > 0 ? "lost" : "opening";
}

/** Whether what this host goes by is of now. */
function meshState(item: Json): string {
  if (member(item, "xds", "ready") !== true) return "none yet";
  return member(item, "xds", "current") === true ? "current" : "as last known";
}

function sumOf(item: Json, count: (type: Json) => number): number {
  return list(item, "xds", "types").reduce<number>((sum, type) => sum + count(type), 0);
}

function selector(rule: Json): string {
  const named = (["uid", "gid"] as const).filter((name) => typeof member(rule, name) === "number");
  return named.map((name) => `${name}=${number(rule, name)}`).join(",");
}

function time(item: Json, ...path: readonly string[]): string {
  const ms = member(item, ...path);
  // A date beyond what one can be is no reason to fail.
  const date = typeof ms === "number" ? new Date(ms) : null;
  return date === null || Number.isNaN(date.getTime()) ? "-" : date.toISOString();
}

/** The verified identity when there is one, else the workload, else the address. */
function party(item: Json, side: "source" | "destination"): string {
  const workload = text(item, side, "workload");
  return workload === "-" ? text(item, side, "address") : workload;
}
