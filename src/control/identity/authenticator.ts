/** Says who calls: by a client certificate of the mesh, else by a bearer token; the first that holds decides, as in istiod. */
import type { SpiffeId } from "../../mesh/identity.ts";
import type { TokenVerifier } from "../../pki/token/token_verifier.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type {
  CallCredentials,
  Caller,
  CallerAuthenticator,
  NodeCaller,
  OperatorCaller,
  WorkloadCaller,
} from "./caller.ts";
import type { CallerRefusal, CertificateCallers } from "./certificate_caller.ts";
import type { RevocationStore } from "./identity_state.ts";
import type { RateLimits } from "./rate_limits.ts";
import type { Refusals } from "./refusals.ts";

export interface AuthenticatorOptions {
  readonly certificates: CertificateCallers;
  readonly tokens: TokenVerifier;
  readonly revocations: RevocationStore;
  /** Identities that no token can claim: the control plane's own, and the first administrator's. */
  readonly reserved: readonly SpiffeId[];
  readonly rates: RateLimits;
  readonly refusals: Refusals;
}

/** istiod's words (`security/pkg/server/ca/server.go`); they tell nothing. */
const opaque = "request authenticate failure";

export class MeshCallerAuthenticator implements CallerAuthenticator {
  readonly #options: AuthenticatorOptions;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  async authenticate(credentials: CallCredentials): Promise<Caller> {
    this.#admit(credentials, "caller.authenticate");
    const refusals: CallerRefusal[] = [];
    for (const attempt of [this.#byCertificate(credentials), this.#byToken(credentials)]) {
      const found = await attempt();
      if (found === null) continue;
      if (found.kind !== "refused") {
        credentials.proven?.();
        return found;
      }
      refusals.push(found);
    }
    throw this.#refused(credentials, "caller.authenticate", refusals);
  }

  async authenticateForRenewal(credentials: CallCredentials): Promise<NodeCaller> {
    this.#admit(credentials, "node.renew");
    const { certificates } = this.#options;
    const { chain } = credentials;
    if (chain.length === 0) throw this.#refused(credentials, "node.renew", []);
    const found = await certificates.caller(chain);
    if (found.kind === "node") {
      credentials.proven?.();
      return found;
    }
    const refusal =
      found.kind === "workload"
        ? { kind: "refused" as const, reason: "not_a_node", detail: `${found.id} is no node` }
        : found;
    if (refusal.reason !== "certificate_expired") throw this.#refused(credentials, "node.renew", [refusal]);
    const expired = await certificates.expiredNode(chain);
    if (expired.kind === "node") {
      credentials.proven?.();
      return expired;
    }
    throw this.#refused(credentials, "node.renew", [expired]);
  }

  /** For streams that stay open, when trust or a registration has changed. @returns null while the caller may still be believed, else why not. */
  recheck(caller: Caller): string | null {
    if (caller.kind === "operator") return this.#refuseOperator(caller);
    const refused = caller.kind === "workload" ? this.#refuseToken(caller) : null;
    return refused ?? this.#options.certificates.recheck(caller);
  }

  #refuseOperator({
    name,
    issuer,
    claims,
  }: Pick<OperatorCaller, "name" | "issuer" | "claims">): string | null {
    const { revocations } = this.#options;
    if (revocations.isRevokedOperator(name)) return `operator ${name} is revoked`;
    const id = typeof claims.jti === "string" ? `${issuer}#${claims.jti}` : null;
    return id !== null && revocations.isRevokedToken(id) ? `token ${id} is revoked` : null;
  }

  #refuseToken({ id, token }: Pick<WorkloadCaller, "id" | "token">): string | null {
    if (token === undefined) return null;
    const { revocations, tokens } = this.#options;
    if (token.id !== null && revocations.isRevokedToken(token.id)) return `token ${token.id} is revoked`;
    return tokens.mayClaim(token.issuer, id)
      ? null
      : `issuer ${token.issuer} is not believed for ${id} any more`;
  }

  #admit({ remote }: CallCredentials, action: string): void {
    if (this.#options.rates.admitAddress(remote)) return;
    throw this.#options.refusals.refuse(grpcCode.resourceExhausted, "too many requests", {
      action,
      actor: remote.ip.text,
      target: "",
      reason: "address_rate",
      detail: "too many calls from this address",
    });
  }

  #byCertificate({ chain }: CallCredentials): () => Promise<Caller | CallerRefusal | null> {
    return async () => (chain.length === 0 ? null : await this.#options.certificates.caller(chain));
  }

  #byToken({ authorization }: CallCredentials): () => Promise<Caller | CallerRefusal | null> {
    return async () => (authorization === null ? null : await this.#bearer(authorization));
  }

  async #bearer(authorization: string): Promise<Caller | CallerRefusal> {
    const { tokens, revocations, reserved } = this.#options;
    // RFC 9110 §11.1: the scheme in any case; RFC 6750 §2.1: one space.
    const token = /^bearer (.+)$/i.exec(authorization)?.[1];
    if (token === undefined) return refuse("malformed", "the authorization header holds no bearer token");
    const found = await tokens.verify(token);
    if (found.kind === "refused")
      return refuse(`token_${found.reason}`, `token of issuer ${found.issuer ?? "unknown"}: ${found.detail}`);
    if (found.kind === "operator") {
      const { issuer, subject, claims } = found;
      const operator = { kind: "operator", name: `${issuer}#${subject}`, issuer, subject, claims } as const;
      const refused = this.#refuseOperator(operator);
      return refused === null ? operator : refuse("revoked", refused);
    }
    if (reserved.some((one) => one.equals(found.id)))
      return refuse("reserved", `a token claims to be ${found.id}, which shows a certificate`);
    if (revocations.isRevokedIdentity(found.id.uri)) return refuse("revoked", `${found.id} is revoked`);
    const { issuer, tokenId } = found;
    const shown = { issuer, id: tokenId === null ? null : `${issuer}#${tokenId}` };
    const refused = this.#refuseToken({ id: found.id, token: shown });
    if (refused !== null) return refuse("revoked", refused);
    return { kind: "workload", id: found.id, via: "token", expiresAtMs: found.expiresAtMs, token: shown };
  }

  #refused({ remote }: CallCredentials, action: string, refusals: readonly CallerRefusal[]): GrpcError {
    return this.#options.refusals.refuse(grpcCode.unauthenticated, opaque, {
      action,
      actor: remote.ip.text,
      target: "",
      reason: refusals[0]?.reason ?? "no_credentials",
      detail: refusals.map((one) => one.detail).join("; ") || "neither a client certificate nor a token",
    });
  }
}

function refuse(reason: string, detail: string): CallerRefusal {
  return { kind: "refused", reason, detail };
}
