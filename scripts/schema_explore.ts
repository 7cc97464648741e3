/**
 * What documents of a kind may look like, found out from the code that reads them: it is given documents that grow by what it asks for,
 * until it asks for nothing new. So a schema says what is really read, and there is no second list of fields to keep.
 */
import type { Asked } from "../src/mesh/documents/reader.ts";
import { Problems } from "../src/mesh/documents/reader.ts";

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** No kind's documents are deeper; a kind that had itself inside would have no end. */
const maxDepth = 24;

/** Path → what was asked for there, each once. A list's items are at `path[]`, a map's values at `path{}`, the document at "". */
export type Shape = ReadonlyMap<string, readonly Asked[]>;

/** A key that is a label's name, a header's, a port and a tag. */
const anyKey = "80";
/** What a place is tried with that nothing has been asked about yet. */
const tries: readonly Json[] = [{}, { [anyKey]: {} }, { [anyKey]: "a" }, [], [{}], ["a"], [1], "a", 1, true];

/** Reads a document, and tells `problems` all that it looks at. */
type ReadDocument = (document: Json, problems: Problems) => void;

/** @param head what every document begins with. */
export function explore(read: ReadDocument, head: { readonly [key: string]: Json }): Shape {
  const explorer = new Explorer(read, head);
  explorer.run();
  return explorer.shape;
}

class Explorer {
  readonly shape = new Map<string, Asked[]>();
  readonly #read: ReadDocument;
  readonly #head: { readonly [key: string]: Json };
  readonly #seen = new Set<string>();
  readonly #tried = new Set<string>();

  constructor(read: ReadDocument, head: { readonly [key: string]: Json }) {
    this.#read = read;
    this.#head = head;
  }

  run(): void {
    this.#try(null);
    let known = -1;
    while (this.#seen.size > known) {
      known = this.#seen.size;
      for (const path of this.#places()) this.#explore(path);
      this.#try(null);
    }
  }

  /** Every place that there is by now, told of or not. */
  #places(): readonly string[] {
    return [...this.shape].flatMap(([path, asked]) =>
      asked.flatMap((one) => {
        if (one.kind === "object")
          return one.fields.map((field) => (path === "" ? field : `${path}.${field}`));
        return one.kind === "list" ? [`${path}[]`] : one.kind === "map" ? [`${path}{}`] : [];
      }),
    );
  }

  #explore(path: string): void {
    if (depthOf(path) > maxDepth) return;
    const asked = (this.shape.get(path) ?? []).filter(({ kind }) => kind !== "null");
    const words = asked.flatMap((one) => (one.kind === "choice" ? one.words : []));
    if (asked.length > 0) {
      // With a list's first item, or with what a word brings along, more may be asked for elsewhere.
      for (const word of words.length > 0 ? words : [null]) this.#try({ path, value: word, beside: null });
      return;
    }
    for (const value of tries) this.#try({ path, value, beside: null });
    // Some are looked at only where another field says a certain word.
    for (const beside of this.#wordsBeside(path))
      for (const value of tries) this.#try({ path, value, beside });
  }

  /** Fields beside the place, or beside what it is in, with each of their words. */
  #wordsBeside(path: string): readonly Beside[] {
    return [...this.shape].flatMap(([place, asked]) => {
      const around = place.slice(0, Math.max(0, place.lastIndexOf(".")));
      if (around === "" || !path.startsWith(`${around}.`)) return [];
      return asked.flatMap((one) =>
        one.kind === "choice" ? one.words.map((word) => ({ place, word })) : [],
      );
    });
  }

  /** Alone, among what is beside it, and among everything else that is known: fields exclude each other, or need each other. */
  #try(trial: Trial | null): void {
    const key = `${JSON.stringify(trial)} ${trial === null ? this.#seen.size : ""}`;
    if (this.#tried.has(key)) return;
    this.#tried.add(key);
    for (const extent of ["least", "beside", "all"] as const) {
      const document = new Sketch(this.shape, trial, extent).at("") ?? {};
      const whole = isObject(document) ? { ...document, ...this.#headOf(document) } : this.#head;
      this.#read(whole, new Problems((at, asked) => this.#note(normal(at), asked)));
    }
  }

  /** What a document begins with stays, also where more of it is tried. */
  #headOf(document: { readonly [key: string]: Json | undefined }): { readonly [key: string]: Json } {
    return Object.fromEntries(
      Object.entries(this.#head).map(([key, value]) => {
        const tried = document[key];
        return [key, isObject(value) && isObject(tried) ? { ...tried, ...value } : value];
      }),
    );
  }

  #note(path: string, asked: Asked): void {
    const key = `${path} ${JSON.stringify(asked)}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const all = this.shape.get(path) ?? [];
    all.push(asked);
    this.shape.set(path, all);
  }
}

/** A word in another field. */
interface Beside {
  readonly place: string;
  readonly word: string;
}

/** What one place is tried with; null: whatever is known there. */
interface Trial {
  readonly path: string;
  readonly value: Json;
  readonly beside: Beside | null;
}

/** One document in which something is tried. */
class Sketch {
  readonly #shape: Shape;
  readonly #trial: Trial | null;
  readonly #extent: "least" | "beside" | "all";
  /** What the place that is tried is in. */
  readonly #around: string;

  constructor(shape: Shape, trial: Trial | null, extent: "least" | "beside" | "all") {
    this.#shape = shape;
    this.#trial = trial;
    this.#extent = extent;
    this.#around = trial === null ? "" : trial.path.slice(0, Math.max(0, trial.path.lastIndexOf(".")));
  }

  at(path: string): Json | undefined {
    const trial = this.#trial;
    if (trial !== null && path === trial.path && trial.value !== null) return trial.value;
    if (trial?.beside?.place === path) return trial.beside.word;
    // That it may be written without a value says nothing of its values.
    const first = this.#shape.get(path)?.find(({ kind }) => kind !== "null");
    if (first === undefined) return undefined;
    switch (first.kind) {
      case "object":
        return this.#object(path);
      case "list":
      case "map": {
        const inside = first.kind === "list" ? `${path}[]` : `${path}{}`;
        const item = this.#isWanted(path, inside) ? this.at(inside) : undefined;
        if (first.kind === "list") return item === undefined ? [] : [item];
        return item === undefined ? {} : { [anyKey]: item };
      }
      case "null":
        return undefined;
      case "choice":
        return first.words[0] ?? "a";
      case "string":
        return "a";
      case "boolean":
        return true;
      default:
        // Where it counts something, none of it makes the rest pointless.
        return Math.min(Math.max(first.least, 1), first.most);
    }
  }

  #object(path: string): Json {
    const fields = (this.#shape.get(path) ?? []).flatMap((one) => (one.kind === "object" ? one.fields : []));
    const entries = fields.flatMap((field): readonly (readonly [string, Json])[] => {
      const inside = path === "" ? field : `${path}.${field}`;
      const value = this.#isWanted(path, inside) ? this.at(inside) : undefined;
      return value === undefined ? [] : [[field, value]];
    });
    return Object.fromEntries(entries);
  }

  #isWanted(path: string, inside: string): boolean {
    if (this.#extent === "all" || isWithin(this.#trial?.path ?? null, inside)) return true;
    if (isWithin(this.#trial?.beside?.place ?? null, inside)) return true;
    if (this.#extent === "beside" && path === this.#around) return true;
    const asked = this.#shape.get(inside) ?? [];
    return asked.some((one) => "isRequired" in one && one.isRequired === true);
  }
}

/** `spec.ports[2].80` as `spec.ports[]{}`. */
function normal(path: string): string {
  return path.replace(/\[\d+\]/g, "[]").replaceAll(`.${anyKey}`, "{}");
}

function isWithin(path: string | null, outer: string): boolean {
  if (path === null) return false;
  return path === outer || (path.startsWith(outer) && /^[.[{]/.test(path.slice(outer.length)));
}

function depthOf(path: string): number {
  return path.split(/[.[{]/).length;
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
