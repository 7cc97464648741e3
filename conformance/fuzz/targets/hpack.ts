/** Header compression: what is decoded is encoded again and comes out the same; a table is the same however blocks follow each other. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HpackDecoder } from "../../../src/wire/hpack/decoder.ts";
import { HpackEncoder } from "../../../src/wire/hpack/encoder.ts";
import { holds, type Look, same, type Target } from "../target.ts";

const maxListBytes = 4096;

/** The first byte: where the input is cut into two blocks of one connection. The second: the size of the table. */
function run(input: Uint8Array, look: Look): void {
  const tableBytes = (input[1] ?? 0) * 32;
  const block = input.subarray(2);
  const cut = Math.min(block.length, input[0] ?? 0);
  const decoder = new HpackDecoder();
  decoder.setAllowedTableBytes(tableBytes);
  const encoders = [true, false].map((huffman) => ({
    encoder: new HpackEncoder({ maxTableBytes: 4096, huffman }),
    again: new HpackDecoder(),
  }));
  for (const [from, to] of [
    [0, cut],
    [cut, block.length],
  ] as const) {
    const fields = look.turn(() => decoder.decode(block, from, to, maxListBytes));
    if ("compressionError" in fields) return;
    holds(fields.length % 2 === 0, "names have values");
    const bytes = fields.reduce((sum, text, index) => sum + text.length + (index % 2 === 0 ? 32 : 0), 0);
    holds(bytes <= maxListBytes, "the list is within its bound");
    holds(decoder.listBytes >= bytes, "its size is counted whole");
    // What is malformed is never sent on.
    if (decoder.malformed) continue;
    for (const { encoder, again } of encoders) {
      const room = encoder.maxEncodedBytes(fields);
      const target = new Uint8Array(room);
      const end = encoder.encode(fields, target, 0);
      holds(end <= room, "what is encoded is within the room that was said");
      same(again.decode(target, 0, end, maxListBytes), fields, "encoded and decoded again");
      holds(!again.malformed, "what was well-formed still is");
    }
  }
}

function seeds(): readonly Uint8Array[] {
  const folder = join(import.meta.dir, "..", "..", "fixtures", "hpack");
  const found: Uint8Array[] = [];
  for (const producer of readdirSync(folder)) {
    if (producer === "LICENSE") continue;
    const story: { readonly cases: readonly { readonly wire?: string }[] } = JSON.parse(
      readFileSync(join(folder, producer, "story_00.json"), "utf8"),
    );
    const wires = story.cases.slice(0, 2).map(({ wire }) => Uint8Array.fromHex(wire ?? ""));
    const [first = new Uint8Array(0), second = new Uint8Array(0)] = wires;
    found.push(Uint8Array.of(Math.min(255, first.length), 128, ...first, ...second));
  }
  return found;
}

export const target: Target = { maxBytes: 1024, seeds, run };
