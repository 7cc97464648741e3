/** HTTP services of a simulated world, which tests script. */
import type { HttpRequest, HttpResponse } from "../host.ts";

/** @returns the answer; a promise that never settles is a service that hangs. What it throws is what the client is told. */
export type HttpResponder = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

/** Who answers where, for the whole world. */
export class HttpServices {
  readonly #responders = new Map<string, HttpResponder>();

  /** @param origin `https://issuer.example` or `http://10.0.0.9:8200`; its name must resolve (`MemoryWorld.setName`). Null takes the service away. */
  set(origin: string, responder: HttpResponder | null): void {
    const key = new URL(origin).origin;
    if (responder === null) this.#responders.delete(key);
    else this.#responders.set(key, responder);
  }

  find(url: string): HttpResponder | null {
    return this.#responders.get(new URL(url).origin) ?? null;
  }
}
