/** Runs one plan: builds the mesh, lets traffic and faults loose on it, heals it, probes it, drains it. */
import { assert } from "../../src/base/assert.ts";
import { hashText } from "../../src/host/memory/random.ts";
import { MemoryWorld } from "../../src/host/memory/world.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { type AppEnd, decodeHeader, headerBytes } from "./application.ts";
import type { SimulatedPki } from "./authority.ts";
import { revocationList } from "./authority.ts";
import { type ClientObserver, call } from "./client.ts";
import { SimulatedControl } from "./control.ts";
import { compareMeshes, policiesLacking } from "./control_view.ts";
import { cutFile, fillerDocuments, type MeshState, policyPath, renderDocuments } from "./documents.ts";
import { FaultInjector } from "./injector.ts";
import { Liveness } from "./liveness.ts";
import { MeshModel } from "./model.ts";
import { type LoggedLine, SimulatedMachine } from "./node.ts";
import { crlPath, drainDeadlineMs } from "./node_config.ts";
import {
  type ConnectionLog,
  noteUnderWay,
  type Observed,
  type Revoked,
  type Unpolicied,
} from "./observed.ts";
import { type ConnectionPlan, type Plan, trafficMs } from "./plan.ts";
import { drawProbes } from "./probes.ts";
import { findUnrenewed, type Unrenewed } from "./renewals.ts";
import type { ServerObserver } from "./server.ts";
import { startApplications, writeAuthority } from "./set_up.ts";
import { describeOpen } from "./settled.ts";
import type { LivenessPlan } from "./upheavals.ts";
import { WindowFault, windowFault } from "./window_check.ts";
import { outsiderAddress, trustDomain, type WorkloadPlan } from "./workloads.ts";

/** From the end of the faults to the first probe: time-outs of TCP's and of ours, and the look at the wall clock. */
const recoveryMs = 12_000;
const clockRecoveryMs = 70_000;
/** The longest back-off toward a control plane that was away, and the first certificates after it. */
const controlRecoveryMs = 40_000;
const probeMs = 15_000;
/** Linger after close, and some. */
const drainSlackMs = 3_000;
const sampleMs = 25;

export class Simulation implements ServerObserver, ClientObserver {
  readonly plan: Plan;
  readonly world: MemoryWorld;
  readonly pki: SimulatedPki;
  readonly machines: readonly SimulatedMachine[];
  readonly outsider;
  readonly model: MeshModel;
  readonly observed: Observed;
  /** Null: the mesh is in files. */
  readonly control: SimulatedControl | null;
  readonly lines: LoggedLine[] = [];
  readonly #connections = new Map<number, ConnectionLog>();
  readonly #probes = new Map<number, ConnectionLog>();
  readonly #strange: { atMs: number; workload: string; bytes: Uint8Array }[] = [];
  readonly #clear: Observed["clear"][number][] = [];
  readonly #leftOpen: string[] = [];
  readonly #revoked: Revoked[] = [];
  readonly #revokedNodes = new Map<number, number>();
  readonly #unpolicied: Unpolicied[] = [];
  readonly #unrenewed: Unrenewed[] = [];
  /** Of nodes and control plane, when they should have been one. */
  readonly disagreements: string[] = [];
  /** Of a run for liveness. */
  readonly unsettled: string[] = [];
  readonly #liveness: Liveness | null;
  #fillers = 0;
  /** Of the faults. */
  readonly #stopMs: number;
  readonly #injector: FaultInjector;
  state: MeshState;
  #startMs = 0;
  /** Everything had the time to come right. */
  isHealed = false;
  /** Nothing is wrong, but what is stopped and started just now may hold up a renewal. */
  isUpset = false;
  #traceHash = 0;
  /** For `--verbose`. */
  onTrace: ((line: string) => void) | null = null;

  constructor(plan: Plan, pki: SimulatedPki, liveness: LivenessPlan | null = null) {
    this.#liveness = liveness === null ? null : new Liveness(this, liveness);
    this.#stopMs = liveness?.stopMs ?? trafficMs;
    this.plan = plan;
    this.pki = pki;
    this.state = plan.state;
    this.model = new MeshModel(plan.workloads);
    this.world = new MemoryWorld(plan.seed);
    Object.assign(this.world.conditions, {
      splitRate: plan.splitRate,
      latencyMs: plan.latencyMs,
      jitterMs: plan.jitterMs,
      bufferBytes: plan.bufferBytes,
    });
    this.world.onSegment = (link, _from, bytes) => {
      if (link.machines.client === link.machines.server || bytes.length < headerBytes) return;
      const id = decodeHeader(bytes);
      if (id !== null) this.#clear.push({ atMs: this.world.nowMs, id, link });
    };
    this.machines = plan.machines.map(
      (machine, index) =>
        new SimulatedMachine(this.world, plan, index, machine, (line) => this.#onLine(line)),
    );
    this.control = plan.control ? new SimulatedControl(this.world, pki.authority) : null;
    this.outsider = this.world.host("outsider", { addresses: [outsiderAddress] });
    this.#injector = new FaultInjector(this);
    this.world.schedule.onStep = () => {
      for (const { node, index } of this.machines) {
        const fault = node === null ? null : windowFault(node);
        if (fault !== null) throw new WindowFault(`machine ${index}: ${fault}`);
      }
    };
    this.observed = {
      plan,
      machines: this.machines,
      model: this.model,
      connections: this.#connections,
      probes: this.#probes,
      lines: this.lines,
      revoked: this.#revoked,
      revokedNodes: this.#revokedNodes,
      rootsRemovedMs: this.control?.rootsRemovedMs ?? [],
      unpolicied: this.#unpolicied,
      unrenewed: this.#unrenewed,
      disagreements: this.disagreements,
      unsettled: this.unsettled,
      cutsMs: this.#injector.cutsMs,
      troubles: this.#injector.troubles,
      partitions: this.#injector.partitions,
      strange: this.#strange,
      clear: this.#clear,
      rogues: this.#injector.rogues,
      leaks: this.#injector.leaks,
      leftOpen: this.#leftOpen,
      drainMs: Number.POSITIVE_INFINITY,
      endMs: 0,
    };
  }

  /** Of everything that was traced, in its order. */
  get traceHash(): number {
    return this.#traceHash;
  }

  async run(): Promise<Observed> {
    await this.#begin();
    for (const plan of this.plan.connections) this.#schedule(plan, this.#connections, plan.startMs);
    for (const fault of this.plan.faults)
      if (fault.atMs <= this.#stopMs)
        this.world.schedule.timer(fault.atMs, null, () => this.#injector.inject(fault));
    this.#sample();
    if (this.#liveness === null) await this.#recover();
    else await this.#liveness.run(this.#startMs, trafficMs, this.#recoveryMs, () => this.#endFaults());
    await this.#drain();
    this.observed.endMs = this.world.nowMs;
    return this.observed;
  }

  trace(line: string): void {
    const text = `${this.world.nowMs.toFixed(3).padStart(10)} ${line}`;
    this.#traceHash = hashText(text, this.#traceHash);
    this.onTrace?.(text);
  }

  /** The operator writes new documents on every machine. @param half of the policies' file, in place of all of it. */
  writeDocuments(state: MeshState, half: Parameters<typeof cutFile>[1] | null = null): void {
    if (this.control !== null) {
      this.#apply(this.control, state);
      return;
    }
    const files = renderDocuments(state, this.plan.workloads);
    if (state !== this.state || this.model.isEmpty) this.model.change(this.world.nowMs, state);
    this.state = state;
    for (const { machine } of this.machines)
      for (const { path, text } of files)
        machine.disk.write(path, path === policyPath && half !== null ? cutFile(text, half) : text);
  }

  get fillers(): number {
    return this.#fillers;
  }

  /** The operator adds so many workloads that have no callers. */
  setFillers(count: number): void {
    this.#fillers = count;
    this.writeDocuments(this.state);
  }

  /** Throws a host out of the mesh, with everything that was signed for it. */
  revokeNode(index: number): void {
    const name = this.machines[index]?.plan.name ?? "";
    if (this.#revokedNodes.has(index) || this.control?.revoke("node", name) !== true) return;
    this.#revokedNodes.set(index, this.world.nowMs);
  }

  #apply(control: SimulatedControl, state: MeshState): void {
    this.state = state;
    const files = renderDocuments(state, this.plan.workloads, true);
    const fillers = this.#fillers === 0 ? [] : [fillerDocuments(this.#fillers)];
    control.want([...files, ...fillers], () => this.model.change(this.world.nowMs, state));
  }

  /** Revokes the SVID that the workload's node shows now. */
  revoke(name: string): void {
    const workload = this.plan.workloads.find((one) => one.name === name);
    if (workload === undefined) return;
    const node = this.machines[workload.machine]?.node;
    const svid = node?.context.secrets.current(new SpiffeId(trustDomain, workload.namespace, workload.name));
    if (svid === undefined || svid === null) return;
    if (this.#revoked.some(({ serialNumber }) => serialNumber === svid.serialNumber)) return;
    if (this.control?.revoke("serial", svid.serialNumber) === false) return;
    this.#revoked.push({ atMs: this.world.nowMs, workload: name, serialNumber: svid.serialNumber });
    if (this.control !== null) return;
    void this.#writeRevocations().catch((error) => this.world.schedule.fail(error));
  }

  find(id: number): ConnectionPlan | null {
    return this.#log(id)?.plan ?? null;
  }

  onAccepted(workload: WorkloadPlan, plan: ConnectionPlan, end: AppEnd): void {
    const log = this.#log(plan.id);
    log?.servers.push(end);
    log?.atWorkloadMs.push(this.world.nowMs);
    this.trace(`#${plan.id} reaches ${workload.name}`);
  }

  onStrangeBytes(workload: WorkloadPlan, bytes: Uint8Array): void {
    this.#strange.push({ atMs: this.world.nowMs, workload: workload.name, bytes });
    this.trace(`strange bytes reach ${workload.name}`);
  }

  onDialled(
    plan: ConnectionPlan,
    local: { readonly ip: { readonly text: string }; readonly port: number },
  ): void {
    const log = this.#log(plan.id);
    if (log !== null) Object.assign(log, { local });
  }

  onStarted(plan: ConnectionPlan, end: AppEnd): void {
    const log = this.#log(plan.id);
    if (log !== null) log.client = end;
    this.trace(`#${plan.id} is let in`);
  }

  onTurnedAway(plan: ConnectionPlan, reason: string): void {
    const log = this.#log(plan.id);
    if (log === null) return;
    log.turnedAway = reason;
    log.finishedMs = this.world.nowMs;
    this.trace(`#${plan.id} is turned away: ${reason}`);
  }

  onPayload(end: AppEnd, bytes: number): void {
    const log = this.#log(end.id);
    if (log === null) return;
    const times = end.sends === "response" ? log.atWorkloadMs : log.atCallerMs;
    times.push(this.world.nowMs);
    this.#traceHash = hashText(`${end.id} ${bytes} ${this.world.nowMs}`, this.#traceHash);
  }

  onFinished(end: AppEnd): void {
    const log = this.#log(end.id);
    const who = end.sends === "request" ? "client" : "server";
    const how = end.closed?.error?.code ?? (end.left === null ? "well" : `by ${end.left}`);
    this.trace(`#${end.id} ${who} ends ${how}: sent ${end.sent}, received ${end.received}`);
    if (log === null) return;
    const ends = [log.client, ...log.servers];
    if (ends.every((one) => one === null || one.closed !== null)) log.finishedMs = this.world.nowMs;
  }

  async #begin(): Promise<void> {
    await writeAuthority(this.machines, this.pki.authority);
    if (this.control !== null) await this.world.settle(this.#invite(this.control));
    this.writeDocuments(this.state);
    startApplications(this.machines, this);
    await this.world.settle(Promise.all(this.machines.map((machine) => machine.start())));
    const pending = () => this.machines.flatMap(({ node }) => node?.pending() ?? ["a node"]);
    const ready = await this.world.runUntil(() => pending().length === 0, this.world.nowMs + 10_000);
    assert(ready, `the nodes are not ready: ${pending().join(", ")}`);
    this.#startMs = this.world.nowMs;
    this.trace("all nodes are ready");
  }

  async #invite(control: SimulatedControl): Promise<void> {
    await control.start();
    for (const machine of this.machines) {
      machine.invitation = await control.token(machine.plan.name);
      machine.onMesh = (store) => {
        const atMs = this.world.nowMs;
        for (const lack of policiesLacking(store))
          this.#unpolicied.push({ atMs, machine: machine.index, ...lack });
      };
    }
  }

  probe(probes: readonly ConnectionPlan[]): void {
    for (const plan of probes) this.#schedule(plan, this.#probes, plan.startMs);
  }

  get #recoveryMs(): number {
    const usualMs = this.control === null ? recoveryMs : controlRecoveryMs;
    return this.plan.kinds.has("wall_jump") ? clockRecoveryMs : usualMs;
  }

  /** The operator mends the documents too. */
  #endFaults(): void {
    this.#injector.healEverything(this.#recoveryMs);
    this.writeDocuments({ ...this.state, bad: "" });
  }

  async #recover(): Promise<void> {
    await this.world.run(this.#startMs + trafficMs);
    this.#injector.healEverything(this.#recoveryMs);
    await this.world.run(this.world.nowMs + this.#recoveryMs);
    this.trace("everything should be well again");
    this.isHealed = true;
    if (this.control !== null)
      this.disagreements.push(...compareMeshes(this.control, this.machines, this.#revokedNodes));
    this.probe(drawProbes(this.plan, this.world.random.fork("probes")));
    await this.world.run(this.world.nowMs + probeMs);
  }

  async #drain(): Promise<void> {
    this.observed.drainMs = this.world.nowMs;
    this.trace("all nodes drain");
    const hosts = this.machines.map(({ host, node, drainsMs }) => {
      drainsMs.push(this.world.nowMs);
      return { host, drained: node?.drain() ?? null };
    });
    for (const { drained } of hosts) drained?.catch((error) => this.world.schedule.fail(error));
    await this.world.run(this.world.nowMs + drainDeadlineMs + drainSlackMs);
    hosts.forEach(({ host, drained }, index) => {
      // One that was thrown out before it knew the mesh is still on its way up, and has nothing to drain.
      if (host !== null && drained !== null && host.openDescriptors > 0)
        this.#leftOpen.push(`m${index}: ${describeOpen(host)}`);
    });
    await this.world.run(this.world.nowMs + 1_000);
  }

  #schedule(plan: ConnectionPlan, into: Map<number, ConnectionLog>, inMs: number): void {
    this.world.schedule.timer(inMs, null, () => {
      into.set(plan.id, {
        plan,
        startedMs: this.world.nowMs,
        local: null,
        client: null,
        servers: [],
        turnedAway: null,
        atWorkloadMs: [],
        atCallerMs: [],
        finishedMs: null,
        mostUnderWay: 0,
      });
      const from = plan.source === null ? "outside" : plan.source.name;
      this.trace(
        `#${plan.id} ${plan.kind}: ${from} calls ${plan.destination.name}:${plan.port} by ${plan.entry}${plan.byName ? ", by name" : ""}`,
      );
      const host = plan.source === null ? this.outsider : this.machines[plan.source.machine]?.applications;
      if (host !== undefined) call(host, plan, this).catch((error) => this.world.schedule.fail(error));
    });
  }

  #log(id: number): ConnectionLog | null {
    return this.#connections.get(id) ?? this.#probes.get(id) ?? null;
  }

  /** How much of each connection is under way: what the kernels and the nodes hold together. */
  #sample(): void {
    this.control?.noteContacts(this.machines);
    if (!this.isUpset && this.observed.drainMs === Number.POSITIVE_INFINITY)
      for (const machine of this.machines)
        this.#unrenewed.push(...findUnrenewed(this.plan, machine, this.world.nowMs, this.isHealed));
    for (const log of this.#connections.values()) noteUnderWay(log);
    this.world.schedule.timer(sampleMs, null, () => this.#sample());
  }

  async #writeRevocations(): Promise<void> {
    const serials = this.#revoked.map(({ serialNumber }) => serialNumber);
    const crl = await revocationList(this.pki.authority, serials, serials.length + 1);
    for (const { machine } of this.machines) machine.disk.write(crlPath, crl);
  }

  #onLine(line: LoggedLine): void {
    this.lines.push(line);
    if (line.target !== "access" && line.level === "info") return;
    const { error } = line.fields;
    // What libraries say may change with them: only what is ours goes into the hash.
    const [code = ""] = typeof error === "string" ? error.split(":") : [];
    const words = /^[a-z0-9_]+$/.test(code) ? code : "";
    this.trace(
      `m${line.machine} ${line.target}: ${line.message} ${line.fields["src.addr"] ?? ""} ${line.fields.direction ?? ""} ${words}`,
    );
  }
}
