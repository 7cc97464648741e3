/** `npm run conformance -- capture` */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  addTallies,
  countTogether,
  emptyTally,
  formatTally,
  oneFailure,
  parseTally,
  type Tally as Sum,
} from "../../scripts/tally.ts";
import type { BackendName, CaptureMethod } from "../../src/host/capture/options.ts";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Tally } from "../peer/tally.ts";
import { bridged } from "./bridge_cases.ts";
import { byCgroup } from "./cgroup_cases.ts";
import type { Check, Group } from "./group.ts";
import { addresses, firewalled, forwarded, withoutIpv6 } from "./host_cases.ts";
import { hostsOwn } from "./own_cases.ts";
import { around, watched } from "./rule_cases.ts";
import { Stage } from "./stage.ts";
import { carriedByWorkers } from "./worker_cases.ts";

const groups: Readonly<Record<string, Group>> = {
  "around the tunnel": around,
  "rules watched": watched,
  bridges: bridged,
  cgroups: byCgroup,
  "never captured": hostsOwn,
  firewalls: firewalled,
  "without IPv6": withoutIpv6,
  addresses,
  "forwarded ports": forwarded,
  workers: carriedByWorkers,
};

const usage = `usage: npm run conformance -- capture [--backend NAME] [--method NAME] [--only TEXT] [--verbose]

What captures TCP, in network namespaces, by each program that can install the rules.

  --backend NAME   nftables, iptables or iptables-legacy alone
  --method NAME    redirect or tproxy alone
  --only TEXT      groups of cases whose name contains TEXT: ${Object.keys(groups).join(", ")}
  --verbose        also say what passed
`;

/** The programs of each back-end that must be there. */
const backends: readonly (readonly [BackendName, readonly string[]])[] = [
  ["nftables", ["nft"]],
  ["iptables", ["iptables", "ip6tables", "iptables-restore", "nft"]],
  ["iptables-legacy", ["iptables-legacy", "ip6tables-legacy", "iptables-legacy-restore", "nft"]],
];

const methods = ["redirect", "tproxy"] as const;

/** @returns the exit code. */
export async function captureConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: "string", default: "" },
      method: { type: "string", default: "" },
      only: { type: "string", default: "" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const wanted = backends
    .filter(([name]) => values.backend === "" || values.backend === name)
    .flatMap(([backend, programs]) => methods.map((method) => ({ backend, programs, method })))
    .filter(({ method }) => values.method === "" || values.method === method);
  const [first] = wanted;
  if (first !== undefined && wanted.length === 1) return await runHere(first, values);
  const more = ["--only", values.only, ...(values.verbose ? ["--verbose"] : [])];
  const sum = await countTogether(wanted, atATime, (one) => runApart(one, more));
  if (wanted.length === 0) console.log(`failed: nothing is called ${values.backend} ${values.method}`);
  const counted = wanted.length === 0 ? oneFailure : sum;
  console.log(formatTally(counted));
  return counted.failed === 0 ? 0 : 1;
}

/** More of them would only take the processors from each other. */
const atATime = 3;

interface Wanted {
  readonly backend: BackendName;
  /** That must be there. */
  readonly programs: readonly string[];
  readonly method: CaptureMethod;
}

/**
 * In a process of its own: each has places of its own and waits most of the time, and where commands are waited for in one process, all
 * wait for those of each.
 */
async function runApart({ backend, method }: Wanted, more: readonly string[]): Promise<Sum> {
  const program = [process.execPath, join(import.meta.dir, "..", "run.ts"), "capture"];
  const child = Bun.spawn([...program, "--backend", backend, "--method", method, ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = (): void => child.kill();
  process.on("exit", stop);
  const text = await new Response(child.stdout).text();
  const code = await child.exited;
  process.off("exit", stop);
  const counted = parseTally(text);
  console.log(
    text
      .trimEnd()
      .split("\n")
      .slice(0, counted === null ? undefined : -1)
      .join("\n"),
  );
  if (counted !== null && (code === 0) === (counted.failed === 0)) return counted;
  console.log(`failed: ${backend}, ${method}: it ended with ${child.signalCode ?? code}`);
  return addTallies(counted ?? emptyTally, oneFailure);
}

async function runHere(
  { backend, programs, method }: Wanted,
  { only, verbose }: { readonly only: string; readonly verbose: boolean },
): Promise<number> {
  cleanUpOnExit();
  const tally = new Tally(verbose);
  const directory = scratchDirectory("capture");
  const label = `${backend}, ${method}`;
  for (const [name, group] of Object.entries(groups)) {
    if (!name.includes(only)) continue;
    const missing = whyNot(programs) ?? group.whyNot?.() ?? null;
    if (missing === null)
      await runGroup(tally, join(directory, name.replaceAll(" ", "-")), {
        label,
        backend,
        method,
        name,
        group,
      });
    else for (const one of group.cases) tally.skip(`${label}: ${one}`, missing);
  }
  if (tally.count("passed") + tally.count("failed") + tally.count("skipped") === 0)
    tally.fail("capture", `nothing is called ${only}`);
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

interface Running {
  readonly label: string;
  readonly backend: BackendName;
  readonly method: CaptureMethod;
  readonly name: string;
  readonly group: Group;
}

async function runGroup(tally: Tally, directory: string, running: Running): Promise<void> {
  const { label, backend, method, name, group } = running;
  const done = new Set<string>();
  const check: Check = async (one, body) => {
    done.add(one);
    const problem = await body().then(
      () => null,
      (thrown) => (thrown instanceof Error ? thrown.message : String(thrown)),
    );
    tally.check(`${label}: ${one}`, problem);
  };
  mkdirSync(directory);
  const stage = new Stage(directory, backend, method);
  try {
    await group.run(stage, check);
  } catch (error) {
    tally.fail(`${label}: ${name}`, error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await stage.close();
  }
  for (const one of group.cases) if (!done.has(one)) tally.fail(`${label}: ${one}`, "it was not reached");
}

function whyNot(programs: readonly string[]): string | null {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const tool of [...programs, "ip", "curl", "openssl", "sysctl"])
    if (Bun.which(tool) === null) return `\`${tool}\` is not installed`;
  const listed = Bun.spawnSync(["ip", "netns", "list"]);
  return listed.exitCode === 0 ? null : `no network namespaces: ${listed.stderr.toString().trim()}`;
}
