/** Who calls on the Unix socket, and what may it have: the kernel says which user, the operator's rules say which identities. */
import { workloadApiLimits } from "../../base/limits/agent.ts";
import type { PeerCredentials } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { IdentityRule } from "../../mesh/identity_rule.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { CallAudit } from "./call_audit.ts";

export interface LocalCaller {
  /** `uid=1001,gid=1001`. */
  readonly name: string;
  readonly uid: number;
  /** What it may have, in the order of the rules; the first is its default. */
  readonly ids: readonly [SpiffeId, ...SpiffeId[]];
}

/** A stream that is counted; `release` may be called again. */
export interface StreamSlot {
  release(): void;
}

export class LocalCallers {
  readonly #rules: readonly IdentityRule[];
  readonly #audit: CallAudit;
  readonly #streamsByUser = new Map<number, number>();
  #streams = 0;

  constructor(rules: readonly IdentityRule[], audit: CallAudit) {
    this.#rules = rules;
    this.#audit = audit;
  }

  /** Streams that are open now. */
  get streams(): number {
    return this.#streams;
  }

  /** Users that something is kept for. */
  get users(): number {
    return this.#streamsByUser.size;
  }

  /**
   * @param credentials of the connection, as the kernel gave them; null for a connection that has none.
   * @throws GrpcError `permissionDenied`. Which rules there are is not for outsiders.
   */
  identify(credentials: PeerCredentials | null, action: string): LocalCaller {
    if (credentials === null) {
      this.#audit.refused("unknown", action, "", "the connection has no peer credentials");
      throw noIdentity();
    }
    const { uid, gid } = credentials;
    const name = `uid=${uid},gid=${gid}`;
    const [first, ...others] = this.#matching(uid, gid);
    if (first === undefined) {
      this.#audit.refused(
        name,
        action,
        "",
        `no --identity-for rule matches this user (pid ${credentials.pid})`,
      );
      throw noIdentity();
    }
    return { name, uid, ids: [first, ...others] };
  }

  /** @throws GrpcError `resourceExhausted`. */
  takeStream(caller: LocalCaller, action: string): StreamSlot {
    const own = this.#streamsByUser.get(caller.uid) ?? 0;
    if (this.#streams >= workloadApiLimits.maxStreams || own >= workloadApiLimits.maxStreamsPerUser) {
      this.#audit.refused(caller.name, action, "", "too many streams");
      throw new GrpcError(grpcCode.resourceExhausted, "too many streams");
    }
    this.#streams++;
    this.#streamsByUser.set(caller.uid, own + 1);
    let released = false;
    return {
      release: () => {
        if (released) return;
        released = true;
        this.#release(caller.uid);
      },
    };
  }

  #release(uid: number): void {
    this.#streams--;
    const left = (this.#streamsByUser.get(uid) ?? 1) - 1;
    if (left === 0) this.#streamsByUser.delete(uid);
    else this.#streamsByUser.set(uid, left);
  }

  #matching(uid: number, gid: number): readonly SpiffeId[] {
    const found = new Map<string, SpiffeId>();
    for (const rule of this.#rules) {
      if (rule.uid !== null && rule.uid !== uid) continue;
      if (rule.gid !== null && rule.gid !== gid) continue;
      if (rule.uid === null && rule.gid === null) continue;
      found.set(rule.id.uri, rule.id);
    }
    return [...found.values()];
  }
}

/** SPIFFE Workload API §5.2: PermissionDenied, so that the caller knows that waiting alone does not help. */
function noIdentity(): GrpcError {
  return new GrpcError(grpcCode.permissionDenied, "no identity is configured for this user");
}
