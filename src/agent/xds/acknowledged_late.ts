/** A handler whose deliveries are in force, and so are acknowledged, only when they are in force in every process of this node. */
import type { ResourceHandler } from "./resource_handler.ts";

/** @param inForce resolves when what was taken so far is; undefined where that is at once. */
export function acknowledgedLate(
  handler: ResourceHandler,
  inForce: (() => Promise<void>) | undefined,
): ResourceHandler {
  if (inForce === undefined) return handler;
  return {
    typeUrl: handler.typeUrl,
    resources: () => handler.resources(),
    apply: async (delivery, isFirst) => {
      const rejected = await handler.apply(delivery, isFirst);
      await inForce();
      return rejected;
    },
  };
}
