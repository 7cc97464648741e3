/** What a node's own verifier goes by, as a bundle to hand on: local programs believe what we believe. */
import type { Watch } from "../../base/watch.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import type { TrustVerifier } from "../../pki/trust/verifier.ts";

type Trust = Pick<TrustVerifier, "rootsPem" | "revocationLists" | "changes">;

export class VerifierBundle implements Watch<TrustBundle> {
  readonly #trust: Trust;

  constructor(trust: Trust) {
    this.#trust = trust;
  }

  /** Of now. Without roots `rootsPem` is empty, and callers wait. */
  get value(): TrustBundle {
    return { rootsPem: this.#trust.rootsPem, crls: this.#trust.revocationLists };
  }

  subscribe(listener: (value: TrustBundle) => void): () => void {
    return this.#trust.changes.subscribe(() => listener(this.value));
  }
}
