/**
 * How a promise ended, for tests, awaited by the one event loop there is. `expect(promise).rejects` of Bun 1.4.5 waits in a loop
 * of its own inside the loop, in which no immediate runs while anything keeps the process alive (a server, a timer or a child
 * of another test file): simulated time stands still there, and so does whatever our machines deferred.
 */

/** @returns what the promise rejects with. @throws when it does not reject. */
export async function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (reason) {
    return reason;
  }
  throw new Error(`the promise was to reject, and gave ${String(value)}`);
}

/** @returns a function that ends as the promise did, for `toThrow`. */
export async function outcomeOf(promise: Promise<unknown>): Promise<() => unknown> {
  try {
    const value = await promise;
    return () => value;
  } catch (reason) {
    return () => {
      throw reason;
    };
  }
}
