/** A real `fairlead up` process hands identities to go-spiffe: settings, the socket, who holds what, and its end. */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { buildGo } from "../../peer/lab/tools.ts";
import type { Tally } from "../../peer/tally.ts";
import { fairleadArgv } from "../control_process.ts";
import { freePort } from "../free_port.ts";
import { until } from "./identity_socket.ts";

const cart = "spiffe://cluster.local/ns/shop/sa/cart";

/** @param directory of the whole run. */
export async function nodeSocketSuite(tally: Tally, directory: string): Promise<void> {
  const go = buildGo("conformance/control/go", "fairlead-control-peer");
  if ("missing" in go) {
    tally.skip("go-spiffe of a node", go.missing);
    return;
  }
  const node = new NodeProcess(join(directory, "node_socket"));
  const checks: readonly (readonly [string, () => Promise<void>])[] = [
    ["takes an SVID that the node's roots vouch for", () => takesSvid(node, go.path)],
    ["is gone with a node that drains, and served by the next", () => outlivesNode(node, go.path)],
  ];
  try {
    for (const [name, check] of checks) {
      try {
        await check();
        tally.pass(`go-spiffe of a node: ${name}`);
      } catch (error) {
        tally.fail(`go-spiffe of a node: ${name}`, error instanceof Error ? error.message : String(error));
      }
    }
  } finally {
    await node.stop();
  }
}

async function takesSvid(node: NodeProcess, client: string): Promise<void> {
  await node.start();
  const watching = node.watch(client);
  try {
    const [first] = await node.svids(watching);
    equal([first?.id, first?.problem], [cart, ""], "the SVID");
    const shown = JSON.parse(await node.get("identity-socket"));
    equal(
      [shown[0]?.path, shown[0]?.rules?.[0]?.identity, shown[0]?.openStreams],
      [node.socketPath, cart, 1],
      "what administration shows",
    );
  } finally {
    await watching.stop();
  }
}

async function outlivesNode(node: NodeProcess, client: string): Promise<void> {
  const watching = node.watch(client);
  const [before] = await node.svids(watching);
  equal(await node.stop(), 0, "the node's exit code");
  await until(() => !watching.running, "the end of the stream");
  equal(existsSync(node.socketPath), false, "the socket");
  await node.start();
  const again = node.watch(client);
  try {
    const [after] = await node.svids(again);
    equal(after?.id, cart, "the identity after a restart");
    if (after?.serial === before?.serial) throw new Error("a key has outlived the process");
  } finally {
    await again.stop();
  }
}

type Report = Readonly<Record<string, unknown>>;

class NodeProcess {
  readonly socketPath: string;
  readonly #directory: string;
  readonly #admin = `127.0.0.1:${freePort()}`;
  readonly #ports: readonly string[];
  #process: Subprocess | null = null;
  #started = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.socketPath = join(directory, "identity.sock");
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o711);
    writeFileSync(join(directory, "mesh.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    this.#ports = ["--hbone-port", "--outbound-port", "--inbound-plaintext-port"].flatMap((flag) => [
      flag,
      String(freePort()),
    ]);
  }

  async start(): Promise<void> {
    const started = Subprocess.start({
      name: "fairlead up",
      argv: [
        ...fairleadArgv(),
        ...["up", "-f", join(this.#directory, "mesh.yaml"), "--state-directory", this.#directory],
        ...[
          "--identity-socket",
          this.socketPath,
          "--identity-for",
          `uid=${process.getuid?.() ?? 0}=shop/cart`,
        ],
        ...["--admin", this.#admin, "--metrics", "off", "--readiness", "off", "--log-format", "json"],
        ...this.#ports,
      ],
      logPath: join(this.#directory, `node_${++this.#started}.log`),
    });
    this.#process = started;
    await started.waitForLine((line) => line.includes("identities for local programs"));
  }

  /** SIGTERM. @returns the exit code; null when it did not run. */
  async stop(): Promise<number | null> {
    const running = this.#process;
    this.#process = null;
    if (running === null) return null;
    await running.stop();
    return await running.exited;
  }

  watch(client: string): Subprocess {
    return Subprocess.start({
      name: "go-spiffe watch",
      argv: [client, "watch", "-socket", `unix://${this.socketPath}`],
      logPath: join(this.#directory, `client_${++this.#started}.log`),
    });
  }

  /** Of the first update. */
  async svids(watching: Subprocess): Promise<readonly Report[]> {
    const updates = (): Report[] =>
      watching
        .lines()
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line))
        .filter(({ event }) => event === "svids");
    await until(() => {
      if (!watching.running) throw new Error(`it ended early: ${watching.log()}`);
      return updates().length > 0;
    }, "the first update");
    const svids = updates()[0]?.svids;
    return Array.isArray(svids) ? svids : [];
  }

  async get(resource: string): Promise<string> {
    const run = Bun.spawn([...fairleadArgv(), "get", resource, "--admin", this.#admin, "-o", "json"], {
      stdout: "pipe",
      stderr: "inherit",
    });
    return await new Response(run.stdout).text();
  }
}

function equal(found: unknown, expected: unknown, what: string): void {
  if (!Bun.deepEquals(found, expected, true))
    throw new Error(`${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}
