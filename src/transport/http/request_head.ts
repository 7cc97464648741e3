/** Header fields of a request → what the web's Request is made of. */
import type { HeaderFields } from "../../wire/h2/headers.ts";

export interface RequestHead {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
}

/** Why a request is refused before anybody looks at it. */
export interface HeadRefusal {
  readonly status: 400 | 501;
  readonly message: string;
}

/** What a Request can say; it cannot say CONNECT or TRACE (Fetch §4.6, forbidden methods). */
const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** A name, an IPv4 or a bracketed IPv6 address, with or without a port: nothing by which the path would begin elsewhere. */
const authorityPattern = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;

/** The engine has found the fields well-formed (RFC 9113 §8.3). Crumbs of a cookie are put together (§8.2.3). */
export function readRequestHead(fields: HeaderFields): RequestHead | HeadRefusal {
  const headers = new Headers();
  const pseudo = new Map<string, string>();
  const cookies: string[] = [];
  try {
    for (let index = 0; index + 1 < fields.length; index += 2) {
      const name = fields[index] ?? "";
      const value = fields[index + 1] ?? "";
      if (name.startsWith(":")) pseudo.set(name, value);
      else if (name === "cookie") cookies.push(value);
      else headers.append(name, value);
    }
    if (cookies.length > 0) headers.set("cookie", cookies.join("; "));
  } catch {
    return { status: 400, message: "a header is not valid" };
  }
  const method = pseudo.get(":method") ?? "";
  if (!methods.has(method)) return { status: 501, message: "this method is not known here" };
  const authority = pseudo.get(":authority") ?? headers.get("host") ?? "";
  const path = pseudo.get(":path") ?? "";
  if (!authorityPattern.test(authority) || !path.startsWith("/"))
    return { status: 400, message: "the target is neither an absolute path nor at a host" };
  const url = `https://${authority}${path}`;
  // The host is not used to reach anything, but an application must be able to parse it.
  if (!URL.canParse(url)) return { status: 400, message: "the target is not a URL" };
  return { method, url, headers };
}
