/** The stores that rate limits share: one connection to each, however many documents name it. */
import type { Host } from "../../host/host.ts";
import type { RateLimitStore } from "../../mesh/traffic/rate_limit.ts";
import type { SharedStore } from "./rate_limits.ts";
import { RedisClient } from "./redis_client.ts";
import { takeFromRedis } from "./redis_limits.ts";
import { RlsClient } from "./rls_client.ts";

type Shared = Exclude<RateLimitStore, { readonly kind: "local" }>;

export class SharedStores {
  readonly #host: Pick<Host, "clock" | "net" | "random">;
  readonly #readFile: (namespace: string, name: string) => Promise<string>;
  readonly #stores = new Map<string, SharedStore>();

  /** @param files those that documents name. */
  constructor(
    host: Pick<Host, "clock" | "net" | "random">,
    files: { readText(namespace: string, name: string): Promise<string> },
  ) {
    this.#host = host;
    this.#readFile = (namespace, name) => files.readText(namespace, name);
  }

  readonly of = (store: Shared, namespace: string): SharedStore => {
    const key = JSON.stringify([namespace, { ...store, whenAway: null }]);
    const known = this.#stores.get(key);
    if (known !== undefined) return known;
    const made = store.kind === "redis" ? this.#redis(store, namespace) : new RlsClient(this.#host, store);
    this.#stores.set(key, made);
    return made;
  };

  #redis(store: Extract<Shared, { readonly kind: "redis" }>, namespace: string): SharedStore {
    const { passwordFile } = store;
    const client = new RedisClient(this.#host, {
      ...store,
      password: async () =>
        passwordFile === null ? null : (await this.#readFile(namespace, passwordFile)).trim(),
    });
    return { take: (rule, key) => takeFromRedis(client, `fairlead:${key}`, rule.limit) };
  }
}
