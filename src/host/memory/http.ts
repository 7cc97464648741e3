/** HTTP in a world of memory: services that tests script, behind the same checks that a real request meets. */
import { MeshError } from "../../base/errors.ts";
import type { HttpClient, HttpRequest, HttpResponse, Network } from "../host.ts";
import { encodeRequest, reachableAddresses, readTarget } from "../http/request.ts";
import { connectError } from "../socket_errors.ts";
import type { HttpResponder } from "./http_services.ts";
import type { MachineNetwork } from "./machine_network.ts";
import type { Owner, Schedule } from "./schedule.ts";

export class MemoryHttpClient implements HttpClient {
  readonly #process: Owner & { readonly schedule: Schedule; readonly net: Pick<Network, "resolve"> };
  readonly #machine: MachineNetwork;

  constructor(
    process: Owner & { readonly schedule: Schedule; readonly net: Pick<Network, "resolve"> },
    machine: MachineNetwork,
  ) {
    this.#process = process;
    this.#machine = machine;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const target = readTarget(request);
    encodeRequest(request, target);
    const found = await this.#process.net.resolve(target.hostname);
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
    const { schedule } = this.#process;
    return new Promise((resolve) =>
      schedule.io(this.#machine.latencyMs("elsewhere"), this.#process, resolve),
    );
  }

  #beforeDeadline(request: HttpRequest, where: string, responder: HttpResponder): Promise<HttpResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpResponse>();
    const message = `no answer of ${where} in ${request.timeoutMs} ms`;
    const timer = this.#process.schedule.timer(request.timeoutMs, this.#process, () =>
      reject(new MeshError("connect_timeout", "upstream", message)),
    );
    const answer = async () => responder(request);
    answer()
      .then(resolve, reject)
      .finally(() => timer.cancel());
    return promise;
  }
}
