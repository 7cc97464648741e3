/** Handing this process's listening sockets to a program that it starts: they are inherited, and their names go through the environment. */
import { MeshError } from "../../../base/errors.ts";
import { upgradeLimits } from "../../../base/limits/host.ts";
import type { Handover, HandoverLink, HeldProgram, Received, Successor } from "../../handover.ts";
import type { Socket } from "../../host.ts";
import type { BunUnixNetwork } from "../unix.ts";
import { Descriptors } from "./descriptors.ts";
import { holdProgram } from "./held_program.ts";
import type { ListenerTable, Pausable } from "./listener_table.ts";

/** A list of names; the link is the first inherited descriptor, and the sockets follow in that order. */
const variable = "FAIRLEAD_HANDOVER";
const linkNumber = 3;

export interface ReceivedDescriptors {
  readonly link: number;
  readonly listeners: ReadonlyMap<string, number>;
}

/** Takes it out of the environment: programs that this one starts are handed nothing. @throws MeshError `configuration`. */
export function takeReceived(environment: Record<string, string | undefined>): ReceivedDescriptors | null {
  const text = environment[variable];
  if (text === undefined) return null;
  delete environment[variable];
  const names = readNames(text);
  if (names === null)
    throw new MeshError(
      "configuration",
      "local",
      `${variable} is set by fairlead itself, and by nothing else`,
    );
  const listeners = new Map(names.map((name, index) => [name, linkNumber + 1 + index] as const));
  return { link: linkNumber, listeners };
}

function readNames(text: string): readonly string[] | null {
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read) && read.every((name) => typeof name === "string") ? read : null;
  } catch {
    return null;
  }
}

export class BunHandover implements Handover {
  readonly received: Received | null;
  readonly #table: ListenerTable;
  readonly #unix: BunUnixNetwork;

  private constructor(table: ListenerTable, unix: BunUnixNetwork, received: Received | null) {
    this.#table = table;
    this.#unix = unix;
    this.received = received;
  }

  /** @throws MeshError. */
  static async open(
    table: ListenerTable,
    unix: BunUnixNetwork,
    received: ReceivedDescriptors | null,
  ): Promise<BunHandover> {
    if (received === null) return new BunHandover(table, unix, null);
    Descriptors.open()?.keepFromChildren(received.link);
    const link = new SocketLink(await unix.adopt(received.link, "the process before this one"));
    return new BunHandover(table, unix, { link, accept: () => table.accept() });
  }

  hold(program: string): Promise<HeldProgram> {
    return holdProgram(program);
  }

  async start(program: HeldProgram, args: readonly string[]): Promise<Successor> {
    const { socket, fd } = await this.#unix.pairForChild();
    try {
      // From here to the start of the program nothing else runs, so no number can change its meaning.
      const shared = this.#table.share();
      if (shared.length > upgradeLimits.maxListeners)
        throw new MeshError(
          "limit_reached",
          "local",
          `this process has ${shared.length} listening sockets, and at most ${upgradeLimits.maxListeners} can be handed over`,
        );
      return new BunSuccessor(this.#table, shared, socket, spawn(program, args, shared, fd));
    } catch (thrown) {
      socket.reset();
      throw thrown;
    } finally {
      this.#table.descriptors.close(fd);
    }
  }
}

type Shared = ReturnType<ListenerTable["share"]>;

function spawn(
  { name, path }: HeldProgram,
  args: readonly string[],
  shared: Shared,
  link: number,
): Bun.Subprocess {
  // systemd's watchdog is fed by the process that it names; the other is named to it when it takes over.
  const { WATCHDOG_PID: _watched, ...environment } = process.env;
  try {
    return Bun.spawn([path, ...args], {
      argv0: name,
      env: { ...environment, [variable]: JSON.stringify(shared.map((one) => one.name)) },
      stdio: ["ignore", "inherit", "inherit", link, ...shared.map(({ fd }) => fd)],
    });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `cannot start ${name}: ${reason}`, { cause: thrown });
  }
}

class BunSuccessor implements Successor {
  readonly pid: number;
  readonly link: HandoverLink;
  readonly ended: Promise<string>;
  readonly #child: Bun.Subprocess;
  readonly #table: ListenerTable;
  readonly #names: ReadonlySet<string>;
  #paused: readonly Pausable[] = [];

  constructor(table: ListenerTable, shared: Shared, socket: Socket, child: Bun.Subprocess) {
    this.pid = child.pid;
    this.link = new SocketLink(socket);
    this.#child = child;
    this.#table = table;
    this.#names = new Set(shared.map(({ name }) => name));
    this.ended = child.exited.then((code) =>
      child.signalCode === null ? `with exit code ${code}` : `by ${child.signalCode}`,
    );
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  stopAccepting(): void {
    this.#paused = this.#table.pause(this.#names);
  }

  async acceptAgain(): Promise<void> {
    const paused = this.#paused;
    this.#paused = [];
    await Promise.all(paused.map((entry) => entry.resume()));
  }

  letGo(): void {
    for (const entry of this.#paused) entry.letGo();
    this.#paused = [];
    // It outlives this process, which does not wait for it.
    this.#child.unref();
  }
}

/** Lines over a pair of sockets. */
export class SocketLink implements HandoverLink {
  readonly #socket: Socket;
  readonly #decoder = new TextDecoder();
  /** Not yet taken by the kernel: one message is answered before the next is sent, so this has a bound. */
  #unsent = new Uint8Array();
  readonly #waiting: string[] = [];
  #rest = "";
  #isOver = false;
  #take: ((message: string | null) => void) | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setHandler({
      onData: (bytes) => this.#read(this.#decoder.decode(bytes, { stream: true })),
      onDrain: () => this.#flush(),
      onEnd: () => this.close(),
      onClose: () => this.#over(),
    });
  }

  send(message: string): void {
    const bytes = new TextEncoder().encode(`${message}\n`);
    const all = new Uint8Array(this.#unsent.length + bytes.length);
    all.set(this.#unsent);
    all.set(bytes, this.#unsent.length);
    this.#unsent = all;
    this.#flush();
  }

  next(): Promise<string | null> {
    const message = this.#waiting.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#isOver) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#take = resolve;
    });
  }

  close(): void {
    this.#over();
    this.#socket.close();
  }

  #flush(): void {
    if (!this.#isOver && this.#unsent.length > 0)
      this.#unsent = this.#unsent.slice(this.#socket.write(this.#unsent));
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#give(line);
    const isTooMuch =
      this.#rest.length > upgradeLimits.maxMessageBytes ||
      lines.some((line) => line.length > upgradeLimits.maxMessageBytes) ||
      this.#waiting.length > upgradeLimits.maxWaitingMessages;
    if (!isTooMuch) return;
    this.#waiting.length = 0;
    this.close();
  }

  #give(message: string): void {
    if (this.#isOver) return;
    const take = this.#take;
    this.#take = null;
    if (take === null) this.#waiting.push(message);
    else take(message);
  }

  #over(): void {
    this.#isOver = true;
    this.#take?.(null);
    this.#take = null;
  }
}
