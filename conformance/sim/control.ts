/** The control plane of a simulated mesh: the real one (`src/app/control/`) with state on its machine's disk, and its operator. */
import type { ControlSources } from "../../src/admin/control/sources.ts";
import { type RunningControl, startControl } from "../../src/app/control/control.ts";
import { controlSources } from "../../src/app/control/sources.ts";
import { assert } from "../../src/base/assert.ts";
import { MeshError } from "../../src/base/errors.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine, MemoryWorld } from "../../src/host/memory/world.ts";
import type { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { authorityFile } from "../../src/pki/issue/ca_files.ts";
import { controlAddress, controlConfig, controlPort, controlState, relayAddress } from "./control_config.ts";
import type { DocumentFile } from "./documents.ts";
import type { SimulatedMachine } from "./node.ts";
import { Relay } from "./relay.ts";

/** What the operator wants the documents to be, until they are. */
interface Wanted {
  readonly files: readonly DocumentFile[];
  readonly onApplied: () => void;
}

export class SimulatedControl {
  readonly machine: MemoryMachine;
  readonly relay: Relay;
  readonly #world: MemoryWorld;
  #host: MemoryHost | null = null;
  #running: RunningControl | null = null;
  #sources: ControlSources | null = null;
  #generation = 0;
  #wanted: Wanted | null = null;
  #working = false;
  /** When a root was taken out of the bundle: what still hangs by it is cut. */
  readonly rootsRemovedMs: number[] = [];

  constructor(world: MemoryWorld, authority: CertificateAuthority) {
    this.#world = world;
    this.machine = world.machine("control", { addresses: [controlAddress] });
    // It takes over the CA of this machine, as after `fairlead up`: impostors and rogues are then of the same one.
    const { privateKeyPem, certificatePem } = authority.exportPem();
    this.machine.disk.write(`${controlState}/${authorityFile}`, `${privateKeyPem}${certificatePem}`);
    this.relay = new Relay(world, relayAddress, controlAddress, controlPort);
  }

  /** Null while it is down or starting. */
  get running(): RunningControl | null {
    return this.#running;
  }

  async start(): Promise<void> {
    this.relay.start();
    const generation = ++this.#generation;
    const host = this.machine.start();
    this.#host = host;
    const logger = new LogWriter(host.clock, () => true, "text", "info");
    const running = await startControl(host, controlConfig, logger);
    if (this.#generation !== generation) return;
    this.#running = running;
    this.#sources = controlSources(host, running.parts, logger, () => running.pending());
    this.#work();
  }

  /** Its machine loses power; it comes back with what was flushed to its disk. */
  kill(downMs: number): void {
    this.#host?.kill();
    this.machine.disk.losePower();
    this.#running = null;
    this.#sources = null;
    this.#working = false;
    const generation = ++this.#generation;
    this.#world.schedule.timer(downMs, null, () => {
      if (this.#generation === generation) this.#startAgain();
    });
  }

  /** Brings it back now, if it is down. */
  heal(): void {
    this.relay.holdMs = 0;
    this.relay.start();
    if (this.#host?.ended === true) this.#startAgain();
  }

  #startAgain(): void {
    this.start().catch((error) => this.#world.schedule.fail(error));
  }

  /** Looked at every now and then: who is in touch with it. */
  noteContacts(machines: readonly SimulatedMachine[]): void {
    for (const machine of machines)
      machine.note(this.#running !== null && !this.#world.isPartitioned(machine.plan.name, "control"));
  }

  /** The operator applies documents as soon as there is somebody to take them. @param onApplied they are in force here. */
  want(files: readonly DocumentFile[], onApplied: () => void): void {
    this.#wanted = { files, onApplied };
    this.#work();
  }

  async token(node: string): Promise<{ readonly token: string; readonly pin: string }> {
    assert(this.#running !== null, "hosts are invited by a control plane that runs");
    const { joinTokens } = this.#running.parts.identity;
    const { token, line } = await joinTokens.create({
      binding: { kind: "node", node },
      createdBy: "operator",
    });
    return { token, pin: /--ca-pin sha256:([0-9a-f]{64})/.exec(line)?.[1] ?? "" };
  }

  /** @returns whether there was somebody to hear of it; the list is pushed then. */
  revoke(kind: "serial" | "node", value: string): boolean {
    if (this.#sources === null) return false;
    const host = this.#host;
    this.#sources.revocations.revoke({ kind, value }, "drawn", "operator", "").catch((error) => {
      if (host?.ended !== true) this.#world.schedule.fail(error);
    });
    return true;
  }

  /** Makes another root; the old one goes once nothing hangs by it. */
  rotate(): void {
    const rotation = this.#running?.parts.rotation ?? null;
    if (rotation === null || rotation.progress().phase !== "idle") return;
    const host = this.#host;
    rotation.start("root").catch((error) => {
      if (host?.ended !== true && !(error instanceof MeshError)) this.#world.schedule.fail(error);
    });
    this.#finishRotation();
  }

  #finishRotation(): void {
    this.#world.schedule.timer(2_000, null, () => {
      const rotation = this.#running?.parts.rotation ?? null;
      if (rotation?.finish().done === true) this.rootsRemovedMs.push(this.#world.nowMs);
      else this.#finishRotation();
    });
  }

  #work(): void {
    const running = this.#running;
    const wanted = this.#wanted;
    if (running === null || wanted === null || this.#working) return;
    this.#working = true;
    const inputs = wanted.files.map(({ path, text }) => ({ source: path, text }));
    const request = { actor: "operator", mayChange: () => true, prune: "all", force: true } as const;
    running.parts.documents.apply(inputs, request).then(
      (result) => {
        if (this.#running !== running) return;
        this.#working = false;
        assert(result.outcome === "applied", `the documents are refused: ${JSON.stringify(result)}`);
        wanted.onApplied();
        if (this.#wanted === wanted) this.#wanted = null;
        else this.#work();
      },
      (error) => {
        if (this.#running === running) this.#world.schedule.fail(error);
      },
    );
  }
}
