/** What of this host the rules depend on: whether it has IPv6, which ports are listened on, where its containers are. */
import { hostLimits } from "../../base/limits/host.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Files, Host } from "../host.ts";
import { attempt } from "./backends.ts";
import { findCgroups } from "./cgroups.ts";
import { distinct, type HostFacts } from "./options.ts";

/** What the rules follow while a node runs. */
export type HostNetworks = Pick<HostFacts, "ipv6" | "containerBridges">;

/** @param cgroups that are asked about. @throws MeshError `unsupported` where there are some and this host has no version 2 of them. */
export async function readHostFacts(host: Host, cgroups: readonly string[]): Promise<HostFacts> {
  const [networks, listenedPorts, found] = await Promise.all([
    readHostNetworks(host.files),
    findListenedPorts(host),
    findCgroups(host.files, cgroups),
  ]);
  return { ...networks, listenedPorts, cgroups: found };
}

/** For each look while a node runs: it costs the same however many connections this host has. */
export async function readHostNetworks(files: Files): Promise<HostNetworks> {
  const [ipv6, containerBridges] = await Promise.all([hasIpv6(files), findContainerBridges(files)]);
  return { ipv6, containerBridges };
}

/** The file is missing without the module, and empty where the sysctl `disable_ipv6` is set. */
async function hasIpv6(files: Files): Promise<boolean> {
  return (await readOr(files, "/proc/net/if_inet6", "")).trim() !== "";
}

/**
 * By the names that container and VM managers give them: Docker, Podman, LXC, LXD, Incus, libvirt, CNI. A bridge of another name may be
 * the host's way out (`br0` with a network card in it), so it is captured until it is excluded by hand.
 */
const containerBridge =
  /^(docker0|docker_gwbridge|br-[0-9a-f]{12}|podman\d+|cni-podman\d+|cni\d+|lxcbr\d+|lxdbr\d+|incusbr\d+|virbr\d+)$/;

async function findContainerBridges(files: Files): Promise<readonly string[]> {
  const names = ((await files.list("/sys/class/net")) ?? []).map(({ path }) => path.split("/").at(-1) ?? "");
  // /sys shows the network namespace that it was mounted in; /proc/net shows the process's own.
  const own = (await readOr(files, "/proc/net/dev", ""))
    .split("\n")
    .flatMap((line) => (line.includes(":") ? [line.slice(0, line.indexOf(":")).trim()] : []));
  return [...new Set([...names.filter((name) => own.includes(name)), ...own])]
    .filter((name) => containerBridge.test(name))
    .sort()
    .slice(0, hostLimits.captureBridges);
}

/** Addresses of container bridges: what is not captured on them needs no word about workloads. */
export async function addressesOfBridges(host: Host): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const name of await findContainerBridges(host.files)) {
    const ran = await attempt(host, "ip", ["-o", "addr", "show", "dev", name]);
    for (const [, ip = ""] of ran?.output.matchAll(/ inet6? ([0-9a-f.:]+)\//g) ?? []) found.add(ip);
  }
  return found;
}

/** The state of a listening socket in /proc/net/tcp (net/tcp_states.h). */
const listening = "0A";

/** The kernel's table has a line for each connection of this host, whoever's it is, so it is read in slices. */
async function findListenedPorts({
  files,
  clock,
}: Pick<Host, "files" | "clock">): Promise<readonly number[]> {
  const tables = await Promise.all(["tcp", "tcp6"].map((name) => readOr(files, `/proc/net/${name}`, "")));
  const slice = new TimeSlice(clock);
  const ports: number[] = [];
  for (const table of tables) ports.push(...(await slice.run(listenedPortsOf(table))));
  return distinct(ports);
}

/** Lines of the kernel's table that are read in one step. */
const linesAtOnce = 256;

/**
 * @param table /proc/net/tcp or tcp6, whose addresses are hexadecimal words in host order.
 * @returns the port of each listener, but for those on loopback.
 */
export function* listenedPortsOf(table: string): Generator<void, readonly number[]> {
  const ports: number[] = [];
  let from = 0;
  for (let line = 1; from < table.length; line++) {
    const newline = table.indexOf("\n", from);
    const to = newline < 0 ? table.length : newline;
    const [, local = "", , state] = table.slice(from, to).trim().split(/\s+/, 4);
    const [address = "", port = ""] = local.split(":");
    if (state === listening && !isLoopback(address)) ports.push(Number.parseInt(port, 16));
    from = to + 1;
    if (line % linesAtOnce === 0) yield;
  }
  return ports;
}

function isLoopback(words: string): boolean {
  if (words.length === 8) return words.endsWith("7F");
  return words === "00000000000000000000000001000000" || /^0{16}FFFF0000.{6}7F$/.test(words);
}

async function readOr(files: Files, path: string, otherwise: string): Promise<string> {
  try {
    return await files.readText(path);
  } catch {
    return otherwise;
  }
}
