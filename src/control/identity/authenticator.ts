/** Says who calls: by a client certificate of the mesh, else by a bearer token; the first that holds decides, as in istiod. */
import { identityLimits } from "../../base/limits/control.ts";
import type { Clock } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { TokenVerifier } from "../../pki/token/token_verifier.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import {
  type CallCredentials,
  type Caller,
  type CallerAuthenticator,
  callerName,
  type NodeCaller,
  type OperatorCaller,
  type WorkloadCaller,
} from "./caller.ts";
import type { CallerRefusal, CertificateCallers } from "./certificate_caller.ts";
import type { RevocationStore } from "./identity_state.ts";
import type { RateLimits } from "./rate_limits.ts";
import type { Refusals } from "./refusals.ts";
import { RememberedDigests } from "./remembered.ts";

export interface AuthenticatorOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
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

/** Longer than any token that is issued for callers lives: it is verified again each time, this says only that it is worth it. */
const tokenMemoryMs = 24 * 60 * 60_000;

export class MeshCallerAuthenticator implements CallerAuthenticator {
  readonly #options: AuthenticatorOptions;
  readonly #refusedChains: RememberedDigests;
  readonly #knownTokens: RememberedDigests;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    const { clock, provider } = options;
    this.#refusedChains = new RememberedDigests(clock, provider, identityLimits.maxRefusedChains);
    this.#knownTokens = new RememberedDigests(clock, provider, identityLimits.maxKnownTokens);
  }

  async authenticate(credentials: CallCredentials): Promise<Caller> {
    const { remote, chain, authorization } = credentials;
    const isFlooded = this.#options.rates.isFlooded(remote);
    const refusals: CallerRefusal[] = [];
    if (chain.length > 0) {
      const found = await this.#certificate(chain, isFlooded, (shown) =>
        this.#options.certificates.caller(shown),
      );
      if (found.kind !== "refused") return this.#admitted(found, credentials, "caller.authenticate");
      refusals.push(found);
    }
    if (authorization !== null) {
      const found = await this.#bearer(authorization, isFlooded);
      if (found.kind !== "refused") return this.#admitted(found, credentials, "caller.authenticate");
      refusals.push(found);
    }
    throw this.#refused(credentials, "caller.authenticate", refusals);
  }

  async authenticateForRenewal(credentials: CallCredentials): Promise<NodeCaller> {
    const { chain, remote } = credentials;
    if (chain.length === 0) throw this.#refused(credentials, "node.renew", []);
    const isFlooded = this.#options.rates.isFlooded(remote);
    const found = await this.#certificate(chain, isFlooded, (shown) => this.#renewing(shown));
    if (found.kind === "node") return this.#admitted(found, credentials, "node.renew");
    throw this.#refused(credentials, "node.renew", [found]);
  }

  #admitted<Found extends Caller>(caller: Found, { remote, proven }: CallCredentials, action: string): Found {
    const name = callerName(caller);
    proven?.();
    if (this.#options.rates.admitKnown(name, remote)) return caller;
    throw this.#options.refusals.refuse(grpcCode.resourceExhausted, "too many requests", {
      action,
      actor: name,
      target: "",
      reason: "known_rate",
      detail: `too many calls of this caller from ${remote.ip.text}`,
    });
  }

  async #renewing(chain: readonly Uint8Array[]): Promise<NodeCaller | CallerRefusal> {
    const { certificates } = this.#options;
    const found = await certificates.caller(chain);
    if (found.kind === "node") return found;
    if (found.kind === "workload") return refuse("not_a_node", `${found.id} is not a node`);
    return found.reason === "certificate_expired" ? await certificates.expiredNode(chain) : found;
  }

  /**
   * A chain is looked at whatever its address has used up: its holder has done a handshake for it, which costs both sides more. Past
   * the address's rate one that was refused is not looked at again for a while, or one handshake would buy a thousand looks.
   */
  async #certificate<Found extends Caller>(
    chain: readonly Uint8Array[],
    isFlooded: boolean,
    look: (chain: readonly Uint8Array[]) => Promise<Found | CallerRefusal>,
  ): Promise<Found | CallerRefusal> {
    const [leaf = new Uint8Array()] = chain;
    if (isFlooded && (await this.#refusedChains.has(leaf)))
      return refuse("address_rate", "a certificate that was refused, and too many calls from this address");
    const found = await look(chain);
    if (isFlooded && found.kind === "refused")
      await this.#refusedChains.add(leaf, identityLimits.refusedChainMs);
    return found;
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
    return tokens.mayClaim(token.issuer, id) ? null : `issuer ${token.issuer} is no longer trusted for ${id}`;
  }

  /** A token costs its sender nothing: past the address's rate only those are looked at that have held before. */
  async #bearer(authorization: string, isFlooded: boolean): Promise<Caller | CallerRefusal> {
    const bytes = new TextEncoder().encode(authorization);
    if (isFlooded && !(await this.#knownTokens.has(bytes)))
      return refuse("address_rate", "an unknown token, and too many calls from this address");
    const found = await this.#verifyBearer(authorization);
    if (found.kind !== "refused") await this.#knownTokens.add(bytes, tokenMemoryMs);
    return found;
  }

  async #verifyBearer(authorization: string): Promise<Caller | CallerRefusal> {
    const { tokens, revocations, reserved } = this.#options;
    // RFC 9110 §11.1: the scheme in any case; RFC 6750 §2.1: one space.
    const token = /^bearer (.+)$/i.exec(authorization)?.[1];
    if (token === undefined) return refuse("malformed", "the authorization header has no bearer token");
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
      return refuse("reserved", `a token claims to be ${found.id}, which has to show a certificate`);
    if (revocations.isRevokedIdentity(found.id.uri)) return refuse("revoked", `${found.id} is revoked`);
    const { issuer, tokenId } = found;
    const shown = { issuer, id: tokenId === null ? null : `${issuer}#${tokenId}` };
    const refused = this.#refuseToken({ id: found.id, token: shown });
    if (refused !== null) return refuse("revoked", refused);
    return { kind: "workload", id: found.id, via: "token", expiresAtMs: found.expiresAtMs, token: shown };
  }

  #refused({ remote }: CallCredentials, action: string, refusals: readonly CallerRefusal[]): GrpcError {
    const { rates } = this.#options;
    const refused = { action, actor: remote.ip.text, target: "" };
    if (!rates.chargeAddress(remote))
      return this.#options.refusals.refuse(grpcCode.resourceExhausted, "too many requests", {
        ...refused,
        reason: "address_rate",
        detail: "too many calls from this address",
      });
    return this.#options.refusals.refuse(grpcCode.unauthenticated, opaque, {
      ...refused,
      reason: refusals[0]?.reason ?? "no_credentials",
      detail: refusals.map((one) => one.detail).join("; ") || "neither a client certificate nor a token",
    });
  }
}

function refuse(reason: string, detail: string): CallerRefusal {
  return { kind: "refused", reason, detail };
}
