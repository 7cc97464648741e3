/** When a stream ends because what opened it has. */
import { pkiLimits } from "../../base/limits/pki.ts";
import { adsLimits } from "../../base/limits/rpc.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { Caller } from "../identity/caller.ts";

/**
 * A stream that a token has opened ends with it, a little later: its client then shows the token it has now, as ztunnel reads it
 * again for each connection, or is a caller who no longer has one. istiod leaves such streams open for ever.
 *
 * A certificate's end ends no stream: a control plane that cannot sign for a while would lose, one by one, the nodes that it
 * still can tell whom not to trust. Revocation ends those.
 *
 * @param onEnd is called once, unless what is returned was cancelled before.
 */
export function whenCredentialEnds(clock: Clock, caller: Caller, onEnd: () => void): Timer | null {
  if (caller.kind !== "workload" || caller.expiresAtMs === undefined) return null;
  const endMs = caller.expiresAtMs + adsLimits.expiredTokenGraceMs;
  let timer: Timer;
  const arm = (): void => {
    const leftMs = endMs - clock.wallMs();
    // A timer runs by the monotonic clock, and the wall clock may jump.
    timer = clock.setTimer(Math.min(Math.max(leftMs, 0), pkiLimits.clockCheckMs), () => {
      if (clock.wallMs() >= endMs) onEnd();
      else arm();
    });
  };
  arm();
  return { cancel: () => timer.cancel() };
}
