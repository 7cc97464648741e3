/**
 * A waypoint of ours between a node of ours and a real ztunnel, each in a network namespace of its own, with one control plane: `shop/cart`
 * and the waypoint on one side, `shop/db` behind the ztunnel on the other. With another node of ours in the ztunnel's place the same calls
 * can be tried where there is none.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ControlProcess, fairleadArgv } from "../../control/control_process.ts";
import { hangMs } from "../../peer/lab/eventually.ts";
import { openNamespaces, type Place, type Side } from "../../peer/lab/place.ts";
import { runToEnd, Subprocess } from "../../peer/lab/subprocess.ts";
import { repository } from "../../peer/lab/tools.ts";

const controlIp = "10.77.0.9";
export const waypointIp = "10.77.0.8";
const appPort = 8080;
const vips = { web: "10.77.0.200", store: "10.77.0.201" } as const;

export interface Answer {
  /** 0: the connection failed. */
  readonly status: number;
  /** Of the application that answered. */
  readonly name: string | null;
}

export class ZtunnelStage {
  readonly place: Place;
  readonly control: ControlProcess;
  readonly #directory: string;
  readonly #ztunnel: string | null;
  readonly #python: string;
  readonly #processes = new Map<string, Subprocess>();

  private constructor(
    place: Place,
    control: ControlProcess,
    directory: string,
    ztunnel: string | null,
    python: string,
  ) {
    this.place = place;
    this.control = control;
    this.#directory = directory;
    this.#ztunnel = ztunnel;
    this.#python = python;
  }

  /** @param ztunnel null: a node of ours in its place. */
  static async open(directory: string, ztunnel: string | null, python: string): Promise<ZtunnelStage> {
    mkdirSync(directory, { recursive: true });
    const place = openNamespaces();
    for (const ip of [controlIp, waypointIp])
      runToEnd(place.client.command(["ip", "addr", "add", `${ip}/24`, "dev", "eth0"]));
    const control = await ControlProcess.start({
      directory: join(directory, "control"),
      ip: controlIp,
      port: 15012,
      place: (argv) => place.client.command(argv),
    });
    const stage = new ZtunnelStage(place, control, directory, ztunnel, python);
    try {
      await control.apply(mesh(place, false, ztunnel !== null));
      await stage.#app(place.client, "cart");
      await stage.#app(place.server, "db");
      const { client } = place;
      await stage.#node(client, "waypoint", waypointIp, ["--waypoint", "shop/waypoint"]);
      await stage.#node(client, "cart", client.address, [
        ...["--map", `${client.address}:18080=store.shop.mesh:80@shop/cart`],
        ...["--map", `${client.address}:18081=${place.server.address}:${appPort}@shop/cart`],
      ]);
      await stage.#other();
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((each) => each.stop()));
    await this.control.stop();
    this.place.close();
  }

  /** The workload db is bound to the waypoint, too. */
  bindWorkload(): Promise<void> {
    return this.control.apply(mesh(this.place, true, this.#ztunnel !== null));
  }

  /** @param to a service by its address, or db by its own. */
  async ask(
    from: "cart" | "db",
    to: "web" | "store" | "db itself",
    ...flags: readonly string[]
  ): Promise<Answer> {
    const { client, server } = this.place;
    const side = from === "cart" ? client : server;
    const url =
      from === "cart"
        ? `http://${client.address}:${to === "store" ? 18080 : 18081}/a`
        : this.#ztunnel === null
          ? `http://${server.address}:18080/a`
          : `http://${vips.web}/a`;
    const child = Bun.spawn(side.command(["curl", "-s", "-m", "10", "-w", "\n%{http_code}", ...flags, url]), {
      stdout: "pipe",
      stderr: "ignore",
    });
    const text = await new Response(child.stdout).text();
    await child.exited;
    const [body = "", ...rest] = text.split("\n").reverse().slice(1).reverse();
    const status = Number(text.slice(text.lastIndexOf("\n") + 1));
    return { status, name: body.startsWith("{") && rest.length === 0 ? JSON.parse(body).name : null };
  }

  /** What the waypoint has on record of requests. */
  requests(): readonly Readonly<Record<string, unknown>>[] {
    return (this.#processes.get("waypoint")?.lines() ?? []).flatMap((line) =>
      line.includes('"request complete"') ? [JSON.parse(line)] : [],
    );
  }

  /** Lines of the access log of whoever runs db. */
  lines(of: "cart" | "db"): readonly string[] {
    return this.#processes.get(of)?.lines() ?? [];
  }

  #spawn(
    name: string,
    side: Side,
    argv: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Subprocess {
    const logPath = join(this.#directory, `${name}.log`);
    const process = Subprocess.start({ name, argv: side.command(argv), logPath, env });
    this.#processes.set(name, process);
    return process;
  }

  async #app(side: Side, name: string): Promise<void> {
    const script = join(repository, "conformance/waypoint/ztunnel/http_app.py");
    const app = this.#spawn(`app_${name}`, side, [this.#python, script, side.address, `${appPort}`, name]);
    await app.waitForLine((line) => line === "serving", hangMs);
  }

  async #node(side: Side, name: string, ip: string, flags: readonly string[]): Promise<void> {
    const words = await this.control.joinWords("--workload", `shop/${name}`);
    const node = this.#spawn(name, side, [
      ...[...fairleadArgv(), ...words, "--state-directory", join(this.#directory, name)],
      ...["--join-address", ip, "--log-format", "json", "--admin", "off", "--admin-socket", "off"],
      ...["--metrics", "off", "--readiness", `${ip}:15021`, ...flags],
    ]);
    const url = `http://${ip}:15021/healthz/ready`;
    const deadline = performance.now() + hangMs;
    while (Bun.spawnSync(side.command(["curl", "-sf", "-m", "2", url])).exitCode !== 0) {
      if (!node.running || performance.now() > deadline)
        throw new Error(`${name} did not become ready:\n${node.log().slice(-3000)}`);
      await Bun.sleep(50);
    }
  }

  async #other(): Promise<void> {
    const { server } = this.place;
    if (this.#ztunnel === null) {
      await this.#node(server, "db", server.address, [
        ...["--map", `${server.address}:18080=web.shop.mesh:80@shop/db`],
      ]);
      return;
    }
    const rules = `table ip fairlead_waypoint {
      chain output {
        type nat hook output priority -100; policy accept;
        ip daddr ${vips.web} tcp dport 80 redirect to :15001
      }
      chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        ip daddr ${server.address} tcp dport ${appPort} redirect to :15006
      }
    }\n`;
    runToEnd(server.command(["nft", "-f", "-"]), { input: rules });
    const at = (name: string): string => join(this.#directory, name);
    writeFileSync(at("root.pem"), await this.control.must("ca", "export-root"));
    writeFileSync(at("token"), await this.control.token("shop:db"));
    const { url } = this.control;
    // Beside what ztunnel needs outside Kubernetes (its `src/config.rs`).
    const ztunnel = this.#spawn("db", server, [this.#ztunnel], {
      ...{ XDS_ADDRESS: url, CA_ADDRESS: url, XDS_ROOT_CA: at("root.pem"), CA_ROOT_CA: at("root.pem") },
      ...{ AUTH_TOKEN: at("token"), PROXY_MODE: "dedicated", PROXY_WORKLOAD_INFO: "shop/db/db" },
      ...{ NODE_NAME: "host-b", POD_NAME: "db", POD_NAMESPACE: "shop", INSTANCE_IP: server.address },
      ...{ ENABLE_ORIG_SRC: "false", ISTIO_META_DNS_CAPTURE: "false", RUST_LOG: "info" },
    });
    await ztunnel.waitForLine((line) => line.includes("marking server ready"), hangMs);
  }
}

/** @param isOfNode db is on the node that the ztunnel says it is; one of ours joins for the workload itself. */
function mesh({ client, server }: Place, isWorkloadBound: boolean, isOfNode: boolean): string {
  const workload = (name: string, ip: string, labels = "", node = "") => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop, labels: {app: ${name}${labels}}, annotations: {ambient.istio.io/redirection: enabled${node}}}
spec: {address: ${ip}, serviceAccount: ${name}}
---
`;
  const service = (name: keyof typeof vips, app: string) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [${name}.shop.mesh]
  addresses: [${vips[name]}]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${appPort}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${app}}}
---
`;
  const denyPosts = (name: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}-no-posts, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ${name}}]
  action: DENY
  rules: [{to: [{operation: {methods: [POST]}}]}]
---
`;
  return (
    workload("cart", client.address) +
    workload(
      "db",
      server.address,
      isWorkloadBound ? ", istio.io/use-waypoint: waypoint" : "",
      isOfNode ? ", fairlead.dev/node: host-b" : "",
    ) +
    workload("waypoint", waypointIp, ", istio.io/waypoint-for: all") +
    service("web", "cart") +
    service("store", "db") +
    denyPosts("web") +
    denyPosts("store") +
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db-takes-the-waypoint, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}]
`
  );
}
