/** Our own bug, never a peer's: a broken invariant ends the process's current task loudly. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/**
 * States an invariant of this program. It stays on in production.
 *
 * @throws AssertionError when `condition` is false.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a branch that the types say cannot be reached; a new union member that is not handled fails to compile. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
