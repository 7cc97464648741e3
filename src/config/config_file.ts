/** The optional configuration file: a flat YAML map of settings, with the place of every value. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import { configLimits } from "../base/limits/config.ts";
import { nearestWord } from "../mesh/documents/nearest.ts";
import { formatLocation, type Location } from "../mesh/location.ts";
import { type SettingName, settings } from "./settings.ts";
import type { ConfigError } from "./sources.ts";

export interface FileValues {
  readonly values: ReadonlyMap<
    SettingName,
    readonly { readonly location: Location; readonly text: string }[]
  >;
  readonly errors: readonly ConfigError[];
}

/** Values keep the words they are written in: each setting's reader is the same for a file, a flag and the environment. */
export function parseConfigFile(path: string, text: string): FileValues {
  const reader = new ConfigFileReader(path);
  if (text.length > configLimits.maxFileBytes)
    reader.fail(null, `is longer than ${configLimits.maxFileBytes} bytes`);
  else reader.read(text);
  return reader;
}

class ConfigFileReader implements FileValues {
  readonly values = new Map<SettingName, { location: Location; text: string }[]>();
  readonly errors: ConfigError[] = [];
  readonly #path: string;
  readonly #lines = new LineCounter();

  constructor(path: string) {
    this.#path = path;
  }

  read(text: string): void {
    const document = parseDocument(text, { lineCounter: this.#lines, schema: "failsafe", uniqueKeys: true });
    for (const error of document.errors)
      this.fail(error.pos[0], error.message.split("\n")[0]?.replace(/ at line .*$/, "") ?? "");
    const root = document.contents;
    if (this.errors.length > 0 || root === null || (isScalar(root) && root.value === "")) return;
    if (isMap(root)) this.#readSettings(root);
    else this.fail(offsetOf(root), "is not a map of settings, such as `nodeName: edge-1`");
  }

  #readSettings(root: YAMLMap): void {
    for (const pair of root.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : "";
      const offset = offsetOf(pair.key);
      if (isSettingName(key)) this.#readValue(key, pair.value, offset);
      else this.fail(offset, `unknown setting "${key}"${suggest(key)}`);
    }
  }

  #readValue(name: SettingName, value: unknown, keyOffset: number | null): void {
    if (isSeq(value) && !settings[name].many) {
      this.fail(offsetOf(value), `${name} takes one value, not a list`);
      return;
    }
    const items: readonly unknown[] = isSeq(value) ? value.items : [value];
    const texts: { location: Location; text: string }[] = [];
    for (const item of items) {
      const offset = offsetOf(item) ?? keyOffset;
      if (isScalar(item)) texts.push({ location: this.#locate(offset), text: String(item.value) });
      else
        this.fail(
          offset,
          isAlias(item)
            ? "YAML aliases are not supported here"
            : `${name} takes plain values, not a nested structure`,
        );
    }
    this.values.set(name, texts);
  }

  fail(offset: number | null, message: string): void {
    this.errors.push({ where: formatLocation(this.#locate(offset)), message });
  }

  #locate(offset: number | null): Location {
    const { line, col } = this.#lines.linePos(offset ?? 0);
    return { file: this.#path, line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function offsetOf(node: unknown): number | null {
  return (node as Node | null)?.range?.[0] ?? null;
}

function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(settings, name);
}

function suggest(key: string): string {
  const near = nearestWord(key, Object.keys(settings));
  return near === null ? "" : `; did you mean "${near}"?`;
}
