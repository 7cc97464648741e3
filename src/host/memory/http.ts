/** HTTP in a world of memory: services that tests script, behind the same checks that a real request meets. */
import { MeshError } from "../../base/errors.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "../host.ts";
import { encodeRequest, reachableAddresses, readTarget } from "../http/request.ts";
import { connectError } from "../socket_errors.ts";
import type { MachineNetwork } from "./network.ts";
import type { MemoryHost } from "./process.ts";

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

export class MemoryHttpClient implements HttpClient {
  readonly #host: MemoryHost;
  readonly #machine: MachineNetwork;

  constructor(host: MemoryHost, machine: MachineNetwork) {
    this.#host = host;
    this.#machine = machine;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const target = readTarget(request);
    encodeRequest(request, target);
    const found = await this.#host.net.resolve(target.hostname);
    reachableAddresses(request, target.hostname, found);
    const responder = this.#machine.httpServices.find(request.url);
    await this.#travel();
    if (responder === null) throw connectError("ECONNREFUSED", target.authority);
    const response = await this.#beforeDeadline(request, target.authority, responder);
    await this.#travel();
    if (response.body.length > request.maxResponseBytes)
      throw new MeshError("limit_reached", "upstream", "HTTP answer: the body is longer than allowed");
    return response;
  }

  #travel(): Promise<void> {
    const { schedule } = this.#host;
    return new Promise((resolve) => schedule.io(this.#machine.latencyMs("elsewhere"), this.#host, resolve));
  }

  #beforeDeadline(request: HttpRequest, where: string, responder: HttpResponder): Promise<HttpResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpResponse>();
    const message = `no answer of ${where} in ${request.timeoutMs} ms`;
    const timer = this.#host.schedule.timer(request.timeoutMs, this.#host, () =>
      reject(new MeshError("connect_timeout", "upstream", message)),
    );
    const answer = async () => responder(request);
    answer()
      .then(resolve, reject)
      .finally(() => timer.cancel());
    return promise;
  }
}
