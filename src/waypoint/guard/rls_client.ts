/** Rate limits of a service that speaks Envoy's protocol (`envoy.service.ratelimit.v3`): it knows the limits, and is told what the request has. */

import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { HostPort } from "../../base/ip.ts";
import { redisLimits } from "../../base/limits/redis.ts";
import type { Host, Socket } from "../../host/host.ts";
import type { RateLimitRule } from "../../mesh/traffic/rate_limit.ts";
import { dial } from "../../transport/dial.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { describeMethod } from "../../wire/grpc/method.ts";
import { GrpcError } from "../../wire/grpc/status.ts";
import {
  RateLimitResponse_Code as Code,
  RateLimitRequestSchema,
  type RateLimitResponse,
  RateLimitService,
} from "../../wire/messages/envoy_ratelimit.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import type { Verdict } from "./gcra.ts";
import type { SharedStore } from "./rate_limits.ts";

const shouldRateLimit = describeMethod(RateLimitService.method.shouldRateLimit);

export interface RlsSettings {
  readonly address: HostPort;
  /** TLS over a connection that has just been made, the server verified; null for plain text. */
  readonly secure: ((socket: Socket) => Promise<Socket>) | null;
  readonly domain: string;
  readonly timeoutMs: number;
}

interface Channel {
  readonly link: H2Link;
  readonly client: GrpcClient;
}

export class RlsClient implements SharedStore {
  readonly #host: Pick<Host, "clock" | "net" | "random">;
  readonly #settings: RlsSettings;
  #channel: Promise<Channel> | null = null;
  #failures = 0;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(host: Pick<Host, "clock" | "net" | "random">, settings: RlsSettings) {
    this.#host = host;
    this.#settings = settings;
  }

  /** One descriptor: the rule's name, then the value of each of its keys. @throws MeshError when the service cannot be asked. */
  async take(rule: RateLimitRule, _key: string, values: readonly string[]): Promise<Verdict> {
    const { clock, random } = this.#host;
    const { domain, timeoutMs, address } = this.#settings;
    if (clock.now() < this.#notBefore)
      throw new MeshError(
        "connection_closed",
        "upstream",
        `${address.host}:${address.port} failed a moment ago`,
      );
    const entries = [
      { key: "rule", value: rule.name },
      ...rule.keys.map((key, index) => ({ key: keyName(key), value: values[index] ?? "" })),
    ];
    try {
      const { client } = await this.#open();
      const request = newMessage(RateLimitRequestSchema, {
        domain,
        descriptors: [{ entries }],
        hitsAddend: 1,
      });
      const verdict = verdictOf(await client.unary(shouldRateLimit, request, { timeoutMs }));
      this.#failures = 0;
      return verdict;
    } catch (thrown) {
      this.#failures++;
      this.#notBefore = clock.now() + backoffMs(this.#failures, redisLimits, random.float());
      this.#channel = null;
      throw thrown instanceof GrpcError
        ? new MeshError("connection_closed", "upstream", thrown.message)
        : asMeshError(thrown, "io", "upstream");
    }
  }

  async #open(): Promise<Channel> {
    const known = this.#channel;
    if (known !== null) {
      const channel = await known;
      if (channel.client.hasRoom && !channel.link.over) return channel;
      channel.link.drain();
      if (this.#channel === known) this.#channel = null;
    }
    this.#channel ??= this.#dial();
    return await this.#channel;
  }

  async #dial(): Promise<Channel> {
    const { clock, net } = this.#host;
    const { address, secure } = this.#settings;
    const dialled = await dial(net, address, redisLimits.connectTimeoutMs);
    const socket = secure === null ? dialled : await secure(dialled);
    const link = new H2Link(clock, socket, { role: "client" }, {});
    const authority = `${address.host}:${address.port}`;
    const client = new GrpcClient(link.connection, {
      authority,
      scheme: secure === null ? "http" : "https",
      clock,
      userAgent: "fairlead",
    });
    link.start();
    return { link, client };
  }
}

function keyName(key: RateLimitRule["keys"][number]): string {
  switch (key.by) {
    case "header":
      return `header:${key.name}`;
    case "claim":
      return `claim:${key.path.join(".")}`;
    default:
      return key.by;
  }
}

function verdictOf({ overallCode, statuses }: RateLimitResponse): Verdict {
  const [status] = statuses;
  const seconds = Number(status?.durationUntilReset?.seconds ?? 0n);
  const resetMs = seconds * 1000 + (status?.durationUntilReset?.nanos ?? 0) / 1e6;
  if (overallCode === Code.OVER_LIMIT)
    return { allowed: false, remaining: 0, retryAfterMs: resetMs, resetMs };
  if (overallCode !== Code.OK)
    throw new MeshError("message_malformed", "upstream", "the rate limit service gave no verdict");
  return { allowed: true, remaining: status?.limitRemaining ?? 0, retryAfterMs: 0, resetMs };
}
