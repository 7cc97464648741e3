/** The pages' figures are those of the raw results beside them. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { blocksOf, hasRaw, pages, withBlocks, withoutBlocks } from "./blocks.ts";

const text = (page: string) => readFileSync(join(import.meta.dir, "..", "..", page), "utf8");

/** Tables whose raw results are gone, or were never there; each becomes a block with the first that are kept. */
const withoutRaw = ["tunnel", "cores", "growth", "control", "certificates", "micro policy", "micro engines"];

/** Measured by hand, with tools that leave no file. */
const byHand = [
  "seconds since the start | CPU µs per connection, outbound / inbound | of it compiler threads",
  "lever | MB anonymous | CPU ms",
];

describe("tables of measurements", () => {
  for (const page of pages)
    test(`${page} has what the raw results say`, () => {
      expect(withBlocks(text(page))).toBe(text(page));
    });

  test("those without raw results are known, and become blocks with the first that are kept", () => {
    const kept = pages.flatMap((page) => blocksOf(text(page))).filter(({ kind }) => kind === "kept");
    expect(kept.map(({ name }) => name)).toEqual(withoutRaw.filter((name) => !hasRaw(name)));
    expect(kept.filter(({ name }) => hasRaw(name))).toEqual([]);
  });

  test("there are no others", () => {
    for (const page of pages) {
      const heads = [...withoutBlocks(text(page)).matchAll(/^\| (.*) \|\n\| ---/gm)].map(
        ([, head = ""]) => head,
      );
      const measured = heads.filter((head) => /\b(?:ms|µs|us|CPU|MB|per second|ratio)\b|\/s\b/.test(head));
      expect(measured.filter((head) => !byHand.includes(head))).toEqual([]);
    }
  });

  test("a figure that was changed by hand is found", () => {
    const page = text("README.md");
    const changed = page.replace(
      /(<!-- bench waypoint -->[\s\S]*?\| HTTP\/1\.1 CPU us\/request at 32 +\| +)([0-9.]+)/,
      "$112.3",
    );
    expect(changed).not.toBe(page);
    expect(withBlocks(changed)).toBe(page);
  });
});
