/** The wait for a connection, as long as the call that needs it may take. */
import type { Clock } from "../../host/host.ts";
import type { CallOptions } from "../../wire/grpc/client.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";

/** @throws GrpcError DEADLINE_EXCEEDED, CANCELLED; the promise goes on for whoever else waits for it. */
export async function withinDeadline<T>(clock: Clock, options: CallOptions, promise: Promise<T>): Promise<T> {
  const { timeoutMs = null, signal } = options;
  if (timeoutMs === null && signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const fail = (error: unknown) => {
      settle();
      reject(error);
    };
    const onAbort = () => fail(new GrpcError(grpcCode.cancelled, "cancelled by the caller"));
    const timer =
      timeoutMs === null
        ? null
        : clock.setTimer(Math.max(0, timeoutMs), () =>
            fail(new GrpcError(grpcCode.deadlineExceeded, "deadline exceeded before there was a connection")),
          );
    const settle = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted === true) onAbort();
    promise.then((value) => {
      settle();
      resolve(value);
    }, fail);
  });
}
