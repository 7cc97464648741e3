/** Nonces of one stream: which response a request answers, and what became of the responses. */
import { workloadApiLimits } from "../../base/limits/agent.ts";

export interface Acknowledgements {
  /** Version of the last response that the client took; null before the first. */
  readonly acknowledged: string | null;
  /** The last refusal, until a later response is taken. */
  readonly refused: { readonly version: string; readonly reason: string } | null;
}

export class SecretNonces implements Acknowledgements {
  #counter = 0;
  #version = "";
  acknowledged: string | null = null;
  refused: Acknowledgements["refused"] = null;

  /** @param version of the response that goes out with it. */
  next(version: string): string {
    this.#counter++;
    this.#version = version;
    return String(this.#counter);
  }

  /**
   * @param nonce "" when the request answers nothing.
   * @returns false for a request that answers an older response: a newer one is under way, and so is its answer.
   */
  receive(nonce: string, errorDetail: { readonly message: string } | undefined): boolean {
    // A client that comes back may still name a nonce of the stream before.
    if (nonce === "" || this.#counter === 0) return true;
    if (nonce !== String(this.#counter)) return false;
    if (errorDetail === undefined) {
      this.acknowledged = this.#version;
      this.refused = null;
    } else {
      this.refused = {
        version: this.#version,
        reason: errorDetail.message.slice(0, workloadApiLimits.maxNackChars),
      };
    }
    return true;
  }
}
