/** Whose certificates this host has: those of the workloads that run here, and those that local programs get on the identity socket. */

import type { ServedWorkloadApi } from "../../agent/workload_api/serve.ts";
import { MeshError } from "../../base/errors.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { type IdentityRule, parseIdentityRule } from "../../mesh/identity_rule.ts";
import type { SecretManager } from "../../pki/svid/secrets.ts";
import type { TrustVerifier } from "../../pki/trust/verifier.ts";
import type { LocalWorkloads } from "../../proxy/local_workloads.ts";
import type { Svids } from "../../proxy/node_context.ts";

export interface IdentitySocket extends ServedWorkloadApi {
  readonly path: string;
  readonly rules: readonly IdentityRule[];
}

export interface IdentityParts {
  readonly trust: TrustVerifier;
  /** The mesh's own, which a control plane may have told. */
  readonly trustDomain: string;
  readonly secrets: SecretManager;
}

/**
 * Opens the socket that the configuration names. What a control plane does not sign for this host its callers do not get, whatever
 * the rules say.
 *
 * @returns null when none is named. @throws MeshError `configuration`, or as `Network.listenUnix`.
 */
export async function openIdentitySocket(
  host: Host,
  config: Config,
  logger: LogWriter,
  { trust, trustDomain, secrets }: IdentityParts,
): Promise<IdentitySocket | null> {
  if (config.identitySocket === null) return null;
  const [{ auditToLog, serveWorkloadApi }, { VerifierBundle }] = await Promise.all([
    import("../../agent/workload_api/serve.ts"),
    import("../../agent/workload_api/verifier_bundle.ts"),
  ]);
  const { path, mode } = config.identitySocket;
  const rules = config.identitySocket.rules.map((text) => readRule(text, trustDomain));
  const served = serveWorkloadApi({
    host,
    logger,
    path,
    mode,
    rules,
    audit: auditToLog(logger),
    trustDomain,
    secrets,
    bundle: new VerifierBundle(trust),
  });
  return { ...served, path, rules };
}

function readRule(text: string, trustDomain: string): IdentityRule {
  const rule = parseIdentityRule(text, trustDomain);
  if (typeof rule === "string") throw new MeshError("configuration", "local", `--identity-for: ${rule}`);
  return rule;
}

/**
 * SVIDs are made before they are needed, and forgotten with the last workload that had them; but not one that a program may hold
 * by a rule.
 */
export function prefetchIdentities(
  locals: LocalWorkloads,
  secrets: Svids & Pick<SecretManager, "release">,
  socket: IdentitySocket | null,
): void {
  const handedOut = new Set(socket?.rules.map(({ id }) => id.uri));
  let held = new Map<string, SpiffeId>();
  const follow = (): void => {
    const wanted = new Map(locals.all.map((workload) => [workload.identity.uri, workload.identity]));
    for (const [uri, id] of held) if (!wanted.has(uri) && !handedOut.has(uri)) secrets.release(id);
    // A failure is kept by the secret itself, retried, and shown by readiness.
    for (const [uri, id] of wanted) if (!held.has(uri)) secrets.svid(id).catch(() => {});
    held = wanted;
  };
  follow();
  locals.subscribe(follow);
}
