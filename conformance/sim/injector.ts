/** Makes the faults of a plan happen, and in the end unhappen. */
import { assert } from "../../src/base/assert.ts";
import { hostLimits } from "../../src/base/limits/host.ts";
import { authorizationKey } from "../../src/mesh/authorization.ts";
import { badResources } from "./control_view.ts";
import type { PolicyState } from "./documents.ts";
import { closedBeforeHalfMs, type Fault, type FaultAction, lookAfterCutMs } from "./faults.ts";
import type { SimulatedMachine } from "./node.ts";
import { type Observed, stalenessMs, type Trouble } from "./observed.ts";
import { callAsRogue, impersonate } from "./rogue.ts";
import type { Simulation } from "./simulation.ts";

/** What was refused for want of a descriptor is tried again, and its caller waits for so long. */
const descriptorTailMs = 5_000;

export class FaultInjector {
  readonly cutsMs: number[] = [];
  readonly partitions: Observed["partitions"][number][] = [];
  readonly troubles: Trouble[] = [];
  readonly rogues: Observed["rogues"][number][] = [];
  readonly leaks: Observed["leaks"][number][] = [];
  readonly #simulation: Simulation;
  readonly #jumped = new Map<SimulatedMachine, number>();
  #badUntilMs = 0;
  #halfUntilMs = 0;
  #isHealed = false;
  readonly #removedUntil = new Map<string, number>();

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  inject({ action: fault }: Fault): void {
    const { world, state } = this.#simulation;
    this.#simulation.trace(`fault ${JSON.stringify(fault)}`);
    switch (fault.kind) {
      case "cut":
        this.#cut(fault.pick);
        return;
      case "partition":
        this.#partition(fault.machines, fault.forMs);
        return;
      case "policy":
        this.#setPolicy(fault.workload, fault.policy);
        return;
      case "strict": {
        const strict = new Set(state.strict);
        if (!strict.delete(fault.name)) strict.add(fault.name);
        this.#simulation.writeDocuments({ ...state, strict });
        return;
      }
      case "removal":
        this.#remove(fault.workload, fault.forMs);
        return;
      case "revocation":
        this.#simulation.revoke(fault.workload);
        return;
      case "wall_jump":
        this.#jump(this.#machine(fault.machine), fault.byMs);
        return;
      case "descriptors":
        this.#exhaust(this.#machine(fault.machine), fault.spare, fault.forMs);
        return;
      case "disk":
        this.#fillDisk(this.#machine(fault.machine), fault.forMs);
        return;
      case "bad_document":
        this.#simulation.writeDocuments({ ...state, bad: fault.text });
        return;
      case "half_written":
        this.#writeHalf(fault);
        return;
      case "kill":
        this.#machine(fault.machine).kill(fault.downMs);
        if (fault.power) this.#machine(fault.machine).machine.disk.losePower();
        if (fault.impostor) this.#impersonate(this.#machine(fault.machine), fault.downMs);
        return;
      case "drain":
        this.#machine(fault.machine)
          .drainAndRestart(fault.downMs)
          .catch((error) => world.schedule.fail(error));
        return;
      case "control_kill":
        this.#simulation.control?.kill(fault.downMs);
        return;
      case "control_cut":
        this.#simulation.setFillers(this.#simulation.fillers === 0 ? 20 : 0);
        this.#unlessHealed(fault.afterMs, () => this.#cutControl());
        return;
      case "control_partition": {
        const { name } = this.#machine(fault.machine).plan;
        world.partition(name, "control");
        world.schedule.timer(fault.forMs, null, () => world.heal(name, "control"));
        return;
      }
      case "policies_held_up":
        this.#holdUpPolicies(this.#machine(fault.machine).plan.name, fault.workloads);
        return;
      case "ca_away":
        this.#simulation.control?.relay.stop();
        world.schedule.timer(fault.forMs, null, () => this.#simulation.control?.relay.start());
        return;
      case "ca_slow": {
        const relay = this.#simulation.control?.relay;
        if (relay === undefined) return;
        relay.holdMs = fault.holdMs;
        world.schedule.timer(fault.forMs, null, () => {
          relay.holdMs = 0;
        });
        return;
      }
      case "bad_resource":
        this.#addBadResource(fault.forMs);
        return;
      case "burst":
        this.#simulation.setFillers(fault.count);
        world.schedule.timer(fault.forMs, null, () => this.#simulation.setFillers(0));
        return;
      case "node_revoked":
        this.#simulation.revokeNode(fault.machine);
        return;
      case "root_rotation":
        if (fault.away === null) this.#simulation.control?.rotate();
        else this.#rotateWithout(this.#machine(fault.away));
        return;
      case "rogue":
        void callAsRogue(this.#simulation, this.rogues, fault.workload, fault.how).catch((error) =>
          world.schedule.fail(error),
        );
    }
  }

  /** From now on nothing is wrong any more; what takes its time to come back takes it, at the most `recoveryMs`. */
  healEverything(recoveryMs: number): void {
    const { world, control } = this.#simulation;
    this.#simulation.trace("no more faults");
    this.#isHealed = true;
    world.heal();
    for (const partition of this.partitions) partition.untilMs = Math.min(partition.untilMs, world.nowMs);
    for (const [machine, byMs] of this.#jumped) machine.machine.jumpWall(-byMs);
    this.#jumped.clear();
    for (const trouble of this.troubles)
      if (trouble.kind === "wall_jump") trouble.untilMs = world.nowMs + recoveryMs;
    for (const machine of this.#simulation.machines) this.#relieve(machine);
    this.#removedUntil.clear();
    control?.heal();
    this.#takeBadResource();
    this.#simulation.setFillers(0);
    const { state } = this.#simulation;
    if (state.removed.size > 0) this.#simulation.writeDocuments({ ...state, removed: new Set() });
  }

  #holdUpPolicies(machine: string, [first, second]: readonly [string, string]): void {
    const { world } = this.#simulation;
    this.#setPolicy(second, { kind: "none" });
    this.#setPolicy(first, { kind: "deny_port" });
    this.#unlessHealed(1_000, () => {
      world.partition(machine, "control");
      this.#setPolicy(first, { kind: "allow_nothing" });
    });
    this.#unlessHealed(1_400, () => this.#setPolicy(second, { kind: "deny_port" }));
    world.schedule.timer(1_800, null, () => world.heal(machine, "control"));
  }

  /** The look that nodes take for the sake of a file from before falls into the time of half a one, and near its beginning. */
  #writeHalf({ workload, share, forMs }: Extract<FaultAction, { kind: "half_written" }>): void {
    const simulation = this.#simulation;
    const inMs = (ms: number, act: () => void) => simulation.world.schedule.timer(ms, null, act);
    const writeWhole = () => simulation.writeDocuments(simulation.state);
    this.#setPolicy(workload, { kind: "allow_nothing" });
    inMs(closedBeforeHalfMs + lookAfterCutMs - hostLimits.watchCoalesceMs, writeWhole);
    inMs(closedBeforeHalfMs, () => {
      // Two halves one after the other may look like one that stands for long.
      const { nowMs } = simulation.world;
      if (nowMs < this.#halfUntilMs) return;
      this.#halfUntilMs = nowMs + 2 * forMs + hostLimits.watchCoalesceMs;
      simulation.writeDocuments(simulation.state, { share, before: workload });
      inMs(forMs, writeWhole);
    });
  }

  #rotateWithout(machine: SimulatedMachine): void {
    const { world, control } = this.#simulation;
    const { name } = machine.plan;
    world.partition(name, "control");
    this.#unlessHealed(500, () => control?.rotate());
    this.#unlessHealed(1_000, () => machine.kill(300));
    world.schedule.timer(8_000, null, () => world.heal(name, "control"));
  }

  /** For the later parts of a fault: from then on there are none. */
  #unlessHealed(ms: number, act: () => void): void {
    this.#simulation.world.schedule.timer(ms, null, () => {
      if (!this.#isHealed) act();
    });
  }

  #cutControl(): void {
    const { world } = this.#simulation;
    for (const link of world.links) if (link.machines.server === "control") link.cut();
  }

  #addBadResource(forMs: number): void {
    const { control, world } = this.#simulation;
    const running = control?.running ?? null;
    if (running === null || this.#badUntilMs > world.nowMs) return;
    this.#badUntilMs = world.nowMs + forMs;
    running.parts.store.apply(badResources);
    world.schedule.timer(forMs, null, () => {
      const isStillThere =
        control?.running === running && running.parts.store.policy("nobody/readable") !== null;
      if (isStillThere && forMs > 2 * stalenessMs) this.#lookForNeighbour();
      this.#takeBadResource();
    });
  }

  /** Nodes that had the time must have what came with it. */
  #lookForNeighbour(): void {
    const { machines, world, disagreements } = this.#simulation;
    const [, good = ""] = badResources.policies.upsert.map(authorizationKey);
    for (const { plan, node, contact } of machines) {
      const sinceMs = contact.staleSince(world.nowMs, stalenessMs);
      if (node === null || sinceMs < world.nowMs - stalenessMs) continue;
      const { store } = node.context;
      if (store.policy(good) === null)
        disagreements.push(`${plan.name} did not take a resource because of another that it cannot read`);
    }
  }

  #takeBadResource(): void {
    const store = this.#simulation.control?.running?.parts.store;
    const keys = badResources.policies.upsert.map(authorizationKey);
    if (store !== undefined && store.policy(keys[0] ?? "") !== null)
      store.apply({ policies: { remove: keys } });
  }

  #machine(index: number): SimulatedMachine {
    const machine = this.#simulation.machines[index];
    assert(machine !== undefined, "a fault is of a machine that there is");
    return machine;
  }

  #cut(pick: number): void {
    const { world } = this.#simulation;
    const links = [...world.links];
    links[Math.floor(pick * links.length)]?.cut();
    this.cutsMs.push(world.nowMs);
  }

  #partition([a, b]: readonly [number, number], forMs: number): void {
    const { world } = this.#simulation;
    const machines = [this.#machine(a).plan.name, this.#machine(b).plan.name] as const;
    world.partition(...machines);
    this.partitions.push({ machines, fromMs: world.nowMs, untilMs: world.nowMs + forMs });
    world.schedule.timer(forMs, null, () => world.heal(...machines));
  }

  #setPolicy(workload: string, policy: PolicyState): void {
    const { state } = this.#simulation;
    const policies = new Map([...state.policies, [workload, policy]] as const);
    this.#simulation.writeDocuments({ ...state, policies });
  }

  #remove(workload: string, forMs: number): void {
    const { world, state } = this.#simulation;
    this.#removedUntil.set(workload, world.nowMs + forMs);
    this.#simulation.writeDocuments({ ...state, removed: new Set([...state.removed, workload]) });
    world.schedule.timer(forMs, null, () => {
      if ((this.#removedUntil.get(workload) ?? Number.POSITIVE_INFINITY) > world.nowMs) return;
      const removed = new Set(this.#simulation.state.removed);
      if (removed.delete(workload)) this.#simulation.writeDocuments({ ...this.#simulation.state, removed });
    });
  }

  #jump(machine: SimulatedMachine, byMs: number): void {
    machine.machine.jumpWall(byMs);
    const { world } = this.#simulation;
    // Until its clock is set right again, with everything else.
    this.troubles.push({
      kind: "wall_jump",
      machine: machine.index,
      fromMs: world.nowMs,
      untilMs: Number.POSITIVE_INFINITY,
    });
    this.#jumped.set(machine, (this.#jumped.get(machine) ?? 0) + byMs);
  }

  #exhaust(machine: SimulatedMachine, spare: number, forMs: number): void {
    const { host } = machine;
    if (host === null) return;
    host.descriptorLimit = host.openDescriptors + spare;
    const { nowMs } = this.#simulation.world;
    this.troubles.push({
      kind: "descriptors",
      machine: machine.index,
      fromMs: nowMs,
      untilMs: nowMs + forMs + descriptorTailMs,
    });
    this.#simulation.world.schedule.timer(forMs, null, () => this.#relieve(machine));
  }

  #fillDisk(machine: SimulatedMachine, forMs: number): void {
    machine.machine.disk.full = true;
    if (machine.host !== null) machine.host.outputBroken = true;
    this.#simulation.world.schedule.timer(forMs, null, () => this.#relieve(machine));
  }

  /** While the node is down somebody else of the mesh answers in its place. */
  #impersonate(machine: SimulatedMachine, downMs: number): void {
    const { schedule } = this.#simulation.world;
    const stop = impersonate(this.#simulation, machine, (bytes) =>
      this.leaks.push({ atMs: schedule.nowMs, machine: machine.plan.name, bytes }),
    );
    schedule.timer(downMs * 0.9, null, stop);
  }

  #relieve(machine: SimulatedMachine): void {
    machine.machine.disk.full = false;
    if (machine.host === null) return;
    machine.host.descriptorLimit = Number.POSITIVE_INFINITY;
    machine.host.outputBroken = false;
  }
}
