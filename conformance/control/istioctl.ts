/**
 * A real istioctl (ISTIOCTL=path) reads what a node of ours says of itself: `ztunnel-config` with the answer of the administration port in
 * a file, which is how it is used where there is no Kubernetes to forward a port. Every word it shows comes from our JSON by its own types.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onlyFrom, service, workload } from "../namespaces/documents.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { Tally } from "../peer/tally.ts";
import { fairleadArgv } from "./control_process.ts";
import { freePort } from "./free_port.ts";
import { until } from "./workload_api/identity_socket.ts";

const [cart, db] = ["127.0.0.61", "127.0.0.62"];
const ports = {
  vip: 5432,
  application: freePort(),
  mapped: freePort(),
  admin: freePort(),
  readiness: freePort(),
};
const documents = [
  workload("cart", cart),
  workload("db", db),
  service("db", "127.0.1.62", ports.vip, ports.application),
  onlyFrom("db", "cart"),
].join("");

/** What is asked, and rows of the answer, each as words that one line of it has in this order. */
const tables: readonly (readonly [what: string, rows: readonly (readonly string[])[]])[] = [
  [
    "workload",
    [
      ["NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"],
      ["shop", "cart", cart, "None", "HBONE"],
      ["shop", "db", db, "None", "HBONE"],
    ],
  ],
  [
    "service",
    [
      ["NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS"],
      ["shop", "db", "127.0.1.62", "None", "1/1"],
    ],
  ],
  [
    "policy",
    [
      ["NAMESPACE", "POLICY NAME", "ACTION", "SCOPE"],
      ["shop", "db-callers", "Allow", "WorkloadSelector"],
    ],
  ],
  [
    "certificate",
    [
      ["CERTIFICATE NAME", "TYPE", "STATUS", "VALID CERT"],
      ["spiffe://cluster.local/ns/shop/sa/db", "Leaf", "Available", "true"],
      ["spiffe://cluster.local/ns/shop/sa/db", "Root", "Available", "true"],
    ],
  ],
  [
    "connections",
    [
      ["WORKLOAD", "DIRECTION", "LOCAL", "REMOTE", "REMOTE TARGET", "PROTOCOL"],
      ["cart.shop", "Outbound", "db.shop", "db.shop", "HBONE"],
      ["db.shop", "Inbound", "db.shop", "HBONE"],
    ],
  ],
];

/** @param directory of the whole run. */
export async function istioctlSuite(tally: Tally, directory: string): Promise<void> {
  const { ISTIOCTL: istioctl = "" } = process.env;
  if (istioctl === "") {
    tally.skip("istioctl", "ISTIOCTL names no istioctl");
    return;
  }
  const scratch = join(directory, "istioctl");
  mkdirSync(scratch, { recursive: true });
  const mesh = join(scratch, "mesh.yaml");
  writeFileSync(mesh, documents);
  const application = Bun.listen({
    hostname: db,
    port: ports.application,
    socket: { open: (socket) => void socket.write("hello"), data() {} },
  });
  const node = startNode(mesh, scratch);
  try {
    let said = "";
    await until(
      () =>
        fetch(`http://127.0.0.1:${ports.readiness}/healthz/ready`).then(
          ({ ok }) => ok,
          () => false,
        ),
      "the node",
    );
    // A connection that is open while the node is asked.
    const client = await Bun.connect({
      hostname: cart,
      port: ports.mapped,
      socket: {
        data: (_socket, piece) => {
          said += piece.toString();
        },
      },
    });
    await until(() => said === "hello", "the application's word");
    const dump = join(scratch, "config_dump.json");
    writeFileSync(dump, await (await fetch(`http://127.0.0.1:${ports.admin}/config_dump`)).text());
    for (const [what, rows] of tables)
      tally.check(`istioctl: ${what}`, missingRow(istioctl, what, dump, rows));
    tally.check(
      "istioctl: all",
      missingRow(
        istioctl,
        "all",
        dump,
        tables.slice(0, 4).flatMap(([, rows]) => rows.slice(1)),
      ),
    );
    tally.check("istioctl: all, as JSON again", differentJson(istioctl, dump));
    client.end();
  } finally {
    await node.stop();
    application.stop(true);
  }
}

function startNode(mesh: string, scratch: string): Subprocess {
  const flags = ["--hbone-port", "--outbound-port", "--inbound-plaintext-port"];
  return Subprocess.start({
    name: "fairlead up",
    argv: [
      ...fairleadArgv(),
      ...["up", "-f", mesh, "--state-directory", scratch, "--workload", "shop/cart", "--workload", "shop/db"],
      ...["--map", `${cart}:${ports.mapped}=db.shop.mesh:${ports.vip}@shop/cart`],
      ...["--admin", `127.0.0.1:${ports.admin}`, "--metrics", "off"],
      ...["--readiness", `127.0.0.1:${ports.readiness}`],
      ...flags.flatMap((flag) => [flag, String(freePort())]),
    ],
    logPath: join(scratch, "node.log"),
  });
}

function ask(istioctl: string, what: string, dump: string, ...more: readonly string[]): string {
  // No cluster is asked: without this it looks for one.
  const environment = { ...process.env, KUBECONFIG: "/dev/null" };
  const asked = Bun.spawnSync([istioctl, "ztunnel-config", what, "--file", dump, ...more], {
    env: environment,
  });
  return asked.exitCode === 0
    ? asked.stdout.toString()
    : `exit code ${asked.exitCode}: ${asked.stderr.toString()}`;
}

function missingRow(
  istioctl: string,
  what: string,
  dump: string,
  rows: readonly (readonly string[])[],
): string | null {
  const told = ask(istioctl, what, dump);
  const lines = told.split("\n");
  const missing = rows.find((words) => !lines.some((line) => isInOrder(line, words)));
  return missing === undefined ? null : `no line has ${missing.join(", ")}:\n${told}`;
}

function isInOrder(line: string, words: readonly string[]): boolean {
  let at = 0;
  for (const word of words) {
    at = line.indexOf(word, at);
    if (at === -1) return false;
    at += word.length;
  }
  return true;
}

/** It reads our JSON into its own types and writes those: what it does not know, or knows by another name, is not in it. */
function differentJson(istioctl: string, dump: string): string | null {
  const told = ask(istioctl, "all", dump, "-o", "json");
  if (!told.startsWith("{")) return told;
  const read = JSON.parse(told) as Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
  const named = (key: string) => read[key]?.find(({ name }) => name === "db");
  const found = {
    workload: [
      named("workloads")?.serviceAccount,
      named("workloads")?.trustDomain,
      named("workloads")?.workloadIps,
    ],
    service: [named("services")?.hostname, named("services")?.ports],
    policy: read.policies?.map(({ action, rules }) => [action, rules]),
  };
  const principals = [{ Exact: "cluster.local/ns/shop/sa/cart" }];
  const wanted = {
    workload: ["db", "cluster.local", [db]],
    service: ["db.shop.mesh", { [ports.vip]: ports.application }],
    policy: [["Allow", [[[{ principals }]]]]],
  };
  return Bun.deepEquals(found, wanted)
    ? null
    : `${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`;
}
