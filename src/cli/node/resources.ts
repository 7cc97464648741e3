/** What `fairlead get` can show: where each is asked, and its columns. */
import { count, type Json, list, member, number, text } from "../admin_json.ts";
import { formatDuration } from "../age.ts";

export interface Resource {
  readonly description: string;
  readonly path: string;
  /** The list within the answer. */
  readonly member: string;
  readonly head: readonly string[];
  row(item: Json): readonly string[];
  /** For `--namespace`; "" when it has none. */
  namespace(item: Json): string;
}

const ofItself = (item: Json): string => text(item, "namespace");

export const resources: Readonly<Record<string, Resource>> = {
  workloads: {
    description: "all workloads of the mesh that this node knows",
    path: "/config_dump",
    member: "workloads",
    head: ["NAMESPACE", "NAME", "ADDRESS", "PROTOCOL", "SERVICE ACCOUNT", "NODE", "STATUS", "POLICIES"],
    row: (item) => [
      text(item, "namespace"),
      text(item, "name"),
      // An endpoint given by name has no address until it is called.
      list(item, "workloadIps").length > 0 ? text(item, "workloadIps") : text(item, "hostname"),
      text(item, "protocol"),
      text(item, "serviceAccount"),
      text(item, "node"),
      text(item, "status"),
      text(item, "authorizationPolicies"),
    ],
    namespace: ofItself,
  },
  services: {
    description: "services, with their addresses and number of endpoints",
    path: "/config_dump",
    member: "services",
    head: ["NAMESPACE", "HOSTNAME", "ADDRESS", "PORTS", "ENDPOINTS"],
    row: (item) => [
      text(item, "namespace"),
      text(item, "hostname"),
      [...list(item, "vips"), ...list(item, "cidrVips").map((range) => member(range, "cidr"))]
        .map((address) => text(address))
        .join(",") || "-",
      Object.keys((item as { ports?: object }).ports ?? {}).join(",") || "-",
      String(count(item, "endpoints")),
    ],
    namespace: ofItself,
  },
  policies: {
    description: "authorization policies in force, including those made from PeerAuthentication",
    path: "/config_dump",
    member: "policies",
    head: ["NAMESPACE", "NAME", "ACTION", "SCOPE", "RULES", "DRY RUN"],
    row: (item) => [
      text(item, "namespace"),
      text(item, "name"),
      text(item, "action"),
      text(item, "scope"),
      String(list(item, "rules").length),
      text(item, "dryRun"),
    ],
    namespace: ofItself,
  },
  certificates: {
    description: "the identities of this host and their certificates",
    path: "/config_dump",
    member: "certificates",
    head: ["IDENTITY", "STATE", "VALID FROM", "NOT AFTER", "SERIAL"],
    row: (item) => [
      text(item, "identity"),
      text(item, "state"),
      text(item, "certChain", "0", "validFrom"),
      text(item, "certChain", "0", "expirationTime"),
      text(item, "certChain", "0", "serialNumber"),
    ],
    namespace: (item) => /\/ns\/([^/]+)\//.exec(text(item, "identity"))?.[1] ?? "",
  },
  connections: {
    description: "open connections: between whom, and which policy allowed each",
    path: "/connections",
    member: "connections",
    head: ["ID", "DIRECTION", "SOURCE", "DESTINATION", "ADDRESS", "SENT", "RECEIVED", "AGE", "POLICY"],
    row: (item) => [
      text(item, "id"),
      text(item, "direction"),
      party(item, "source"),
      party(item, "destination"),
      text(item, "destination", "address"),
      text(item, "bytesSent"),
      text(item, "bytesReceived"),
      formatDuration(number(item, "ageMs")),
      text(item, "policy"),
    ],
    namespace: (item) => text(item, "destination", "workload").split("/")[0] ?? "",
  },
  documents: {
    description: "mesh documents: whether each was accepted, and if not, why",
    path: "/documents",
    member: "documents",
    head: ["DOCUMENT", "WHERE", "ACCEPTED", "SAYS"],
    row: (item) => [
      text(item, "resource"),
      `${text(item, "location", "file")}:${text(item, "location", "line")}`,
      text(item, "accepted"),
      [text(item, "error", "message"), ...list(item, "warnings").map((warning) => text(warning, "message"))]
        .filter((words) => words !== "-")
        .join("; "),
    ],
    namespace: (item) => / (.+)\//.exec(text(item, "resource"))?.[1] ?? "",
  },
  control: {
    description: "the connection of this host to its control plane",
    path: "/control",
    member: "control",
    head: ["CONTROL PLANE", "STREAM", "SINCE", "MESH", "SHOWS", "RESOURCES", "REFUSED", "SAYS"],
    row: (item) => [
      text(item, "server"),
      stream(item),
      time(item, "xds", "sinceMs"),
      meshState(item),
      member(item, "node") === null ? text(item, "credential") : text(item, "node", "identity"),
      String(sumOf(item, (type) => number(type, "resources"))),
      String(sumOf(item, (type) => list(type, "refused").length)),
      [text(item, "xds", "error"), text(item, "node", "error")].filter((words) => words !== "-").join("; "),
    ],
    namespace: () => "",
  },
  "identity-socket": {
    description: "which program has taken which identity on the identity socket",
    path: "/identity_socket",
    member: "sockets",
    head: ["SOCKET", "STREAMS", "FOR", "IDENTITY"],
    row: (item) => [
      text(item, "path"),
      text(item, "openStreams"),
      list(item, "rules").map(selector).join("; "),
      list(item, "rules")
        .map((rule) => text(rule, "identity"))
        .join("; "),
    ],
    namespace: () => "",
  },
  traffic: {
    description: "who talked to whom since the node started, and who was refused",
    path: "/stats/prometheus",
    member: "",
    head: [
      "SOURCE",
      "DESTINATION",
      "SEEN BY",
      "SECURITY",
      "OPENED",
      "DENIED",
      "FAILED",
      "BYTES TO",
      "BYTES BACK",
    ],
    row: (item) =>
      [
        "source",
        "destination",
        "reporter",
        "security",
        "opened",
        "denied",
        "failed",
        "bytesToDestination",
        "bytesToSource",
      ].map((name) => text(item, name)),
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
