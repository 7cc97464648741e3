/** For commands that have no business with this host's resolver. */
import type { NamesBindings } from "../bindings.ts";

export const noNames: NamesBindings = {
  isSet: async () => "off",
  remove: async () => false,
};
