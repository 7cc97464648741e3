/** Waiting that ends. */
import type { MeshError } from "../../base/errors.ts";
import type { Clock } from "../../host/host.ts";

/** Settles as `promise` does, or rejects with what `onTimeout` makes after `timeoutMs`; a later outcome is dropped. */
export function withTimeout<T>(
  clock: Clock,
  promise: Promise<T>,
  timeoutMs: number,
  onTimeout: () => MeshError,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(timeoutMs, () => reject(onTimeout()));
    promise.then(resolve, reject).finally(() => timer.cancel());
  });
}
