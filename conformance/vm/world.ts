/** Two VMs, the first with an `/etc` of its own, so that this machine's is not touched; a backend and resolvers behind the other. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lab } from "../namespaces/lab.ts";
import { fromSource, type NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";

export const original =
  "# the host's own\nnameserver 10.78.0.2\nsearch corp.example\noptions timeout:2 attempts:1\n";
export const outsideAddress = "192.0.2.77";

export class World {
  readonly lab: Lab;
  readonly etc: string;
  readonly #directory: string;
  readonly #programs: Subprocess[] = [];
  /** That of the other host, once it is open. */
  readonly nodes: NodeProcess[] = [];
  /** How the VM's /etc is made before a program runs in it. */
  mount: "directory" | "file" | "read-only" = "directory";

  constructor(directory: string, documents: string) {
    this.#directory = directory;
    this.lab = new Lab("vm", documents);
    this.etc = join(directory, "etc");
    mkdirSync(this.etc);
    // Debian's iptables is a link to one of two programs, by way of /etc.
    for (const name of [
      "alternatives",
      "passwd",
      "group",
      "nsswitch.conf",
      "host.conf",
      "ssl",
      "ld.so.cache",
      "ld.so.conf",
    ])
      if (existsSync(`/etc/${name}`)) cpSync(`/etc/${name}`, join(this.etc, name), { recursive: true });
    writeFileSync(join(this.etc, "hosts"), "127.0.0.1 localhost\n");
    writeFileSync(join(this.etc, "nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n");
    this.resolvConf = original;
  }

  get resolvConf(): string {
    return readFileSync(join(this.etc, "resolv.conf"), "utf8");
  }

  set resolvConf(text: string) {
    rmSync(join(this.etc, "resolv.conf"), { force: true });
    writeFileSync(join(this.etc, "resolv.conf"), text);
  }

  get hasSaved(): boolean {
    return existsSync(join(this.etc, "resolv.conf.before-fairlead"));
  }

  async open(): Promise<void> {
    const { server } = this.lab.hosts;
    this.nodes.push(await this.lab.node(server, ["--capture", "redirect"]).ready());
    this.start(
      "http",
      server.command([
        process.execPath,
        "-e",
        'Bun.serve({hostname: "10.78.0.21", port: 8080, fetch: () => new Response("hello from the backend")})',
      ]),
    );
    await this.resolver("10.78.0.2", outsideAddress);
  }

  async resolver(at: string, address: string): Promise<void> {
    const program = join(import.meta.dir, "resolver.ts");
    const started = this.start(
      "resolver",
      this.lab.hosts.server.command([process.execPath, program, at, address]),
    );
    await eventually(
      "a resolver",
      () => started.log().includes("listening"),
      () => started.log(),
    );
  }

  start(name: string, argv: readonly string[]): Subprocess {
    const logPath = join(this.#directory, `${name}-${this.#programs.length}.log`);
    const program = Subprocess.start({ name, argv: [...argv], logPath });
    this.#programs.push(program);
    return program;
  }

  /** In the VM: its network, and its /etc. */
  inside(argv: readonly string[]): string[] {
    const steps = {
      directory: 'mount --bind "$0" /etc',
      file: 'mount --bind "$0/resolv.conf" /etc/resolv.conf',
      "read-only": 'mount --bind "$0" /etc && mount -o remount,bind,ro /etc',
    } as const;
    const script = `mount --make-rprivate / && ${steps[this.mount]} && exec "$@"`;
    return ["unshare", "-m", "sh", "-c", script, this.etc, ...argv];
  }

  run(...argv: readonly string[]): { readonly code: number; readonly out: string } {
    const { exitCode, stdout, stderr } = Bun.spawnSync(this.inside(this.lab.hosts.client.command(argv)));
    return { code: exitCode, out: `${stdout.toString()}${stderr.toString()}`.trim() };
  }

  node(...settings: readonly string[]): NodeProcess {
    const words = ["--capture", "redirect", "--dns-setup", "resolv-conf", ...settings];
    return this.lab.node(this.lab.hosts.client, words, { wrap: (argv) => this.inside(argv) });
  }

  readonly program = fromSource;

  fairlead(...words: readonly string[]): { readonly code: number; readonly out: string } {
    return this.run(...fromSource, ...words);
  }

  lookup(at: string, name: string, type = "A"): unknown {
    return JSON.parse(this.run(process.execPath, join(import.meta.dir, "lookup.ts"), at, name, type).out);
  }

  async close(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.stop()));
    await this.lab.close();
  }
}
