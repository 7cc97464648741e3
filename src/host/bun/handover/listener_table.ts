/**
 * The listening sockets of this process, by name: handed over to another process, and taken from the one before. Each can stop accepting
 * while the socket itself, with its queue in the kernel, goes on.
 */
import { assert } from "../../../base/assert.ts";
import { MeshError } from "../../../base/errors.ts";
import { Descriptors } from "./descriptors.ts";

/** A socket that accepts now. */
export interface Accepting {
  /** -1 where the runtime does not tell: it cannot be handed over. */
  readonly fd: number;
  /** Of a socket that was made here. */
  readonly port: number;
  /** Closes this process's descriptor. @param isForGood the program wants it no more; otherwise the socket goes on elsewhere. */
  stop(isForGood: boolean): void;
}

/** @param fd a listening socket to accept on, which is used up; null makes one. */
type Start = (fd: number | null) => Accepting;
type StartLater = (fd: number | null) => Promise<Accepting>;

export interface TableEntry {
  /** As the kernel chose it; null for one that was handed over, whose name says it. */
  readonly port: number | null;
  close(): void;
}

export class ListenerTable {
  /** Handed over, and not asked for yet. */
  readonly #received: Map<string, number>;
  readonly #entries = new Set<Entry>();
  readonly #descriptors = Descriptors.open();
  /** What was handed over is held until the program is ready. */
  #isHolding: boolean;

  /** @param received descriptors by name. */
  constructor(received: ReadonlyMap<string, number> = new Map()) {
    this.#received = new Map(received);
    this.#isHolding = received.size > 0;
    for (const fd of received.values()) this.#descriptors?.keepFromChildren(fd);
  }

  /** @throws MeshError `unsupported`. */
  get descriptors(): Descriptors {
    if (this.#descriptors !== null) return this.#descriptors;
    throw new MeshError("unsupported", "local", "handing sockets over needs Linux");
  }

  /** Whether a listener of that name was handed over, and no part of the program has opened it yet. */
  isReceived(name: string): boolean {
    return this.#received.has(name);
  }

  /**
   * @param name the same for the same listener in every version of the program: kind and address. What `start` throws is thrown.
   * @param nameAt its name where the kernel chose the port.
   */
  listen(name: string, start: Start, nameAt: (port: number) => string = () => name): TableEntry {
    const fd = this.#received.get(name);
    if (fd !== undefined) return this.#claim(name, fd, start);
    const accepting = start(null);
    return this.#add(new Entry(nameAt(accepting.port), start, this.#descriptors, accepting, null));
  }

  /** The same for what the runtime opens later. */
  async listenLater(
    name: string,
    start: StartLater,
    nameAt: (port: number) => string = () => name,
  ): Promise<TableEntry> {
    const fd = this.#received.get(name);
    if (fd !== undefined) return this.#claim(name, fd, start);
    const accepting = await start(null);
    return this.#add(new Entry(nameAt(accepting.port), start, this.#descriptors, accepting, null));
  }

  /** Accepts on what was handed over, and closes of it what no part of the program has opened. @throws MeshError. */
  async accept(): Promise<void> {
    this.#isHolding = false;
    for (const fd of this.#received.values()) this.#descriptors?.close(fd);
    this.#received.clear();
    await Promise.all([...this.#entries].map((entry) => entry.resume()));
  }

  /** What another process can be handed. */
  share(): readonly { readonly name: string; readonly fd: number }[] {
    return [...this.#entries].flatMap(({ name, accepting }) =>
      accepting === null || accepting.fd < 0 ? [] : [{ name, fd: accepting.fd }],
    );
  }

  /** @returns those of these names that have stopped, to be resumed or let go. */
  pause(names: ReadonlySet<string>): readonly Pausable[] {
    const paused = [...this.#entries].filter(({ name, accepting }) => accepting !== null && names.has(name));
    for (const entry of paused) entry.pause();
    return paused;
  }

  #claim(name: string, fd: number, start: Start | StartLater): TableEntry {
    assert(this.#isHolding, "what was handed over is claimed before the program accepts");
    this.#received.delete(name);
    return this.#add(new Entry(name, start, this.#descriptors, null, fd));
  }

  #add(entry: Entry): TableEntry {
    this.#entries.add(entry);
    return {
      port: entry.accepting?.port ?? null,
      close: () => {
        this.#entries.delete(entry);
        entry.close();
      },
    };
  }
}

export interface Pausable {
  /** Nothing for one that was closed since. @throws MeshError. */
  resume(): Promise<void>;
  letGo(): void;
}

class Entry implements Pausable {
  readonly name: string;
  readonly #start: Start | StartLater;
  readonly #descriptors: Descriptors | null;
  #accepting: Accepting | null;
  /** The socket while nothing is accepted from it. */
  #kept: number | null;
  #isClosed = false;

  constructor(
    name: string,
    start: Start | StartLater,
    descriptors: Descriptors | null,
    accepting: Accepting | null,
    kept: number | null,
  ) {
    this.name = name;
    this.#start = start;
    this.#descriptors = descriptors;
    this.#accepting = accepting;
    this.#kept = kept;
  }

  get accepting(): Accepting | null {
    return this.#accepting;
  }

  pause(): void {
    if (this.#accepting === null || this.#descriptors === null) return;
    this.#kept = this.#descriptors.duplicate(this.#accepting.fd);
    this.#accepting.stop(false);
    this.#accepting = null;
  }

  async resume(): Promise<void> {
    const fd = this.#kept;
    if (fd === null) return;
    this.#kept = null;
    const started = this.#start(fd);
    const accepting = started instanceof Promise ? await started : started;
    if (this.#isClosed) accepting.stop(true);
    else this.#accepting = accepting;
  }

  letGo(): void {
    if (this.#kept !== null) this.#descriptors?.close(this.#kept);
    this.#kept = null;
  }

  close(): void {
    this.#isClosed = true;
    this.letGo();
    this.#accepting?.stop(true);
    this.#accepting = null;
  }
}
