/** Changes to heads: paths, authorities, headers. */
import { Pattern } from "../../base/pattern/pattern.ts";
import type { HeaderOps, HttpMatch, PathRewrite } from "../../mesh/traffic/route_plan.ts";
import type { Exchange, Fields } from "../exchange.ts";
import { pathEnd } from "./head_view.ts";
import { headerText } from "./header_value.ts";
import { withoutLastSlash } from "./text_matcher.ts";

/** A rewrite, ready to be applied. */
export type PathRewriter = (target: string, match: HttpMatch | null) => string;

/** @returns what takes a request's target, query and all, and gives the new one; the query is kept unless the new path has one. */
export function pathRewriter(rewrite: PathRewrite): PathRewriter {
  const newPath = pathChange(rewrite);
  return (target, match) => {
    const end = pathEnd(target);
    const path = target.slice(0, end);
    const changed = rooted(newPath(path, match));
    return changed.includes("?") ? changed : changed + target.slice(end);
  };
}

/** Whatever a document makes of a path, what is sent on is one: `evil.example` or nothing would be read as something else by an application. */
function rooted(path: string): string {
  return path.startsWith("/") ? path : `/${path}`;
}

function pathChange(rewrite: PathRewrite): (path: string, match: HttpMatch | null) => string {
  switch (rewrite.kind) {
    case "full":
      return () => rewrite.value;
    case "prefix":
      return (path, match) => rewrite.value + path.slice(coveredLength(path, match));
    case "segments": {
      const value = withoutLastSlash(rewrite.value);
      return (path, match) => {
        const prefix = match?.path?.kind === "segments" ? withoutLastSlash(match.path.value) : "";
        const changed = value + path.slice(prefix.length);
        return changed === "" ? "/" : changed;
      };
    }
    case "regex": {
      const pattern = new Pattern(rewrite.pattern);
      return (path) => pattern.replaceAll(path, rewrite.substitution);
    }
  }
}

/** How much of the path a rewritten prefix stands for: what an exact match or an expression fits is the whole path (Envoy `finalizePathHeader`). */
function coveredLength(path: string, match: HttpMatch | null): number {
  const covered = match?.path ?? null;
  if (covered === null) return path.startsWith("/") ? 1 : path.length;
  if (covered.kind === "prefix") return covered.value.length;
  return covered.kind === "segments" ? withoutLastSlash(covered.value).length : path.length;
}

/** New fields; those given are left as they are. @param exchange for what variables say. */
export function changedFields(fields: Fields, ops: HeaderOps, exchange: Exchange): Fields {
  const { remove, set, add } = ops;
  if (remove.length + set.length + add.length === 0) return fields;
  const gone = new Set(remove);
  for (const [name] of set) gone.add(name);
  const changed: Fields = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (!gone.has(name)) changed.push(name, fields[i + 1] ?? "");
  }
  for (const [name, value] of [...set, ...add]) {
    const text = headerText(value, exchange);
    if (text !== null) changed.push(name, text);
  }
  return changed;
}
