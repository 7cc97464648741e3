/** Content as the web's streams have it, and back: for user code alone. What is not read is not asked of the sender either. */
import { asMeshError } from "../base/errors.ts";
import { Body } from "./body.ts";

export function webStream(body: Body): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        body.pipe({
          write: (bytes) => {
            controller.enqueue(bytes);
            return (controller.desiredSize ?? 0) > 0;
          },
          end: () => controller.close(),
          fail: (error) => controller.error(error),
        });
      },
      pull: () => body.resume(),
      cancel: () => body.cancel(null),
    },
    { highWaterMark: 1 },
  );
}

/** @param original whose trailers go with it still. */
export function bodyOf(stream: ReadableStream<Uint8Array>, original: Body | null): Body {
  const reader = stream.getReader();
  let isWaiting = false;
  let isReading = false;
  const read = async (): Promise<void> => {
    if (isReading) return;
    isReading = true;
    try {
      while (!isWaiting) {
        const { done, value } = await reader.read();
        if (done) {
          body.finish(original?.trailers ?? null);
          return;
        }
        if (!body.push(value)) isWaiting = true;
      }
    } catch (thrown) {
      body.fail(asMeshError(thrown, "stopped", "local"));
    } finally {
      isReading = false;
    }
  };
  const body = new Body({
    onResume: () => {
      isWaiting = false;
      void read();
    },
    onCancel: (error) => void reader.cancel(error).catch(() => {}),
  });
  return body;
}
