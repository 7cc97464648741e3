/** The incremental xDS variant: each response holds what has changed (xDS protocol, "Incremental xDS"). */
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { SecretSchema } from "../../wire/messages/envoy_tls.gen.ts";
import { anyOf, newMessage } from "../../wire/messages/message.ts";
import { checkNames } from "./sds_sotw.ts";
import { type Acknowledgements, SecretNonces } from "./secret_nonces.ts";
import { type SecretLookup, type SecretResource, secretType } from "./secret_resources.ts";

/** What the client was told of a name: a version, that there is no such thing, or nothing yet. */
type Told = { readonly version: string } | "removed" | "nothing";

export class DeltaSecrets {
  readonly #lookUp: (name: string) => SecretLookup;
  readonly #nonces = new SecretNonces();
  readonly #subscribed = new Map<string, Told>();
  #isFirst = true;

  constructor(lookUp: (name: string) => SecretLookup) {
    this.#lookUp = lookUp;
  }

  get names(): readonly string[] {
    return [...this.#subscribed.keys()];
  }

  get acknowledgements(): Acknowledgements {
    return this.#nonces;
  }

  /** @returns what is to be sent now. @throws GrpcError `resourceExhausted`. */
  receive(request: DeltaDiscoveryRequest): DeltaDiscoveryResponse | null {
    if (request.typeUrl !== "" && request.typeUrl !== secretType) return null;
    // Subscriptions count whatever the nonce says: unlike in SotW they are not repeated with the next request.
    this.#nonces.receive(request.responseNonce, request.errorDetail);
    for (const name of request.resourceNamesUnsubscribe) this.#subscribed.delete(name);
    for (const name of request.resourceNamesSubscribe) {
      // Who subscribes again is answered again.
      this.#subscribed.set(name, "nothing");
      checkNames(this.#subscribed.size);
    }
    if (this.#isFirst) this.#takeInitial(request.initialResourceVersions);
    this.#isFirst = false;
    return request.resourceNamesSubscribe.length === 0 ? null : this.refresh();
  }

  /** After something may have changed. */
  refresh(): DeltaDiscoveryResponse | null {
    const resources: SecretResource[] = [];
    const removedResources: string[] = [];
    for (const [name, told] of this.#subscribed) {
      const found = this.#lookUp(name);
      if (typeof found === "object") {
        if (typeof told === "object" && told.version === found.version) continue;
        this.#subscribed.set(name, { version: found.version });
        resources.push(found);
      } else if (found === "forbidden" && told !== "removed") {
        this.#subscribed.set(name, "removed");
        removedResources.push(name);
      }
    }
    if (resources.length === 0 && removedResources.length === 0) return null;
    const versions = resources.map(({ name, version }) => `${name}=${version.slice(0, 16)}`).join(" ");
    return newMessage(DeltaDiscoveryResponseSchema, {
      typeUrl: secretType,
      nonce: this.#nonces.next(versions),
      resources: resources.map(({ name, version, value }) => ({
        name,
        version,
        resource: anyOf(SecretSchema, value),
      })),
      removedResources,
    });
  }

  /** What a client that comes back holds already is not sent again. */
  #takeInitial(versions: Readonly<Record<string, string>>): void {
    for (const [name, version] of Object.entries(versions)) {
      if (this.#subscribed.has(name)) this.#subscribed.set(name, { version });
    }
  }
}
