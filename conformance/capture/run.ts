/** `npm run conformance -- capture` */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { BackendName } from "../../src/host/capture/options.ts";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Tally } from "../peer/tally.ts";
import type { Check, Group } from "./group.ts";
import { addresses, firewalled, forwarded, withoutIpv6 } from "./host_cases.ts";
import { around, watched } from "./rule_cases.ts";
import { Stage } from "./stage.ts";

const groups: Readonly<Record<string, Group>> = {
  "around the tunnel": around,
  "rules watched": watched,
  firewalls: firewalled,
  "without IPv6": withoutIpv6,
  addresses,
  "forwarded ports": forwarded,
};

const usage = `usage: npm run conformance -- capture [--backend NAME] [--only TEXT] [--verbose]

What captures TCP, in network namespaces, by each program that can install the rules.

  --backend NAME   nftables, iptables or iptables-legacy alone
  --only TEXT      groups of cases whose name contains TEXT: ${Object.keys(groups).join(", ")}
  --verbose        also say what passed
`;

/** The programs of each back-end that must be there. */
const backends: readonly (readonly [BackendName, readonly string[]])[] = [
  ["nftables", ["nft"]],
  ["iptables", ["iptables", "ip6tables", "iptables-restore", "nft"]],
  ["iptables-legacy", ["iptables-legacy", "ip6tables-legacy", "iptables-legacy-restore", "nft"]],
];

/** @returns the exit code. */
export async function captureConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: "string", default: "" },
      only: { type: "string", default: "" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(values.verbose);
  const directory = scratchDirectory("capture");
  const chosen = Object.entries(groups).filter(([name]) => name.includes(values.only));
  const wanted = backends.filter(([name]) => values.backend === "" || values.backend === name);
  // Each has places of its own, and waits most of the time.
  await Promise.all(
    wanted.map(async ([backend, programs]) => {
      const missing = whyNot(programs);
      for (const [name, group] of chosen)
        if (missing === null)
          await runGroup(
            tally,
            join(directory, `${backend}-${name.replaceAll(" ", "-")}`),
            backend,
            name,
            group,
          );
        else for (const one of group.cases) tally.skip(`${backend}: ${one}`, missing);
    }),
  );
  if (tally.count("passed") + tally.count("failed") + tally.count("skipped") === 0)
    tally.fail("capture", `nothing is called ${values.backend} ${values.only}`);
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

async function runGroup(
  tally: Tally,
  directory: string,
  backend: BackendName,
  name: string,
  group: Group,
): Promise<void> {
  const done = new Set<string>();
  const check: Check = async (one, body) => {
    done.add(one);
    const problem = await body().then(
      () => null,
      (thrown) => (thrown instanceof Error ? thrown.message : String(thrown)),
    );
    tally.check(`${backend}: ${one}`, problem);
  };
  mkdirSync(directory);
  const stage = new Stage(directory, backend);
  try {
    await group.run(stage, check);
  } catch (error) {
    tally.fail(
      `${backend}: ${name}`,
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
  } finally {
    await stage.close();
  }
  for (const one of group.cases) if (!done.has(one)) tally.fail(`${backend}: ${one}`, "it was not reached");
}

function whyNot(programs: readonly string[]): string | null {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const tool of [...programs, "ip", "curl", "openssl", "sysctl"])
    if (Bun.which(tool) === null) return `\`${tool}\` is not installed`;
  const listed = Bun.spawnSync(["ip", "netns", "list"]);
  return listed.exitCode === 0 ? null : `no network namespaces: ${listed.stderr.toString().trim()}`;
}
