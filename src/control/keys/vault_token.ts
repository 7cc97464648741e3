/** Who we are to Vault: a token that is given, or one that an AppRole login returns; renewed while it lives. */
import { MeshError } from "../../base/errors.ts";
import type { Files } from "../../host/host.ts";
import { asRecord, numberField, textField, type VaultFailure } from "./vault_answer.ts";
import { type VaultConnection, vaultPath } from "./vault_connection.ts";

/** Secrets come from files, read for each login, so that an agent may replace them; or as they are, for what is read from the environment. */
export type VaultSecret =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "value"; readonly value: string };

export type VaultAuth =
  | { readonly kind: "token"; readonly token: VaultSecret }
  | {
      readonly kind: "approle";
      /** `approle` by default. */
      readonly mount: string;
      readonly roleId: string;
      /** Null for a role that is bound by address alone. */
      readonly secretId: VaultSecret | null;
    };

export interface VaultToken {
  readonly token: string;
  /** Zero for one that never ends. */
  readonly leaseMs: number;
  readonly isRenewable: boolean;
}

/** @returns the token, or the answer that is in the way of it. @throws MeshError `io`, `configuration`, blame local. */
export async function obtainToken(
  connection: VaultConnection,
  auth: VaultAuth,
  files: Pick<Files, "readText">,
): Promise<VaultToken | VaultFailure> {
  if (auth.kind === "token") {
    const token = await readSecret(auth.token, files);
    const answer = await connection.send({
      method: "GET",
      path: "auth/token/lookup-self",
      token,
      body: null,
    });
    if (answer.kind !== "ok") return answer;
    const data = asRecord(answer.body?.data);
    const isRenewable = data?.renewable === true;
    return { token, leaseMs: (numberField(data, "ttl") ?? 0) * 1000, isRenewable };
  }
  const path = `auth/${vaultPath(auth.mount, "the mount of AppRole")}/login`;
  const secretId = auth.secretId === null ? {} : { secret_id: await readSecret(auth.secretId, files) };
  const body = { role_id: auth.roleId, ...secretId };
  const answer = await connection.send({ method: "POST", path, token: null, body });
  return answer.kind === "ok" ? readToken(answer.body) : answer;
}

/** Asks for the whole lease again. */
export async function renewToken(
  connection: VaultConnection,
  { token }: VaultToken,
): Promise<VaultToken | VaultFailure> {
  const answer = await connection.send({ method: "POST", path: "auth/token/renew-self", token, body: {} });
  return answer.kind === "ok" ? readToken(answer.body) : answer;
}

export function isToken(outcome: VaultToken | VaultFailure): outcome is VaultToken {
  return "token" in outcome;
}

function readToken(body: Readonly<Record<string, unknown>> | null): VaultToken | VaultFailure {
  const auth = asRecord(body?.auth);
  const token = textField(auth, "client_token");
  if (token === null) return { kind: "refused", message: "its answer to a login has no token" };
  return {
    token,
    leaseMs: (numberField(auth, "lease_duration") ?? 0) * 1000,
    isRenewable: auth?.renewable === true,
  };
}

async function readSecret(secret: VaultSecret, files: Pick<Files, "readText">): Promise<string> {
  const text = secret.kind === "value" ? secret.value : await files.readText(secret.path);
  const trimmed = text.trim();
  // Header values: a token with a line break in it would be a request of its own.
  if (!/^[\x21-\x7e]{1,8192}$/.test(trimmed)) {
    const where = secret.kind === "file" ? secret.path : "the settings";
    throw new MeshError("configuration", "local", `the file ${where} does not have a secret for Vault`);
  }
  return trimmed;
}
