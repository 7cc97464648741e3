/** Errors as RFC 9457 has them: a status, a title, what is wrong here, and where. */
import { type ErrorCode, MeshError } from "../../base/errors.ts";
import type { DocumentError } from "../../mesh/location.ts";

export type ProblemStatus = 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 422 | 429 | 500 | 503 | 507;

export interface ProblemFields {
  /** Of documents, each with its place. */
  readonly errors?: readonly DocumentError[];
  /** Nodes that a rotation waits for. */
  readonly waitingFor?: readonly string[];
  /** Why the control plane could not be reached any more, and whether `force` goes on all the same. */
  readonly lockOuts?: readonly string[];
  readonly canForce?: boolean;
  /** The version that the documents are at. */
  readonly version?: number;
  /** When it may be tried again. */
  readonly retryAfterSeconds?: number;
}

/** The phrases of RFC 9110 §15 and RFC 4918 §11.5, as RFC 9457 §4.2.1 wants them of a problem without a type of its own. */
const titles: Readonly<Record<ProblemStatus, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
  507: "Insufficient Storage",
};

/** Ends a request with this answer. */
export class Problem extends Error {
  readonly status: ProblemStatus;
  readonly fields: ProblemFields;

  constructor(status: ProblemStatus, detail: string, fields: ProblemFields = {}) {
    super(detail);
    this.status = status;
    this.fields = fields;
  }

  response(): Response {
    const body = {
      type: "about:blank",
      title: titles[this.status],
      status: this.status,
      detail: this.message,
      ...this.fields,
    };
    const headers: Record<string, string> = {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
    };
    // RFC 9110 §15.5.2 wants it.
    if (this.status === 401) headers["www-authenticate"] = "Bearer";
    const { retryAfterSeconds } = this.fields;
    if (retryAfterSeconds !== undefined) headers["retry-after"] = String(retryAfterSeconds);
    return new Response(`${JSON.stringify(body)}\n`, { status: this.status, headers });
  }
}

const statuses: Partial<Readonly<Record<ErrorCode, ProblemStatus>>> = {
  configuration: 400,
  limit_reached: 409,
  disk_full: 507,
  disk_read_only: 503,
  database_locked: 503,
  authority_unavailable: 503,
};

/** A fault's own words where they are about the request; otherwise they stay in the log. @returns null for what is a bug or an accident. */
export function problemOf(thrown: unknown): Problem | null {
  if (thrown instanceof Problem) return thrown;
  if (!(thrown instanceof MeshError)) return null;
  const status = statuses[thrown.code];
  return status === undefined ? null : new Problem(status, thrown.message);
}
