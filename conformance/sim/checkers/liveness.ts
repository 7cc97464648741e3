/** When faults end, and after whatever an operator does, everything is right again within its time, and in the end nothing is left over. */
import type { Observed } from "../observed.ts";

export function checkLiveness({ unsettled }: Observed): string[] {
  return unsettled.map((what) => `liveness: ${what}`);
}
