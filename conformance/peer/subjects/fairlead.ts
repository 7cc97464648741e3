/** Ours: a real `fairlead node` process, from source or from a built binary. */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { hangMs } from "../lab/eventually.ts";
import { allowedPorts, everyPort, type Lab } from "../lab/lab.ts";
import type { Side } from "../lab/place.ts";
import { Subprocess } from "../lab/subprocess.ts";
import { repository } from "../lab/tools.ts";
import type { NodeSubject, RunningNode } from "./subject.ts";
import { accessRecord } from "./ztunnel_log.ts";

/** Beyond the two workloads and the policy that every peer is given. */
export interface FairleadExtras {
  /** Files of documents, by name, beside those of the mesh. */
  readonly files?: (lab: Lab) => Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** How long it may take to become ready; that of a hang, unless it is given more to read. */
  readonly readyMs?: number;
}

/** @param built a binary; by default the one `FAIRLEAD` names, else the source. */
export function fairleadSubject(
  built: string | undefined = process.env.FAIRLEAD,
  extras: FairleadExtras = {},
): NodeSubject {
  const command = fairleadCommand(built);
  const start = async (
    lab: Lab,
    side: Side,
    account: "cart" | "db",
    own: readonly string[],
  ): Promise<RunningNode> => {
    if ("missing" in command) throw new Error(command.missing);
    // A folder of its own: what is beside the documents is watched as well.
    const meshPath = join(lab.directory, `mesh_${account}`);
    mkdirSync(meshPath);
    const files = { "mesh.yaml": mesh(lab), ...extras.files?.(lab) };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(meshPath, name), text);
    const { authority } = lab;
    const readiness = `${side.address}:15021`;
    const process = Subprocess.start({
      name: `fairlead ${side.name}`,
      argv: side.command([
        ...command.argv,
        ...["node", "-f", meshPath, "--node", `host-${side.name}`, "--cluster-id", "c1"],
        ...["--ca-cert", authority.certPath, "--ca-key", authority.keyPath, "--ca-root", authority.certPath],
        ...[
          "--admin",
          `${side.address}:15000`,
          "--metrics",
          `${side.address}:15020`,
          "--readiness",
          readiness,
        ],
        ...(lab.crlPath === null ? [] : ["--crl", lab.crlPath]),
        ...own,
        ...(extras.flags ?? []),
      ]),
      logPath: join(lab.directory, `fairlead_${side.name}.log`),
    });
    await ready(process, side, readiness, extras.readyMs ?? hangMs);
    const dialSide = lab.place.kind === "namespaces" ? lab.place.server : lab.place.client;
    return {
      process,
      dial: (port) => `${dialSide.address}:${port}`,
      accessRecords: () => process.lines().flatMap(accessRecord),
    };
  };
  return {
    name: "fairlead",
    missing: "missing" in command ? command.missing : null,
    needsNamespaces: false,
    root: null,
    startInbound: (lab) => start(lab, lab.place.server, "db", []),
    startOutbound: (lab) => start(lab, lab.place.client, "cart", entrance(lab)),
  };
}

function fairleadCommand(
  built: string | undefined,
): { readonly argv: readonly string[] } | { readonly missing: string } {
  if (built === undefined || built === "")
    return { argv: [process.execPath, join(repository, "src/main.ts")] };
  return existsSync(built) ? { argv: [resolve(built)] } : { missing: `${built} does not exist` };
}

/** Its own capture where there is a namespace to capture in, else one local port for each of the application's. */
function entrance(lab: Lab): string[] {
  if (lab.place.kind === "namespaces") return ["--capture", "redirect"];
  const { client, server } = lab.place;
  return everyPort.flatMap((port) => ["--map", `${client.address}:${port}=${server.address}:${port}`]);
}

async function ready(process: Subprocess, side: Side, address: string, limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  const probe = side.command(["curl", "-sf", "-m", "60", `http://${address}/healthz/ready`]);
  while (Bun.spawnSync(probe).exitCode !== 0) {
    if (!process.running || performance.now() > deadline)
      throw new Error(`${process.name} did not become ready:\n${process.log()}`);
    await Bun.sleep(50);
  }
}

/** Istio's own documents: what a user would write for this mesh. */
function mesh(lab: Lab): string {
  const workload = (account: string, side: Side): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${account}
  namespace: shop
  labels:
    app: ${account}
  annotations:
    ambient.istio.io/redirection: enabled
    fairlead.dev/node: host-${side.name}
spec:
  address: ${side.address}
  serviceAccount: ${account}
`;
  return `${workload("cart", lab.place.client)}---
${workload("db", lab.place.server)}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: db-only-cart
  namespace: shop
spec:
  selector:
    matchLabels:
      app: db
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/cart"]
      to:
        - operation:
            ports: [${allowedPorts.map((port) => `"${port}"`).join(", ")}]
`;
}
