/** The stores that rate limits share: one connection to each, however many documents name it. */
import type { Files, Host } from "../../host/host.ts";
import type { RateLimitStore } from "../../mesh/traffic/rate_limit.ts";
import type { SharedStore } from "./rate_limits.ts";
import { RedisClient } from "./redis_client.ts";
import { takeFromRedis } from "./redis_limits.ts";
import { RlsClient } from "./rls_client.ts";

type Shared = Exclude<RateLimitStore, { readonly kind: "local" }>;

export class SharedStores {
  readonly #host: Pick<Host, "clock" | "net" | "random"> & { readonly files: Pick<Files, "readText"> };
  readonly #stores = new Map<string, SharedStore>();

  constructor(host: Pick<Host, "clock" | "net" | "random"> & { readonly files: Pick<Files, "readText"> }) {
    this.#host = host;
  }

  readonly of = (store: Shared): SharedStore => {
    const key = JSON.stringify({ ...store, whenAway: null });
    const known = this.#stores.get(key);
    if (known !== undefined) return known;
    const made = store.kind === "redis" ? this.#redis(store) : new RlsClient(this.#host, store);
    this.#stores.set(key, made);
    return made;
  };

  #redis(store: Extract<Shared, { readonly kind: "redis" }>): SharedStore {
    const { files } = this.#host;
    const { passwordFile } = store;
    const client = new RedisClient(this.#host, {
      ...store,
      password: async () => (passwordFile === null ? null : (await files.readText(passwordFile)).trim()),
    });
    return { take: (rule, key) => takeFromRedis(client, `fairlead:${key}`, rule.limit) };
  }
}
