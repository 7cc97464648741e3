/**
 * A run for liveness: faults end while traffic goes on, and from then on everything has to come right by itself, in a time that is
 * bounded for each thing. Then comes what operators do to a mesh that is well (documents, upgrades, a control plane that blinks), each
 * with a bound that is much shorter, and at last a silence, after which nothing may be left of all that.
 */
import { joinLimits } from "../../src/base/limits/agent.ts";
import { drainDeadlineMs } from "./node_config.ts";
import { drawProbes } from "./probes.ts";
import { leftOver, unsettled } from "./settled.ts";
import type { Simulation } from "./simulation.ts";
import type { LivenessPlan, Upheaval } from "./upheavals.ts";

/** Between two looks. */
const lookMs = 100;
/** A change of documents is in force everywhere: a watch, or a push, and another time for one that came too early. */
const reloadMs = 2_000;
/** A stream that was open for long and broke is open again: the first back-off, handshakes on a slow network, an answer. */
const blipMs = 3_000;
/** A program that is there again and has what it needs from its disk and its control plane. */
const startMs = 6_000;
/** A round of probes: all of them begin in its first two seconds. */
const probesMs = 12_000;
/** Longer than an unused tunnel is kept, and the look for those. */
const silenceMs = 60_000 * 1.5 + 5_000;

export class Liveness {
  readonly #simulation: Simulation;
  readonly #plan: LivenessPlan;
  #round = 0;

  constructor(simulation: Simulation, plan: LivenessPlan) {
    this.#simulation = simulation;
    this.#plan = plan;
  }

  /** @param beganMs of the traffic. @param recoveryMs until when everything is right, from the end of the faults. @param heal ends the faults. */
  async run(beganMs: number, trafficMs: number, recoveryMs: number, heal: () => void): Promise<void> {
    const { world } = this.#simulation;
    const listeners = this.#simulation.machines.map(({ host }) =>
      host === null ? 0 : host.openDescriptors - host.sockets.size,
    );
    await world.run(beganMs + this.#plan.stopMs);
    heal();
    await this.#settle("the end of the faults", recoveryMs);
    await world.run(Math.max(world.nowMs, beganMs + trafficMs));
    await this.#probe();
    this.#simulation.isUpset = true;
    for (const upheaval of this.#plan.upheavals) await this.#make(upheaval);
    await this.#probe();
    this.#simulation.isUpset = false;
    this.#simulation.isHealed = true;
    // Some of them never close anything.
    for (const { applications } of this.#simulation.machines)
      for (const socket of [...applications.sockets]) socket.reset();
    await world.run(world.nowMs + silenceMs);
    for (const what of leftOver(this.#simulation, listeners))
      this.#say(`${what}, ${silenceMs / 1000} s after the last connection`);
  }

  async #make(upheaval: Upheaval): Promise<void> {
    const simulation = this.#simulation;
    const { world, control, machines } = simulation;
    simulation.trace(`upheaval ${JSON.stringify(upheaval)}`);
    switch (upheaval.kind) {
      case "reload": {
        const { state } = simulation;
        const policies = new Map([...state.policies, [upheaval.workload, upheaval.policy]] as const);
        simulation.writeDocuments({ ...state, policies });
        await this.#settle("new documents", reloadMs);
        await this.#probe();
        return;
      }
      case "upgrade": {
        const machine = machines[upheaval.machine];
        if (machine === undefined || simulation.observed.revokedNodes.has(machine.index)) return;
        if (upheaval.drains)
          machine.drainAndRestart(upheaval.downMs).catch((error) => world.schedule.fail(error));
        else machine.kill(upheaval.downMs);
        await this.#settle(
          `an upgrade of ${machine.plan.name}`,
          (upheaval.drains ? drainDeadlineMs : 0) + upheaval.downMs + startMs,
        );
        await this.#probe();
        return;
      }
      case "control_upgrade":
        await this.#waitUntilSteady();
        control?.kill(upheaval.downMs);
        // A node that just missed it comes back after as long as it was away, and a part.
        await this.#settle("an upgrade of the control plane", upheaval.downMs * 2.5 + startMs);
        return;
      case "control_blips":
        for (let count = 0; count < upheaval.times; count++) {
          await this.#waitUntilSteady();
          for (const link of world.links) if (link.machines.server === "control") link.cut();
          await world.run(world.nowMs + lookMs);
          await this.#settle("a break of all connections to the control plane", blipMs);
        }
    }
  }

  /** Streams that were open for less go on with the back-off of before. */
  async #waitUntilSteady(): Promise<void> {
    const { world } = this.#simulation;
    await world.run(world.nowMs + joinLimits.steadyMs + lookMs);
  }

  /** Waits until all is right, and says what is not after `limitMs`. */
  async #settle(after: string, limitMs: number): Promise<void> {
    const { world } = this.#simulation;
    const fromMs = world.nowMs;
    let left = ["it was not looked at"] as readonly string[];
    while (left.length > 0 && world.nowMs < fromMs + limitMs) {
      await world.run(world.nowMs + lookMs);
      left = unsettled(this.#simulation);
    }
    this.#simulation.trace(`settled ${(world.nowMs - fromMs).toFixed(0)} ms after ${after}`);
    for (const what of left) this.#say(`${what}, ${(limitMs / 1000).toFixed(1)} s after ${after}`);
  }

  async #probe(): Promise<void> {
    const { world, plan } = this.#simulation;
    const round = this.#round++;
    const probes = drawProbes(plan, world.random.fork(`probes ${round}`), round);
    this.#simulation.probe(probes);
    await world.run(world.nowMs + probesMs);
  }

  #say(what: string): void {
    this.#simulation.unsettled.push(what);
  }
}
