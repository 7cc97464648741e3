/**
 * How much one of many may hold of what is bounded for all: half of what the others leave, so that it is never all taken by one, and
 * each that comes still finds some. What is reserved is for those that are not counted among the many.
 */
export interface ShareBounds {
  /** Of all together. */
  readonly max: number;
  /** Of `max`, what the many leave to others. */
  readonly reserved: number;
  /** Of one, however much is free. */
  readonly each: number;
}

/**
 * @param others what all others of the many hold. @param rest what is held besides by those for whom the reserve is.
 * @returns what one may hold in all, what it has included.
 */
export function shareOf({ max, reserved, each }: ShareBounds, others: number, rest = 0): number {
  // What is held by those that the reserve is for fills the reserve first.
  const free = max - Math.max(reserved, rest) - others;
  return Math.max(0, Math.min(each, Math.ceil(free / 2)));
}
