/** The beginning of a request's content, for an authorizer that wants to see it. What was looked at is sent on all the same. */
import type { Body } from "../body.ts";
import type { Exchange } from "../exchange.ts";

export interface BodySample {
  readonly bytes: Uint8Array;
  /** There is no more. */
  readonly isWhole: boolean;
}

/** Room for what comes with the byte that is one too many: a piece is kept as it came. */
const onePieceBytes = 1024 * 1024;

/** @returns null when the content broke off, or the exchange is over. */
export function sampleBody(exchange: Exchange, maxBytes: number): Promise<BodySample | null> {
  const { body } = exchange;
  if (body === null) return Promise.resolve({ bytes: new Uint8Array(0), isWhole: true });
  const { promise, resolve } = Promise.withResolvers<BodySample | null>();
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isDone = false;
  const done = (isWhole: boolean | null): void => {
    if (isDone) return;
    isDone = true;
    // First the content goes back: nothing may pass while the authorizer thinks.
    const isBack = giveBack(body);
    resolve(
      isWhole === null || !isBack ? null : { bytes: joined(pieces, Math.min(length, maxBytes)), isWhole },
    );
  };
  exchange.onAbort(() => done(null));
  body.keep(maxBytes + onePieceBytes);
  body.pipe({
    write(bytes) {
      pieces.push(bytes);
      length += bytes.length;
      if (length <= maxBytes) return true;
      // Not from within: the body is still giving.
      void Promise.resolve().then(() => done(false));
      return false;
    },
    end: () => void Promise.resolve().then(() => done(true)),
    fail: () => done(null),
  });
  return promise;
}

function giveBack(body: Body): boolean {
  const isBack = body.rewind();
  // What is kept from now on is for whoever sends it on to say.
  body.keep(0);
  return isBack;
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    const part = piece.subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
