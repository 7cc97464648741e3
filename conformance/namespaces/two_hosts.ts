/** Two hosts, each a network namespace with a node tunnel that captures all of its TCP. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeNamespaces, type Namespaces, run } from "../../src/host/testing/namespaces.ts";

const main = join(import.meta.dir, "..", "..", "src", "main.ts");
const actor = join(import.meta.dir, "actor.ts");

export type HostName = "cart" | "db";

export interface Answer {
  readonly text: string;
  readonly ending: string;
}

type Child = Bun.Subprocess<"ignore", "pipe", "inherit">;

export class TwoHosts {
  readonly addresses: Readonly<Record<HostName, string>>;
  readonly #namespaces: Namespaces;
  readonly #folder: string;
  readonly #children: Child[] = [];
  readonly #nodes = new Map<HostName, Child>();

  private constructor(number: number, folder: string) {
    this.#namespaces = makeNamespaces(number);
    this.#folder = folder;
    this.addresses = { cart: `10.77.${number}.1`, db: `10.77.${number}.2` };
    // A VIP is routed somewhere, as on any host with a default route; capture takes it before it leaves.
    run(this.#command("db", ["ip", "route", "add", "default", "via", this.addresses.cart]));
  }

  static async create(number: number): Promise<TwoHosts> {
    const folder = await mkdtemp(join(tmpdir(), "fairlead-namespaces-"));
    await mkdir(join(folder, "mesh"));
    return new TwoHosts(number, folder);
  }

  async publish(name: string, text: string): Promise<void> {
    await Bun.write(join(this.#folder, "mesh", name), text);
  }

  /** Starts a node and waits until it is ready. The CA's directory is shared, as a copied one would be. */
  async startNode(host: HostName): Promise<void> {
    const mesh = ["--file", join(this.#folder, "mesh"), "--state-directory", join(this.#folder, "ca")];
    const node = this.#spawn(host, [process.execPath, main, "up", ...mesh, "--capture", "redirect"]);
    this.#nodes.set(host, node);
    // Its log is not looked at; an unread pipe would only cost it lines.
    void new Response(node.stdout).text();
    const probe = ["curl", "-s", "-o", "/dev/null", "-f", "-m", "2", "http://127.0.0.1:15021/healthz/ready"];
    await this.#eventually(
      () => run(this.#command(host, probe)).exitCode === 0,
      `${host}'s node to be ready`,
    );
  }

  /** @returns the exit code. */
  async stopNode(host: HostName): Promise<number> {
    const node = this.#nodes.get(host);
    if (node === undefined) throw new Error(`${host} has no node`);
    this.#nodes.delete(host);
    node.kill("SIGTERM");
    return await node.exited;
  }

  /** An application that listens on the wildcard of its host. */
  async serve(host: HostName, port: number): Promise<void> {
    const server = this.#spawn(host, [process.execPath, actor, "serve", "0.0.0.0", String(port)]);
    await lines(server).next();
  }

  async call(from: HostName, ip: string, port: number): Promise<Answer> {
    const child = this.#spawn(from, [process.execPath, actor, "call", ip, String(port)]);
    return JSON.parse(await new Response(child.stdout).text());
  }

  /** @returns once the connection is open; the promise inside resolves when it was ended from the other side. */
  async hold(from: HostName, ip: string, port: number): Promise<{ readonly ended: Promise<unknown> }> {
    const child = lines(this.#spawn(from, [process.execPath, actor, "hold", ip, String(port)]));
    const first = await child.next();
    if (first.value !== "open") throw new Error(`it was never open: ${first.value}`);
    return { ended: child.next() };
  }

  /** Runs a program on a host. */
  run(host: HostName, command: readonly string[]): { readonly exitCode: number; readonly output: string } {
    return run(this.#command(host, command));
  }

  /** `fairlead get … -o json`. */
  get(host: HostName, resource: string): readonly Readonly<Record<string, unknown>>[] {
    const { output } = this.run(host, [process.execPath, main, "get", resource, "-o", "json"]);
    return JSON.parse(output);
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill("SIGTERM");
    await Promise.race([Promise.all(this.#children.map((child) => child.exited)), Bun.sleep(8000)]);
    for (const child of this.#children) child.kill("SIGKILL");
    this.#namespaces.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #command(host: HostName, command: readonly string[]): string[] {
    const { inside, outside, within } = this.#namespaces;
    return within(host === "cart" ? inside : outside, command);
  }

  #spawn(host: HostName, command: readonly string[]): Child {
    const child = Bun.spawn(this.#command(host, command), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#children.push(child);
    return child;
  }

  async #eventually(holds: () => boolean, what: string): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      if (holds()) return;
      await Bun.sleep(100);
    }
    throw new Error(`waited 10 s for ${what}`);
  }
}

async function* lines(child: Child): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of child.stdout) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}
