/** State of the world, the older of the two xDS variants: each response holds all that was asked for (xDS protocol, "The SotW variant"). */
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { sha256Hex } from "../../base/sha256.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { SecretSchema } from "../../wire/messages/envoy_tls.gen.ts";
import { anyOf, newMessage } from "../../wire/messages/message.ts";
import { type Acknowledgements, SecretNonces } from "./secret_nonces.ts";
import { type SecretLookup, type SecretResource, secretType } from "./secret_resources.ts";

export class SotwSecrets {
  readonly #lookUp: (name: string) => SecretLookup;
  readonly #nonces = new SecretNonces();
  #names: readonly string[] = [];
  #sentVersion: string | null = null;

  constructor(lookUp: (name: string) => SecretLookup) {
    this.#lookUp = lookUp;
  }

  get names(): readonly string[] {
    return this.#names;
  }

  get acknowledgements(): Acknowledgements {
    return this.#nonces;
  }

  /** @returns what is to be sent now. @throws GrpcError `resourceExhausted`. */
  receive(request: DiscoveryRequest): DiscoveryResponse | null {
    // ADS carries other types too; who asks for one here gets no answer, as there is none.
    if (request.typeUrl !== "" && request.typeUrl !== secretType) return null;
    if (!this.#nonces.receive(request.responseNonce, request.errorDetail)) return null;
    const names = [...new Set(request.resourceNames)];
    checkNames(names.length);
    const isNew = names.length !== this.#names.length || names.some((name) => !this.#names.includes(name));
    this.#names = names;
    return isNew ? this.#respond() : null;
  }

  /** After something may have changed. */
  refresh(): DiscoveryResponse | null {
    const response = this.#ready();
    return response.length === 0 || versionOf(response) === this.#sentVersion ? null : this.#respond();
  }

  #ready(): SecretResource[] {
    return this.#names.map(this.#lookUp).filter((found) => typeof found === "object");
  }

  /** Envoy takes a response without the secret as a mistake, so nothing is said before there is something to say. */
  #respond(): DiscoveryResponse | null {
    const resources = this.#ready();
    if (resources.length === 0) return null;
    const versionInfo = versionOf(resources);
    this.#sentVersion = versionInfo;
    return newMessage(DiscoveryResponseSchema, {
      versionInfo,
      typeUrl: secretType,
      nonce: this.#nonces.next(versionInfo),
      resources: resources.map((each) => anyOf(SecretSchema, each.value)),
    });
  }
}

export function checkNames(count: number): void {
  if (count > workloadApiLimits.maxSecretNames)
    throw new GrpcError(grpcCode.resourceExhausted, "too many resource names");
}

function versionOf(resources: readonly SecretResource[]): string {
  const [only] = resources;
  if (resources.length === 1 && only !== undefined) return only.version;
  const lines = resources.map(({ name, version }) => `${name} ${version}\n`).sort();
  return sha256Hex(new TextEncoder().encode(lines.join("")));
}
