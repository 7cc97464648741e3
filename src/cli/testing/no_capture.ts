/** For commands that have no business with capture rules. */
import type { CaptureBindings } from "../bindings.ts";

export const noCapture: CaptureBindings = {
  status: async () => ({ state: "none", backends: [], ports: [], findings: [] }),
  missingCgroups: async () => [],
  remove: async () => {},
  guard: async () => false,
};
