/** Identities for local programs that are not ours: Envoy's SDS and SPIFFE's Workload API on one Unix socket. */
import { assert } from "../../base/assert.ts";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import type { IdentityRule } from "../../mesh/identity_rule.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import { CallAudit, type CallLog } from "./call_audit.ts";
import type { IdentitySources } from "./identity_feed.ts";
import { LocalCallers } from "./local_callers.ts";
import { type LocalPeer, SecretDiscovery, type SecretStreamStatus } from "./sds.ts";
import { SpiffeWorkloadApi } from "./spiffe_workload_api.ts";

export interface WorkloadApiOptions extends IdentitySources {
  readonly rules: readonly IdentityRule[];
  readonly audit: CallLog;
  readonly trustDomain: string;
  /** See `SecretNaming`; true fails closed. */
  readonly revocationListsToEnvoy?: boolean;
}

export interface WorkloadApiStatus {
  readonly openStreams: number;
  readonly secrets: readonly SecretStreamStatus[];
}

export class WorkloadApi {
  readonly #callers: LocalCallers;
  readonly #sds: SecretDiscovery;
  readonly #spiffe: SpiffeWorkloadApi;

  constructor(options: WorkloadApiOptions) {
    const { rules, clock, trustDomain } = options;
    assert(rules.length <= workloadApiLimits.maxIdentityRules, "configuration bounds the rules");
    const audit = new CallAudit(clock, options.audit);
    this.#callers = new LocalCallers(rules, audit);
    this.#sds = new SecretDiscovery(this.#callers, audit, options, {
      trustDomain,
      withRevocationLists: options.revocationListsToEnvoy ?? true,
    });
    this.#spiffe = new SpiffeWorkloadApi(this.#callers, audit, options, trustDomain);
  }

  /** Onto a service of its own: on the network's port these methods must not be. */
  register<Peer extends LocalPeer>(service: GrpcService<Peer>): void {
    this.#sds.register(service);
    this.#spiffe.register(service);
  }

  status(): WorkloadApiStatus {
    return { openStreams: this.#callers.streams, secrets: this.#sds.status() };
  }
}
