/** An application on one of the hosts, from the test's side. */
import { join } from "node:path";
import { bulkHangMs, eventually, hangMs } from "../peer/lab/eventually.ts";
import type { Behaviour, Command, Held, Told } from "./agent_protocol.ts";
import type { Host } from "./hosts.ts";

const running = new Set<Application>();

/** For the end of the program. */
export function killAllApplications(): void {
  for (const application of running) application.kill();
}

export class Application {
  readonly host: Host;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #told: Told[] = [];
  #ids = 0;

  /** @param wrap what starts it in place of its own argv: a limit, say. */
  constructor(host: Host, wrap: (argv: readonly string[]) => readonly string[] = (argv) => argv) {
    this.host = host;
    const argv = wrap(host.command([process.execPath, join(import.meta.dir, "agent.ts")]));
    this.#child = Bun.spawn([...argv], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    running.add(this);
    void this.#read();
  }

  /** Listens when it resolves. */
  async listen(ip: string, port: number, behaviour: Behaviour): Promise<Listening> {
    const id = `l${this.#ids++}`;
    this.#say({ do: "listen", id, ip, port, behaviour });
    await this.told(id, "open");
    return new Listening(this, id);
  }

  /** A conversation by hand. Resolves at once; `opened` says how it went. */
  connect(
    to: string,
    port: number,
    options: { from?: string; bytes?: number; readToEnd?: boolean } = {},
  ): Peer {
    const id = `c${this.#ids++}`;
    const { from = null, bytes = 0, readToEnd = false } = options;
    this.#say({ do: "connect", id, to, port, from, bytes, readToEnd });
    return new Peer(this, id);
  }

  /** To a server that greets, and away again. @returns the first line, or how the call failed. */
  async call(to: string, port: number, from?: string): Promise<string> {
    const peer = this.connect(to, port, from === undefined ? {} : { from });
    const refused = await peer.opened();
    // An RST right behind the handshake may be there before the application looks.
    if (refused !== null) return refused === "ECONNRESET" ? "reset" : refused;
    await eventually(`an answer of ${to}`, () => peer.text.includes("\n") || peer.closed !== null);
    peer.end();
    const how = await peer.untilClosed();
    return peer.text === "" ? how : (peer.text.split("\n")[0] ?? "");
  }

  /** Opens and keeps many connections to a server that greets. Resolves when each is open or has failed. */
  async hold(to: string, port: number, from: string, count: number): Promise<Held> {
    const id = `h${this.#ids++}`;
    this.#say({ do: "hold", id, to, port, from, count, lanes: 100 });
    return await this.told(id, "held", bulkHangMs);
  }

  /** What has become of those by now. */
  async count(): Promise<Held> {
    const id = `n${this.#ids++}`;
    this.#say({ do: "count", id });
    return await this.told(id, "held");
  }

  /** Everything that was told about one connection or listener, in order. */
  about(id: string): readonly Told[] {
    return this.#told.filter((line) => line.on === id);
  }

  /** @returns the first such event. @throws when it does not come, with those that came. */
  told<E extends Told["event"]>(
    id: string,
    event: E,
    limitMs: number = hangMs,
  ): Promise<Told & { readonly event: E }> {
    const find = (): (Told & { readonly event: E }) | undefined =>
      this.#told.find((line): line is Told & { readonly event: E } => line.on === id && line.event === event);
    return eventually(
      `${event} of ${this.host.name} ${id}`,
      find,
      () => JSON.stringify(this.about(id)),
      limitMs,
    );
  }

  command(command: Command & { readonly do: "send" | "end" | "reset" }): void {
    this.#say(command);
  }

  get pid(): number {
    return this.#child.pid;
  }

  kill(): void {
    running.delete(this);
    this.#child.kill("SIGKILL");
  }

  #say(command: Command): void {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    void this.#child.stdin.flush();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.#child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#told.push(JSON.parse(line) as Told);
    }
  }
}

/** One TCP connection as its application sees it. */
export class Peer {
  readonly id: string;
  readonly #application: Application;

  constructor(application: Application, id: string) {
    this.#application = application;
    this.id = id;
  }

  /** Null when it was opened, else the reason. */
  async opened(): Promise<string | null> {
    const find = () => this.#events.find((line) => line.event === "open" || line.event === "failed");
    const line = await eventually(`an answer to ${this.id}`, find);
    return line.event === "failed" ? line.reason : null;
  }

  get text(): string {
    return this.#events.map((line) => (line.event === "data" ? line.text : "")).join("");
  }

  get ended(): boolean {
    return this.#events.some((line) => line.event === "end");
  }

  /** How it was closed; null while it is not. */
  get closed(): "orderly" | "reset" | null {
    const close = this.#events.find((line) => line.event === "close");
    if (close?.event !== "close") return null;
    return close.reset ? "reset" : "orderly";
  }

  /** The first `length` characters that came. */
  async read(length: number): Promise<string> {
    await this.#until(`${length} characters`, () => this.text.length >= length);
    return this.text;
  }

  /** The first line that came, without its end. */
  async line(): Promise<string> {
    await this.#until("a line", () => this.text.includes("\n"));
    return this.text.split("\n")[0] ?? "";
  }

  async untilEnded(): Promise<void> {
    await this.#until("its end", () => this.ended);
  }

  async untilClosed(): Promise<"orderly" | "reset"> {
    return await eventually(
      `the close of ${this.id}`,
      () => this.closed,
      () => this.#describe(),
    );
  }

  /** @returns how many bytes and their digest. */
  transferred(which: "sent" | "received"): Promise<{ readonly bytes: number; readonly digest: string }> {
    return this.#application.told(this.id, which, bulkHangMs);
  }

  /** The address that a server sees its caller have. */
  async seen(): Promise<string> {
    return (await this.#application.told(this.id, "accepted")).seen;
  }

  send(text: string): void {
    this.#application.command({ do: "send", id: this.id, text });
  }

  end(): void {
    this.#application.command({ do: "end", id: this.id });
  }

  reset(): void {
    this.#application.command({ do: "reset", id: this.id });
  }

  get #events(): readonly Told[] {
    return this.#application.about(this.id);
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    await eventually(`${what} of ${this.id}`, holds, () => this.#describe());
  }

  #describe(): string {
    return JSON.stringify(this.#events).slice(0, 500);
  }
}

/** A listener, and the connections it accepted. */
export class Listening {
  readonly #application: Application;
  readonly #id: string;

  constructor(application: Application, id: string) {
    this.#application = application;
    this.#id = id;
  }

  /** The n-th connection it accepted, from 0, whether or not it has come yet. */
  peer(n: number): Peer {
    return new Peer(this.#application, `${this.#id}/${n}`);
  }

  /** How many connections it accepted. */
  get accepted(): number {
    let count = 0;
    while (this.#application.about(`${this.#id}/${count}`).length > 0) count++;
    return count;
  }
}
