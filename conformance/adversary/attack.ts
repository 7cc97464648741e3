/** One way to make work cheaply. */
import type { DoorName, Stage } from "./stage.ts";

export interface Attack {
  readonly name: string;
  readonly door: DoorName;
  /** What the attacker does; resolves when it has done enough, or is shut out. What it throws as MeshError is the door's refusal. */
  run(stage: Stage): Promise<void>;
}
