/**
 * Decodes what other implementations encoded (github.com/http2jp/hpack-test-case, MIT), and our own encoding of the same.
 *
 * A part of it is in `conformance/fixtures/hpack`; the whole of it, 478 stories, is taken from `.peers/hpack-test-case`
 * when it is there, or from the folder that is named.
 *
 *   bun conformance/spec/hpack_stories.ts [folder]
 */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { HpackDecoder } from "../../src/wire/hpack/decoder.ts";
import { HpackEncoder } from "../../src/wire/hpack/encoder.ts";

interface Case {
  readonly wire?: string;
  readonly header_table_size?: number | null;
  readonly headers: readonly Readonly<Record<string, string>>[];
}

interface Tally {
  stories: number;
  blocks: number;
  wrong: number;
}

const root = join(import.meta.dir, "..", "..");
const whole = join(root, ".peers", "hpack-test-case");
const folder =
  process.argv[2] ?? (existsSync(whole) ? whole : join(root, "conformance", "fixtures", "hpack"));

const producers = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
let total = 0;
let wrong = 0;
for (const producer of producers.sort((a, b) => a.name.localeCompare(b.name))) {
  const tally = await runProducer(join(folder, producer.name));
  if (tally.stories === 0) continue;
  console.log(
    `${producer.name.padEnd(32)} ${tally.stories} stories, ${tally.blocks} blocks, ${tally.wrong} wrong`,
  );
  total += tally.stories;
  wrong += tally.wrong;
}
console.log(`${total} stories from ${folder}`);
process.exit(total > 0 && wrong === 0 ? 0 : 1);

async function runProducer(path: string): Promise<Tally> {
  const tally = { stories: 0, blocks: 0, wrong: 0 };
  for (const name of (await readdir(path)).sort()) {
    if (!name.startsWith("story_")) continue;
    const story = (await Bun.file(join(path, name)).json()) as { cases: readonly Case[] };
    tally.stories++;
    runStory(story.cases, tally, `${path}/${name}`);
  }
  return tally;
}

function runStory(cases: readonly Case[], tally: Tally, name: string): void {
  const theirs = new HpackDecoder();
  const ours = [false, true].map((huffman) => ({
    encoder: new HpackEncoder({ maxTableBytes: 4096, huffman }),
    decoder: new HpackDecoder(),
  }));
  for (const [index, item] of cases.entries()) {
    const expected = item.headers.flatMap((header) => Object.entries(header).flat());
    tally.blocks++;
    const wanted = item.header_table_size ?? undefined;
    if (wanted !== undefined) theirs.setAllowedTableBytes(wanted);
    // Some producers take a smaller table as given from the start, where the wire would need a size update.
    if (wanted !== undefined && index === 0) decode(theirs, sizeUpdate(wanted));
    const decoded = item.wire === undefined ? expected : decode(theirs, Buffer.from(item.wire, "hex"));
    const again = ours.map(({ encoder, decoder }) => {
      const target = new Uint8Array(encoder.maxEncodedBytes(expected));
      return decode(decoder, target.subarray(0, encoder.encode(expected, target, 0)));
    });
    if ([decoded, ...again].every((fields) => Bun.deepEquals(fields, expected))) continue;
    tally.wrong++;
    if (tally.wrong <= 3) console.log(`${name} case ${index}: ${JSON.stringify(decoded)}`);
  }
}

/** RFC 7541 §6.3. */
function sizeUpdate(bytes: number): Uint8Array {
  if (bytes < 31) return Uint8Array.of(0x20 | bytes);
  const rest = bytes - 31;
  return Uint8Array.of(0x3f, (rest & 0x7f) | 0x80, ((rest >> 7) & 0x7f) | 0x80, rest >> 14);
}

function decode(decoder: HpackDecoder, block: Uint8Array): readonly string[] {
  const fields = decoder.decode(block, 0, block.length, Number.POSITIVE_INFINITY);
  return "compressionError" in fields ? [fields.compressionError] : fields;
}
