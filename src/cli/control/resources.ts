/** What `fairlead get --control` and its kin can show of a control plane: where each is asked, and its columns. */
import { type Json, list, member, number, text } from "../admin_json.ts";

export interface ControlResource {
  readonly description: string;
  readonly path: string;
  /** The list within the answer. */
  readonly member: string;
  /** The answer has a `next` that the following page is asked for by. */
  readonly isPaged?: true;
  readonly head: readonly string[];
  row(item: Json): readonly string[];
}

export const controlResources: Readonly<Record<string, ControlResource>> = {
  documents: {
    description: "the mesh documents in force",
    path: "/v1/documents",
    member: "documents",
    head: ["KIND", "NAMESPACE", "NAME", "SOURCE"],
    row: (item) => [text(item, "kind"), text(item, "namespace"), text(item, "name"), text(item, "source")],
  },
  administrators: {
    description: "who may administer what",
    path: "/v1/documents?kind=Administrator",
    member: "documents",
    head: ["NAME", "ROLE", "NAMESPACES", "SUBJECTS", "SOURCE"],
    row: (item) => [
      text(item, "name"),
      text(item, "role"),
      text(item, "namespaces"),
      list(item, "subjects").map(subject).join(", "),
      text(item, "source"),
    ],
  },
  tokens: {
    description: "join tokens, without their secrets",
    path: "/v1/join-tokens",
    member: "tokens",
    head: ["ID", "FOR", "STATE", "EXPIRES", "CREATED BY"],
    row: (item) => [
      text(item, "id"),
      binding(item),
      tokenState(item),
      time(item, "expiresAtMs"),
      text(item, "createdBy"),
    ],
  },
  nodes: {
    description: "hosts that have joined, and which of them lag behind",
    path: "/v1/nodes",
    member: "nodes",
    head: ["NODE", "FOR", "STATE", "ADDRESSES", "VERSION", "BEHIND", "NACKS", "LAST SEEN"],
    row: (item) => [
      text(item, "node"),
      binding(item),
      nodeState(item),
      text(item, "addresses"),
      text(item, "programVersion"),
      behind(item),
      String(list(item, "subscriptions").reduce<number>((sum, one) => sum + number(one, "nackCount"), 0)),
      time(item, "lastSeenMs"),
    ],
  },
  certificates: {
    description: "issued certificates, newest first",
    path: "/v1/certificates",
    isPaged: true,
    member: "certificates",
    head: ["SERIAL", "IDENTITY", "ISSUED", "NOT AFTER", "REQUESTED BY"],
    row: (item) => [
      text(item, "serial"),
      text(item, "identity"),
      time(item, "issuedAtMs"),
      time(item, "notAfterMs"),
      text(item, "requestedBy"),
    ],
  },
  revocations: {
    description: "hosts, identities, certificates and tokens that are revoked",
    path: "/v1/revocations",
    isPaged: true,
    member: "revocations",
    head: ["KIND", "VALUE", "WHEN", "BY", "REASON"],
    row: (item) => [
      text(item, "kind"),
      text(item, "value"),
      time(item, "atMs"),
      text(item, "byWhom"),
      text(item, "reason"),
    ],
  },
  history: {
    description: "versions of the documents",
    path: "/v1/history",
    member: "versions",
    head: ["VERSION", "WHEN", "WHO", "WHAT", "CHANGES"],
    row: (item) => [
      text(item, "version"),
      time(item, "atMs"),
      text(item, "actor"),
      text(item, "action"),
      list(item, "changes")
        .map((one) => `${text(one, "change") === "removed" ? "-" : "+"}${text(one, "key")}`)
        .join(", "),
    ],
  },
  authorities: {
    description: "the CA: roots and intermediates",
    path: "/v1/ca",
    member: "authorities",
    head: ["ID", "KIND", "ROLE", "SUBJECT", "NOT AFTER", "PIN", "KEY"],
    row: (item) => [
      text(item, "id"),
      text(item, "kind"),
      text(item, "role"),
      text(item, "subject"),
      time(item, "notAfterMs"),
      text(item, "pin"),
      text(item, "unavailable"),
    ],
  },
};

export const auditHead = ["ID", "WHEN", "WHO", "WHAT", "TARGET", "OUTCOME", "DETAIL"];

export function auditRow(item: Json): readonly string[] {
  return [
    text(item, "id"),
    time(item, "atMs"),
    text(item, "actor"),
    text(item, "action"),
    text(item, "target"),
    text(item, "outcome"),
    text(item, "detail"),
  ];
}

/** RFC 3339, seconds, UTC. */
export function time(item: Json, name: string): string {
  const ms = member(item, name);
  if (typeof ms !== "number" || !(Math.abs(ms) <= 8.64e15)) return "-";
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function binding(item: Json): string {
  const kind = text(item, "binding", "kind");
  return kind === "-" ? "-" : `${kind} ${text(item, "binding", kind)}`;
}

function tokenState(item: Json): string {
  if (typeof member(item, "revokedAtMs") === "number") return "revoked";
  return typeof member(item, "usedAtMs") === "number" ? `used by ${text(item, "usedBy")}` : "open";
}

function nodeState(item: Json): string {
  if (typeof member(item, "revokedAtMs") === "number") return "revoked";
  return member(item, "connected") === true ? "connected" : "away";
}

/** Types of which it has not acknowledged what it was sent last. */
function behind(item: Json): string {
  const late = list(item, "subscriptions").filter((one) => text(one, "sent") !== text(one, "acknowledged"));
  return late.length === 0 ? "-" : late.map((one) => text(one, "typeUrl").split(".").at(-1) ?? "").join(",");
}

function subject(item: Json): string {
  return text(item, "kind") === "identity"
    ? text(item, "uri")
    : `${text(item, "claim")}=${text(item, "value")} of ${text(item, "issuer")}`;
}
