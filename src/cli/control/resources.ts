/** What `fairlead get --control` and its kin can show of a control plane: where each is asked, and its columns. */
import { type Json, list, member, number, text } from "../admin_json.ts";
import { type Columns, field } from "../table.ts";

export interface ControlResource {
  readonly description: string;
  readonly path: string;
  /** The list within the answer. */
  readonly member: string;
  /** The answer has a `next` that the following page is asked for by. */
  readonly isPaged?: true;
  readonly columns: Columns;
}

export const controlResources: Readonly<Record<string, ControlResource>> = {
  documents: {
    description: "the mesh documents in force",
    path: "/v1/documents",
    member: "documents",
    columns: {
      KIND: field("kind"),
      NAMESPACE: field("namespace"),
      NAME: field("name"),
      SOURCE: field("source"),
    },
  },
  administrators: {
    description: "who may administer what",
    path: "/v1/documents?kind=Administrator",
    member: "documents",
    columns: {
      NAME: field("name"),
      ROLE: field("role"),
      NAMESPACES: field("namespaces"),
      SUBJECTS: (item) => list(item, "subjects").map(subject).join(", "),
      SOURCE: field("source"),
    },
  },
  tokens: {
    description: "join tokens, without their secrets",
    path: "/v1/join-tokens",
    member: "tokens",
    columns: {
      ID: field("id"),
      FOR: binding,
      STATE: tokenState,
      EXPIRES: (item) => time(item, "expiresAtMs"),
      "CREATED BY": field("createdBy"),
    },
  },
  nodes: {
    description: "hosts that have joined, and which of them lag behind",
    path: "/v1/nodes",
    member: "nodes",
    columns: {
      NODE: field("node"),
      FOR: binding,
      STATE: nodeState,
      ADDRESSES: field("addresses"),
      VERSION: nodeVersion,
      BEHIND: behind,
      NACKS: (item) =>
        String(list(item, "subscriptions").reduce<number>((sum, one) => sum + number(one, "nackCount"), 0)),
      "LAST SEEN": (item) => time(item, "lastSeenMs"),
    },
  },
  certificates: {
    description: "issued certificates, newest first",
    path: "/v1/certificates",
    isPaged: true,
    member: "certificates",
    columns: {
      SERIAL: field("serial"),
      IDENTITY: field("identity"),
      ISSUED: (item) => time(item, "issuedAtMs"),
      "NOT AFTER": (item) => time(item, "notAfterMs"),
      "REQUESTED BY": field("requestedBy"),
    },
  },
  revocations: {
    description: "hosts, identities, certificates and tokens that are revoked",
    path: "/v1/revocations",
    isPaged: true,
    member: "revocations",
    columns: {
      KIND: field("kind"),
      VALUE: field("value"),
      WHEN: (item) => time(item, "atMs"),
      BY: field("byWhom"),
      REASON: field("reason"),
    },
  },
  history: {
    description: "versions of the documents",
    path: "/v1/history",
    member: "versions",
    columns: {
      VERSION: field("version"),
      WHEN: (item) => time(item, "atMs"),
      WHO: field("actor"),
      WHAT: field("action"),
      CHANGES: (item) =>
        list(item, "changes")
          .map((one) => `${text(one, "change") === "removed" ? "-" : "+"}${text(one, "key")}`)
          .join(", "),
    },
  },
  authorities: {
    description: "the CA: roots and intermediates",
    path: "/v1/ca",
    member: "authorities",
    columns: {
      ID: field("id"),
      KIND: field("kind"),
      ROLE: field("role"),
      SUBJECT: field("subject"),
      "NOT AFTER": (item) => time(item, "notAfterMs"),
      PIN: field("pin"),
      KEY: field("unavailable"),
    },
  },
};

export const auditColumns: Columns = {
  ID: field("id"),
  WHEN: (item) => time(item, "atMs"),
  WHO: field("actor"),
  WHAT: field("action"),
  TARGET: field("target"),
  OUTCOME: field("outcome"),
  DETAIL: field("detail"),
};

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

/** One that is too far from the control plane's says which way. */
function nodeVersion(item: Json): string {
  const apart = text(item, "versionSkew");
  return `${text(item, "programVersion")}${apart === "-" ? "" : ` (too ${apart === "older" ? "old" : "new"})`}`;
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
