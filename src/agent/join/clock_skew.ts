/** Whether this host's clock is wrong, as far as a certificate that was made just now can tell. */
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";

/**
 * A CA dates what it issues from a little before its own now (istiod and ours: two minutes, `ClockSkewGracePeriod` of
 * `security/pkg/pki/util/generate_cert.go`). What it issued during a call that took no time therefore tells its clock.
 *
 * @param askedMs, answeredMs this host's clock around the call.
 * @returns how far this host's clock is ahead of the CA's, in milliseconds, negative when it is behind; null when it is near enough.
 */
export function clockSkewMs(notBeforeMs: number, askedMs: number, answeredMs: number): number | null {
  const theirNowMs = notBeforeMs + pkiLimits.backdateMs;
  const skew = answeredMs < theirNowMs ? answeredMs - theirNowMs : Math.max(0, askedMs - theirNowMs);
  return Math.abs(skew) < joinLimits.clockSkewMs ? null : skew;
}

/** `this host's clock is 62 minutes behind the control plane's: set it (NTP), certificates depend on it`. */
export function describeSkew(skewMs: number): string {
  const minutes = Math.round(Math.abs(skewMs) / 60_000);
  const amount = minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  return `this host's clock is ${amount} ${skewMs > 0 ? "ahead of" : "behind"} the control plane's: set it (NTP), certificates depend on it`;
}
