/** Where the two sides of a mesh connection live: two network namespaces joined by a veth pair, or two loopback addresses. */
import { existsSync } from "node:fs";
import { runToEnd } from "./subprocess.ts";

export interface Side {
  readonly name: "client" | "server";
  readonly address: string;
  /** The argv that runs `argv` on this side. */
  command(argv: readonly string[]): string[];
}

export interface Place {
  readonly kind: "namespaces" | "loopback";
  readonly client: Side;
  readonly server: Side;
  /** On the client's side, TCP to the server's `ports` goes to the local `toPort` instead. Namespaces only. */
  capture(ports: readonly number[], toPort: number): void;
  close(): void;
}

const open = new Set<Place>();
let opened = 0;

/** For signal handlers: no namespace is left behind. */
export function closeAllPlaces(): void {
  for (const place of open) place.close();
}

/** @returns null when namespaces can be made here, else the reason. */
export function namespacesUnavailable(): string | null {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const tool of ["ip", "nft"]) if (Bun.which(tool) === null) return `\`${tool}\` is not installed`;
  return null;
}

/** A run that was killed outright left its namespaces behind: ours by name, its process gone, no process inside. */
function sweepNamespaces(): void {
  for (const line of runToEnd(["ip", "netns", "list"]).split("\n")) {
    const [name = ""] = line.split(" ");
    const owner = /^fl[cs]_(\d+)_\d+$/.exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    if (runToEnd(["ip", "netns", "pids", name]).trim() === "") Bun.spawnSync(["ip", "netns", "del", name]);
  }
}

export function openNamespaces(): Place {
  if (opened === 0) sweepNamespaces();
  const id = `${process.pid}_${opened++}`;
  const names = { client: `flc_${id}`, server: `fls_${id}` };
  const side = (name: Side["name"], address: string): Side => ({
    name,
    address,
    command: (argv) => ["ip", "netns", "exec", names[name], ...argv],
  });
  const place: Place = {
    kind: "namespaces",
    client: side("client", "10.77.0.1"),
    server: side("server", "10.77.0.2"),
    capture(ports, toPort) {
      const rules = `table ip fairlead_lab {
        chain output {
          type nat hook output priority -100; policy accept;
          ip daddr 10.77.0.2 tcp dport { ${ports.join(", ")} } redirect to :${toPort}
        }
      }\n`;
      runToEnd(place.client.command(["nft", "-f", "-"]), { input: rules });
    },
    close() {
      open.delete(place);
      for (const name of Object.values(names)) Bun.spawnSync(["ip", "netns", "del", name]);
    },
  };
  open.add(place);
  try {
    makeNamespaces(place, names);
  } catch (error) {
    place.close();
    throw error;
  }
  return place;
}

function makeNamespaces(place: Place, names: { client: string; server: string }): void {
  for (const name of Object.values(names)) runToEnd(["ip", "netns", "add", name]);
  runToEnd([
    "ip",
    "link",
    "add",
    "eth0",
    "netns",
    names.client,
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "netns",
    names.server,
  ]);
  for (const side of [place.client, place.server]) {
    const name = names[side.name];
    runToEnd(["ip", "-n", name, "addr", "add", `${side.address}/24`, "dev", "eth0"]);
    for (const device of ["lo", "eth0"]) runToEnd(["ip", "-n", name, "link", "set", device, "up"]);
    // Thousands of short connections a second must not run out of ports, nor pile up against a small backlog.
    const settings = [
      "net.ipv4.ip_local_port_range=1024 65535",
      "net.ipv4.tcp_tw_reuse=1",
      "net.core.somaxconn=8192",
    ];
    for (const setting of settings) runToEnd(side.command(["sysctl", "-q", "-w", setting]));
    useCubic(name, side.address);
  }
}

/**
 * A machine's own default congestion control must not colour the result (BBR paces with timers, which costs a tunnel dearly), and
 * a namespace may not change it by sysctl. A route may name one: Linux's usual cubic, to the other side and to oneself.
 */
function useCubic(namespace: string, address: string): void {
  const route = ["ip", "-n", namespace, "route", "replace"];
  runToEnd([...route, "10.77.0.0/24", "dev", "eth0", "src", address, "congctl", "cubic"]);
  runToEnd([...route, "local", address, "dev", "lo", "table", "local", "src", address, "congctl", "cubic"]);
}

/** Without root: two addresses of 127/8. There is no capture; outbound nodes are reached by a mapped port or SOCKS5. */
export function openLoopback(): Place {
  const side = (name: Side["name"], address: string): Side => ({
    name,
    address,
    command: (argv) => [...argv],
  });
  return {
    kind: "loopback",
    client: side("client", "127.77.0.1"),
    server: side("server", "127.77.0.2"),
    capture() {
      throw new Error("loopback has no capture");
    },
    close() {},
  };
}
