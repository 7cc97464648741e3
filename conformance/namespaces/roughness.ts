/** What a bad cable does to packets, by the kernel's netem where it is there, else by `rough_cable.ts`. */
export interface Roughness {
  readonly lostPerMille: number;
  /** Each way. */
  readonly delayMs: number;
  /** Up to so much more, drawn for each packet: what comes close together is reordered. */
  readonly jitterMs: number;
  /** Not delayed at all. */
  readonly reorderedPerMille: number;
  readonly repeatedPerMille: number;
  readonly seed: number;
}

/** A bad wireless link, as far as a test has time for one. */
export const badLink: Roughness = {
  lostPerMille: 10,
  delayMs: 5,
  jitterMs: 4,
  reorderedPerMille: 50,
  repeatedPerMille: 5,
  seed: 1,
};

/** Arguments of `tc qdisc add dev DEVICE root`. */
export function netem({
  lostPerMille,
  delayMs,
  jitterMs,
  reorderedPerMille,
  repeatedPerMille,
}: Roughness): string[] {
  const percent = (perMille: number) => `${perMille / 10}%`;
  return [
    ...["netem", "delay", `${delayMs}ms`, `${jitterMs}ms`, "loss", percent(lostPerMille)],
    ...["reorder", percent(reorderedPerMille), "duplicate", percent(repeatedPerMille)],
  ];
}
