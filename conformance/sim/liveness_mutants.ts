/** Mutants after which a mesh works, and never comes right again, or is never rid of something. See `mutant_list.ts`. */
import type { Mutant } from "./mutant_list.ts";

export const livenessMutants: readonly Mutant[] = [
  {
    name: "the back-off toward a control plane never starts again",
    trips: ["liveness"],
    seed: 2,
    liveness: true,
    file: "src/agent/xds/xds_client.ts",
    from: 'this.#failures = steady || why === "our own wish" ? 1 : this.#failures + 1;',
    to: "void steady; this.#failures++;",
  },
  {
    name: "a subscription that begins again forgets its last type",
    trips: ["liveness"],
    seed: 18,
    liveness: true,
    file: "src/wire/ads/client.ts",
    from: "return [...this.#types.values()].map((type) => type.connect());",
    to: "return [...this.#types.values()].map((type) => type.connect()).slice(0, this.ready ? -1 : undefined);",
  },
  {
    name: "the pool keeps tunnels that are dead",
    trips: ["liveness"],
    seed: 1,
    liveness: true,
    file: "src/proxy/tunnel/pool.ts",
    from: "entry.tunnels.delete(tunnel);",
    to: "void tunnel;",
  },
  {
    name: "the pool keeps what is of targets that could not be reached",
    trips: ["liveness"],
    seed: 12,
    liveness: true,
    file: "src/proxy/tunnel/pool.ts",
    from: "isThere();\n        forgetUnused();\n        throw error;",
    to: "isThere();\n        throw error;",
  },
  {
    name: "unused tunnels are looked for once",
    trips: ["liveness"],
    seed: 1,
    liveness: true,
    file: "src/proxy/tunnel/pool.ts",
    from: "if (tunnels.length > 0) this.#armSweep();",
    to: "",
  },
  {
    name: "who waits to open a stream again is not woken",
    trips: ["liveness"],
    seed: 3,
    liveness: true,
    file: "src/agent/xds/xds_client.ts",
    from: "if (!this.#closed) this.#timer = clock.setTimer(delayMs, () => void this.#connect());",
    to: "if (!this.#closed && !wasConnected) this.#timer = clock.setTimer(delayMs, () => void this.#connect());",
  },
];
