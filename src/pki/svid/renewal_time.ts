/** When an SVID is to be renewed. Pure: the clock and the dice are arguments. */
import { pkiLimits } from "../../base/limits/pki.ts";

export interface Validity {
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/**
 * Half of life, as ztunnel has it (`tls/certificate.rs`), or up to a twentieth of life earlier, so that SVIDs that were made
 * together are not renewed together. A short SVID is backdated past its own half; it is kept for a third of what is left.
 *
 * @param arrivedMs when it was issued, by our clock.
 * @param random uniform in [0, 1).
 * @returns milliseconds since the Unix epoch.
 */
export function renewalTimeMs(validity: Validity, arrivedMs: number, random: number): number {
  const lifeMs = validity.notAfterMs - validity.notBeforeMs;
  const halfLifeMs = validity.notBeforeMs + lifeMs * (0.5 - random * pkiLimits.renewalSpread);
  const leftMs = Math.max(0, validity.notAfterMs - arrivedMs);
  return Math.max(halfLifeMs, arrivedMs + leftMs / 3);
}

/** A wall clock that went back to before the SVID existed is as good a reason to renew as one that went past half of its life. */
export function isRenewalDue(validity: Validity, renewAtMs: number, nowMs: number): boolean {
  return nowMs >= renewAtMs || nowMs < validity.notBeforeMs;
}

export function isExpired(validity: Validity, nowMs: number): boolean {
  return nowMs > validity.notAfterMs;
}
