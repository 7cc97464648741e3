/** One connection to whichever of several addresses answers (Happy Eyeballs, RFC 8305): a dead family or server costs a moment. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Timer } from "../../host/host.ts";

/**
 * The order in which addresses are tried (RFC 8305 §4): families in turn, from `family` or the resolver's first; within a family from
 * a random one on, so that several servers of one name share the calls.
 *
 * @param resolved in the resolver's order. @param random uniform in [0, 1).
 * @returns so many as are tried, at most.
 */
export function attemptOrder(
  resolved: readonly IpAddress[],
  family: "IPV4" | "IPV6" | null,
  random: () => number,
): readonly IpAddress[] {
  const isIpv4First = family === null ? resolved[0]?.isIpv4 === true : family === "IPV4";
  const first = rotated(
    resolved.filter((ip) => ip.isIpv4 === isIpv4First),
    random,
  );
  const second = rotated(
    resolved.filter((ip) => ip.isIpv4 !== isIpv4First),
    random,
  );
  const order: IpAddress[] = [];
  for (let index = 0; index < Math.max(first.length, second.length); index++)
    for (const ip of [first[index], second[index]]) if (ip !== undefined) order.push(ip);
  return order.slice(0, proxyLimits.maxAddressesTried);
}

function rotated(list: readonly IpAddress[], random: () => number): readonly IpAddress[] {
  if (list.length < 2) return list;
  const from = Math.floor(random() * list.length);
  return [...list.slice(from), ...list.slice(0, from)];
}

export interface Attempts<T, R> {
  readonly clock: Pick<Clock, "setTimer">;
  /** Tried in this order; at least one. */
  readonly targets: readonly T[];
  readonly attempt: (target: T) => R | Promise<R>;
  /** One that came after another was taken. */
  readonly discard: (late: R) => void;
  /** Whether the result is still wanted: else no further attempt begins. */
  readonly isWanted: () => boolean;
}

/**
 * Begins the next attempt when the one before fails, or has not come to anything in a moment (RFC 8305 §5).
 *
 * @returns the first that came. @throws what the first attempt threw, when all have failed.
 */
export function firstOf<T, R>({ clock, targets, attempt, discard, isWanted }: Attempts<T, R>): Promise<R> {
  const { promise, resolve, reject } = Promise.withResolvers<R>();
  let firstError: unknown = null;
  let next = 0;
  let underWay = 0;
  let isTaken = false;
  let timer: Timer | null = null;
  const begin = (): void => {
    timer?.cancel();
    if (isTaken) return;
    const target = targets[next];
    if (target === undefined || (next > 0 && !isWanted())) {
      if (underWay === 0)
        reject(
          firstError ?? new MeshError("connect_unreachable", "upstream", "there is no address to connect to"),
        );
      return;
    }
    next++;
    underWay++;
    if (next < targets.length) timer = clock.setTimer(proxyLimits.attemptDelayMs, begin);
    // Also what is thrown at once becomes this attempt's failure.
    void new Promise<R>((done) => done(attempt(target))).then(
      (result) => {
        underWay--;
        timer?.cancel();
        if (isTaken) discard(result);
        isTaken = true;
        resolve(result);
      },
      (error) => {
        underWay--;
        firstError ??= error;
        begin();
      },
    );
  };
  begin();
  return promise;
}
