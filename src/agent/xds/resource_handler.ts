/** Who takes the resources of one type. */
import type { Delivery, DeltaResource, RejectedResource } from "../../wire/ads/delta.ts";

export interface ResourceHandler {
  readonly typeUrl: string;
  /**
   * Puts a delivery in force, its good resources together. Never throws or rejects for what a server may have sent.
   *
   * @param isFirst of its type on this stream: the server has now sent everything that it was not told we hold.
   * @returns those that could not be taken. What stood under their names stays. A promise resolves when it is in force.
   */
  apply(
    delivery: Delivery,
    isFirst: boolean,
  ): readonly RejectedResource[] | Promise<readonly RejectedResource[]>;
  /** What it goes by, as it came. */
  resources(): Iterable<DeltaResource>;
}
