/** What an answer of Vault's HTTP API means. OpenBao speaks the same. */
import { keysLimits } from "../../base/limits/control.ts";
import type { HttpResponse } from "../../host/host.ts";

export type VaultAnswer =
  /** Null for an answer without content. */
  | { readonly kind: "ok"; readonly body: Readonly<Record<string, unknown>> | null }
  /** Sealed, standby, overloaded: the same request may succeed later. */
  | { readonly kind: "away"; readonly message: string }
  /** The token is not, or no longer, good for this. */
  | { readonly kind: "denied"; readonly message: string }
  | { readonly kind: "absent"; readonly message: string }
  /** It will never do this. */
  | { readonly kind: "refused"; readonly message: string };

export type VaultFailure = Exclude<VaultAnswer, { readonly kind: "ok" }>;

/** Statuses that have their own meaning in Vault's API (developer documentation, "HTTP status codes"; `sys/health`). */
const away: Readonly<Record<number, string>> = {
  412: "it is still behind its primary",
  429: "it asks for fewer requests, or is a standby",
  472: "it is a disaster recovery secondary",
  473: "it is a performance standby",
  500: "it has an internal error",
  502: "a service that it depends on does not answer",
  503: "it is sealed or in maintenance",
  504: "a service that it depends on does not answer in time",
};

export function readVaultAnswer(response: HttpResponse): VaultAnswer {
  const { status } = response;
  const body = readJson(response.body);
  if (status === 204) return { kind: "ok", body: null };
  if (status === 200) {
    return body === null ? { kind: "refused", message: "it did not answer with JSON" } : { kind: "ok", body };
  }
  const said = errorsOf(body);
  const message = (what: string): string => (said === "" ? what : `${what} (${said})`);
  const known = away[status];
  if (known !== undefined) return { kind: "away", message: message(known) };
  // A standby that does not forward; redirects are not followed, as the token would go along.
  if (status >= 300 && status < 400)
    return { kind: "away", message: "it is a standby that redirects to another server" };
  if (status === 403) return { kind: "denied", message: message("permission denied") };
  if (status === 404) return { kind: "absent", message: message("there is no such thing") };
  return { kind: "refused", message: message(`status ${status}`) };
}

function readJson(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    return asRecord(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return null;
  }
}

/** `{"errors": ["…"]}`, on one line and bounded. */
function errorsOf(body: Readonly<Record<string, unknown>> | null): string {
  const errors = Array.isArray(body?.errors) ? body.errors : [];
  return errors
    .filter((one) => typeof one === "string")
    .join("; ")
    .replace(/\s+/g, " ")
    .slice(0, keysLimits.maxVaultErrorLength);
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null;
}

/** A field of an answer's `data`. */
export function textField(data: Readonly<Record<string, unknown>> | null, name: string): string | null {
  const value = data?.[name];
  return typeof value === "string" && value !== "" ? value : null;
}

export function numberField(data: Readonly<Record<string, unknown>> | null, name: string): number | null {
  const value = data?.[name];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
