/** The applications that call: they enter the mesh by one of the entries, name their connection, then follow its script. */
import { MeshError } from "../../src/base/errors.ts";
import type { SocketAddress } from "../../src/base/ip.ts";
import type { Host, Socket, SocketHandler } from "../../src/host/host.ts";
import { address } from "./address.ts";
import { AppEnd, banner, type EndObserver, encodeHeader } from "./application.ts";
import { vipOf } from "./documents.ts";
import { localPortOf } from "./node_config.ts";
import type { ConnectionPlan } from "./plan.ts";
import { bannerPort, serviceHost } from "./workloads.ts";

export interface ClientObserver extends EndObserver {
  /** There is a socket toward the mesh; its local address is how the node's records call it. */
  onDialled(plan: ConnectionPlan, local: SocketAddress): void;
  onStarted(plan: ConnectionPlan, end: AppEnd): void;
  /** The connection came to nothing before a byte of payload. */
  onTurnedAway(plan: ConnectionPlan, reason: string): void;
}

export async function call(host: Host, plan: ConnectionPlan, observer: ClientObserver): Promise<void> {
  let socket: Socket;
  try {
    socket = await host.net.connect({ to: dialled(plan), timeoutMs: 10_000, ...from(plan) });
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    observer.onTurnedAway(plan, error.code);
    return;
  }
  observer.onDialled(plan, socket.local);
  const greeting = greetingOf(plan);
  if (greeting.length === 0) begin(host, socket, plan, new Uint8Array(0), observer);
  else socket.setHandler(new Greeter(host, socket, plan, greeting, observer));
}

function dialled(plan: ConnectionPlan): SocketAddress {
  switch (plan.entry) {
    case "socks5":
      return address("127.0.0.1", plan.source?.socks5Port ?? 0);
    case "http_connect":
      return address("127.0.0.1", plan.source?.httpConnectPort ?? 0);
    case "local_port":
      return address("127.0.0.1", localPortOf(plan));
    case "plain":
      return address(plan.destination.address, plan.port);
    default:
      return address(plan.byName ? vipOf(plan.destination) : plan.destination.address, plan.port);
  }
}

function from(plan: ConnectionPlan) {
  if (plan.entry !== "captured" || plan.source === null) return {};
  return { from: { ...address(plan.source.address, 0), transparent: false } };
}

/** What the client says to its entry, message by message; each waits for the answer to the one before. */
function greetingOf(plan: ConnectionPlan): readonly Uint8Array[] {
  const host = plan.byName ? serviceHost(plan.destination) : plan.destination.address;
  if (plan.entry === "http_connect")
    return [new TextEncoder().encode(`CONNECT ${host}:${plan.port} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)];
  if (plan.entry !== "socks5") return [];
  const target = plan.byName
    ? [3, host.length, ...new TextEncoder().encode(host)]
    : [1, ...address(host, 0).ip.bytes];
  return [Uint8Array.from([5, 1, 0]), Uint8Array.from([5, 1, 0, ...target, plan.port >> 8, plan.port])];
}

/** Speaks SOCKS5 or HTTP CONNECT to the end of the entry's last answer. */
class Greeter implements SocketHandler {
  readonly #host: Host;
  readonly #socket: Socket;
  readonly #plan: ConnectionPlan;
  readonly #messages: Uint8Array[];
  readonly #observer: ClientObserver;
  #bytes = new Uint8Array(0);
  #over = false;

  constructor(
    host: Host,
    socket: Socket,
    plan: ConnectionPlan,
    messages: readonly Uint8Array[],
    observer: ClientObserver,
  ) {
    this.#host = host;
    this.#socket = socket;
    this.#plan = plan;
    this.#messages = [...messages];
    this.#observer = observer;
    this.#sayNext();
  }

  onData(bytes: Uint8Array): void {
    if (this.#over) return;
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
    for (;;) {
      const answer = this.#answer();
      if (answer === null || this.#over) return;
      this.#bytes = this.#bytes.subarray(answer.length);
      if (!answer.good) {
        this.#turnedAway(answer.reason);
        this.#socket.close();
        return;
      }
      if (this.#messages.length > 0) this.#sayNext();
      else {
        this.#over = true;
        begin(this.#host, this.#socket, this.#plan, this.#bytes, this.#observer);
        return;
      }
    }
  }

  onDrain(): void {}

  onEnd(): void {
    this.#turnedAway("the entry ended");
    this.#socket.close();
  }

  onClose(error: MeshError | null): void {
    this.#turnedAway(error?.code ?? "the entry closed");
  }

  #sayNext(): void {
    const message = this.#messages.shift();
    if (message !== undefined) this.#socket.write(message);
  }

  /** @returns null until the whole answer is there. */
  #answer(): { readonly length: number; readonly good: boolean; readonly reason: string } | null {
    const bytes = this.#bytes;
    if (this.#plan.entry === "http_connect") {
      const text = new TextDecoder("latin1").decode(bytes);
      const end = text.indexOf("\r\n\r\n");
      if (end === -1) return null;
      return { length: end + 4, good: text.startsWith("HTTP/1.1 200"), reason: text.slice(9, 12) };
    }
    const length = this.#messages.length > 0 ? 2 : 10;
    if (bytes.length < length) return null;
    return { length, good: bytes[1] === 0, reason: `SOCKS5 reply ${bytes[1]}` };
  }

  #turnedAway(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#observer.onTurnedAway(this.#plan, reason);
  }
}

function begin(
  host: Host,
  socket: Socket,
  plan: ConnectionPlan,
  early: Uint8Array,
  observer: ClientObserver,
): void {
  const end = new AppEnd(host.clock, socket, plan.id, "request", plan.client, observer);
  if (plan.port === bannerPort) end.bannerLeft = banner.length;
  observer.onStarted(plan, end);
  socket.write(encodeHeader(plan.id));
  end.start(early);
}
