/**
 * Five hosts on network namespaces of their own: a VM whose workload is captured, a peer of the mesh, a host outside of the mesh, a container
 * behind a bridge of the VM, and the switch that joins the first three.
 */
import { existsSync } from "node:fs";
import { type Host, ownRuntime, removeNamespace } from "../namespaces/hosts.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";

export const vm = { ip: "10.77.0.2", ip6: "fd77::2", bridge: "172.30.0.1" } as const;
export const peer = { ip: "10.77.0.3", ip6: "fd77::3" } as const;
export const outside = { ip: "10.77.0.4", ip6: "fd77::4" } as const;
export const container = { ip: "172.30.0.2" } as const;
/** A service that nothing has the address of. */
export const service = "10.99.0.10";

const prefix = "fairlead-cap-";
const names = ["vm", "peer", "outside", "container", "switch"] as const;
type Name = (typeof names)[number];
const open = new Set<Place>();
let opened = 0;

process.on("exit", () => {
  for (const place of open) place.close();
});

export class Place {
  readonly #id: string;
  readonly vm: Host;
  readonly peer: Host;
  readonly outside: Host;
  readonly container: Host;

  constructor() {
    removeAbandoned();
    this.#id = `${prefix}${process.pid}-${opened++}`;
    open.add(this);
    const host = (name: Name): Host => ({
      name,
      namespace: `${this.#id}-${name}`,
      command: (argv) => [
        ...["ip", "netns", "exec", `${this.#id}-${name}`, ...ownRuntime(`${this.#id}-${name}`)],
        ...argv,
      ],
    });
    this.vm = host("vm");
    this.peer = host("peer");
    this.outside = host("outside");
    this.container = host("container");
    const hub = host("switch");
    for (const { namespace } of [this.vm, this.peer, this.outside, this.container, hub]) {
      runToEnd(["ip", "netns", "add", namespace]);
      runToEnd(["ip", "-n", namespace, "link", "set", "lo", "up"]);
    }
    const on = (where: Host, ...words: readonly string[]) =>
      runToEnd(["ip", "-n", where.namespace, ...words]);
    on(hub, "link", "add", "br0", "type", "bridge");
    on(hub, "link", "set", "br0", "up");
    for (const [where, { ip, ip6 }] of [
      [this.vm, vm],
      [this.peer, peer],
      [this.outside, outside],
    ] as const) {
      const port = `p-${where.name}`;
      on(where, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", hub.namespace);
      on(hub, "link", "set", port, "master", "br0", "up");
      on(where, "addr", "add", `${ip}/24`, "dev", "eth0");
      on(where, "addr", "add", `${ip6}/64`, "dev", "eth0", "nodad");
      on(where, "link", "set", "eth0", "up");
    }
    on(this.vm, "link", "add", "docker0", "type", "bridge");
    on(this.vm, "addr", "add", `${vm.bridge}/24`, "dev", "docker0");
    on(this.vm, "link", "set", "docker0", "up");
    on(
      this.container,
      "link",
      "add",
      "eth0",
      "type",
      "veth",
      "peer",
      "name",
      "vctr",
      "netns",
      this.vm.namespace,
    );
    on(this.vm, "link", "set", "vctr", "master", "docker0", "up");
    on(this.container, "addr", "add", `${container.ip}/24`, "dev", "eth0");
    on(this.container, "link", "set", "eth0", "up");
    on(this.container, "route", "add", "default", "via", vm.bridge);
    runToEnd(this.vm.command(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]));
    // A service's address has to be routable somewhere.
    for (const where of [this.vm, this.peer]) on(where, "route", "add", "10.99.0.0/16", "via", outside.ip);
    // What raw packets call forth would be answered by the sender's own kernel.
    runToEnd(this.outside.command(["nft", "-f", "-"]), { input: silentSender });
  }

  close(): void {
    open.delete(this);
    for (const name of names) removeNamespace(`${this.#id}-${name}`);
  }
}

/** Source ports of raw packets; a connection of a real socket uses others. */
const silentSender = `table inet silent {
  chain output {
    type filter hook output priority 0; policy accept;
    tcp sport 40000-40999 tcp flags & rst == rst drop
  }
}
`;

function removeAbandoned(): void {
  for (const line of runToEnd(["ip", "netns", "list"]).split("\n")) {
    const [namespace = ""] = line.split(" ");
    const pid = new RegExp(`^${prefix}(\\d+)-`).exec(namespace)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNamespace(namespace);
  }
}
