/**
 * One spelling for each path, before anything is matched: what a policy refuses as `/admin` must not be reached as `/%61dmin` or
 * `//admin`. The same as Envoy with Istio's four settings (`MeshConfig.ProxyPathNormalization`; Envoy `path_utility.cc` over googleurl's
 * canonical path).
 */
import { pathEnd } from "./head_view.ts";

export type Normalisation = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

/**
 * @param target of the request, query and all.
 * @returns null when it is to be refused with 400: no path has a NUL.
 */
export function normaliseTarget(target: string, how: Normalisation): string | null {
  const hash = target.indexOf("#");
  const whole = hash === -1 ? target : target.slice(0, hash);
  if (how === "NONE" || !whole.startsWith("/")) return whole;
  const end = pathEnd(whole);
  let path = whole.slice(0, end);
  if (isPlain(path) && (how === "BASE" || !path.includes("//"))) return whole;
  if (how === "DECODE_AND_MERGE_SLASHES") path = path.replace(/%2f/gi, "/").replace(/%5c/gi, "\\");
  const canonical = canonicalPath(path);
  if (canonical === null) return null;
  const merged = how === "BASE" ? canonical : canonical.replace(/\/{2,}/g, "/");
  return merged + whole.slice(end);
}

/** Most paths: nothing to decode, no segment of dots, no character that is written otherwise. */
function isPlain(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const char = path.charCodeAt(i);
    if (char === 0x25 || char === 0x5c || isEscaped(char)) return false;
    if (char === 0x2e && path.charCodeAt(i - 1) === 0x2f) return false;
  }
  return true;
}

function canonicalPath(path: string): string | null {
  const decoded = decodedPath(path);
  if (decoded === null) return null;
  const kept: string[] = [];
  const segments = decoded.slice(1).split("/");
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === "..") {
      kept.pop();
      if (isLast) kept.push("");
    } else if (segment === ".") {
      if (isLast) kept.push("");
    } else kept.push(segment);
  }
  return `/${kept.join("/")}`;
}

/**
 * Unreserved characters as themselves (RFC 3986 §6.2.2.2), backslashes as slashes, what must be escaped escaped; all else as it is. No
 * character that becomes itself makes an escape of a percent sign that was none before: the next reader would decode that one, too, and
 * find another path than policy has seen (`%%361` is no `a`; googleurl `CheckForNestedEscapes`).
 */
function decodedPath(path: string): string | null {
  let text = "";
  /** Where `text` has its last percent sign that begins no escape. */
  let barePercentAt = -3;
  for (let i = 0; i < path.length; i++) {
    const char = path.charCodeAt(i);
    if (char === 0) return null;
    if (char === 0x5c) text += "/";
    else if (char === 0x25) {
      const code = hexAt(path, i + 1);
      if (code === 0) return null;
      if (code === null) {
        barePercentAt = text.length;
        text += "%";
        continue;
      }
      i += 2;
      if (isUnreserved(code))
        text = withoutNewEscape(text + String.fromCharCode(code), barePercentAt, path[i + 1]);
      else text += path.slice(i - 2, i + 1);
    } else if (isEscaped(char)) text += escapedChar(char);
    else text += path[i] ?? "";
  }
  return text;
}

/** @param text ends with a character that was decoded. @param next what follows it. */
function withoutNewEscape(text: string, barePercentAt: number, next = ""): string {
  if (barePercentAt < text.length - 3) return text;
  const behind = text.slice(barePercentAt + 1);
  const isEscape = hexAt(behind.length === 1 ? behind + next : behind, 0) !== null;
  return isEscape ? `${text.slice(0, barePercentAt)}%25${behind}` : text;
}

function hexAt(text: string, at: number): number | null {
  const digits = text.slice(at, at + 2);
  return /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : null;
}

function isUnreserved(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x61 && code <= 0x7a) ||
    code === 0x2d ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x7e
  );
}

/** What googleurl writes as `%XX` where it finds it bare: controls, blanks, `"<>{}` and the grave accent, and all beyond ASCII. */
function isEscaped(char: number): boolean {
  return (
    char <= 0x20 ||
    char >= 0x7f ||
    char === 0x22 ||
    char === 0x3c ||
    char === 0x3e ||
    char === 0x60 ||
    char === 0x7b ||
    char === 0x7d
  );
}

/** Heads hold bytes, one in each character. */
function escapedChar(char: number): string {
  return `%${(char & 0xff).toString(16).toUpperCase().padStart(2, "0")}`;
}
