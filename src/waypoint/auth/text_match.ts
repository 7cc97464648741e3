/** How the texts of a policy match (Istio `matcher.StringMatcher` of `pilot/pkg/security/authz/matcher`). */

export type TextMatch =
  | { readonly kind: "present" }
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly text: string };

/** The star at the beginning counts first: `*a*` ends with `a*`. */
export function textMatch(pattern: string): TextMatch {
  if (pattern === "*") return { kind: "present" };
  if (pattern.startsWith("*")) return { kind: "suffix", text: pattern.slice(1) };
  if (pattern.endsWith("*")) return { kind: "prefix", text: pattern.slice(0, -1) };
  return { kind: "exact", text: pattern };
}

export function matchesText(match: TextMatch, value: string): boolean {
  switch (match.kind) {
    case "present":
      return value !== "";
    case "exact":
      return value === match.text;
    case "prefix":
      return value.startsWith(match.text);
    case "suffix":
      return value.endsWith(match.text);
  }
}

/** A text with any number of stars, each for any run of characters. Takes time in proportion to both lengths at worst. */
export function matchesGlob(pattern: string, value: string): boolean {
  const parts = pattern.split("*");
  const first = parts[0] ?? "";
  const last = parts.at(-1) ?? "";
  if (parts.length === 1) return pattern === value;
  if (!value.startsWith(first) || !value.endsWith(last) || value.length < first.length + last.length)
    return false;
  let at = first.length;
  const end = value.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = value.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** A path template (Envoy `uri_template`): `{*}` is one segment that is not empty, `{**}` any rest, the empty one too. */
export class PathTemplate {
  readonly #segments: readonly string[];
  /** What every path that matches begins with. */
  readonly prefix: string;

  constructor(text: string) {
    this.#segments = text.split("/");
    this.prefix = text.slice(0, text.indexOf("{"));
  }

  static is(text: string): boolean {
    return text.includes("{*}") || text.includes("{**}");
  }

  matches(path: string): boolean {
    // What a template does not know as a character of a path is matched by none (RFC 3986 §3.3, pchar).
    if (!path.startsWith(this.prefix) || !onlyPathCharacters.test(path)) return false;
    const found = path.split("/");
    for (const [index, segment] of this.#segments.entries()) {
      if (segment === "{**}") return this.#endsLike(found, index);
      const here = found[index];
      if (here === undefined) return false;
      if (segment === "{*}" ? here === "" : here !== segment) return false;
    }
    return found.length === this.#segments.length;
  }

  /** What follows `{**}` is literal: no operator may come after it. */
  #endsLike(found: readonly string[], index: number): boolean {
    const rest = this.#segments.slice(index + 1);
    // `/a/{**}` wants the slash; what is after it may be nothing.
    if (found.length - index < rest.length + 1) return false;
    return rest.every((segment, offset) => found[found.length - rest.length + offset] === segment);
  }
}

const onlyPathCharacters = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=/*]*$/;
