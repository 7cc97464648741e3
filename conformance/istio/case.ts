/**
 * A case: one document, and what becomes of it at Istio and here. The place that a refusal must name is marked in the
 * text: «the wrong word», or «» before something that lacks one.
 */

export type Verdict =
  /** Istio takes it, and so do we. */
  | { readonly kind: "taken"; readonly warning: string | null }
  /** Istio refuses it, and so do we. */
  | { readonly kind: "refused"; readonly says: string }
  /** Istio takes it; we refuse it, and say that it is not supported or why we are stricter. */
  | { readonly kind: "stricter"; readonly says: string }
  /** A kind that Istio's validation has nothing to say of. */
  | { readonly kind: "foreign"; readonly says: string };

export interface Case {
  readonly name: string;
  /** With marks. */
  readonly text: string;
  readonly verdict: Verdict;
}

/** @param warning what must be said all the same, or a part of it */
export function taken(name: string, text: string, warning: string | null = null): Case {
  return { name, text, verdict: { kind: "taken", warning } };
}

/** @param says a part of what is said at the mark */
export function refused(name: string, text: string, says: string): Case {
  return { name, text, verdict: { kind: "refused", says } };
}

export function stricter(name: string, text: string, says: string): Case {
  return { name, text, verdict: { kind: "stricter", says } };
}

export function foreign(name: string, text: string, says: string): Case {
  return { name, text, verdict: { kind: "foreign", says } };
}

const versions: Readonly<Record<string, string>> = {
  AuthorizationPolicy: "security.istio.io/v1",
  PeerAuthentication: "security.istio.io/v1",
  DestinationRule: "networking.istio.io/v1",
  ServiceEntry: "networking.istio.io/v1",
  VirtualService: "networking.istio.io/v1",
  WorkloadEntry: "networking.istio.io/v1",
  WorkloadGroup: "networking.istio.io/v1",
};

/** @param metadata lines below `metadata`, beside name and namespace */
export function document(kind: string, spec: string, metadata = ""): string {
  const head = `apiVersion: ${versions[kind] ?? "v1"}\nkind: ${kind}\n`;
  const more = metadata === "" ? "" : `${indented(metadata)}\n`;
  const body = spec === "" ? "" : `spec:\n${indented(spec)}\n`;
  return `${head}metadata:\n  name: case\n  namespace: shop\n${more}${body}`;
}

function indented(lines: string): string {
  return lines
    .trim()
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

/** So many items of a list or a map. */
export function many(count: number, item: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => item(index)).join(", ");
}

export interface Place {
  readonly line: number;
  readonly column: number;
  /** "" when nothing is there to be named. */
  readonly word: string;
}

/** The text without its marks, and what they mark; null without one. */
export function unmark(text: string): { readonly text: string; readonly place: Place | null } {
  const begin = text.indexOf("«");
  if (begin === -1) return { text, place: null };
  const end = text.indexOf("»", begin);
  const before = text.slice(0, begin);
  const source = text.slice(begin + 1, end);
  const line = before.split("\n").length;
  const column = begin - before.lastIndexOf("\n");
  const word = source.replace(/^(["'])(.*)\1$/, "$2");
  return { text: before + source + text.slice(end + 1), place: { line, column, word } };
}
