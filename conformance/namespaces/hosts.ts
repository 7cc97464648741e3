/**
 * Two hosts: network namespaces joined by a cable (a veth pair), with addresses of both families, a route for everything to
 * the other one, and counters of what comes in by the cable.
 */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hangMs } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { netem, type Roughness } from "./roughness.ts";

export interface Host {
  readonly name: string;
  readonly namespace: string;
  /** The argv that runs `argv` there. The program takes the place of `ip`, so its pid is the child's. */
  command(argv: readonly string[]): string[];
}

/** Packets that came over the cable, both ways together. */
export interface Crossing {
  readonly hbone: number;
  /** TCP that is not HBONE, UDP, and whatever else is neither ARP nor the neighbour discovery of IPv6. */
  readonly other: number;
}

export interface Hosts {
  readonly client: Host;
  readonly server: Host;
  crossing(): Crossing;
  /** What makes the cable rough; null for a good one. */
  readonly roughBy: "netem" | "a program between two tunnel devices" | null;
  close(): void;
}

/** Of each host, in both families; a test's workloads have one each. */
export const addresses = {
  client: ["10.78.0.1", "10.78.0.11", "10.78.0.12", "fd78::1", "fd78::11"],
  server: ["10.78.0.2", "10.78.0.21", "10.78.0.22", "fd78::2", "fd78::21"],
} as const;

const prefix = "fairlead-e2e-";
const open = new Set<Hosts>();
let opened = 0;

/** For the end of the program. */
export function closeAllHosts(): void {
  for (const hosts of open) hosts.close();
}

/** @param rough null: a cable that loses nothing. */
export function openHosts(rough: Roughness | null = null): Hosts {
  removeAbandoned();
  const id = `${prefix}${process.pid}-${opened++}`;
  const host = (name: Host["name"]): Host => ({
    name,
    namespace: `${id}-${name}`,
    command: (argv) => ["ip", "netns", "exec", `${id}-${name}`, ...ownRuntime(`${id}-${name}`), ...argv],
  });
  let carrier: Bun.Subprocess | null = null;
  let roughBy: Hosts["roughBy"] = null;
  const hosts: Hosts = {
    get roughBy() {
      return roughBy;
    },
    client: host("client"),
    server: host("server"),
    crossing() {
      const [client, server] = [readCounters(hosts.client), readCounters(hosts.server)];
      return { hbone: client.hbone + server.hbone, other: client.other + server.other };
    },
    close() {
      open.delete(hosts);
      carrier?.kill("SIGKILL");
      for (const { namespace } of [hosts.client, hosts.server]) removeNamespace(namespace);
    },
  };
  open.add(hosts);
  try {
    for (const { namespace } of [hosts.client, hosts.server]) runToEnd(["ip", "netns", "add", namespace]);
    const [one, other] = [hosts.client.namespace, hosts.server.namespace];
    if (rough === null || hasNetem(one))
      runToEnd(["ip", "link", "add", "eth0", "netns", one, "type", "veth", "peer", "eth0", "netns", other]);
    else {
      carrier = carry(one, other, rough);
      roughBy = "a program between two tunnel devices";
    }
    setUp(hosts.client, addresses.client, addresses.server);
    setUp(hosts.server, addresses.server, addresses.client);
    for (const one of [hosts.client, hosts.server]) waitForLink(one);
    if (rough !== null && roughBy === null) {
      for (const { namespace } of [hosts.client, hosts.server])
        runToEnd(["tc", "-n", namespace, "qdisc", "add", "dev", "eth0", "root", ...netem(rough)]);
      roughBy = "netem";
    }
  } catch (error) {
    hosts.close();
    throw error;
  }
  return hosts;
}

function setUp(host: Host, own: readonly string[], others: readonly string[]): void {
  const ip = ["ip", "-n", host.namespace];
  runToEnd([...ip, "link", "set", "lo", "up"]);
  for (const address of own)
    runToEnd([
      ...ip,
      "addr",
      "add",
      ...(isIpv6(address) ? [`${address}/64`, "nodad"] : [`${address}/24`]),
      "dev",
      "eth0",
    ]);
  runToEnd([...ip, "link", "set", "eth0", "up"]);
  // As every host has one; a service's address is no host's and must still have somewhere to go.
  for (const gateway of [others.find((address) => !isIpv6(address)), others.find(isIpv6)])
    if (gateway !== undefined) runToEnd([...ip, "route", "add", "default", "via", gateway]);
  for (const setting of ["net.ipv4.ip_local_port_range=10240 65000", "net.core.somaxconn=8192"])
    runToEnd(host.command(["sysctl", "-q", "-w", setting]));
  runToEnd(host.command(["nft", "-f", "-"]), { input: counterRules });
}

function hasNetem(namespace: string): boolean {
  const tc = (word: string, ...more: readonly string[]) =>
    Bun.spawnSync(["tc", "-n", namespace, "qdisc", word, "dev", "lo", "root", ...more], { stderr: "ignore" })
      .exitCode === 0;
  if (!tc("add", "netem", "delay", "1ms")) return false;
  tc("del");
  return true;
}

/** Both devices are there when it returns. */
function carry(one: string, other: string, rough: Roughness): Bun.Subprocess {
  const program = join(import.meta.dir, "rough_cable.ts");
  const child = Bun.spawn([process.execPath, program, one, other, JSON.stringify(rough)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const deadline = performance.now() + 10_000;
  const isThere = (namespace: string) =>
    Bun.spawnSync(["ip", "-n", namespace, "link", "show", "eth0"], { stdout: "ignore", stderr: "ignore" })
      .exitCode === 0;
  while (![one, other].every(isThere)) {
    if (performance.now() > deadline || child.exitCode !== null)
      throw new Error("the rough cable does not come up");
    Bun.sleepSync(20);
  }
  return child;
}

/** The kernel takes up to a second to call a link up, and until then its addresses are not listed. */
function waitForLink({ namespace }: Host): void {
  const deadline = performance.now() + hangMs;
  // A tunnel device never says UP.
  while (!runToEnd(["ip", "-n", namespace, "-o", "link", "show", "eth0"]).match(/state (?:UP|UNKNOWN)/)) {
    if (performance.now() > deadline) throw new Error(`the link of ${namespace} does not come up`);
    Bun.sleepSync(10);
  }
}

/** At the device itself, before any rule that a node installs. */
const counterRules = `table netdev cable {
  counter hbone { }
  counter other { }
  chain incoming {
    type filter hook ingress device eth0 priority 0; policy accept;
    meta protocol arp accept
    icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept
    tcp dport 15008 counter name hbone accept
    tcp sport 15008 counter name hbone accept
    counter name other
  }
}
`;

function readCounters(host: Host): Crossing {
  const text = runToEnd(host.command(["nft", "list", "counters", "table", "netdev", "cable"]));
  const packets = (name: string): number => {
    const match = new RegExp(`counter ${name} \\{\\s*packets (\\d+)`).exec(text);
    if (match === null) throw new Error(`no counter ${name} in ${text}`);
    return Number(match[1]);
  };
  return { hbone: packets("hbone"), other: packets("other") };
}

/** The two share one file system, and each has sockets of its own: where a node's administration is found by itself. */
export function ownRuntime(namespace: string): string[] {
  return ["env", "-u", "RUNTIME_DIRECTORY", `XDG_RUNTIME_DIR=${runtimeDirectory(namespace)}`];
}

function runtimeDirectory(namespace: string): string {
  const directory = join(tmpdir(), `${namespace}-runtime`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** With what its programs had in there. */
export function removeNamespace(namespace: string): void {
  Bun.spawnSync(["ip", "netns", "del", namespace]);
  rmSync(runtimeDirectory(namespace), { recursive: true, force: true });
}

/** What a run that was killed has left behind. */
function removeAbandoned(): void {
  for (const line of runToEnd(["ip", "netns", "list"]).split("\n")) {
    const [namespace = ""] = line.split(" ");
    const pid = new RegExp(`^${prefix}(\\d+)-`).exec(namespace)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNamespace(namespace);
  }
}

function isIpv6(address: string): boolean {
  return address.includes(":");
}
