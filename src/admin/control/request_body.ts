/** What a request says: its body within bounds, its fields and its query, each read once. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { HeldBody } from "./body_load.ts";
import { parseJsonInSteps } from "./json_steps.ts";
import { Problem } from "./problem.ts";
import type { ControlContext } from "./route.ts";

/** @throws Problem 413, before more than the bound is kept; 429, before more than the caller's share is. */
async function readBody({ request, held }: BodySource, maxBytes: number): Promise<string> {
  const declared = Number(request.headers.get("content-length") ?? "0");
  const tooLarge = new Problem(413, `the body is longer than ${maxBytes} bytes`);
  if (declared > maxBytes) throw tooLarge;
  const reader = request.body?.getReader();
  if (reader === undefined) return "";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const parts: string[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    try {
      if (length > maxBytes) throw tooLarge;
      held.take(Math.max(value.length, controlAdminLimits.minBodyChunkBytes));
      parts.push(decode(decoder, value));
    } catch (thrown) {
      await reader.cancel();
      throw thrown;
    }
  }
  parts.push(decode(decoder));
  return parts.join("");
}

/** @param chunk the end when left out. @throws Problem 400. */
function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true });
  } catch {
    throw new Problem(400, "the body is not UTF-8");
  }
}

interface BodySource {
  readonly request: Request;
  readonly held: HeldBody;
}

/** A JSON object whose fields are all known. @throws Problem 400, 413, 415, 429. */
export async function readJson(
  context: ControlContext,
  fields: readonly string[],
  maxBytes: number = controlAdminLimits.maxBodyBytes,
): Promise<JsonFields> {
  const session = context.get("session");
  const request = context.req.raw;
  const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") throw new Problem(415, "the body must be application/json");
  const text = await readBody({ request, held: session.holdBody(maxBytes) }, maxBytes);
  let value: unknown;
  try {
    value = await new TimeSlice(session.sources.clock).run(parseJsonInSteps(text));
  } catch (thrown) {
    if (thrown instanceof RangeError) throw new Problem(413, thrown.message);
    throw new Problem(400, "the body is not JSON");
  }
  return new JsonFields(value, fields, "the body");
}

export class JsonFields {
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(value: unknown, known: readonly string[], what: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new Problem(400, `${what} must be an object`);
    const unknown = Object.keys(value).find((name) => !known.includes(name));
    if (unknown !== undefined)
      throw new Problem(400, `${what} has no field "${unknown.slice(0, 100)}"; it has ${known.join(", ")}`);
    this.#fields = value as Readonly<Record<string, unknown>>;
  }

  text(name: string): string {
    const value = this.optionalText(name);
    if (value === null || value === "") throw new Problem(400, `"${name}" is missing`);
    return value;
  }

  optionalText(name: string): string | null {
    const value = this.#get(name);
    if (value === null || typeof value === "string") return value;
    throw new Problem(400, `"${name}" must be a string`);
  }

  flag(name: string): boolean {
    const value = this.#get(name);
    if (value === null || typeof value === "boolean") return value ?? false;
    throw new Problem(400, `"${name}" must be true or false`);
  }

  /** A whole number, zero or more. */
  optionalInteger(name: string): number | null {
    const value = this.#get(name);
    if (value === null) return null;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw new Problem(400, `"${name}" must be a whole number`);
  }

  integer(name: string): number {
    const value = this.optionalInteger(name);
    if (value === null) throw new Problem(400, `"${name}" is missing`);
    return value;
  }

  list(name: string): readonly unknown[] {
    const value = this.#get(name);
    if (value === null) return [];
    if (Array.isArray(value)) return value;
    throw new Problem(400, `"${name}" must be a list`);
  }

  /** An object within. */
  fields(name: string, known: readonly string[]): JsonFields {
    return new JsonFields(this.#get(name), known, `"${name}"`);
  }

  oneOf<const T extends string>(name: string, words: readonly T[]): T {
    const value = this.text(name);
    const word = words.find((one) => one === value);
    if (word === undefined) throw new Problem(400, `"${name}" must be ${words.join(" or ")}`);
    return word;
  }

  /** As it is; null when it is not there. */
  value(name: string): unknown {
    return this.#get(name);
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? (this.#fields[name] ?? null) : null;
  }
}

/** A whole number of the query. @throws Problem 400. */
export function queryInteger(value: string | undefined, name: string): number | null {
  if (value === undefined) return null;
  if (/^[0-9]{1,15}$/.test(value)) return Number(value);
  throw new Problem(400, `"${name}" must be a whole number`);
}

/** How many entries an answer has. */
export function pageSize(value: string | undefined): number {
  const size = queryInteger(value, "limit") ?? controlAdminLimits.defaultPage;
  if (size < 1 || size > controlAdminLimits.maxPage)
    throw new Problem(400, `"limit" must be from 1 to ${controlAdminLimits.maxPage}`);
  return size;
}
