/** The rule that a request meets first, found by reading all of them in order: what the index must agree with. */
import type { HttpMatch, HttpRule, TextMatch } from "../../../mesh/traffic/route_plan.ts";
import type { RequestHead } from "../../exchange.ts";

export function linearMatch(
  rules: readonly HttpRule[],
  head: RequestHead,
): { rule: number; match: number } | null {
  for (const [index, rule] of rules.entries()) {
    if (rule.matches.length === 0) return { rule: index, match: -1 };
    const match = rule.matches.findIndex((one) => fits(one, head));
    if (match !== -1) return { rule: index, match };
  }
  return null;
}

function fits(match: HttpMatch, head: RequestHead): boolean {
  const [path = "", query = ""] = head.path.split("?");
  const values = (name: string) =>
    head.fields.flatMap((one, i) => (i % 2 === 0 && one === name ? [head.fields[i + 1] ?? ""] : []));
  const header = (name: string) => (values(name).length === 0 ? null : values(name).join(","));
  const parameter = (name: string) => {
    const found = query
      .split("&")
      .find((pair) => (pair.split("=")[0] ?? "") === name && head.path.includes("?"));
    return found === undefined ? null : found.slice(name.length + 1);
  };
  return (
    pathFits(match, path) &&
    (match.method === null || textFits(match.method, head.method)) &&
    (match.scheme === null || textFits(match.scheme, head.scheme)) &&
    (match.authority === null || textFits(match.authority, head.authority)) &&
    match.headers.every((one) => {
      const value = header(one.name);
      return value !== null && textFits(one.match, value);
    }) &&
    match.withoutHeaders.every((one) => {
      const value = header(one.name);
      return one.match.kind === "present" ? value === null : !textFits(one.match, value ?? "");
    }) &&
    match.query.every((one) => {
      const value = parameter(one.name);
      return value !== null && textFits(one.match, value);
    })
  );
}

function pathFits({ path: wanted, ignorePathCase }: HttpMatch, path: string): boolean {
  if (wanted === null) return true;
  if (wanted.kind === "regex") return new RegExp(`^(?:${wanted.value})$`).test(path);
  const [a, b] = ignorePathCase ? [wanted.value.toLowerCase(), path.toLowerCase()] : [wanted.value, path];
  if (wanted.kind === "exact") return a === b;
  if (wanted.kind === "prefix") return b.startsWith(a);
  const parts = a.split("/").filter((_, i, all) => i < all.length - 1 || all[i] !== "");
  return parts.every((part, i) => b.split("/")[i] === part);
}

function textFits(match: TextMatch, value: string): boolean {
  if (match.kind === "present") return true;
  if (match.kind === "exact") return match.value === value;
  return match.kind === "prefix"
    ? value.startsWith(match.value)
    : new RegExp(`^(?:${match.value})$`).test(value);
}
