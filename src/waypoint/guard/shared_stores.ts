/** The stores that rate limits share: one connection to each, however many documents name it. */
import type { Host, Socket } from "../../host/host.ts";
import type { UpstreamTls } from "../../mesh/traffic/destination_policy.ts";
import type { RateLimitStore } from "../../mesh/traffic/rate_limit.ts";
import type { SharedStore } from "./rate_limits.ts";
import { RedisClient } from "./redis_client.ts";
import { takeFromRedis } from "./redis_limits.ts";
import { RlsClient } from "./rls_client.ts";

/** TLS as the client, the server verified by `name`. @param http null for what is not HTTP. */
export type SecureStore = (socket: Socket, tls: UpstreamTls, name: string, http: 2 | null) => Promise<Socket>;

type Shared = Exclude<RateLimitStore, { readonly kind: "local" }>;

export class SharedStores {
  readonly #host: Pick<Host, "clock" | "net" | "random">;
  readonly #readFile: (namespace: string, name: string) => Promise<string>;
  readonly #secure: SecureStore;
  readonly #stores = new Map<string, SharedStore>();

  /** @param files those that documents name. */
  constructor(
    host: Pick<Host, "clock" | "net" | "random">,
    files: { readText(namespace: string, name: string): Promise<string> },
    secure: SecureStore,
  ) {
    this.#secure = secure;
    this.#host = host;
    this.#readFile = (namespace, name) => files.readText(namespace, name);
  }

  readonly of = (store: Shared, namespace: string): SharedStore => {
    const tls = store.tls === null ? null : { ...store.tls, location: null };
    const key = JSON.stringify([namespace, { ...store, tls, whenAway: null }]);
    const known = this.#stores.get(key);
    if (known !== undefined) return known;
    const made =
      store.kind === "redis"
        ? this.#redis(store, namespace)
        : new RlsClient(this.#host, { ...store, secure: this.#securing(store, 2) });
    this.#stores.set(key, made);
    return made;
  };

  #securing({ tls, address }: Shared, http: 2 | null): ((socket: Socket) => Promise<Socket>) | null {
    if (tls === null) return null;
    return (socket) => this.#secure(socket, tls, tls.sni === "" ? address.host : tls.sni, http);
  }

  #redis(store: Extract<Shared, { readonly kind: "redis" }>, namespace: string): SharedStore {
    const { passwordFile } = store;
    const client = new RedisClient(this.#host, {
      ...store,
      secure: this.#securing(store, null),
      password: async () =>
        passwordFile === null ? null : (await this.#readFile(namespace, passwordFile)).trim(),
    });
    return { take: (rule, key) => takeFromRedis(client, `fairlead:${key}`, rule.limit) };
  }
}
