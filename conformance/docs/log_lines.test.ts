/** Lines of the log on the pages are those of the program: level, target and message are of one call in the source, codes and their words too. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pages, pageText, repository } from "./pages.ts";

const sources: readonly string[] = readdirSync(join(repository, "src"), { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.includes("testing/"))
  .map((name) => readFileSync(join(repository, "src", name), "utf8"));

const codes = readFileSync(join(repository, "src", "base", "errors.ts"), "utf8");
/** Shorter ones could be anybody's words. */
const leastFragment = 14;

function lines(): readonly string[] {
  return pages.flatMap((page) =>
    [...pageText(page).matchAll(/^```log\n([\s\S]*?)^```$/gm)].flatMap(([, block = ""]) =>
      block.trim().split("\n"),
    ),
  );
}

/** @returns what of the line the program does not say, or null. */
function faultOf(line: string): string | null {
  const [level = "", target = "", message = "", fields = ""] = line.split("\t");
  if (!["debug", "info", "warn", "error"].includes(level)) return "it has no level";
  const places = sources.filter((text) => text.includes(`"${message}"`));
  if (places.length === 0) return `no source has the message ${JSON.stringify(message)}`;
  if (!places.some((text) => text.includes(`"${target}"`))) return `no source of the message names ${target}`;
  if (!places.some((text) => text.includes(`"${level}"`))) return `no source of the message says ${level}`;
  const names = [...fields.matchAll(/(?:^| )([a-z_.]+)=/g)].map(([, name = ""]) => name);
  const unknown =
    target === "access" ? [] : names.filter((name) => !places.some((text) => hasField(text, name)));
  if (unknown.length > 0) return `no source of the message has a field ${unknown.join(", ")}`;
  const [, error = ""] = /error="([^"]*)"/.exec(fields) ?? [];
  const [, code, words = ""] = /^([a-z_]+): (.*)$/.exec(error) ?? [];
  if (target !== "access" || code === undefined) return null;
  if (!codes.includes(`"${code}"`)) return `there is no error ${code}`;
  return isSaid(words) ? null : `no source says ${JSON.stringify(words)}`;
}

/** `name: value`, or `{ name }`. */
function hasField(text: string, name: string): boolean {
  return new RegExp(`[{,\\s]${name.replace(".", "\\.")}[,:]|[{,] ${name} }`).test(text);
}

/** Whether some part of it that holds no value is in a source. */
function isSaid(words: string): boolean {
  const least = Math.min(leastFragment, words.length);
  return Array.from({ length: words.length - least + 1 }, (_, start) =>
    words.slice(start, start + least),
  ).some((part) => !/[/:\d]/.test(part) && sources.some((text) => text.includes(part)));
}

describe("lines of the log on the pages", () => {
  test("there are some, and the program says each of them", () => {
    const all = lines();
    expect(all.length).toBeGreaterThan(10);
    expect(all.flatMap((line) => (faultOf(line) === null ? [] : [`${faultOf(line)}: ${line}`]))).toEqual([]);
  });

  test("another word, level, target or code would be found", () => {
    const good =
      "warn\tnode\tno workload runs here yet: no workload of the mesh has an address or the node name of this host";
    expect(faultOf(good)).toBeNull();
    expect(faultOf(good.replace("yet", "now"))).toContain("no source has the message");
    expect(faultOf(good.replace("\tnode\t", "\tnodes\t"))).toContain("names nodes");
    const access =
      'warn\taccess\tconnection failed\terror="connect_timeout: the tunnel did not answer our CONNECT in time"';
    expect(faultOf(access)).toBeNull();
    expect(faultOf(access.replace("connect_timeout", "connect_timeouts"))).toContain("there is no error");
    expect(
      faultOf(access.replace("the tunnel did not answer our CONNECT in time", "nobody was at home there")),
    ).toContain("no source says");
  });
});
