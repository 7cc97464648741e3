/** Reads typed values out of YAML nodes. Whatever is wrong becomes an error with its place, the word and the nearest valid one. */
import { meshLimits } from "../../base/limits/mesh.ts";
import type { DocumentError, DocumentWarning, Location } from "../location.ts";
import { nearestWord } from "./nearest.ts";
import type { YamlEntry, YamlMap, YamlNode } from "./yaml.ts";

/** A value and where it was written. */
export interface Located<T> {
  readonly value: T;
  readonly at: Location;
}

/** What a reader asks a place of a document for. */
export type Asked =
  | { readonly kind: "object"; readonly fields: readonly string[] }
  | { readonly kind: "list" | "map" | "string" | "boolean" | "null"; readonly isRequired?: true }
  | { readonly kind: "integer" | "number"; readonly least: number; readonly most: number }
  | { readonly kind: "choice"; readonly words: readonly string[] };

/** Collects what is wrong with one document. */
export class Problems {
  /** Told of every place that is looked at: how schemas for editors are made of the code that reads (`schema/`). */
  readonly onAsked: ((path: string, asked: Asked) => void) | null;
  readonly #errors: DocumentError[] = [];
  resource: string | null = null;
  #dropped = 0;
  readonly #warnings: DocumentWarning[] = [];

  /** What the operator should know of a document that is taken all the same. */
  constructor(onAsked: Problems["onAsked"] = null) {
    this.onAsked = onAsked;
  }

  get warnings(): readonly DocumentWarning[] {
    return this.#warnings;
  }

  warn(location: Location, reason: DocumentWarning["reason"], message: string): void {
    if (this.#warnings.length < meshLimits.maxErrorsPerDocument)
      this.#warnings.push({ location, reason, message });
  }

  get any(): boolean {
    return this.#errors.length > 0;
  }

  get errors(): readonly DocumentError[] {
    const errors = this.#errors.map((error) => ({ ...error, resource: this.resource }));
    const last = errors.at(-1);
    if (this.#dropped === 0 || last === undefined) return errors;
    return [
      ...errors.slice(0, -1),
      { ...last, message: `${last.message} (and ${this.#dropped} more errors in this document)` },
    ];
  }

  /** At one place only the first complaint is told: what follows from it would not help. */
  add(location: Location, message: string, word?: string, valid: Iterable<string> = []): void {
    const { line, column } = location;
    if (this.#errors.some((error) => error.location.line === line && error.location.column === column))
      return;
    if (this.#errors.length >= meshLimits.maxErrorsPerDocument) {
      this.#dropped++;
      return;
    }
    const suggestion = word === undefined ? null : nearestWord(word, valid);
    this.#errors.push({
      location,
      resource: null,
      message: suggestion === null ? message : `${message}; did you mean ${suggestion}?`,
      ...(word === undefined ? {} : { word }),
      ...(suggestion === null ? {} : { suggestion }),
    });
  }
}

/** The fields of an object: those we read, and those that Istio has and we do not, with the reason. */
export interface FieldTable {
  readonly known: readonly string[];
  readonly unsupported?: Readonly<Record<string, string>>;
}

/** One object. Unknown and unsupported fields are reported; getters report wrong types and return null. */
export class ObjectReader {
  readonly at: Location;
  /** What it is called in messages, such as `spec.ports[2]`. */
  readonly name: string;
  readonly #entries: ReadonlyMap<string, YamlEntry>;
  readonly #problems: Problems;

  private constructor(map: YamlMap, path: string, problems: Problems) {
    this.at = map.at;
    this.name = path;
    this.#problems = problems;
    this.#entries = new Map(map.entries.map((entry) => [entry.key, entry]));
  }

  /** @returns null, having said so, when the node is not an object. */
  static of(node: YamlNode, path: string, fields: FieldTable, problems: Problems): ObjectReader | null {
    const reader = ObjectReader.open(node, path, problems);
    reader?.checkFields(fields);
    return reader;
  }

  /** The same without a look at its fields, where they depend on one of them. */
  static open(node: YamlNode, path: string, problems: Problems): ObjectReader | null {
    if (node.kind === "map") return new ObjectReader(node, path, problems);
    const name = path === "" ? "a document" : path;
    problems.add(node.at, `${name} must be an object, not ${describeNode(node)}`, wordOf(node));
    return null;
  }

  checkFields(fields: FieldTable): void {
    this.#problems.onAsked?.(this.name, { kind: "object", fields: fields.known });
    for (const { key, keyAt } of this.#entries.values()) {
      const reason = fields.unsupported?.[key];
      if (reason !== undefined)
        this.#problems.add(keyAt, `${this.path(key)} is not supported: ${reason}`, key);
      else if (!fields.known.includes(key))
        this.#problems.add(
          keyAt,
          `${this.name === "" ? "a document" : this.name} has no field ${key}`,
          key,
          fields.known,
        );
    }
  }

  /** A text, without a word about what else it is; "" when it is none. */
  text(field: string): string {
    const node = this.#entries.get(field)?.value;
    return node?.kind === "scalar" && typeof node.value === "string" ? node.value : "";
  }

  /** The texts in an object, without a word about whatever else is wrong with it. */
  plain(field: string): ReadonlyMap<string, string> {
    const node = this.#entries.get(field)?.value;
    const texts = new Map<string, string>();
    if (node?.kind !== "map") return texts;
    for (const { key, value } of node.entries)
      if (value.kind === "scalar" && typeof value.value === "string" && value.value !== "")
        texts.set(key, value.value);
    return texts;
  }

  path(field: string): string {
    return joinPath(this.name, field);
  }

  /**
   * The value as it is written. A field that is written without a value is an error, unlike in Kubernetes, which drops it: an empty
   * `from:` would turn a rule for some into a rule for everybody.
   */
  node(field: string): YamlNode | null {
    const entry = this.#entries.get(field);
    if (entry === undefined) return null;
    if (entry.value.kind === "scalar" && entry.value.value === null) {
      this.#problems.add(entry.keyAt, `${this.path(field)} has no value; give it one or remove it`, field);
      return null;
    }
    return entry.value;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  has(field: string): boolean {
    return this.#entries.has(field);
  }

  /** Written, and without a value. */
  isNull(field: string): boolean {
    const value = this.#entries.get(field)?.value;
    return value?.kind === "scalar" && value.value === null;
  }

  /** Where the field's name is, or the object when it is missing. */
  where(field: string): Location {
    return this.#entries.get(field)?.keyAt ?? this.at;
  }

  /** A text that is there and not empty. */
  requiredString(field: string): Located<string> | null {
    this.#asks(field, { kind: "string", isRequired: true });
    if (!this.#entries.has(field)) {
      this.#problems.add(this.at, `${this.path(field)} is missing`);
      return null;
    }
    const read = this.string(field);
    if (read !== null && read.value === "") this.#problems.add(read.at, `${this.path(field)} is empty`);
    return read?.value === "" ? null : read;
  }

  string(field: string): Located<string> | null {
    this.#asks(field, { kind: "string" });
    const node = this.node(field);
    return node === null ? null : readString(node, this.path(field), this.#problems);
  }

  /** A whole number from `least` to `most`. */
  integer(field: string, least: number, most: number): Located<number> | null {
    this.#asks(field, { kind: "integer", least, most });
    const node = this.node(field);
    return node === null ? null : readInteger(node, this.path(field), least, most, this.#problems);
  }

  /** One of the words, in upper case as Istio writes them. */
  choice<T extends string>(
    field: string,
    words: readonly T[],
    unsupported: Readonly<Record<string, string>> = {},
  ): Located<T> | null {
    this.#asks(field, { kind: "choice", words });
    const node = this.node(field);
    const read = node === null ? null : readString(node, this.path(field), this.#problems, true);
    if (read === null) return null;
    const word = words.find((candidate) => candidate === read.value);
    if (word !== undefined) return { value: word, at: read.at };
    const reason = unsupported[read.value];
    if (reason !== undefined)
      this.#problems.add(
        read.at,
        `${this.path(field)} ${read.value} is not supported: ${reason}`,
        read.value,
      );
    else
      this.#problems.add(
        read.at,
        `${this.path(field)} must be one of ${words.join(", ")}, not ${quote(read.value)}`,
        read.value,
        words,
      );
    return null;
  }

  /** The items of a list; empty when the field is missing or not a list. */
  list(field: string): readonly YamlNode[] {
    this.#asks(field, { kind: "list" });
    const node = this.node(field);
    if (node === null) return [];
    if (node.kind === "list") return node.items;
    this.#problems.add(
      node.at,
      `${this.path(field)} must be a list, not ${describeNode(node)}`,
      wordOf(node),
    );
    return [];
  }

  strings(field: string): readonly Located<string>[] {
    return this.list(field).flatMap(
      (node, index) => readString(node, `${this.path(field)}[${index}]`, this.#problems) ?? [],
    );
  }

  objects(field: string, fields: FieldTable): readonly ObjectReader[] {
    return this.list(field).flatMap(
      (node, index) => ObjectReader.of(node, `${this.path(field)}[${index}]`, fields, this.#problems) ?? [],
    );
  }

  object(field: string, fields: FieldTable): ObjectReader | null {
    this.#asks(field, { kind: "object", fields: fields.known });
    const node = this.node(field);
    return node === null ? null : ObjectReader.of(node, this.path(field), fields, this.#problems);
  }

  /** Keys of the author's choice, such as labels. */
  map(field: string): readonly YamlEntry[] {
    this.#asks(field, { kind: "map" });
    const node = this.node(field);
    if (node === null) return [];
    if (node.kind === "map") return node.entries;
    this.#problems.add(
      node.at,
      `${this.path(field)} must be an object, not ${describeNode(node)}`,
      wordOf(node),
    );
    return [];
  }

  stringMap(field: string): ReadonlyMap<string, Located<string>> {
    const entries = this.map(field).flatMap((entry): [string, Located<string>][] => {
      const read = readString(entry.value, `${this.path(field)}.${entry.key}`, this.#problems);
      return read === null ? [] : [[entry.key, read]];
    });
    return new Map(entries);
  }

  #asks(field: string, asked: Asked): void {
    this.#problems.onAsked?.(this.path(field), asked);
  }
}

/** @param isOneOf some words alone are wanted, which was said already. */
export function readString(
  node: YamlNode,
  path: string,
  problems: Problems,
  isOneOf = false,
): Located<string> | null {
  if (!isOneOf) problems.onAsked?.(path, { kind: "string" });
  if (node.kind === "scalar" && typeof node.value === "string") return { value: node.value, at: node.at };
  // `version: 1.20` is a number to YAML, and not the one that was meant.
  const hint = node.kind === "scalar" && node.value !== null ? `; write "${node.source}"` : "";
  problems.add(node.at, `${path} must be a string, not ${describeNode(node)}${hint}`, wordOf(node));
  return null;
}

export function readInteger(
  node: YamlNode,
  path: string,
  least: number,
  most: number,
  problems: Problems,
): Located<number> | null {
  problems.onAsked?.(path, { kind: "integer", least, most });
  if (node.kind === "scalar" && typeof node.value === "number" && Number.isInteger(node.value)) {
    if (node.value >= least && node.value <= most) return { value: node.value, at: node.at };
    problems.add(node.at, `${path} must be from ${least} to ${most}, not ${node.source}`, node.source);
    return null;
  }
  problems.add(node.at, `${path} must be a whole number, not ${describeNode(node)}`, wordOf(node));
  return null;
}

export function describeNode(node: YamlNode): string {
  if (node.kind === "list") return "a list";
  if (node.kind === "map") return "an object";
  if (node.value === null) return "nothing";
  return typeof node.value === "string"
    ? `the string ${quote(node.value)}`
    : `the ${typeof node.value} ${node.source}`;
}

function wordOf(node: YamlNode): string | undefined {
  return node.kind === "scalar" && node.value !== null ? node.source : undefined;
}

export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function joinPath(path: string, field: string): string {
  return path === "" ? field : `${path}.${field}`;
}
