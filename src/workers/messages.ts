/**
 * What a node tells the processes that carry its traffic, and what they answer. Everything that the node says has a number, and is confirmed
 * by it once it is in force; an answer goes with the confirmation of its question.
 */
import type { LogFields, LogLevel } from "../base/log.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { MeshChange } from "../mesh/store/store.ts";
import { malformed } from "./values.ts";

/** To a worker. */
export type Told =
  /** First of all: what it is to be. `settings` are the program's own. */
  | { readonly kind: "begin"; readonly worker: number; readonly of: number; readonly settings: unknown }
  | { readonly kind: "mesh"; readonly change: MeshChange }
  | {
      readonly kind: "trust";
      readonly rootsPem: string;
      readonly lists: readonly { readonly name: string; readonly bytes: Uint8Array }[];
    }
  /** The key is in memory alone, there as here; the two have a pair of sockets that no other process has. */
  | {
      readonly kind: "svid";
      readonly id: SpiffeId;
      readonly certificateChainPem: string;
      readonly privateKeyPem: string;
    }
  /** There is none now, for this reason: whoever waits for it waits no longer. */
  | { readonly kind: "no svid"; readonly id: SpiffeId; readonly reason: string }
  /** It has the whole state: it opens its listeners. */
  | { readonly kind: "serve" }
  | { readonly kind: "log level"; readonly level: LogLevel }
  /** Whether the lines of connections are told here as they come, at every level. */
  | { readonly kind: "watch"; readonly on: boolean }
  | { readonly kind: "ask"; readonly what: "metrics" | "connections" | "ended"; readonly id: number }
  | { readonly kind: "drain"; readonly deadlineMs: number };

/** From a worker. */
export type Said =
  /** What was told by this number, and everything before it, is in force. `answer` is null where nothing was asked. */
  | { readonly kind: "done"; readonly seq: number; readonly answer: unknown }
  /** It cannot go on, and ends. */
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  /** It needs this identity. */
  | { readonly kind: "want"; readonly id: SpiffeId }
  | {
      readonly kind: "record";
      readonly wallMs: number;
      readonly level: LogLevel;
      readonly message: string;
      readonly fields: LogFields;
    };

export interface Numbered {
  readonly seq: number;
  readonly told: Told;
}

const kinds: ReadonlySet<string> = new Set<Told["kind"]>([
  "begin",
  "mesh",
  "trust",
  "svid",
  "no svid",
  "serve",
  "log level",
  "watch",
  "ask",
  "drain",
]);

/** For a worker, which believes its node; what a kind has in it is the node's to get right. @throws MeshError `message_malformed`. */
export function readTold(value: unknown): Numbered {
  const { seq, told } = fieldsOf(value);
  const { kind } = fieldsOf(told);
  if (!isCount(seq) || typeof kind !== "string" || !kinds.has(kind)) throw malformed("what is told");
  return { seq, told: told as Told };
}

/** For a node, which believes no worker more than it has to: each speaks with strangers. @throws MeshError `message_malformed`. */
export function readSaid(value: unknown): Said {
  const { kind, seq, answer = null, code, message, id, wallMs, level, fields: said } = fieldsOf(value);
  if (kind === "done" && isCount(seq)) return { kind, seq, answer };
  if (kind === "failed" && typeof code === "string" && typeof message === "string")
    return { kind, code, message };
  if (kind === "want" && isIdentity(id)) return { kind, id };
  if (kind === "record" && isCount(wallMs) && isLevel(level) && typeof message === "string")
    return { kind, wallMs, level, message, fields: readFields(said) };
  throw malformed("what is said");
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw malformed("no object");
  return value as Readonly<Record<string, unknown>>;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isLevel(value: unknown): value is LogLevel {
  return value === "debug" || value === "info" || value === "warn" || value === "error";
}

function isIdentity(value: unknown): value is SpiffeId {
  return typeof value === "object" && value !== null && "uri" in value && "trustDomain" in value;
}

function readFields(value: unknown): LogFields {
  const read: Record<string, string | number | boolean | null> = {};
  for (const [key, of] of Object.entries(fieldsOf(value))) {
    if (of !== null && typeof of !== "string" && typeof of !== "number" && typeof of !== "boolean")
      throw malformed("fields of a line");
    read[key] = of;
  }
  return read;
}
