/** A machine of the simulated mesh: its node, which may be restarted, and the processes of its applications. */
import { prepareNode, type RunningNode } from "../../src/app/node/node.ts";
import { assert } from "../../src/base/assert.ts";
import { MeshError } from "../../src/base/errors.ts";
import type { LogFields, LogLevel } from "../../src/base/log.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine, MemoryWorld } from "../../src/host/memory/world.ts";
import { rulePrograms } from "../../src/host/testing/rule_programs.ts";
import type { MeshStore } from "../../src/mesh/store/store.ts";
import { NodeTunnel } from "../../src/proxy/node.ts";
import { Contact } from "./contact.ts";
import { type Invitation, joinedConfig } from "./control_config.ts";
import { captureMark, nodeConfig } from "./node_config.ts";
import type { MachinePlan, Plan } from "./plan.ts";

/** A line of a node's log, as it was meant. */
export interface LoggedLine {
  readonly atMs: number;
  readonly machine: number;
  /** Which start of the node it was. */
  readonly generation: number;
  readonly level: LogLevel;
  readonly target: string;
  readonly message: string;
  readonly fields: LogFields;
}

class RecordingLog extends LogWriter {
  readonly #record: (level: LogLevel, target: string, message: string, fields: LogFields) => void;

  constructor(
    host: MemoryHost,
    record: (level: LogLevel, target: string, message: string, fields: LogFields) => void,
  ) {
    super(host.clock, (text) => host.process.writeOut(text), "text", "info");
    this.#record = record;
  }

  override log(level: LogLevel, target: string, message: string, fields: LogFields = {}): void {
    this.#record(level, target, message, fields);
    super.log(level, target, message, fields);
  }
}

export class SimulatedMachine {
  readonly index: number;
  readonly plan: MachinePlan;
  readonly machine: MemoryMachine;
  readonly applications: MemoryHost;
  /** Starts and ends of the node: connections over them have a reason to break. */
  readonly outages: { readonly fromMs: number; untilMs: number }[] = [];
  /** When it was killed: what it had not recorded by then is on no record. */
  readonly killsMs: number[] = [];
  /** When drains began. */
  readonly drainsMs: number[] = [];
  /** When its node was started, the first time included. */
  readonly startsMs: number[] = [];
  readonly contact = new Contact();
  /** By which it joins its control plane; null takes the mesh from files. */
  invitation: Invitation | null = null;
  /** Whenever the mesh that a node goes by has changed. */
  onMesh: (store: MeshStore) => void = () => {};
  readonly #world: MemoryWorld;
  readonly #whole: Plan;
  readonly #onLine: (line: LoggedLine) => void;
  #host: MemoryHost | null = null;
  #running: RunningNode | null = null;
  #generation = 0;
  #waking: { untilMs: number } | null = null;

  constructor(
    world: MemoryWorld,
    whole: Plan,
    index: number,
    plan: MachinePlan,
    onLine: (line: LoggedLine) => void,
  ) {
    this.#world = world;
    this.#whole = whole;
    this.#onLine = onLine;
    this.index = index;
    this.plan = plan;
    this.machine = world.machine(plan.name, { addresses: plan.workloads.map(({ address }) => address) });
    this.applications = this.machine.start();
    if (plan.mode === "capture") {
      const excludedPorts = new Set([22, 15008]);
      this.machine.capture = { outboundPort: 15001, inboundPort: 15006, mark: captureMark, excludedPorts };
    }
  }

  get node(): RunningNode | null {
    return this.#running;
  }

  get host(): MemoryHost | null {
    return this.#host;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Starts the node; a start that fails is tried again, as a service manager does. */
  async start(): Promise<void> {
    const generation = ++this.#generation;
    this.startsMs.push(this.#world.nowMs);
    const host = this.machine.start({ programs: rulePrograms() });
    this.#host = host;
    const log = new RecordingLog(host, (level, target, message, fields) =>
      this.#onLine({
        atMs: this.#world.nowMs,
        machine: this.index,
        generation,
        level,
        target,
        message,
        fields,
      }),
    );
    try {
      const config = nodeConfig(this.#whole, this.plan);
      const { invitation } = this;
      const node = await prepareNode(
        host,
        invitation === null ? config : joinedConfig(config, invitation),
        log,
      );
      const { store } = node.context;
      store.subscribe(() => this.onMesh(store));
      this.onMesh(store);
      const tunnel = await node.listening;
      assert(tunnel instanceof NodeTunnel, "a node without workers");
      const running = { ...node, tunnel };
      if (this.#generation === generation) this.#running = running;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      host.kill();
      log.log("error", "sim", "the node did not start", { error: `${error.code}: ${error.message}` });
      await new Promise<void>((resolve) => void this.#world.schedule.timer(500, null, resolve));
      if (this.#generation === generation) await this.start();
    }
  }

  /** Looked at every now and then: whether it is in touch with its control plane, and whether it can show who it is. */
  note(isReachable: boolean): void {
    const node = this.#running;
    const isInTouch = isReachable && node?.control()?.xds?.connected === true;
    this.contact.note(this.#world.nowMs, isInTouch, this.#generation);
    if (this.#waking === null || node === null || node.pending().length > 0) return;
    this.#waking.untilMs = this.#world.nowMs;
    this.#waking = null;
  }

  /** SIGKILL, and a new start after `downMs`. */
  kill(downMs: number): void {
    this.killsMs.push(this.#world.nowMs);
    this.#running = null;
    this.#generation++;
    this.#host?.kill();
    this.#restartAfter(downMs);
  }

  /** A drain as after SIGTERM, and a new start when it is done and `downMs` have passed. */
  async drainAndRestart(downMs: number): Promise<void> {
    const node = this.#running;
    if (node === null) return;
    this.#running = null;
    this.drainsMs.push(this.#world.nowMs);
    const outage = { fromMs: this.#world.nowMs, untilMs: Number.POSITIVE_INFINITY };
    this.outages.push(outage);
    const generation = this.#generation;
    await node.drain();
    if (this.#generation !== generation) return;
    this.#host?.kill();
    this.outages.splice(this.outages.indexOf(outage), 1);
    this.outages.push({ fromMs: outage.fromMs, untilMs: this.#world.nowMs });
    this.#restartAfter(downMs);
  }

  #restartAfter(downMs: number): void {
    const outage = { fromMs: this.#world.nowMs, untilMs: Number.POSITIVE_INFINITY };
    this.outages.push(outage);
    const generation = ++this.#generation;
    if (this.#waking !== null) this.#waking.untilMs = this.#world.nowMs;
    this.#waking = null;
    this.#world.schedule.timer(downMs, null, () => {
      if (this.#generation !== generation) return;
      void this.start().then(
        () => {
          // Whoever asks elsewhere for certificates has them a while after it listens.
          if (this.invitation !== null) this.#waking = outage;
          else outage.untilMs = this.#world.nowMs;
        },
        (error) => this.#world.schedule.fail(error),
      );
    });
  }
}
