/** What a control plane is there for: policies before the workloads that need them, and in the end one mesh for all. */
import type { Observed } from "../observed.ts";

export function checkControl(observed: Observed): string[] {
  return [
    ...observed.unpolicied.map(
      ({ atMs, machine, workload, policy }) =>
        `control: m${machine} had ${workload} at ${atMs.toFixed(1)} ms without its policy ${policy}`,
    ),
    ...observed.disagreements.map((what) => `control: ${what}`),
  ];
}
