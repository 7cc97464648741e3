/** The applications of one workload that are called: they learn from the header which connection it is, then follow its script. */
import type { MeshError } from "../../src/base/errors.ts";
import type { SocketAddress } from "../../src/base/ip.ts";
import type { Host, Socket, SocketHandler } from "../../src/host/host.ts";
import { AppEnd, banner, decodeHeader, type EndObserver, headerBytes } from "./application.ts";
import type { ConnectionPlan } from "./plan.ts";
import type { WorkloadPlan } from "./workloads.ts";

export interface ServerObserver extends EndObserver {
  /** The connection that a header names; null when there is none such. */
  find(id: number): ConnectionPlan | null;
  /** A connection has reached the workload. */
  onAccepted(workload: WorkloadPlan, plan: ConnectionPlan, end: AppEnd): void;
  /** Bytes have reached the workload that no client of ours sent. */
  onStrangeBytes(workload: WorkloadPlan, bytes: Uint8Array): void;
}

export function serve(
  host: Host,
  listens: SocketAddress,
  workload: WorkloadPlan,
  speaksFirst: boolean,
  observer: ServerObserver,
): void {
  host.net.listen({ address: listens }, (socket) => {
    if (speaksFirst) socket.write(banner);
    socket.setHandler(new HeaderReader(host, socket, workload, observer));
  });
}

class HeaderReader implements SocketHandler {
  readonly #host: Host;
  readonly #socket: Socket;
  readonly #workload: WorkloadPlan;
  readonly #observer: ServerObserver;
  #bytes = new Uint8Array(0);
  #taken = false;

  constructor(host: Host, socket: Socket, workload: WorkloadPlan, observer: ServerObserver) {
    this.#host = host;
    this.#socket = socket;
    this.#workload = workload;
    this.#observer = observer;
  }

  onData(bytes: Uint8Array): void {
    if (this.#taken) return;
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
    if (joined.length < headerBytes) return;
    this.#taken = true;
    const id = decodeHeader(joined);
    const plan = id === null ? null : this.#observer.find(id);
    if (plan === null) {
      this.#observer.onStrangeBytes(this.#workload, joined);
      this.#socket.reset();
      return;
    }
    const end = new AppEnd(this.#host.clock, this.#socket, plan.id, "response", plan.server, this.#observer);
    this.#observer.onAccepted(this.#workload, plan, end);
    end.start(joined.subarray(headerBytes));
  }

  onDrain(): void {}

  onEnd(): void {
    if (!this.#taken) this.#socket.close();
  }

  onClose(_error: MeshError | null): void {}
}
