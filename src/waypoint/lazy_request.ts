/** The web's Request of an exchange, made when user code looks at it (as `@hono/node-server` does). */
import type { Exchange } from "./exchange.ts";
import { webStream } from "./web_stream.ts";

/** `instanceof Request` holds, and every property is a Request's. */
class LazyRequestParts {
  readonly #exchange: Exchange;
  #request: Request | null = null;
  #headers: Headers | null = null;
  #abort: AbortController | null = null;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  get method(): string {
    return this.#exchange.request.method;
  }

  get url(): string {
    const { scheme, authority, path } = this.#exchange.request;
    return `${scheme}://${authority === "" ? "localhost" : authority}${path.startsWith("/") ? path : `/${path}`}`;
  }

  /** A copy: what is sent on is `c.env.request.fields`. */
  get headers(): Headers {
    if (this.#headers !== null) return this.#headers;
    const headers = new Headers();
    const { fields, authority } = this.#exchange.request;
    if (authority !== "") headers.append("host", authority);
    for (let i = 0; i + 1 < fields.length; i += 2) headers.append(fields[i] ?? "", fields[i + 1] ?? "");
    this.#headers = headers;
    return headers;
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      const abort = new AbortController();
      this.#abort = abort;
      this.#exchange.onAbort((error) => abort.abort(error));
    }
    return this.#abort.signal;
  }

  /** The content itself: whoever reads it takes it from the upstream. */
  get real(): Request {
    if (this.#request !== null) return this.#request;
    const { body, request } = this.#exchange;
    const hasBody = body !== null && request.method !== "GET" && request.method !== "HEAD";
    this.#request = new Request(this.url, {
      method: request.method === "CONNECT" || request.method === "TRACE" ? "GET" : request.method,
      headers: this.headers,
      signal: this.signal,
      ...(hasBody ? { body: webStream(body), duplex: "half" } : {}),
    });
    return this.#request;
  }
}

for (const name of [
  "body",
  "bodyUsed",
  "cache",
  "credentials",
  "destination",
  "integrity",
  "mode",
  "redirect",
  "referrer",
  "referrerPolicy",
  "keepalive",
] as const)
  Object.defineProperty(LazyRequestParts.prototype, name, {
    get(this: LazyRequestParts) {
      return this.real[name as keyof Request];
    },
  });
for (const name of ["arrayBuffer", "blob", "bytes", "clone", "formData", "json", "text"] as const)
  Object.defineProperty(LazyRequestParts.prototype, name, {
    value(this: LazyRequestParts) {
      return this.real[name]();
    },
  });
Object.setPrototypeOf(LazyRequestParts.prototype, Request.prototype);

/** As the web types it. */
export const LazyRequest = LazyRequestParts as unknown as new (exchange: Exchange) => Request;
