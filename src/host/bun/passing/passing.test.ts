/** Workers as processes of their own, which pass each other what they accept. */
import { dlopen } from "bun:ffi";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { IpAddress } from "../../../base/ip.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import type { Socket } from "../../host.ts";
import { testAuthority } from "../../testing/credentials.ts";
import { createBunHost } from "../host.ts";
import { BunSocket } from "../socket.ts";
import { DescriptorMessages } from "./descriptor_messages.ts";
import { Passing, Places } from "./passing.ts";
import { type PlaceKind, PlaceTable } from "./place_table.ts";

const { net, clock } = createBunHost();
const localhost = ip("127.0.0.1");
const cleanups: (() => void)[] = [];

// Only a hang reaches this: each test starts processes.
setDefaultTimeout(60_000);

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function ip(text: string): IpAddress {
  return demand(IpAddress.parse(text));
}

function demand<T>(value: T | null): T {
  if (value === null) throw new Error("none: this needs Linux");
  return value;
}

function freePort(): number {
  const listener = net.listen({ address: { ip: localhost, port: 0 }, reusePort: true }, () => {});
  listener.close();
  return listener.address.port;
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const endMs = clock.now() + 30_000; !isSo(); await Bun.sleep(10))
    if (clock.now() > endMs) throw new Error(`never: ${what}`);
}

class Crew {
  readonly places: Places;
  readonly port = freePort();
  readonly #listen: string;
  readonly #credentials: string;
  readonly #messages = demand(DescriptorMessages.open());

  constructor(workers: number, listen: string, credentials: object | null) {
    this.places = demand(Places.open(workers));
    this.#listen = listen;
    this.#credentials = JSON.stringify(credentials);
  }

  static async start(workers: number, listen = "127.0.0.1", credentials: object | null = null) {
    const crew = new Crew(workers, listen, credentials);
    const children = await Promise.all(Array.from({ length: workers }, (_, at) => crew.start(at)));
    return { crew, children };
  }

  /** Resolves when it listens. @param most descriptors that it may have. */
  async start(worker: number, most: number | null = null): Promise<Bun.Subprocess> {
    const { place, descriptors } = this.places.of(worker);
    const [near, far] = this.#messages.pair();
    const child = Bun.spawn(
      [
        ...(most === null ? [] : ["sh", "-c", `ulimit -n ${most}; exec "$@"`, "sh"]),
        ...[process.execPath, join(import.meta.dir, "../../testing/passing_worker.ts")],
        ...[this.#listen, `${this.port}`, this.#credentials],
      ],
      {
        env: { ...process.env, FAIRLEAD_WORKER: place },
        stdio: ["ignore", "inherit", "inherit", far, ...descriptors],
      },
    );
    cleanups.push(() => child.kill("SIGKILL"));
    this.#messages.close(far);
    const ready = Promise.withResolvers<void>();
    const connect = Bun.connect as unknown as (options: object) => Promise<unknown>;
    await connect({ fd: near, socket: { data: () => ready.resolve() } });
    await ready.promise;
    return child;
  }

  get held() {
    return [0, 1].map((worker) => this.places.holds(worker));
  }
}

class Caller {
  readonly #socket: Socket;
  readonly #answer = Promise.withResolvers<string>();
  isOver = false;
  error: unknown = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setHandler({
      onData: (bytes) => this.#answer.resolve(new TextDecoder().decode(bytes)),
      onDrain() {},
      onEnd: () => socket.end(),
      onClose: (error) => {
        this.isOver = true;
        this.error = error;
        this.#answer.resolve("over");
      },
    });
  }

  static async open(port: number, to = localhost): Promise<Caller> {
    return new Caller(await net.connect({ to: { ip: to, port }, timeoutMs: 30_000 }));
  }

  static async openTls(port: number): Promise<Caller> {
    const { client } = await testAuthority();
    const socket = await net.connect({ to: { ip: localhost, port }, timeoutMs: 30_000 });
    const options = { credentials: client.credentials, alpn: ["test"], timeoutMs: 30_000 };
    return new Caller(await net.tlsClient(socket, options));
  }

  /**
   * @param closes tells it to close its listener first.
   * @returns who it was, where the connection arrived, whether nine tunnels would be `too many` or `right`, and how many it passed on.
   */
  async ask(closes = false): Promise<readonly string[]> {
    this.#socket.write(new Uint8Array([closes ? 2 : 1]));
    const [who = "", where = "", passedOn = "", ...rest] = (await this.#answer.promise).split(" ");
    return [who, where, rest.join(" "), passedOn];
  }

  end(): void {
    this.#socket.end();
  }
}

function counts(answers: readonly (readonly string[])[]): readonly number[] {
  return ["0", "1"].map((worker) => answers.filter(([who]) => who === worker).length);
}

test("connections are even, whatever the kernel chose, and what is over is counted no more", async () => {
  const { crew } = await Crew.start(2);
  const callers: Caller[] = [];
  const answers: (readonly string[])[] = [];
  for (let at = 0; at < 24; at++) {
    const caller = await Caller.open(crew.port);
    callers.push(caller);
    answers.push(await caller.ask());
  }
  const [first = 0, second = 0] = counts(answers);
  expect(first + second).toBe(24);
  expect(Math.abs(first - second)).toBeLessThanOrEqual(3);
  expect(crew.held.map(({ connections }) => connections)).toEqual([first, second]);
  for (const caller of callers) caller.end();
  await until("all are over", () => callers.every(({ isOver }) => isOver));
  // Neither a reset nor an end of the worker that passed it on came between.
  expect(callers.map(({ error }) => error)).toEqual(callers.map(() => null));
  await until("nothing is counted", () => crew.held.every(({ connections }) => connections === 0));
});

test("tunnels of one peer go in turn, with TLS by the one that has them", async () => {
  const { server } = await testAuthority();
  const { crew } = await Crew.start(2, "127.0.0.1", server.credentials);
  const callers: Caller[] = [];
  const answers: (readonly string[])[] = [];
  for (let at = 0; at < 8; at++) {
    const caller = await Caller.openTls(crew.port);
    callers.push(caller);
    answers.push(await caller.ask());
  }
  expect(counts(answers)).toEqual([4, 4]);
  expect(crew.held).toEqual(Array(2).fill({ tunnels: 4, connections: 0 }));
  for (const caller of callers) caller.end();
  await until("nothing is counted", () => crew.held.every(({ tunnels }) => tunnels === 0));
});

test("what is passed on has the address that was called, at a listener of all addresses", async () => {
  const { crew } = await Crew.start(2, "0.0.0.0");
  const addresses = Array.from({ length: 12 }, (_, at) => ip(`127.1.0.${at + 1}`));
  const answers: (readonly string[])[] = [];
  for (const ip of addresses) answers.push(await (await Caller.open(crew.port, ip)).ask());
  expect(Math.min(...counts(answers))).toBeGreaterThan(3);
  expect(answers.map(([, local]) => local)).toEqual(addresses.map((ip) => `${ip.text}:${crew.port}`));
  expect(answers.map(([, , room]) => room)).toEqual(addresses.map(() => "too many"));
});

test("a worker that ends has nothing, what was on its way to it is cut, and the next in its place has its part", async () => {
  const { crew, children } = await Crew.start(2);
  const [, victim] = children;
  victim?.kill("SIGSTOP");
  const callers: Caller[] = [];
  await until("the stopped one has its part", () => {
    // One that is cut before it is told that it is connected is none.
    void Caller.open(crew.port).then(
      (caller) => callers.push(caller),
      () => {},
    );
    return (crew.held[1]?.connections ?? 0) > 2;
  });
  victim?.kill("SIGKILL");
  await victim?.exited;
  crew.places.left(1);
  expect(crew.held[1]).toEqual({ tunnels: 0, connections: 0 });
  await until("all but the other's are cut", () => {
    const open = callers.filter(({ isOver }) => !isOver).length;
    return open === crew.held[0]?.connections;
  });
  const alone = await Promise.all(
    Array.from({ length: 6 }, async () => (await Caller.open(crew.port)).ask()),
  );
  expect(counts(alone)).toEqual([6, 0]);
  await crew.start(1);
  const later: (readonly string[])[] = [];
  for (let at = 0; at < 12; at++) later.push(await (await Caller.open(crew.port)).ask());
  expect(counts(later)[1]).toBeGreaterThan(6);
});

test("whoever is the only one that listens has room for all tunnels", async () => {
  const { crew, children } = await Crew.start(2);
  expect((await (await Caller.open(crew.port)).ask())[2]).toBe("too many");
  children[1]?.kill("SIGKILL");
  await children[1]?.exited;
  crew.places.left(1);
  expect((await (await Caller.open(crew.port)).ask())[2]).toBe("right");
});

test("what is passed on faster than it is taken is taken in parts, and all of it", async () => {
  const messages = demand(DescriptorMessages.open());
  const places = demand(Places.open(1));
  const { place, descriptors } = places.of(0);
  const [, , , inbox = -1, bell = -1] = descriptors;
  const memory = messages.memory(4096);
  const name = "tcp 127.0.0.1:1";
  let sent = 0;
  const send = (most: number): void => {
    for (let at = 0; at < most && messages.send(inbox, memory, { number: 1, name }); at++) sent++;
    messages.ring(bell);
  };
  const first = 2 * workerLimits.maxTakenAtOnce + 1;
  send(first);
  // All that is rung for before the worker is there is one turn's.
  expect(sent).toBe(first);
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "../../testing/passing_receiver.ts"), name],
    {
      env: { ...process.env, FAIRLEAD_WORKER: place },
      stdio: ["ignore", "pipe", "inherit", "ignore", ...descriptors],
    },
  );
  cleanups.push(() => child.kill("SIGKILL"));
  const turns: number[][] = [];
  let rest = "";
  const all = () => turns.flat().length;
  for await (const chunk of child.stdout) {
    const lines = `${rest}${new TextDecoder().decode(chunk)}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) turns.push(JSON.parse(line));
    // More of it comes while there is some left.
    if (turns.length === 2) send(workerLimits.maxTakenAtOnce);
    if (all() === sent && turns.length > 2) break;
  }
  expect(all()).toBe(sent);
  // Each has a descriptor of its own, which is open.
  expect(new Set(turns.flat()).size).toBe(sent);
  expect(Math.max(...turns.map(({ length }) => length))).toBe(workerLimits.maxTakenAtOnce);
  messages.close(memory);
});

/** The first of two workers is a process, and the second is the test. */
class Half {
  readonly crew = new Crew(2, "127.0.0.1", null);
  readonly messages = demand(DescriptorMessages.open());
  readonly name = `tcp 127.0.0.1:${this.crew.port}`;
  readonly listener = PlaceTable.listenerOf(this.name);
  readonly bucket = PlaceTable.bucketOf(localhost);
  /** Of the process, then of the test: where each is written to. */
  readonly doors: readonly (readonly [inbox: number, bell: number])[];
  readonly inbox: number;
  readonly table: PlaceTable;
  declare child: Bun.Subprocess;

  private constructor() {
    const [memory = -1, , , ...doors] = this.crew.places.of(0).descriptors;
    this.doors = [
      [doors[0] ?? -1, doors[1] ?? -1],
      [doors[2] ?? -1, doors[3] ?? -1],
    ];
    this.inbox = this.crew.places.of(1).descriptors[1] ?? -1;
    const bytes = Bun.mmap(`/proc/self/fd/${memory}`, { shared: true });
    this.table = new PlaceTable(new Int32Array(bytes.buffer, 0, PlaceTable.bytes(2) / 4), 2);
    this.table.countListener(1, this.listener, 1);
  }

  static async start(descriptors: number | null = null): Promise<Half> {
    const half = new Half();
    half.child = await half.crew.start(0, descriptors);
    return half;
  }

  /** As a worker does that passes a connection on. @param fd is the other's alone then. */
  send(fd: number, kind: PlaceKind, name = this.name): void {
    const [inbox, bell] = this.doors[0] ?? [-1, -1];
    this.table.count(0, kind, this.bucket, 1);
    const number = kind === "tunnel" ? this.bucket | 0x8000 : this.bucket;
    expect(this.messages.send(inbox, fd, { number, name })).toBe(true);
    this.messages.ring(bell);
    this.messages.close(fd);
  }

  /** @returns what ends when the other has closed what it was given. */
  sendEnd(kind: PlaceKind, name?: string): Promise<void> {
    const [near, far] = this.messages.pair();
    this.send(far, kind, name);
    const { promise, resolve } = Promise.withResolvers<void>();
    const connect = Bun.connect as unknown as (options: object) => Promise<unknown>;
    void connect({ fd: near, socket: { data() {}, close: () => resolve() } });
    return promise;
  }

  /** Nothing more is on its way, and this is counted of the process. */
  async holds(tunnels: number, connections: number): Promise<void> {
    await until("what it holds is counted", () =>
      Bun.deepEquals(this.crew.held[0], { tunnels, connections }),
    );
    await Bun.sleep(50);
    expect(this.crew.held[0]).toEqual({ tunnels, connections });
  }
}

test("each that goes on is counted once, and comes with where it was going", async () => {
  const half = await Half.start();
  const answers: (readonly string[])[] = [];
  const got: number[] = [];
  for (let at = 0; at < 8; at++) {
    const caller = await Caller.open(half.crew.port);
    let message = half.messages.receive(half.inbox);
    const asked = caller.ask();
    const isHere = asked.then(() => true);
    while (message === null && !(await Promise.race([isHere, Bun.sleep(5)])))
      message = half.messages.receive(half.inbox);
    if (message === null) answers.push(await asked);
    else {
      expect([message.name, message.number]).toEqual([half.name, half.bucket]);
      got.push(message.fd ?? -1);
    }
  }
  expect(got.length).toBeGreaterThan(1);
  expect(half.crew.held.map(({ connections }) => connections)).toEqual([answers.length, got.length]);
  for (const fd of got) half.messages.close(fd);
  const [, , , passedOn] = await (await Caller.open(half.crew.port)).ask();
  expect(passedOn).toBe(String(got.length));
});

test("whoever takes nothing more is given nothing, and nothing is counted of it", async () => {
  const half = await Half.start();
  const memory = half.messages.memory(4096);
  const [inbox = -1] = half.doors[1] ?? [];
  while (half.messages.send(inbox, memory, { number: 1, name: "n" })) {}
  half.messages.close(memory);
  const answers: (readonly string[])[] = [];
  for (let at = 0; at < 6; at++) answers.push(await (await Caller.open(half.crew.port)).ask());
  expect(counts(answers)).toEqual([6, 0]);
  expect(answers.at(-1)?.[3]).toBe("0");
  expect(half.crew.held).toEqual([
    { tunnels: 0, connections: 6 },
    { tunnels: 0, connections: 0 },
  ]);
});

test("what comes for a listener that is not there is closed, and counted no more", async () => {
  const half = await Half.start();
  for (const kind of ["tunnel", "connection"] as const) await half.sendEnd(kind, "tcp 127.0.0.1:1");
  await half.holds(0, 0);
});

test("a listener that was closed is given nothing, and takes nothing that was on its way", async () => {
  const half = await Half.start();
  half.table.count(1, "tunnel", half.bucket, 1);
  const chosen = () => half.table.choose(1, half.listener, "tunnel", half.bucket);
  expect(chosen()).toBe(0);
  await (await Caller.open(half.crew.port)).ask(true);
  expect(chosen()).toBe(1);
  await half.sendEnd("connection");
  await half.holds(0, 1);
});

test("what was over before it was taken is counted no more, and once", async () => {
  const half = await Half.start();
  const accepted: Socket[] = [];
  const listener = net.listen(
    { address: { ip: localhost, port: 0 } },
    (socket) => void accepted.push(socket),
  );
  const caller = await net.connect({ to: listener.address, timeoutMs: 30_000 });
  await until("it is accepted", () => accepted.length === 1);
  const [socket] = accepted;
  if (!(socket instanceof BunSocket)) throw new Error("a socket of this host");
  // A descriptor of its own, whose peer is gone when it is sent.
  const { symbols } = dlopen("libc.so.6", { dup: { args: ["i32"], returns: "i32" } });
  const fd = symbols.dup(socket.fd);
  caller.reset();
  const over = Promise.withResolvers<void>();
  socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose: () => over.resolve() });
  await over.promise;
  half.send(fd, "connection");
  await half.holds(0, 0);
  listener.close();
});

test("callers that are gone before they are looked at leave nothing behind", async () => {
  const half = await Half.start();
  const descriptors = () => readdirSync(`/proc/${half.child.pid}/fd`).length;
  const before = descriptors();
  half.child.kill("SIGSTOP");
  for (let at = 0; at < 20; at++)
    (await net.connect({ to: { ip: localhost, port: half.crew.port }, timeoutMs: 30_000 })).reset();
  half.child.kill("SIGCONT");
  // Whoever comes after them is looked at after them.
  const caller = await Caller.open(half.crew.port);
  await caller.ask();
  caller.end();
  await until("none is left", () => descriptors() === before);
  await half.holds(0, 0);
});

test("what is no connection is closed and counted no more, and once", async () => {
  const half = await Half.start();
  half.send(half.messages.memory(4096), "connection");
  await half.holds(0, 0);
});

test("what comes when descriptors are scarce is closed and counted no more, whoever accepted it", async () => {
  const half = await Half.start(120);
  // The last quarter is the reserve.
  const sent = 100;
  let closed = 0;
  for (let at = 0; at < sent; at++) void half.sendEnd("connection").then(() => closed++);
  const isCounted = () => closed > 20 && half.crew.held[0]?.connections === sent - closed;
  await until("those that found none are closed and not counted", isCounted);
  // What the process accepts itself finds none either.
  half.table.countListener(1, half.listener, -1);
  for (let at = 0; at < 4; at++) {
    const caller = await Caller.open(half.crew.port).catch(() => null);
    await until("the caller is refused", () => caller?.isOver !== false);
  }
  await half.holds(0, sent - closed);
});

test("what is no place is refused", () => {
  for (const place of ["", "1", "2/2", "0/0", "a/b", "1/2/3"])
    expect(() => Passing.open(place)).toThrow(expect.objectContaining({ code: "configuration" }));
});

test("a descriptor comes with its note, and what is no descriptor is not sent", () => {
  const messages = demand(DescriptorMessages.open());
  const [reads, writes] = messages.pair();
  const memory = messages.memory(4096);
  expect(messages.receive(reads)).toBeNull();
  expect(messages.send(writes, memory, { number: 0x83ff, name: "tcp [2001:db8::1]:15008" })).toBe(true);
  const message = messages.receive(reads);
  expect(message).toMatchObject({ number: 0x83ff, name: "tcp [2001:db8::1]:15008" });
  expect(message?.fd).toBeGreaterThan(2);
  expect(message?.fd).not.toBe(memory);
  expect(messages.receive(reads)).toBeNull();
  expect(messages.send(writes, memory, { number: 0, name: "n".repeat(63) })).toBe(false);
  expect(messages.send(writes, -1, { number: 0, name: "n" })).toBe(false);
  for (const fd of [reads, writes, memory, message?.fd ?? -1]) messages.close(fd);
});

test("one that reads nothing does not hold its senders up: there is a bound, and then no more goes to it", () => {
  const messages = demand(DescriptorMessages.open());
  const [reads, writes] = messages.pair();
  const memory = messages.memory(4096);
  let sent = 0;
  while (sent < 10_000 && messages.send(writes, memory, { number: 1, name: "n" })) sent++;
  expect(sent).toBeGreaterThan(100);
  expect(sent).toBeLessThan(10_000);
  let fetched = 0;
  for (let next = messages.receive(reads); next !== null; next = messages.receive(reads)) {
    fetched++;
    messages.close(next.fd ?? -1);
  }
  expect(fetched).toBe(sent);
  for (const fd of [reads, writes, memory]) messages.close(fd);
});

test("memory that is shared keeps its size: a process that shrinks it would end all of them", async () => {
  const messages = demand(DescriptorMessages.open());
  const memory = messages.memory(4096);
  const shrink = Bun.spawn(["truncate", "-s", "0", `/proc/${process.pid}/fd/${memory}`], {
    stderr: "ignore",
  });
  expect(await shrink.exited).not.toBe(0);
  messages.close(memory);
});
