/** A host of a mesh on which programs are run by `fairlead run`, and what another program of it could notice. */
import { readdirSync } from "node:fs";
import { workload } from "../namespaces/documents.ts";
import { fromSource } from "../namespaces/node_process.ts";
import type { Subprocess } from "../peer/lab/subprocess.ts";
import type { World } from "./world.ts";

function service(name: string, app: string, port: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop]
  ports: [{number: 80, name: http, protocol: TCP, targetPort: ${port}}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: ${app}}}
---
`;
}

export const documents = [
  workload("reports", "10.78.0.11"),
  workload("api-1", "10.78.0.12", "api"),
  workload("db", "10.78.0.21"),
  service("backend", "db", 8080),
  service("api", "api-1", 9000),
].join("");

/** Ages; the kernel's look whether another host has an address, which ends when it ends. */
const changesByItself = / valid_lft.*| preferred_lft.*| tentative/g;

/** Namespaces of whatever else runs on this machine. */
const ofOthers = new RegExp(`^/run/netns/(?!fairlead-e2e-${process.pid}-)\\S+\n`, "gm");

export class RunLab {
  readonly world: World;
  readonly directory: string;

  constructor(world: World, directory: string) {
    this.world = world;
    this.directory = directory;
  }

  words(
    as: string,
    command: readonly string[],
    more: readonly string[] = [],
    fairlead: readonly string[] = fromSource,
  ): string[] {
    const { certPath, keyPath } = this.world.lab.authority;
    return [
      ...fairlead,
      ...["run", "-f", this.world.lab.meshPath, "--as", as],
      ...["--ca-cert", certPath, "--ca-key", keyPath, "--ca-root", certPath],
      ...more,
      "--",
      ...command,
    ];
  }

  run(as: string, command: readonly string[], more: readonly string[] = []) {
    return this.world.run(...this.words(as, command, more));
  }

  start(name: string, as: string, command: readonly string[], more: readonly string[] = []): Subprocess {
    return this.world.start(
      name,
      this.world.inside(this.world.lab.hosts.client.command(this.words(as, command, more))),
    );
  }

  /** What another program of the host could notice. */
  traces(): string {
    const { world } = this;
    const shown = (...argv: readonly string[]) => world.run(...argv).out;
    return [
      shown("nft", "-s", "list", "ruleset"),
      ...["addr", "rule", "route", "link"].flatMap((what) => [
        shown("ip", what, "show").replace(changesByItself, ""),
        shown("ip", "-6", what, "show").replace(changesByItself, ""),
      ]),
      shown("sh", "-c", "cut -d' ' -f5 /proc/self/mountinfo | sort").replace(ofOthers, ""),
      shown("sh", "-c", "sysctl -a 2>/dev/null | grep -E 'forward|rp_filter|route_localnet'"),
      readdirSync(world.etc).sort().join(" "),
      world.resolvConf,
    ].join("\n");
  }

  /** Processes of the host's network, and of all that its processes have started. */
  isRunning(marker: string): boolean {
    const { stdout } = Bun.spawnSync(["pgrep", "-f", marker]);
    return stdout.toString().trim() !== "";
  }
}
