/**
 * Accepted connections from one worker of a node to another: the kernel spreads them by a hash of their addresses, blind to how much each
 * worker has. What comes to one that has more than its share goes on to the one that has least, as a descriptor and before a byte of it was
 * read: its addresses, and where it was going before it was captured, are the socket's own.
 */
import { MeshError } from "../../../base/errors.ts";
import { formatSocketAddress, type IpAddress, type SocketAddress } from "../../../base/ip.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import type { Socket } from "../../host.ts";
import { Descriptors } from "../handover/descriptors.ts";
import { DescriptorMessages } from "./descriptor_messages.ts";
import { type PlaceKind, PlaceTable, type TunnelsHeld } from "./place_table.ts";

/** Where a worker has what it shares with the others: inherited, in this order, after its socket to the node. */
const tableNumber = 4;
const inboxNumber = 5;
const bellNumber = 6;
const firstOfOthers = 7;

/** The ends that another worker writes to. */
interface Door {
  readonly inbox: number;
  readonly bell: number;
}

/** One listener's part. */
export interface Share {
  /** @param fd stays the caller's, who closes it. @returns whether another worker has the connection from now on. */
  passOn(fd: number, source: IpAddress): boolean;
  /** One that this worker had is over. */
  release(source: IpAddress): void;
  close(): void;
}

/** The descriptor is the listener's from now on. @param giveUp in place of `release`, where it becomes no connection. */
type Adopt = (fd: number, giveUp: () => void) => void;

/** A listener, as all workers have it. */
interface Shared {
  readonly name: string;
  readonly listener: number;
  readonly kind: PlaceKind;
}

/** Of an address, or of every address of its family. */
export function listenerName(address: SocketAddress): string {
  return `tcp ${formatSocketAddress(address)}`;
}

const wildcards = ["0.0.0.0", "[::]"];

/** In the number of a message, beside the bucket of the source. */
const tunnelBit = 0x8000;

/** A worker's side. */
export class Passing {
  readonly #messages: DescriptorMessages;
  readonly #table: PlaceTable;
  readonly #worker: number;
  readonly #doors: readonly Door[];
  readonly #receivers = new Map<string, Adopt>();
  #passedOn = 0;

  private constructor(messages: DescriptorMessages, table: PlaceTable, worker: number, workers: number) {
    this.#messages = messages;
    this.#table = table;
    this.#worker = worker;
    this.#doors = Array.from({ length: workers }, (_, at) => ({
      inbox: firstOfOthers + 2 * at,
      bell: firstOfOthers + 2 * at + 1,
    }));
  }

  /** Takes what the node has left in this process. @param place `2/4`, of the environment. @throws MeshError `configuration`, `io`. */
  static open(place: string): Passing {
    const [, worker, workers] = /^(\d{1,3})\/(\d{1,3})$/.exec(place)?.map(Number) ?? [];
    const messages = DescriptorMessages.open();
    if (worker === undefined || workers === undefined || worker >= workers || messages === null)
      throw new MeshError("configuration", "local", `no place of a worker: ${place}`);
    const descriptors = Descriptors.open();
    for (let fd = tableNumber; fd < firstOfOthers + 2 * workers; fd++) descriptors?.keepFromChildren(fd);
    return new Passing(messages, mapTable(tableNumber, workers), worker, workers);
  }

  /** How many connections went on to others. */
  get passedOn(): number {
    return this.#passedOn;
  }

  /** @param adopt makes a socket of the bell, which rings when there is something to fetch. */
  async start(adopt: (fd: number, name: string) => Promise<Socket>): Promise<void> {
    const bell = await adopt(bellNumber, "the bell of this worker");
    const receive = (): void => this.#receive();
    bell.setHandler({ onData: receive, onDrain() {}, onEnd() {}, onClose() {} });
  }

  /** @param name the same in every worker. @param adopt what comes to this worker from the others. */
  share(name: string, kind: PlaceKind, adopt: Adopt): Share {
    const listener = PlaceTable.listenerOf(name);
    this.#receivers.set(name, adopt);
    this.#table.countListener(this.#worker, listener, 1);
    return {
      passOn: (fd, source) => this.#place({ name, listener, kind }, fd, PlaceTable.bucketOf(source)),
      release: (source) => this.#table.count(this.#worker, kind, PlaceTable.bucketOf(source), -1),
      close: () => {
        this.#table.countListener(this.#worker, listener, -1);
        this.#receivers.delete(name);
      },
    };
  }

  /** See `ReceivedWorker`. */
  hasRoomElsewhere(source: IpAddress, at: SocketAddress, held: TunnelsHeld): boolean {
    const names = [listenerName(at), ...wildcards.map((every) => `tcp ${every}:${at.port}`)];
    const name = names.find((one) => this.#receivers.has(one));
    if (name === undefined) return false;
    const listener = PlaceTable.listenerOf(name);
    return this.#table.hasRoomElsewhere(this.#worker, listener, PlaceTable.bucketOf(source), held);
  }

  /** Counted before it is on its way: what comes next, to whichever worker, sees it. */
  #place({ name, listener, kind }: Shared, fd: number, bucket: number): boolean {
    const chosen = this.#table.choose(this.#worker, listener, kind, bucket);
    const door = chosen === this.#worker ? undefined : this.#doors[chosen];
    if (door !== undefined) {
      this.#table.count(chosen, kind, bucket, 1);
      const number = kind === "tunnel" ? bucket | tunnelBit : bucket;
      if (this.#messages.send(door.inbox, fd, { number, name })) {
        this.#messages.ring(door.bell);
        this.#passedOn++;
        return true;
      }
      this.#table.count(chosen, kind, bucket, -1);
    }
    this.#table.count(this.#worker, kind, bucket, 1);
    return false;
  }

  /** Some of what is there: others may go on sending meanwhile. What is left comes with this worker's own bell, after everybody's turn. */
  #receive(): void {
    for (let taken = 0; ; taken++) {
      if (taken === workerLimits.maxTakenAtOnce) {
        const own = this.#doors[this.#worker];
        if (own !== undefined) this.#messages.ring(own.bell);
        return;
      }
      const next = this.#messages.receive(inboxNumber);
      if (next === null) return;
      const { fd, name, number } = next;
      const kind = (number & tunnelBit) === 0 ? "connection" : "tunnel";
      const giveUp = (): void => this.#table.count(this.#worker, kind, number & ~tunnelBit, -1);
      const adopt = this.#receivers.get(name);
      if (fd !== null && adopt !== undefined) adopt(fd, giveUp);
      else {
        // No descriptor is left here, or the listener was closed meanwhile.
        if (fd !== null) this.#messages.close(fd);
        giveUp();
      }
    }
  }
}

/** The node's side: what its workers share, whichever processes they are. */
export class Places {
  readonly #messages: DescriptorMessages;
  readonly #table: PlaceTable;
  readonly #memory: number;
  readonly #own: readonly Door[];
  readonly #others: readonly Door[];

  private constructor(messages: DescriptorMessages, workers: number) {
    this.#messages = messages;
    this.#memory = messages.memory(PlaceTable.bytes(workers));
    this.#table = mapTable(this.#memory, workers);
    const pairs = Array.from({ length: workers }, () => ({ inbox: messages.pair(), bell: messages.pair() }));
    this.#own = pairs.map(({ inbox, bell }) => ({ inbox: inbox[0], bell: bell[0] }));
    this.#others = pairs.map(({ inbox, bell }) => ({ inbox: inbox[1], bell: bell[1] }));
  }

  /** @returns null where workers can share nothing: the kernel's spread is what there is. @throws MeshError. */
  static open(workers: number): Places | null {
    const messages = DescriptorMessages.open();
    return messages === null ? null : new Places(messages, workers);
  }

  /** For the environment of a worker, and what it inherits after its socket to the node. */
  of(worker: number): { readonly place: string; readonly descriptors: readonly number[] } {
    const own = this.#own[worker];
    return {
      place: `${worker}/${this.#own.length}`,
      descriptors: [
        this.#memory,
        ...(own === undefined ? [] : [own.inbox, own.bell]),
        ...this.#others.flatMap(({ inbox, bell }) => [inbox, bell]),
      ],
    };
  }

  /** What a worker has now of what is counted. */
  holds(worker: number): ReturnType<PlaceTable["of"]> {
    return this.#table.of(worker);
  }

  /** Its process has ended: it has nothing and is given nothing, and what was on its way is cut as what it had. */
  left(worker: number): void {
    this.#table.clear(worker);
    const inbox = this.#own[worker]?.inbox;
    if (inbox === undefined) return;
    for (let next = this.#messages.receive(inbox); next !== null; next = this.#messages.receive(inbox))
      if (next.fd !== null) this.#messages.close(next.fd);
  }
}

function mapTable(fd: number, workers: number): PlaceTable {
  try {
    const bytes = Bun.mmap(`/proc/self/fd/${fd}`, { shared: true });
    return new PlaceTable(new Int32Array(bytes.buffer, 0, PlaceTable.bytes(workers) / 4), workers);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `no memory to share with the other workers: ${reason}`);
  }
}
