/** One TCP connection between two in-memory sockets: two bounded pipes with latency, and what can happen to them on the way. */
import type { SeededRandom } from "./random.ts";
import type { Schedule } from "./schedule.ts";

/** The state of the network. A simulation changes it as it goes; connections that are open feel it. */
export interface NetworkConditions {
  /** One way, between two machines. */
  latencyMs: number;
  /** Added to it, up to this much, drawn again for each segment. */
  jitterMs: number;
  /** The share of reads that give only a part of what has arrived. */
  splitRate: number;
  /** What the kernels hold of one direction: send buffer, flight and receive buffer together. */
  bufferBytes: number;
}

/** One end of a link, as the link sees it. */
export interface LinkEnd {
  /** Bytes or a FIN have come, or are still there. */
  onArrival(): void;
  /** The peer's side has room again. */
  onCredit(): void;
  onReset(): void;
}

export interface LinkContext {
  readonly schedule: Schedule;
  readonly random: SeededRandom;
  readonly conditions: NetworkConditions;
  isPartitioned(a: string, b: string): boolean;
  /** Neither end is held by anybody any more. */
  onGone(link: Link): void;
  onSegment(link: Link, from: Side, bytes: Uint8Array): void;
}

export type Side = "client" | "server";

/** One direction of a connection. */
interface Pipe {
  /** Arrived and not read. */
  readonly arrived: Uint8Array[];
  arrivedBytes: number;
  finArrived: boolean;
  /** Written and not yet known to be read: what the writer's bound counts. */
  unreadBytes: number;
  /** Segments on the way. */
  inFlight: number;
  /** Nothing overtakes what was sent before. */
  lastAtMs: number;
  /** Bumped by a reset: what was under way is lost. */
  epoch: number;
}

function newPipe(): Pipe {
  return {
    arrived: [],
    arrivedBytes: 0,
    finArrived: false,
    unreadBytes: 0,
    inFlight: 0,
    lastAtMs: 0,
    epoch: 0,
  };
}

const localLatencyMs = 0.02;
/** How long after a partition heals the retransmissions arrive. */
const retransmitMs = 200;

export class Link {
  readonly id: number;
  /** Names of the machines. */
  readonly machines: Readonly<Record<Side, string>>;
  readonly #context: LinkContext;
  readonly #pipes: Readonly<Record<Side, Pipe>> = { client: newPipe(), server: newPipe() };
  readonly #ends: Record<Side, LinkEnd | null> = { client: null, server: null };
  readonly #detached: Record<Side, boolean> = { client: false, server: false };
  /** What a partition keeps from arriving, in order. */
  #heldBack: (() => void)[] = [];
  #heldUntilMs = 0;
  readonly bufferBytes: number;

  constructor(context: LinkContext, id: number, machines: Readonly<Record<Side, string>>) {
    this.#context = context;
    this.id = id;
    this.machines = machines;
    this.bufferBytes = context.conditions.bufferBytes;
  }

  attach(side: Side, end: LinkEnd): void {
    this.#ends[side] = end;
  }

  /** An end's descriptor is free; what still comes for it is answered with RST. */
  detach(side: Side): void {
    this.#detached[side] = true;
    if (this.#detached[other(side)] || this.#ends[other(side)] === null) this.#context.onGone(this);
  }

  /** Bytes of either direction that the kernels hold; the simulator samples it. */
  get heldBytes(): number {
    return Math.max(this.#pipes.client.unreadBytes, this.#pipes.server.unreadBytes);
  }

  /** @returns how many bytes the send buffer took; they are copied. */
  write(from: Side, bytes: Uint8Array): number {
    const pipe = this.#pipes[from];
    const taken = Math.min(bytes.length, this.bufferBytes - pipe.unreadBytes);
    if (taken <= 0) return 0;
    pipe.unreadBytes += taken;
    const segment = bytes.slice(0, taken);
    this.#context.onSegment(this, from, segment);
    this.#send(from, segment);
    return taken;
  }

  /** A FIN, behind everything written. */
  finish(from: Side): void {
    this.#send(from, null);
  }

  /** The next bytes that have come for `side`; null when there are none. `isPart` when a split left some for later. */
  read(side: Side): { readonly bytes: Uint8Array; readonly isPart: boolean } | null {
    const pipe = this.#pipes[other(side)];
    if (pipe.arrived.length === 0) return null;
    const { random, conditions } = this.#context;
    const whole = random.chance(0.5) ? joinAll(pipe.arrived.splice(0)) : pipe.arrived.shift();
    if (whole === undefined) return null;
    const isPart = whole.length > 1 && random.chance(conditions.splitRate);
    const length = isPart ? Math.max(1, Math.floor(whole.length * random.float())) : whole.length;
    if (isPart) pipe.arrived.unshift(whole.slice(length));
    pipe.arrivedBytes -= length;
    this.#credit(side, length);
    return { bytes: isPart ? whole.slice(0, length) : whole, isPart };
  }

  /** Everything that has come for `side` and was not read. */
  arrivedBytes(side: Side): number {
    return this.#pipes[other(side)].arrivedBytes;
  }

  /** Whether the peer's FIN has come and nothing stands before it. */
  atEnd(side: Side): boolean {
    const pipe = this.#pipes[other(side)];
    return pipe.finArrived && pipe.arrived.length === 0;
  }

  /** RST from `side`. What it has sent and is still under way may be lost, as on a real network, unless it waits for that to arrive. */
  reset(side: Side, isAfterSent = false): void {
    const pipe = this.#pipes[side];
    if (!isAfterSent && this.#context.random.chance(0.5)) pipe.epoch++;
    this.#transit(side, () => this.#ends[other(side)]?.onReset());
  }

  /** A middlebox, or a crash of the world in between: both ends see RST. */
  cut(): void {
    this.#context.schedule.io(0, null, () => {
      for (const side of ["client", "server"] as const) {
        this.#pipes[side].epoch++;
        this.#ends[side]?.onReset();
      }
    });
  }

  /** After a partition has healed. Where it is another one's, nothing moves: what is held back would be overtaken by what is sent meanwhile. */
  heal(): void {
    if (this.#heldBack.length === 0) return;
    if (this.#context.isPartitioned(this.machines.client, this.machines.server)) return;
    const held = this.#heldBack;
    this.#heldBack = [];
    const { schedule, random } = this.#context;
    const delayMs = random.between(1, retransmitMs);
    this.#heldUntilMs = schedule.nowMs + delayMs;
    for (const arrive of held) schedule.io(delayMs, null, () => this.#arrive(arrive));
  }

  #send(from: Side, bytes: Uint8Array | null): void {
    const pipe = this.#pipes[from];
    const { epoch } = pipe;
    pipe.inFlight++;
    this.#transit(from, () => {
      pipe.inFlight--;
      if (pipe.epoch !== epoch) return;
      if (bytes === null) pipe.finArrived = true;
      else {
        pipe.arrived.push(bytes);
        pipe.arrivedBytes += bytes.length;
      }
      this.#ends[other(from)]?.onArrival();
    });
  }

  /** The reader took bytes; the writer learns of it later. */
  #credit(reader: Side, bytes: number): void {
    const pipe = this.#pipes[other(reader)];
    this.#transit(reader, () => {
      pipe.unreadBytes -= bytes;
      this.#ends[other(reader)]?.onCredit();
    });
  }

  #transit(from: Side, arrive: () => void): void {
    const { schedule, random, conditions } = this.#context;
    const isLocal = this.machines.client === this.machines.server;
    const latencyMs = isLocal ? localLatencyMs : conditions.latencyMs + random.float() * conditions.jitterMs;
    const pipe = this.#pipes[from];
    const atMs = Math.max(pipe.lastAtMs, schedule.nowMs + latencyMs);
    pipe.lastAtMs = atMs;
    schedule.io(atMs - schedule.nowMs, null, () => this.#arrive(arrive));
  }

  #arrive(arrive: () => void): void {
    const { schedule } = this.#context;
    if (this.#context.isPartitioned(this.machines.client, this.machines.server)) this.#heldBack.push(arrive);
    else if (schedule.nowMs < this.#heldUntilMs)
      schedule.io(this.#heldUntilMs - schedule.nowMs, null, () => this.#arrive(arrive));
    else arrive();
  }
}

export function other(side: Side): Side {
  return side === "client" ? "server" : "client";
}

function joinAll(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  const joined = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.length;
  }
  return joined;
}
