/** The control plane's identity services put together: who calls, how hosts join, and what they are issued. */

import { KeyedGate } from "../../base/keyed_gate.ts";
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Clock, Files, HttpClient, Random } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import type { JwtIssuer } from "../../pki/token/token_issuer.ts";
import { TokenVerifier } from "../../pki/token/token_verifier.ts";
import { keyPin } from "../../pki/trust/pin.ts";
import type { TrustVerifier } from "../../pki/trust/verifier.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import { istioCertificate, join } from "../../wire/grpc/services.ts";
import { MeshCallerAuthenticator } from "../identity/authenticator.ts";
import type { CallPeer } from "../identity/call_credentials.ts";
import type { Caller } from "../identity/caller.ts";
import { CertificateCallers } from "../identity/certificate_caller.ts";
import { issuedThrough, refuseEntitlement } from "../identity/entitlement.ts";
import type { IdentityState } from "../identity/identity_state.ts";
import { JoinTokens } from "../identity/join_tokens.ts";
import { StoreMeshFacts, type WorkloadSource } from "../identity/mesh_facts.ts";
import { RateLimits, type RateSettings } from "../identity/rate_limits.ts";
import { Refusals } from "../identity/refusals.ts";
import type { AuthoritySource } from "../keys/authority_source.ts";
import type { JoinClaims } from "../records/join_claims.ts";
import { CertificateService } from "./certificate_service.ts";
import { Issuance } from "./issuance.ts";
import { JoinService } from "./join_service.ts";
import type { NodeSettings } from "./node_settings.ts";
import { RenewalService } from "./renewal_service.ts";

export interface ControlIdentityOptions {
  readonly host: {
    readonly clock: Clock;
    readonly random: Random;
    readonly files: Files;
    readonly http: HttpClient;
  };
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly provider: CryptoProvider;
  readonly state: IdentityState;
  readonly authority: Pick<AuthoritySource, "sign" | "supersede" | "publish" | "rootPem">;
  /** Of the mesh; its roots and revocation lists are kept as the authority's bundle is. */
  readonly trust: TrustVerifier;
  /** What the mesh's documents say. */
  readonly store: WorkloadSource;
  /** Who the members of a WorkloadGroup (`namespace/name`) are; null when there is none. */
  readonly groupIdentity: (group: string) => SpiffeId | null;
  /** Which names and addresses hosts may have that join by a tenant's token. */
  readonly claims: JoinClaims;
  readonly issuers: readonly JwtIssuer[];
  readonly settings: NodeSettings;
  /** The control plane's own. */
  readonly controlId: SpiffeId;
  /** Identities that it issues by itself alone, and that no token can claim: the first administrator's. */
  readonly reserved?: readonly SpiffeId[];
  /** `https://HOST:15012`, as hosts reach it. */
  readonly controlUrl: () => string;
  /** The longest life of a workload's certificate. */
  readonly maxLifetimeMs: number;
  /** Others than those of `base/limits/`, for tests. */
  readonly rates?: RateSettings;
}

export interface ControlIdentity {
  /** For every service that has callers: xDS, administration. */
  readonly authenticator: MeshCallerAuthenticator;
  readonly refusals: Refusals;
  readonly joinTokens: JoinTokens;
  /** What is known of each issuer's keys, for administration. */
  readonly tokens: TokenVerifier;
  /** Whether the caller may have that workload's identity, and so speak for it. */
  mayActAs(caller: Caller, wanted: SpiffeId): boolean;
  /** The same of a workload by `namespace/name`; false for one that is not in the mesh. */
  mayActAsWorkload(caller: Caller, workload: string): boolean;
  /** Takes `CreateCertificate`, `Join` and `Renew`. */
  register<Peer extends CallPeer>(service: GrpcService<Peer>): void;
}

export function createControlIdentity(options: ControlIdentityOptions): ControlIdentity {
  const { host, logger, metrics, provider, state, authority, settings, controlId, reserved = [] } = options;
  const { clock, random } = host;
  const { trustDomain, rootNamespace } = settings;
  const { registrations, revocations } = state;
  const rates = new RateLimits(clock, options.rates);
  const refusals = new Refusals({
    clock,
    logger,
    metrics,
    audit: state.audit,
    strangers: state.strangers ?? state.audit,
  });
  const tokens = new TokenVerifier({ ...host, logger, trustDomain, rootNamespace, issuers: options.issuers });
  const mesh = new StoreMeshFacts(options.store, options.groupIdentity);
  const known = { clock, provider, trust: options.trust, trustDomain, controlId, registrations, revocations };
  const certificates = new CertificateCallers(known);
  const authenticator = new MeshCallerAuthenticator({
    clock,
    provider,
    certificates,
    tokens,
    revocations,
    reserved: [controlId, ...reserved],
    rates,
    refusals,
  });
  const { maxLifetimeMs } = options;
  const issuance = new Issuance({ clock, provider, signer: authority, metrics, maxLifetimeMs });
  const shared = {
    clock,
    provider,
    state,
    authenticator,
    issuance,
    authority,
    mesh,
    rates,
    refusals,
    logger,
    metrics,
    settings,
  };
  const nodes = new KeyedGate();
  const joining = new JoinService({ ...shared, nodes, claims: options.claims });
  const renewal = new RenewalService({ ...shared, nodes });
  const creation = new CertificateService({ ...shared, trustDomain, controlId, reserved });
  const pin = () => rootPin(authority.rootPem(), provider);
  const joinTokens = new JoinTokens({
    clock,
    random,
    provider,
    tokens: state.tokens,
    controlUrl: options.controlUrl,
    pin,
  });
  const mayActAs = (caller: Caller, wanted: SpiffeId): boolean => {
    const behind = issuedThrough(caller, state);
    if (typeof behind === "string") return false;
    const question = { wanted, trustDomain, controlId, reserved, mesh };
    return [caller, behind].every((asking) => refuseEntitlement({ ...question, caller: asking }) === null);
  };
  return {
    authenticator,
    refusals,
    joinTokens,
    tokens,
    mayActAs,
    mayActAsWorkload: (caller, name) => {
      const workload = mesh.workload(name);
      return workload !== null && mayActAs(caller, workload.identity);
    },
    register(service) {
      service
        .unary(istioCertificate.createCertificate, creation.createCertificate)
        .unary(join.join, joining.join)
        .unary(join.renew, renewal.renew);
    },
  };
}

/** The pin of the root that the serving certificate's chain ends with. */
async function rootPin(rootPem: string, provider: CryptoProvider): Promise<string> {
  const [der = new Uint8Array()] = decodePemLabel(rootPem, "CERTIFICATE");
  return (await keyPin(parseCertificate(der), provider)).text;
}
