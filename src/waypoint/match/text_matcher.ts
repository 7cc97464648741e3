/** Matches of values, compiled once for as long as their rule is in force. */
import { Pattern } from "../../base/pattern/pattern.ts";
import type { PathMatch, TextMatch } from "../../mesh/traffic/route_plan.ts";

export type TextMatcher = (value: string) => boolean;

export function textMatcher(match: TextMatch): TextMatcher {
  switch (match.kind) {
    case "present":
      return () => true;
    case "exact": {
      const { value } = match;
      return (text) => text === value;
    }
    case "prefix": {
      const { value } = match;
      return (text) => text.startsWith(value);
    }
    case "regex": {
      const pattern = new Pattern(match.value);
      return (text) => pattern.matches(text);
    }
  }
}

/** @param pattern of a match by expression: compiled by who also asks what it begins with. */
export function pathMatcher(match: PathMatch, ignoreCase: boolean, pattern: Pattern | null): TextMatcher {
  if (match.kind === "regex") {
    // Case is that of the expression (Istio `HTTPMatchRequest.ignore_uri_case`: "exact and prefix").
    const compiled = pattern ?? new Pattern(match.value);
    return (path) => compiled.matches(path);
  }
  const plain =
    match.kind === "segments" ? segments(match.value, ignoreCase) : plainMatcher(match, ignoreCase);
  return ignoreCase ? (path) => plain(path.toLowerCase()) : plain;
}

function plainMatcher(
  match: Extract<PathMatch, { readonly kind: "exact" | "prefix" }>,
  ignoreCase: boolean,
): TextMatcher {
  const value = ignoreCase ? match.value.toLowerCase() : match.value;
  return match.kind === "exact" ? (path) => path === value : (path) => path.startsWith(value);
}

/** Gateway API `PathPrefix`: element by element, a slash at the end does not count. */
function segments(prefix: string, ignoreCase: boolean): TextMatcher {
  const value = withoutLastSlash(ignoreCase ? prefix.toLowerCase() : prefix);
  return (path) => path.startsWith(value) && (path.length === value.length || path[value.length] === "/");
}

export function withoutLastSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}
