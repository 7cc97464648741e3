/** How a node keeps its certificate (`fairlead.v1.JoinService/Renew`): by the one it has, also after a long absence, until it is revoked. */

import type { KeyedGate } from "../../base/keyed_gate.ts";
import type { Clock } from "../../host/host.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { JoinResponse, RenewRequest } from "../../wire/messages/fairlead.gen.ts";
import { credentialsOf, type UnaryCall } from "../identity/call_credentials.ts";
import type { Caller, CallerAuthenticator, NodeCaller } from "../identity/caller.ts";
import type { IdentityState } from "../identity/identity_state.ts";
import type { RateLimits } from "../identity/rate_limits.ts";
import type { Refusals } from "../identity/refusals.ts";
import type { Issuance, Issued } from "./issuance.ts";
import { bindingNamespace, joinResponse, type NodeSettings } from "./node_settings.ts";
import { describeSigningFailure } from "./signing_failure.ts";

export interface RenewalServiceOptions {
  readonly clock: Clock;
  readonly state: Pick<IdentityState, "registrations" | "audit" | "transaction">;
  readonly authenticator: CallerAuthenticator & { recheck(caller: Caller): string | null };
  readonly issuance: Issuance;
  readonly rates: RateLimits;
  readonly refusals: Refusals;
  /** One at a time for each node, joins and renewals together. */
  readonly nodes: KeyedGate;
  readonly settings: NodeSettings;
}

const action = "node.renew";

export class RenewalService {
  readonly #options: RenewalServiceOptions;

  constructor(options: RenewalServiceOptions) {
    this.#options = options;
  }

  /**
   * The handler of `Renew`.
   *
   * @throws GrpcError `unauthenticated` for who is no node, or none any more; `invalidArgument` for a bad request;
   *   `resourceExhausted`, `unavailable`, `internal`.
   */
  readonly renew = async (request: RenewRequest, call: UnaryCall): Promise<JoinResponse> => {
    const { authenticator, rates, refusals, nodes } = this.#options;
    const caller = await authenticator.authenticateForRenewal(credentialsOf(call));
    const exhausted = rates.admitCaller(caller.id.uri) ? rates.admitRenewal() : "caller";
    if (exhausted !== null)
      throw refusals.refuse(grpcCode.resourceExhausted, "too many requests", {
        ...this.#call(caller),
        reason: `${exhausted}_rate`,
        detail: "too many requests",
      });
    return await nodes.run(caller.node, () => this.#renew(request.csr, caller));
  };

  async #renew(csrPem: string, caller: NodeCaller): Promise<JoinResponse> {
    const { issuance, settings, refusals } = this.#options;
    // While it waited for its turn another host may have taken its place.
    this.#recheck(caller);
    const { id, node, registration } = caller;
    try {
      const proven = await issuance.prove(csrPem);
      const lifetimeMs = settings.nodeLifetimeMs;
      const issued = await issuance.issue("node", { csrPem, proven, id, lifetimeMs, requestedBy: node });
      this.#recheck(caller);
      this.#keep(caller, issued);
      return joinResponse(settings, registration, issued.chain);
    } catch (error) {
      if (error instanceof GrpcError) throw error;
      throw describeSigningFailure(error, this.#call(caller), refusals);
    }
  }

  #keep(caller: NodeCaller, issued: Issued): void {
    const { state, clock } = this.#options;
    const { node, credential, registration, serialNumber } = caller;
    const atMs = clock.wallMs();
    state.transaction(() => {
      state.registrations.touch(node, atMs);
      state.audit.append({
        ...this.#call(caller),
        atMs,
        namespace: bindingNamespace(registration.binding),
        outcome: "ok",
        detail: `by its certificate ${serialNumber}, which ${credential === "expired" ? "has expired" : "is valid"}`,
        before: serialNumber,
        after: issued.serialNumber,
      });
    });
  }

  #recheck(caller: NodeCaller): void {
    const gone = this.#options.authenticator.recheck(caller);
    if (gone === null) return;
    const refused = { ...this.#call(caller), reason: "revoked", detail: gone };
    throw this.#options.refusals.refuse(grpcCode.unauthenticated, "request authenticate failure", refused);
  }

  #call({ id, node }: NodeCaller): {
    readonly action: string;
    readonly actor: string;
    readonly target: string;
  } {
    return { action, actor: id.uri, target: node };
  }
}
