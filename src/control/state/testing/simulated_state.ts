/** A control plane's state on a simulated machine, for tests. */
import { type Logger, silentLogger } from "../../../base/log.ts";
import type { MemoryHost } from "../../../host/memory/process.ts";
import { type MemoryMachine, MemoryWorld } from "../../../host/memory/world.ts";
import { ControlState, type StateOptions } from "../control_state.ts";

export class StateWorld {
  readonly world: MemoryWorld;
  readonly machine: MemoryMachine;
  host: MemoryHost;

  constructor(seed = 1) {
    this.world = new MemoryWorld(seed);
    this.machine = this.world.machine("control", { addresses: ["10.0.0.1"] });
    this.host = this.machine.start();
  }

  open(
    options: StateOptions = {},
    host: MemoryHost = this.host,
    logger: Logger = silentLogger,
  ): Promise<ControlState> {
    return this.world.settle(ControlState.open(host, "/state", logger, options));
  }

  /** A new process on the same disk. */
  restart(): void {
    this.host.kill();
    this.host = this.machine.start();
  }
}

export async function openState(seed = 1): Promise<ControlState> {
  return new StateWorld(seed).open();
}
