/** How a node keeps its certificate (`fairlead.v1.JoinService/Renew`): by the one it has, also after a long absence, until it is revoked. */

import type { KeyedGate } from "../../base/keyed_gate.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Counter, MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import { KeyedBuckets } from "../../base/token_bucket.ts";
import type { Clock } from "../../host/host.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
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
  readonly state: Pick<IdentityState, "registrations" | "certificates" | "audit" | "transaction">;
  readonly authenticator: CallerAuthenticator & { recheck(caller: Caller): string | null };
  readonly issuance: Issuance;
  readonly rates: RateLimits;
  readonly refusals: Refusals;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  /** One at a time for each node, joins and renewals together. */
  readonly nodes: KeyedGate;
  readonly settings: NodeSettings;
}

const action = "node.renew";

/** For a caller that holds the key: nothing is given away. */
const leftBehind =
  "this certificate is older than the host's present one: either its key is in two places, or the host's disk was set back";

export class RenewalService {
  readonly #options: RenewalServiceOptions;

  /** Alarms of one host that are written whatever strangers cause to be written. */
  readonly #alarms: KeyedBuckets;
  readonly #clones: MetricFamily<never, Counter>;

  constructor(options: RenewalServiceOptions) {
    this.#options = options;
    const { metrics } = options;
    this.#alarms = new KeyedBuckets(identityLimits.alarmRate, identityLimits.maxRateKeys);
    this.#clones = metrics.counter(
      "fairlead_control_cloned_credentials",
      "Renewals that were refused because the host has renewed by another copy of its certificate",
      [],
    );
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
    const serials = this.#serials(caller);
    try {
      const proven = await issuance.prove(csrPem);
      const lifetimeMs = settings.nodeLifetimeMs;
      const issued = await issuance.issue("node", { csrPem, proven, id, lifetimeMs, requestedBy: node });
      this.#recheck(caller);
      this.#keep(caller, issued, serials);
      return joinResponse(settings, registration, issued.chain);
    } catch (error) {
      throw describeSigningFailure(error, this.#call(caller), refusals);
    }
  }

  /**
   * A host renews by the certificate it was last seen with, or by the one it was given since; by the first as often as answers are lost.
   * Any other of its certificates was left behind by a renewal: two hold copies of one key, or a disk was set back.
   *
   * @returns the number that the host is known by from now on. @throws GrpcError `unauthenticated`, and raises the alarm.
   */
  #serials(caller: NodeCaller): string {
    const { state } = this.#options;
    const { node, serialNumber, notBeforeMs } = caller;
    const registration = state.registrations.byNode(node);
    const { currentSerial = null, pendingSerial = null } = registration ?? {};
    if (currentSerial === null || serialNumber === currentSerial || serialNumber === pendingSerial)
      return serialNumber;
    // Not recorded, and younger than what is: it was issued after the back-up that this state was restored from.
    const current = state.certificates.bySerial(currentSerial);
    const isLost = state.certificates.bySerial(serialNumber) === null;
    if (isLost && current !== null && notBeforeMs !== undefined && notBeforeMs >= current.notBeforeMs)
      return serialNumber;
    throw this.#alarm(caller, currentSerial);
  }

  #alarm(caller: NodeCaller, currentSerial: string): GrpcError {
    const { refusals, logger } = this.#options;
    const { node, serialNumber } = caller;
    this.#clones.with({}).add(1);
    const detail = `serial ${serialNumber} is older than the present one, ${currentSerial}: the key of ${node} is in two places, or its disk was set back. If you do not know why, revoke ${node} and let it join again`;
    if (this.#alarms.take(node, this.#options.clock.now())) {
      logger.log("error", "identity", "a host's certificate may be in use in two places", {
        node,
        reason: detail,
      });
      return refusals.alarm(grpcCode.unauthenticated, leftBehind, {
        ...this.#call(caller),
        reason: "cloned",
        detail,
      });
    }
    return refusals.refuse(grpcCode.unauthenticated, leftBehind, {
      ...this.#call(caller),
      reason: "cloned",
      detail,
    });
  }

  #keep(caller: NodeCaller, issued: Issued, currentSerial: string): void {
    const { state, clock } = this.#options;
    const { node, credential, registration, serialNumber } = caller;
    const atMs = clock.wallMs();
    state.transaction(() => {
      state.registrations.touch(node, atMs);
      state.registrations.setSerials(node, currentSerial, issued.serialNumber);
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
