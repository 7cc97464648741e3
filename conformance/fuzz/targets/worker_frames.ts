/** What a node hears of its workers, which speak with strangers: frames, values and messages. */
import { MeshError } from "../../../src/base/errors.ts";
import { FrameReader, writeFrame } from "../../../src/workers/frames.ts";
import { readSaid, readTold } from "../../../src/workers/messages.ts";
import { readValue, writeValue } from "../../../src/workers/values.ts";
import { bytesOf, type Look, readCut, same, type Target } from "../target.ts";

/** Null for what was refused as it is said to be. */
function refusable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof MeshError && error.code === "message_malformed") return null;
    throw error;
  }
}

function run(input: Uint8Array, look: Look): void {
  // As it comes: frames, cut anywhere.
  readCut(input, look, (parts) => {
    const reader = new FrameReader();
    const read: unknown[] = [];
    const whole = refusable(() => {
      for (const part of parts) for (const value of reader.receive(part)) read.push(value);
      return "whole";
    });
    for (const value of read) {
      refusable(() => readSaid(value));
      refusable(() => readTold(value));
    }
    return { read, whole };
  });
  // And as the body of one.
  const text = new TextDecoder().decode(input);
  const parsed = refusable(() => readValue(json(text)));
  if (parsed === null) return;
  refusable(() => readSaid(parsed));
  same(readValue(JSON.parse(JSON.stringify(writeValue(parsed)))), parsed, "a value, written and read again");
  const [again] = new FrameReader().receive(writeFrame(parsed));
  same(again, parsed, "a frame, written and read again");
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const said = [
  { kind: "done", seq: 1, answer: { listed: [{ id: 1 }], total: 1 } },
  { kind: "failed", code: "io", message: "m" },
  { kind: "record", wallMs: 1, level: "info", message: "opened", fields: { a: 1, b: null, c: "x" } },
];

export const target: Target = {
  maxBytes: 1024,
  seeds: () => [
    ...said.map(writeFrame),
    ...said.map((value) => bytesOf(JSON.stringify(value))),
    ...[
      '{"kind":"want","id":{"$id":["mesh","shop","cart"]}}',
      '{"$map":[[80,{"$ip":"10.0.0.1"}],["a",{"$bytes":"AP8="}]]}',
      '{"$object":[["$ip",1],["__proto__",{"$ip":"::1"}]]}',
      '{"seq":1,"told":{"kind":"svid"}}',
      '{"$id":["a"]}',
      '{"$bytes":"%"}',
      '{"$map":[[1]]}',
      "[[[[]]]]",
    ].map(bytesOf),
  ],
  dictionary: [
    "$ip",
    "$id",
    "$map",
    "$bytes",
    "$object",
    '"kind":',
    '"seq":',
    "done",
    "want",
    "record",
    "\0\0\0",
  ],
  run,
};
