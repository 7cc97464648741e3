/** Asks external authorizers: a connection for each question over HTTP, one for all over gRPC. Whatever goes wrong is an answer. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { Clock, Socket } from "../../host/host.ts";
import type { ExternalAuthorizer } from "../../mesh/documents/security.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { GrpcError } from "../../wire/grpc/status.ts";
import type { Downstream } from "../exchange.ts";
import type { AuthorizerAnswer, AuthorizerQuestion } from "./authorizer.ts";
import { checkMethod, checkRequest, readCheckResponse } from "./authorizer_grpc.ts";
import { askOverHttp } from "./authorizer_http.ts";

/** @throws MeshError when it cannot be reached. */
export type DialAuthorizer = (authorizer: ExternalAuthorizer, downstream: Downstream) => Promise<Socket>;

interface Channel {
  readonly link: H2Link;
  readonly client: GrpcClient;
}

export class Authorizers {
  readonly #clock: Clock;
  readonly #dial: DialAuthorizer;
  /** By waypoint and authorizer: whose identity is shown to it. */
  readonly #channels = new Map<string, Promise<Channel>>();

  constructor(clock: Clock, dial: DialAuthorizer) {
    this.#clock = clock;
    this.#dial = dial;
  }

  readonly ask = async (
    authorizer: ExternalAuthorizer,
    question: AuthorizerQuestion,
  ): Promise<AuthorizerAnswer> => {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const { name, timeoutMs } = authorizer;
    const timer = this.#clock.setTimer(timeoutMs, () =>
      reject(new MeshError("connect_timeout", "upstream", `no answer in ${timeoutMs} ms`)),
    );
    const asked =
      authorizer.kind === "http"
        ? this.#overHttp(authorizer, question)
        : this.#overGrpc(authorizer, question);
    try {
      return await Promise.race([asked, late]);
    } catch (thrown) {
      const reason =
        thrown instanceof GrpcError ? thrown.message : asMeshError(thrown, "io", "upstream").message;
      return { kind: "failed", reason: `${name}: ${reason}` };
    } finally {
      timer.cancel();
      asked.catch(() => {});
    }
  };

  async #overHttp(
    authorizer: ExternalAuthorizer & { readonly kind: "http" },
    question: AuthorizerQuestion,
  ): Promise<AuthorizerAnswer> {
    const socket = await this.#dial(authorizer, question.downstream);
    return await askOverHttp(authorizer, question, socket, this.#clock);
  }

  async #overGrpc(authorizer: ExternalAuthorizer, question: AuthorizerQuestion): Promise<AuthorizerAnswer> {
    const { client } = await this.#channel(authorizer, question.downstream);
    const request = checkRequest(question, authorizer.body?.packAsBytes ?? false, this.#clock.wallMs());
    return readCheckResponse(await client.unary(checkMethod, request, { timeoutMs: authorizer.timeoutMs }));
  }

  async #channel(authorizer: ExternalAuthorizer, downstream: Downstream): Promise<Channel> {
    const { service, port } = authorizer;
    const key = `${downstream.waypoint.uid} ${service}:${port}`;
    const known = this.#channels.get(key);
    if (known !== undefined) {
      const channel = await known.catch(() => null);
      if (channel?.client.hasRoom === true && !channel.link.over) return channel;
      // Calls that are under way on it come to their end.
      channel?.link.drain();
      if (this.#channels.get(key) === known) this.#channels.delete(key);
      return await this.#channel(authorizer, downstream);
    }
    const opening = this.#open(authorizer, downstream);
    this.#channels.set(key, opening);
    return await opening;
  }

  async #open(authorizer: ExternalAuthorizer, downstream: Downstream): Promise<Channel> {
    const socket = await this.#dial(authorizer, downstream);
    const link = new H2Link(this.#clock, socket, { role: "client" }, {});
    const { service, port } = authorizer;
    const authority = `${service.slice(service.indexOf("/") + 1)}:${port}`;
    const client = new GrpcClient(link.connection, {
      ...{ authority, scheme: "http", clock: this.#clock, userAgent: "fairlead" },
    });
    link.start();
    return { link, client };
  }
}
