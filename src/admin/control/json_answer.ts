/** Answers that may be large: written in pieces while connections have their turn, as fast as the client reads. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { type SliceClock, TimeSlice } from "../../base/turns/time_slice.ts";

/** JSON of a value made of plain objects, lists and what JSON has. */
export function answerJson(clock: SliceClock, value: object): Response {
  return answerText(clock, jsonPieces(value), "application/json");
}

/** @param pieces of any size, made one after the other as they are read. */
export function answerText(clock: SliceClock, pieces: Iterator<string>, contentType: string): Response {
  const slice = new TimeSlice(clock);
  const body = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        await slice.giveWay();
        const text = gather(pieces);
        if (text === "") controller.close();
        else controller.enqueue(utf8.encode(text));
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: { "content-type": contentType, "cache-control": "no-store" } });
}

function gather(pieces: Iterator<string>): string {
  const texts: string[] = [];
  for (let length = 0; length < controlAdminLimits.answerChunkChars; ) {
    const { value, done } = pieces.next();
    if (done === true) break;
    length += value.length;
    texts.push(value);
  }
  return texts.join("");
}

const utf8 = new TextEncoder();

/** What is in the value's own lists and objects is written one by one; one of those is never large. */
export function* jsonPieces(value: object, depth = 0): Generator<string, void> {
  if (Array.isArray(value)) {
    yield "[";
    let isFirst = true;
    for (const item of value) {
      yield `${isFirst ? "" : ","}${JSON.stringify(item) ?? "null"}`;
      isFirst = false;
    }
    yield "]";
    return;
  }
  yield "{";
  let isFirst = true;
  for (const [name, field] of Object.entries(value)) {
    if (field === undefined) continue;
    yield `${isFirst ? "" : ","}${JSON.stringify(name)}:`;
    isFirst = false;
    if (typeof field === "object" && field !== null && depth < maxDepth) yield* jsonPieces(field, depth + 1);
    else yield JSON.stringify(field);
  }
  yield "}";
}

const maxDepth = 1;
