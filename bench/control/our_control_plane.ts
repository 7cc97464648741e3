/** The product's own server, in a process of its own, that is told its mesh and changes of it. */
import type { ControlPlane } from "./measure.ts";
import type { MeshSize } from "./mesh.ts";
import type { ServerAnswer, ServerCommand, Usage } from "./words.ts";
import { Worker } from "./worker.ts";

export class OurControlPlane implements ControlPlane {
  readonly takesAllAtOnce = true;
  readonly address: ControlPlane["address"];
  readonly started: ControlPlane["started"];
  /** Resident, before the resources were made of the mesh. */
  readonly beforeBytes: number;
  readonly #server: Worker<ServerCommand, ServerAnswer>;

  private constructor(
    server: Worker<ServerCommand, ServerAnswer>,
    started: Extract<ServerAnswer, { kind: "started" }>,
  ) {
    this.#server = server;
    const { port, rootsPem, certificateChainPem, privateKeyPem } = started;
    this.address = { port, rootsPem, certificateChainPem, privateKeyPem };
    this.started = { tookMs: started.encodeMs, cpuMs: started.encodeCpuMs, usage: started.usage };
    this.beforeBytes = started.rssBeforeBytes;
  }

  static async start(size: MeshSize): Promise<OurControlPlane> {
    const server = new Worker<ServerCommand, ServerAnswer>("server.ts");
    server.say({ kind: "start", size });
    return new OurControlPlane(server, await server.hear("started"));
  }

  async usage(collect = false): Promise<Usage> {
    this.#server.say({ kind: "usage", collect });
    return (await this.#server.hear("usage")).usage;
  }

  async change(what: "workload" | "service" | "policy", count: number, revision: number): Promise<number> {
    this.#server.say({ kind: "change", what, count, revision });
    return (await this.#server.hear("changed")).usage.atMs;
  }

  end(): void {
    this.#server.end();
  }
}
