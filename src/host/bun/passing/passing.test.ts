/** Workers as processes of their own, which pass each other what they accept. */
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { IpAddress } from "../../../base/ip.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import type { Socket } from "../../host.ts";
import { testAuthority } from "../../testing/credentials.ts";
import { createBunHost } from "../host.ts";
import { DescriptorMessages } from "./descriptor_messages.ts";
import { Passing, Places } from "./passing.ts";

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

  /** Resolves when it listens. */
  async start(worker: number): Promise<Bun.Subprocess> {
    const { place, descriptors } = this.places.of(worker);
    const [near, far] = this.#messages.pair();
    const child = Bun.spawn(
      [
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

  /** @returns who it was, where the connection arrived, and whether nine tunnels would be `too many` or `right`. */
  async ask(): Promise<readonly string[]> {
    this.#socket.write(new Uint8Array([1]));
    const [who = "", where = "", ...rest] = (await this.#answer.promise).split(" ");
    return [who, where, rest.join(" ")];
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
    void Caller.open(crew.port).then((caller) => callers.push(caller));
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
