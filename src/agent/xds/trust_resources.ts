/** Roots and revocation lists pushed by our own control plane. They are acknowledged once they are in force, not before. */
import { asMeshError } from "../../base/errors.ts";
import type { CrlSource, CrlStatus } from "../../pki/trust/revocation.ts";
import type { Delivery } from "../../wire/ads/delta.ts";
import { type DeltaResource, type RejectedResource, trustBundleType } from "../../wire/ads/delta.ts";
import { TrustBundleSchema } from "../../wire/messages/fairlead.gen.ts";
import { decodeMessage } from "../../wire/messages/message.ts";
import type { ResourceHandler } from "./resource_handler.ts";

/** What is done with a bundle: `TrustVerifier` and whoever else goes by the mesh's roots. */
export interface TrustSink {
  /** @throws MeshError `configuration` for roots that cannot be used; nothing has changed then. */
  setRoots(rootsPem: string): void;
  /**
   * Resolves when these roots, which are in force, outlive this process: with why they do not, else null. The control plane takes the old
   * ones away once every host has acknowledged these.
   */
  keepRoots?(rootsPem: string): Promise<string | null>;
  /** Resolves when the lists are in force; never rejects. */
  setCrls(sources: readonly CrlSource[]): Promise<readonly CrlStatus[]>;
  /** A CA is being replaced: certificates of others than the one with this key identifier (hexadecimal) are to be renewed now. */
  moveToIssuer?(issuerKeyId: string): void;
}

const bundleName = "trust";

export class TrustResources implements ResourceHandler {
  readonly typeUrl = trustBundleType;
  readonly #sink: TrustSink;
  #held: DeltaResource | null = null;

  constructor(sink: TrustSink) {
    this.#sink = sink;
  }

  *resources(): Iterable<DeltaResource> {
    if (this.#held !== null) yield this.#held;
  }

  async apply({ resources }: Delivery): Promise<readonly RejectedResource[]> {
    // A removal takes nothing away: a mesh without roots is none, and it is not meant as an order to trust no root.
    const rejected: RejectedResource[] = [];
    for (const resource of resources) {
      const reason =
        resource.name === bundleName
          ? await this.#take(resource)
          : "there is no such bundle: the mesh has one";
      if (reason !== null) rejected.push({ name: resource.name, reason });
    }
    return rejected;
  }

  /** @returns why it could not be taken, in whole or in part; null when all of it is in force. */
  async #take(resource: DeltaResource): Promise<string | null> {
    try {
      const { rootsPem, crls, wantedIssuerKeyId } = decodeMessage(
        TrustBundleSchema,
        resource.resource?.value ?? new Uint8Array(),
      );
      this.#sink.setRoots(rootsPem);
      const statuses = await this.#sink.setCrls(
        crls.map((bytes, index) => ({ name: `control plane, list ${index + 1}`, bytes })),
      );
      const refused = statuses.find(({ state }) => state === "refused");
      if (refused !== undefined) return `${refused.source}: ${refused.message ?? "refused"}`;
      const unkept = (await this.#sink.keepRoots?.(rootsPem)) ?? null;
      if (unkept !== null) return unkept;
      this.#held = resource;
      if (wantedIssuerKeyId !== "") this.#sink.moveToIssuer?.(wantedIssuerKeyId);
      return null;
    } catch (thrown) {
      return asMeshError(thrown, "message_malformed", "upstream").message;
    }
  }
}
