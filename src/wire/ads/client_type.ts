/** What a client knows of one type: names asked for, versions held, what was refused. */
import { adsLimits } from "../../base/limits/rpc.ts";
import type { Delivery } from "./delta.ts";
import { type DeltaRequest, type DeltaResponse, type RejectedResource, wildcardName } from "./delta.ts";

export type SubscriptionMode = "wildcard" | "on-demand";

export class ClientType {
  readonly #typeUrl: string;
  readonly #mode: SubscriptionMode;
  readonly #held = new Map<string, string>();
  readonly #rejected = new Map<string, string>();
  readonly #names = new Set<string>();
  readonly #pending = new Set<string>();
  #open = false;
  /** Nothing of the stream of now is acknowledged yet. */
  #isFirst = false;
  #ready = false;
  #current = false;

  constructor(typeUrl: string, mode: SubscriptionMode) {
    this.#typeUrl = typeUrl;
    this.#mode = mode;
  }

  get held(): ReadonlyMap<string, string> {
    return this.#held;
  }

  get rejected(): ReadonlyMap<string, string> {
    return this.#rejected;
  }

  get pending(): readonly string[] {
    return [...this.#pending];
  }

  get ready(): boolean {
    return this.#ready || this.#mode === "on-demand";
  }

  get current(): boolean {
    return this.#current || (this.#open && this.#mode === "on-demand");
  }

  connect(): DeltaRequest {
    this.#open = true;
    this.#isFirst = true;
    this.#current = false;
    for (const name of this.#names) this.#pending.add(name);
    // On-demand begins with "*" taken and given back, or the server would read no names as all names (ztunnel `xds/client.rs`).
    const onDemand = this.#mode === "on-demand";
    return {
      typeUrl: this.#typeUrl,
      resourceNamesSubscribe: onDemand ? [wildcardName, ...this.#names] : [],
      resourceNamesUnsubscribe: onDemand ? [wildcardName] : [],
      initialResourceVersions: Object.fromEntries(this.#held),
      responseNonce: "",
    };
  }

  disconnect(): void {
    this.#open = false;
    this.#current = false;
  }

  /** The last of several mentions of a name counts, and a name that is sent is not removed: the server's newest word on it is its content. */
  receive(response: DeltaResponse): Delivery {
    const resources = new Map(response.resources.map((resource) => [resource.name, resource]));
    const removed = new Set(response.removedResources.filter((name) => !resources.has(name)));
    for (const name of resources.keys()) this.#pending.delete(name);
    for (const name of response.removedResources) this.#pending.delete(name);
    return {
      typeUrl: this.#typeUrl,
      nonce: response.nonce,
      resources: [...resources.values()],
      removed: [...removed],
    };
  }

  acknowledge(delivery: Delivery, rejected: readonly RejectedResource[]): DeltaRequest {
    const reasons = new Map(rejected.map(({ name, reason }) => [name, reason]));
    // No removal is told of what is not held here; what is still there is sent on each new stream, and refused again.
    if (this.#isFirst) this.#rejected.clear();
    this.#isFirst = false;
    for (const { name, version } of delivery.resources) {
      const reason = reasons.get(name);
      if (reason === undefined) {
        this.#held.set(name, version);
        this.#rejected.delete(name);
      } else {
        // What stood there before stays, with its old version: the server sees after a reconnect that it is not the newest.
        this.#rejected.set(name, reason);
      }
    }
    for (const name of delivery.removed) {
      this.#held.delete(name);
      this.#rejected.delete(name);
    }
    if (reasons.size === 0) {
      this.#ready = true;
      this.#current = this.#open;
    }
    const request = this.#request([], [], delivery.nonce);
    return reasons.size === 0
      ? request
      : { ...request, errorDetail: { code: 0, message: refusal(rejected) } };
  }

  subscribe(names: readonly string[]): DeltaRequest | null {
    const added = names.filter((name) => !this.#names.has(name));
    for (const name of added) {
      this.#names.add(name);
      this.#pending.add(name);
    }
    return added.length === 0 || !this.#open ? null : this.#request(added, [], "");
  }

  unsubscribe(names: readonly string[]): DeltaRequest | null {
    const dropped = names.filter((name) => this.#names.delete(name));
    for (const name of dropped) {
      this.#pending.delete(name);
      this.#held.delete(name);
      this.#rejected.delete(name);
    }
    return dropped.length === 0 || !this.#open ? null : this.#request([], dropped, "");
  }

  #request(subscribe: string[], unsubscribe: string[], responseNonce: string): DeltaRequest {
    return {
      typeUrl: this.#typeUrl,
      resourceNamesSubscribe: subscribe,
      resourceNamesUnsubscribe: unsubscribe,
      initialResourceVersions: {},
      responseNonce,
    };
  }
}

/** ztunnel's form: `name: reason; name: reason`, cut where a server would stop reading. */
function refusal(rejected: readonly RejectedResource[]): string {
  const text = rejected.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
  return text.length <= adsLimits.maxErrorChars ? text : `${text.slice(0, adsLimits.maxErrorChars - 1)}…`;
}
