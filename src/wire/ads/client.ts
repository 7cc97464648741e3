/**
 * The client's side of delta ADS without the stream under it: what to ask for, what to acknowledge, what the server is told that we
 * hold after a reconnect. What was received outlives the stream, as in ztunnel: state is kept while the control plane is away.
 */
import { assert } from "../../base/assert.ts";
import { ClientType, type SubscriptionMode } from "./client_type.ts";
import type { Delivery, DeltaRequest, DeltaResponse, RejectedResource } from "./delta.ts";

export interface ClientTypeOptions {
  readonly typeUrl: string;
  /** `wildcard`: everything. `on-demand`: what `subscribe` names. */
  readonly mode: SubscriptionMode;
}

export class DeltaClient {
  readonly #types = new Map<string, ClientType>();
  /** Those of the constructor: a type that only some servers know holds nothing up. */
  readonly #required: readonly ClientType[];

  /** @param types in the order of their first requests: policies before the workloads that name them. */
  constructor(types: readonly ClientTypeOptions[]) {
    this.#required = types.map(({ typeUrl, mode }) => this.#add(typeUrl, mode));
  }

  /**
   * Begins a stream: nonces of the last one are forgotten, what is held is told.
   *
   * @returns the first request of each type, in order, to be sent at once. The node goes into each of them, as ztunnel has it.
   */
  connect(): readonly DeltaRequest[] {
    return [...this.#types.values()].map((type) => type.connect());
  }

  /** The stream has ended. What is held stays. */
  disconnect(): void {
    for (const type of this.#types.values()) type.disconnect();
  }

  /** Adds a type while a stream is open (one that only some servers know). @returns its first request, null when it is there already. */
  addType({ typeUrl, mode }: ClientTypeOptions): DeltaRequest | null {
    return this.#types.has(typeUrl) ? null : this.#add(typeUrl, mode).connect();
  }

  /** Forgets a type and all that is held of it. */
  removeType(typeUrl: string): void {
    this.#types.delete(typeUrl);
  }

  /**
   * @returns what to apply. To be answered by `acknowledge`, response by response; null for a type that was never asked for, which
   * is to be answered by `acknowledgeUnknown` alone (ztunnel logs and acknowledges it).
   */
  onResponse(response: DeltaResponse): Delivery | null {
    return this.#types.get(response.typeUrl)?.receive(response) ?? null;
  }

  /**
   * Records what was taken and answers the response. Resources that are not among `rejected` count as held even when others were
   * refused: good ones of a refused response are applied (ztunnel `handle_stream_event`).
   */
  acknowledge(delivery: Delivery, rejected: readonly RejectedResource[]): DeltaRequest {
    return this.#type(delivery.typeUrl).acknowledge(delivery, rejected);
  }

  acknowledgeUnknown(response: DeltaResponse): DeltaRequest {
    return emptyRequest(response.typeUrl, response.nonce);
  }

  /** @returns null when nothing new is named, or when no stream is open: then `connect` asks for it. */
  subscribe(typeUrl: string, names: readonly string[]): DeltaRequest | null {
    return this.#type(typeUrl).subscribe(names);
  }

  /**
   * What is held under these very names is forgotten; what was found under another one (an address that was asked for, a uid that
   * was answered) stays until the server removes it.
   *
   * @returns null as `subscribe` does.
   */
  unsubscribe(typeUrl: string, names: readonly string[]): DeltaRequest | null {
    return this.#type(typeUrl).unsubscribe(names);
  }

  /** Whether every wildcard type had a response that was accepted, ever: ztunnel's condition for carrying traffic. */
  get ready(): boolean {
    return this.#required.every((type) => type.ready);
  }

  /** Whether the same holds for the stream that is open now: what is held is what the server has. */
  get current(): boolean {
    return this.#required.every((type) => type.current);
  }

  /** Name → version of what is held. */
  held(typeUrl: string): ReadonlyMap<string, string> {
    return this.#type(typeUrl).held;
  }

  /** Names asked for that the server has neither sent nor called absent. */
  pending(typeUrl: string): readonly string[] {
    return this.#type(typeUrl).pending;
  }

  /** What was refused and not mended since, by name: for the status. */
  rejected(typeUrl: string): ReadonlyMap<string, string> {
    return this.#type(typeUrl).rejected;
  }

  #add(typeUrl: string, mode: SubscriptionMode): ClientType {
    assert(!this.#types.has(typeUrl), `type ${typeUrl} is there twice`);
    const type = new ClientType(typeUrl, mode);
    this.#types.set(typeUrl, type);
    return type;
  }

  #type(typeUrl: string): ClientType {
    const type = this.#types.get(typeUrl);
    assert(type !== undefined, `type ${typeUrl} was never added`);
    return type;
  }
}

/** A request that says nothing but its type and nonce: an ACK. */
export function emptyRequest(typeUrl: string, responseNonce: string): DeltaRequest {
  return {
    typeUrl,
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
    responseNonce,
  };
}
