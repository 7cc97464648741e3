/** The web's Response of an exchange, made when user code looks at it. */
import type { Exchange, Fields } from "./exchange.ts";
import { bodyOf, webStream } from "./web_stream.ts";

class LazyResponseParts {
  readonly #exchange: Exchange;
  #headers: Headers | null = null;
  #stream: ReadableStream<Uint8Array> | null = null;
  #real: Response | null = null;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  get status(): number {
    return this.#exchange.response?.status ?? 500;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  get statusText(): string {
    return "";
  }

  get headers(): Headers {
    this.#headers ??= headersOf(this.#exchange.response?.fields ?? []);
    return this.#headers;
  }

  get body(): ReadableStream<Uint8Array> | null {
    const { responseBody } = this.#exchange;
    if (this.#stream === null && responseBody !== null) this.#stream = webStream(responseBody);
    return this.#stream;
  }

  get real(): Response {
    this.#real ??= new Response(this.body, {
      status: this.status === 101 ? 200 : this.status,
      headers: this.headers,
    });
    return this.#real;
  }

  /** Makes the exchange's answer what `response` says, when it is not what it was. */
  static take(response: unknown, exchange: Exchange): void {
    if (response instanceof LazyResponseParts && response.#exchange === exchange) {
      // Headers that were looked at may have been changed.
      if (response.#headers !== null && exchange.response !== null)
        exchange.response.fields = fieldsOf(response.#headers);
      if (response.#stream !== null)
        exchange.responseBody = bodyOf(response.#real?.body ?? response.#stream, exchange.responseBody);
      return;
    }
    if (!(response instanceof Response)) return;
    const status = exchange.response?.status === 101 && response.status === 200 ? 101 : response.status;
    const previous = exchange.responseBody;
    exchange.response = { status, fields: fieldsOf(response.headers) };
    exchange.responseBody = response.body === null ? null : bodyOf(response.body, previous);
    if (response.body === null) previous?.cancel(null);
  }
}

for (const name of ["bodyUsed", "redirected", "type", "url"] as const)
  Object.defineProperty(LazyResponseParts.prototype, name, {
    get(this: LazyResponseParts) {
      return this.real[name];
    },
  });
for (const name of ["arrayBuffer", "blob", "bytes", "clone", "formData", "json", "text"] as const)
  Object.defineProperty(LazyResponseParts.prototype, name, {
    value(this: LazyResponseParts) {
      return this.real[name]();
    },
  });
Object.setPrototypeOf(LazyResponseParts.prototype, Response.prototype);

function headersOf(fields: Fields): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < fields.length; i += 2) headers.append(fields[i] ?? "", fields[i + 1] ?? "");
  return headers;
}

function fieldsOf(headers: Headers): Fields {
  const fields: Fields = [];
  headers.forEach((value, name) => {
    if (name !== "set-cookie") fields.push(name, value);
  });
  for (const cookie of headers.getSetCookie()) fields.push("set-cookie", cookie);
  return fields;
}

/** As the web types it. */
export const LazyResponse = LazyResponseParts as unknown as {
  new (exchange: Exchange): Response;
  take(response: unknown, exchange: Exchange): void;
};
