/**
 * What the kernel does to the packets of a run. With root the run has a network namespace of its own, whose loopback loses packets: by netem,
 * which also delays and reorders, where the kernel has it, else by nftables, which only loses.
 */
import { existsSync } from "node:fs";

export type LossKind = "netem" | "nftables" | "none";

export interface Network {
  readonly kind: LossKind;
  /** For people: what is done to packets while it is rough, or why nothing is. */
  readonly how: string;
  rough(isRough: boolean): void;
}

/** Of a hundred packets one is lost. */
const lostOfThousand = 10;
const prefix = "fairlead-soak-";

function runs(command: readonly string[], input = ""): boolean {
  const { exitCode } = Bun.spawnSync([...command], {
    stdin: Buffer.from(input),
    stdout: "ignore",
    stderr: "ignore",
  });
  return exitCode === 0;
}

/** Why there is no namespace; null when there can be one. */
export function whyNoNamespace(): string | null {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const tool of ["ip", "nft"]) if (Bun.which(tool) === null) return `\`${tool}\` is not installed`;
  return runs(["ip", "netns", "list"]) ? null : "`ip netns` does not work here";
}

/** Runs a command in a new namespace, which is gone afterwards. @returns its exit code. */
export async function inNamespace(command: readonly string[]): Promise<number> {
  removeAbandoned();
  const name = `${prefix}${process.pid}`;
  if (!runs(["ip", "netns", "add", name])) throw new Error(`ip netns add ${name} failed`);
  const remove = () => void runs(["ip", "netns", "del", name]);
  try {
    runs(["ip", "-n", name, "link", "set", "lo", "up"]);
    const child = Bun.spawn(["ip", "netns", "exec", name, ...command], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
    return await child.exited;
  } finally {
    remove();
  }
}

function removeAbandoned(): void {
  const listed = Bun.spawnSync(["ip", "netns", "list"]).stdout.toString();
  for (const [name, pid] of listed.matchAll(new RegExp(`${prefix}(\\d+)`, "g")))
    if (!existsSync(`/proc/${pid}`)) runs(["ip", "netns", "del", name]);
}

const lossRules = `table inet fairlead_soak {
  chain incoming {
    type filter hook input priority 0; policy accept;
    iifname "lo" meta l4proto tcp numgen random mod 1000 < ${lostOfThousand} drop
  }
}
`;

/** The one of this process. */
export function network(whyNot: string | null): Network {
  const made = makeNetwork(whyNot);
  let isRoughNow = false;
  const rough = (isRough: boolean) => {
    if (isRough === isRoughNow) return;
    isRoughNow = isRough;
    made.rough(isRough);
  };
  return { ...made, rough };
}

function makeNetwork(whyNot: string | null): Network {
  if (whyNot !== null) return { kind: "none", how: `no packet is lost: ${whyNot}`, rough: () => {} };
  const netem = ["netem", "loss", "1%", "delay", "4ms", "3ms", "25%", "reorder", "90%", "50%"];
  if (runs(["tc", "qdisc", "add", "dev", "lo", "root", ...netem])) {
    runs(["tc", "qdisc", "del", "dev", "lo", "root"]);
    return {
      kind: "netem",
      how: `tc ${netem.join(" ")} on the loopback of a namespace`,
      rough: (isRough) =>
        void runs([
          "tc",
          "qdisc",
          isRough ? "replace" : "del",
          "dev",
          "lo",
          "root",
          ...(isRough ? netem : []),
        ]),
    };
  }
  return {
    kind: "nftables",
    how: "this kernel has no netem: nftables drops 1 % of the TCP packets on the loopback of a namespace; none is delayed or reordered",
    rough: (isRough) => {
      const done = isRough
        ? runs(["nft", "-f", "-"], lossRules)
        : runs(["nft", "delete", "table", "inet", "fairlead_soak"]);
      if (!done) throw new Error("nft did not take the rule that drops packets");
    },
  };
}
