/** Two network namespaces joined by a veth pair, for tests of what only root may do. */
import { spawnSync } from "node:child_process";

export const canMakeNamespaces =
  process.platform === "linux" && process.getuid?.() === 0 && run(["ip", "netns", "list"]).exitCode === 0;

export interface Namespaces {
  /** Holds 10.77.`n`.1 and fd77:`n`::1. */
  readonly inside: string;
  /** Holds 10.77.`n`.2 and fd77:`n`::2. */
  readonly outside: string;
  /** A command line that runs `command` in one of them. */
  within(name: string, command: readonly string[]): string[];
  close(): void;
}

/** @param n tells concurrent tests apart, 0 to 255. */
export function makeNamespaces(n: number): Namespaces {
  const [inside, outside] = [`fairlead-in-${n}`, `fairlead-out-${n}`];
  const remove = () => {
    for (const name of [inside, outside]) run(["ip", "netns", "del", name]);
  };
  remove();
  const within = (name: string, command: readonly string[]) => ["ip", "netns", "exec", name, ...command];
  const must = (command: readonly string[]) => {
    const { exitCode, output } = run(command);
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${output}`);
  };
  for (const name of [inside, outside]) {
    must(["ip", "netns", "add", name]);
    must(within(name, ["ip", "link", "set", "lo", "up"]));
  }
  must([
    "ip",
    "link",
    "add",
    "veth-in",
    "netns",
    inside,
    "type",
    "veth",
    "peer",
    "name",
    "veth-out",
    "netns",
    outside,
  ]);
  for (const [name, device, last] of [
    [inside, "veth-in", 1],
    [outside, "veth-out", 2],
  ] as const) {
    must(within(name, ["ip", "addr", "add", `10.77.${n}.${last}/24`, "dev", device]));
    must(within(name, ["ip", "-6", "addr", "add", `fd77:${n}::${last}/64`, "dev", device, "nodad"]));
    must(within(name, ["ip", "link", "set", device, "up"]));
  }
  // As every host has one: a reply is routed before netfilter may send it another way.
  must(within(inside, ["ip", "route", "add", "default", "via", `10.77.${n}.2`]));
  must(within(inside, ["ip", "-6", "route", "add", "default", "via", `fd77:${n}::2`]));
  return { inside, outside, within, close: remove };
}

export function run(command: readonly string[]): { readonly exitCode: number; readonly output: string } {
  const [program = "", ...args] = command;
  const result = spawnSync(program, args, { encoding: "utf8", timeout: 20_000 });
  return { exitCode: result.status ?? -1, output: `${result.stdout ?? ""}${result.stderr ?? ""}` };
}
