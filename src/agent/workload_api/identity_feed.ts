/** What one stream is told of: the SVIDs it asked for and the trust bundle, and that something of them has changed. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import type { Watch } from "../../base/watch.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { SecretManager } from "../../pki/svid/secrets.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";

export interface IdentitySources {
  readonly clock: Clock;
  readonly secrets: Pick<SecretManager, "svid" | "current" | "subscribe">;
  readonly bundle: Watch<TrustBundle>;
}

export class IdentityFeed {
  readonly #sources: IdentitySources;
  readonly #onChange: () => void;
  readonly #wanted = new Map<string, SpiffeId>();
  readonly #asking = new Set<string>();
  /** Asked for in vain a short while ago. */
  readonly #failed = new Set<string>();
  readonly #ends: (() => void)[];
  readonly #timers = new Set<Timer>();
  #failure: MeshError | null = null;
  #scheduled = false;
  #closed = false;

  /** @param onChange coalesced, and never from inside a call on this object. */
  constructor(sources: IdentitySources, onChange: () => void) {
    this.#sources = sources;
    this.#onChange = onChange;
    this.#ends = [
      sources.secrets.subscribe((svid) => {
        if (this.#wanted.has(svid.id.uri)) this.#schedule();
      }),
      sources.bundle.subscribe(() => this.#schedule()),
    ];
  }

  get bundle(): TrustBundle {
    return this.#sources.bundle.value;
  }

  /** Whether an SVID is still being asked for. */
  get isAsking(): boolean {
    return this.#asking.size > 0;
  }

  /** The last failure to get one; null after a success. */
  get failure(): MeshError | null {
    return this.#failure;
  }

  /** The SVID of `id` when there is one; otherwise it is asked for, and a change is told when there is an answer. */
  svid(id: SpiffeId): Svid | null {
    this.#wanted.set(id.uri, id);
    const svid = this.#sources.secrets.current(id);
    if (svid === null) this.#ask(id);
    return svid;
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#ends.splice(0)) end();
    for (const timer of this.#timers) timer.cancel();
  }

  #ask(id: SpiffeId): void {
    if (this.#closed || this.#asking.has(id.uri) || this.#failed.has(id.uri)) return;
    this.#asking.add(id.uri);
    const settle = (failure: MeshError | null) => {
      this.#asking.delete(id.uri);
      this.#failure = failure;
      if (failure !== null) this.#askAgainLater(id);
      this.#schedule();
    };
    this.#sources.secrets.svid(id).then(
      () => settle(null),
      (error) => settle(asMeshError(error, "identity_unavailable", "local")),
    );
  }

  /** `SecretManager` goes on trying by itself; asking again is for an identity that it was told to forget meanwhile. */
  #askAgainLater(id: SpiffeId): void {
    if (this.#closed) return;
    this.#failed.add(id.uri);
    const timer = this.#sources.clock.setTimer(workloadApiLimits.askAgainMs, () => {
      this.#timers.delete(timer);
      this.#failed.delete(id.uri);
      this.#schedule();
    });
    this.#timers.add(timer);
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#sources.clock.defer(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#onChange();
    });
  }
}

/** The caller is who the identity is meant for, so it hears whether waiting helps: a refusal is for a person to look at. */
export function identityUnavailable(failure: MeshError | null): GrpcError {
  const refused = (error: unknown): boolean =>
    error instanceof MeshError && (error.code === "control_refused" || refused(error.cause));
  const reason = refused(failure) ? ": the control plane does not sign it for this host" : "";
  return new GrpcError(grpcCode.unavailable, `the identity is not available now${reason}`, {
    cause: failure,
  });
}
