/**
 * istiod's CA (`istio.v1.auth.IstioCertificateService`, `security/pkg/server/ca/server.go`): a real ztunnel's, our
 * nodes', anybody's who speaks it.
 */
import { SpiffeId } from "../../mesh/identity.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type {
  IstioCertificateRequest,
  IstioCertificateResponse,
} from "../../wire/messages/istio_citadel.gen.ts";
import { credentialsOf, type UnaryCall } from "../identity/call_credentials.ts";
import { type Caller, type CallerAuthenticator, callerName } from "../identity/caller.ts";
import { issuedThrough, type MeshFacts, refuseEntitlement } from "../identity/entitlement.ts";
import type { IdentityState } from "../identity/identity_state.ts";
import type { RateLimits } from "../identity/rate_limits.ts";
import type { Refusals } from "../identity/refusals.ts";
import type { Issuance, Issued } from "./issuance.ts";
import { describeSigningFailure } from "./signing_failure.ts";

export interface CertificateServiceOptions {
  readonly authenticator: CallerAuthenticator & { recheck(caller: Caller): string | null };
  readonly state: Pick<IdentityState, "certificates" | "registrations" | "revocations">;
  readonly issuance: Issuance;
  readonly mesh: MeshFacts;
  readonly rates: RateLimits;
  readonly refusals: Refusals;
  readonly trustDomain: string;
  readonly controlId: SpiffeId;
  /** Identities that the control plane issues by itself alone. */
  readonly reserved: readonly SpiffeId[];
}

const action = "certificate.create";

export class CertificateService {
  readonly #options: CertificateServiceOptions;

  constructor(options: CertificateServiceOptions) {
    this.#options = options;
  }

  /**
   * The handler of `CreateCertificate`.
   *
   * @throws GrpcError as istiod: `unauthenticated` for who may not, `invalidArgument` for a request that is bad, `internal`;
   *   and `resourceExhausted` past a rate, `unavailable` while nothing can be signed.
   */
  readonly createCertificate = async (
    request: IstioCertificateRequest,
    call: UnaryCall,
  ): Promise<IstioCertificateResponse> => {
    const caller = await this.#options.authenticator.authenticate(credentialsOf(call));
    const { wanted, requestedBy } = this.#authorize(caller, request);
    if (call.cancelled.aborted) throw this.#refuse(caller, wanted.uri, "cancelled", "the caller has left");
    const { chain } = await this.#issue(caller, wanted, requestedBy, request);
    // Whoever was revoked while the signer was at work does not get what it made.
    const revoked = this.#options.authenticator.recheck(caller);
    if (revoked !== null) throw this.#refuse(caller, wanted.uri, "revoked", revoked);
    return { $typeName: "istio.v1.auth.IstioCertificateResponse", certChain: chain };
  };

  #authorize(
    caller: Caller,
    request: IstioCertificateRequest,
  ): { readonly wanted: SpiffeId; readonly requestedBy: string } {
    const { rates, trustDomain, controlId, reserved, mesh, state } = this.#options;
    if (!rates.admitCaller(callerName(caller))) throw this.#exhausted(caller, "caller");
    const wanted = this.#wanted(caller, request);
    const behind = issuedThrough(caller, state);
    if (typeof behind === "string") throw this.#refuse(caller, wanted.uri, "not_entitled", behind);
    for (const asking of new Set([caller, behind])) {
      const refusal = refuseEntitlement({ caller: asking, wanted, trustDomain, controlId, reserved, mesh });
      if (refusal !== null) throw this.#refuse(caller, wanted.uri, "not_entitled", refusal);
    }
    // A tenant's callers cannot use up another's rate by asking for what they may not have.
    const exhausted = rates.admitSigning(wanted.namespace);
    if (exhausted !== null) throw this.#exhausted(caller, exhausted);
    return { wanted, requestedBy: behind.kind === "node" ? behind.node : callerName(behind) };
  }

  /** `ImpersonatedIdentity` of the metadata, else the caller itself. `CertSigner` picks a Kubernetes signer in istiod; its own CA ignores it, and so does this one. */
  #wanted(caller: Caller, { metadata }: IstioCertificateRequest): SpiffeId {
    const impersonated = metadata?.ImpersonatedIdentity ?? "";
    if (impersonated === "") {
      if (caller.kind !== "operator") return caller.id;
      throw this.#refuse(caller, "", "not_entitled", "an operator has no workload identity");
    }
    const id = typeof impersonated === "string" ? SpiffeId.parse(impersonated) : null;
    if (id === null)
      throw this.#refuse(
        caller,
        "",
        "identity_malformed",
        "ImpersonatedIdentity is not a SPIFFE identity of the mesh",
      );
    return id;
  }

  async #issue(
    caller: Caller,
    id: SpiffeId,
    requestedBy: string,
    request: IstioCertificateRequest,
  ): Promise<Issued> {
    const { issuance, refusals } = this.#options;
    try {
      const proven = await issuance.prove(request.csr);
      const lifetimeMs = issuance.lifetimeMs(request.validityDuration);
      return await issuance.issue("workload", { csrPem: request.csr, proven, id, lifetimeMs, requestedBy });
    } catch (error) {
      throw describeSigningFailure(error, { action, actor: callerName(caller), target: id.uri }, refusals);
    }
  }

  #exhausted(caller: Caller, whose: "caller" | "namespace" | "all"): GrpcError {
    return this.#options.refusals.refuse(grpcCode.resourceExhausted, "too many requests", {
      action,
      actor: callerName(caller),
      target: "",
      reason: `${whose}_rate`,
      detail: `too many requests of ${whose === "all" ? "all callers" : `this ${whose}`}`,
    });
  }

  #refuse(caller: Caller, target: string, reason: string, detail: string): GrpcError {
    // istiod's words for an impersonation that it refuses.
    const message = "request impersonation authentication failure";
    return this.#options.refusals.refuse(grpcCode.unauthenticated, message, {
      action,
      actor: callerName(caller),
      target,
      reason,
      detail,
    });
  }
}
