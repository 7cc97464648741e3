/** Intermediates that stood on verified paths, so that their revocation lists can be proven as soon as they arrive. */
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Certificate } from "../x509/certificate.ts";

export class KnownIssuers {
  /** By name and key, the longest unseen first. */
  readonly #issuers = new Map<string, Certificate>();

  see(issuer: Certificate): void {
    this.#issuers.delete(issuer.authorityKey);
    this.#issuers.set(issuer.authorityKey, issuer);
    const [oldest] = this.#issuers.keys();
    if (oldest !== undefined && this.#issuers.size > pkiLimits.maxKnownIssuers) this.#issuers.delete(oldest);
  }

  all(): readonly Certificate[] {
    return [...this.#issuers.values()];
  }
}
