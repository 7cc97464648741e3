/**
 * A node of ours at a real istiod: its mesh, its SVID, the network between them cut, the raw resources of a waypoint.
 *
 * `ISTIOD=host:port` of its 15012; `ISTIOD_ROOT`, a file with the mesh's root; `ISTIOD_TOKEN`, a file with a token that it believes, of
 * a service account that a workload of the mesh has: `ISTIOD_WORKLOAD`, `namespace/name`. `ISTIOD_NAME` is the name in its certificate,
 * when that is not the host. Without it the same checks run against a script of what istiod says, which is not counted as istiod.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ControlServer } from "../../src/agent/join/control_server.ts";
import { HeldDocuments } from "../../src/agent/xds/held_documents.ts";
import { istioDocuments } from "../../src/agent/xds/istio_documents.ts";
import { XdsClient } from "../../src/agent/xds/xds_client.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { NodeSchema } from "../../src/wire/messages/envoy_core.gen.ts";
import { newMessage } from "../../src/wire/messages/message.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { Tally } from "../peer/tally.ts";
import { fairleadArgv } from "./control_process.ts";
import { freePort } from "./free_port.ts";
import { waypointDecides } from "./istiod_waypoint.ts";
import { findPythonWithProtobuf } from "./python_peer.ts";
import { Relay } from "./relay.ts";
import { descriptors } from "./xds.ts";

export interface Istiod {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  readonly rootPath: string;
  readonly tokenPath: string;
  readonly workload: string;
}

export async function istiodSuite(tally: Tally, directory: string): Promise<void> {
  await standInSuite(tally, directory);
  const real = realIstiod();
  if ("missing" in real) return tally.skip("node ← istiod", real.missing);
  const lab = new IstiodLab(real, join(directory, "istiod"));
  try {
    await lab.startNode();
    await joins(tally, "node ← istiod", lab);
    await outage(tally, "node ← istiod", lab, () => {});
    await rawResources(tally, "node ← istiod", lab, null);
    await wrongToken(tally, "node ← istiod", lab);
  } finally {
    await lab.close();
  }
}

function realIstiod(): Istiod | { readonly missing: string } {
  const { ISTIOD, ISTIOD_ROOT, ISTIOD_TOKEN, ISTIOD_WORKLOAD, ISTIOD_NAME } = process.env;
  if (ISTIOD === undefined || ISTIOD === "") return { missing: "ISTIOD is not set" };
  const at = ISTIOD.lastIndexOf(":");
  const host = ISTIOD.slice(0, at);
  if (ISTIOD_ROOT === undefined || ISTIOD_TOKEN === undefined || ISTIOD_WORKLOAD === undefined)
    return { missing: "ISTIOD needs ISTIOD_ROOT, ISTIOD_TOKEN and ISTIOD_WORKLOAD" };
  return {
    host,
    port: Number(ISTIOD.slice(at + 1)),
    name: ISTIOD_NAME ?? host,
    rootPath: ISTIOD_ROOT,
    tokenPath: ISTIOD_TOKEN,
    workload: ISTIOD_WORKLOAD,
  };
}

/** One node, and the network between it and istiod. */
export class IstiodLab {
  readonly istiod: Istiod;
  readonly relay: Relay;
  readonly directory: string;
  readonly #admin = `127.0.0.1:${freePort()}`;
  readonly #readiness = `127.0.0.1:${freePort()}`;
  #node: Subprocess | null = null;

  constructor(istiod: Istiod, directory: string) {
    this.istiod = istiod;
    this.directory = directory;
    this.relay = new Relay(istiod);
    mkdirSync(directory, { recursive: true });
  }

  get node(): Subprocess {
    if (this.#node === null) throw new Error("the node does not run");
    return this.#node;
  }

  /** @param flags more of the command line. */
  startNode(tokenPath: string = this.istiod.tokenPath, flags: readonly string[] = []): void {
    this.#node = Subprocess.start({
      name: "fairlead node",
      argv: [
        ...fairleadArgv(),
        ...["node", "--control", `https://127.0.0.1:${this.relay.port}`, "--control-name", this.istiod.name],
        ...["--control-root", this.istiod.rootPath, "--token-file", tokenPath],
        ...["--state-directory", join(this.directory, `state_${freePort()}`), "--node", "host-a"],
        ...["--workload", this.istiod.workload, "--bind", "wildcard", "--hbone-port", String(freePort())],
        ...["--admin", this.#admin, "--metrics", "off", "--readiness", this.#readiness, ...flags],
      ],
      logPath: join(this.directory, "node.log"),
    });
  }

  async stopNode(): Promise<void> {
    await this.#node?.stop();
  }

  async isReady(): Promise<boolean> {
    try {
      return (await fetch(`http://${this.#readiness}/healthz/ready`)).ok;
    } catch {
      return false;
    }
  }

  /** What its administration shows. */
  async get(path: string): Promise<string> {
    try {
      return await (await fetch(`http://${this.#admin}${path}`)).text();
    } catch {
      return "";
    }
  }

  async xds(): Promise<{
    readonly connected: boolean;
    readonly current: boolean;
    readonly error: string | null;
  } | null> {
    const text = await this.get("/control");
    return text === "" ? null : JSON.parse(text).control[0].xds;
  }

  async close(): Promise<void> {
    await this.stopNode();
    this.relay.close();
  }
}

export async function joins(tally: Tally, prefix: string, lab: IstiodLab): Promise<void> {
  const isReady = await comesTrue(() => lab.isReady());
  tally.check(
    `${prefix}: the node takes its mesh and is ready`,
    isReady ? null : lab.node.log().slice(-2000),
  );
  const [namespace, name] = lab.istiod.workload.split("/");
  const workloads: { namespace: string; name: string; serviceAccount: string }[] =
    JSON.parse(await lab.get("/config_dump")).workloads ?? [];
  const own = workloads.find((one) => one.namespace === namespace && one.name === name);
  tally.check(
    `${prefix}: its own workload is in the mesh`,
    own === undefined ? `${workloads.length} others are` : null,
  );
  const issued = await comesTrue(() => lab.node.log().includes("new SVID"));
  tally.check(`${prefix}: the CA gives it an SVID`, issued ? null : lab.node.log().slice(-2000));
}

/** @param meanwhile is done while the network is cut. */
export async function outage(
  tally: Tally,
  prefix: string,
  lab: IstiodLab,
  meanwhile: () => void | Promise<void>,
): Promise<void> {
  lab.relay.cut(true);
  const noticed = await comesTrue(async () => (await lab.xds())?.connected === false);
  tally.check(`${prefix}: a network that is cut is reported`, noticed ? null : await lab.get("/control"));
  tally.check(`${prefix}: and the mesh stays`, (await lab.isReady()) ? null : "the node is not ready");
  await meanwhile();
  lab.relay.cut(false);
  const back = await comesTrue(async () => {
    const xds = await lab.xds();
    return xds?.connected === true && xds.current;
  });
  tally.check(`${prefix}: it comes back by itself`, back ? null : await lab.get("/control"));
}

/** @param wanted `namespace/name` that has to be there; null: whatever istiod gives to this identity, or a clear refusal. */
export async function rawResources(
  tally: Tally,
  prefix: string,
  lab: IstiodLab,
  wanted: string | null,
  tokenPath: string = lab.istiod.tokenPath,
): Promise<void> {
  const host = createBunHost();
  const { istiod } = lab;
  const server = await ControlServer.open({
    host,
    logger: silentLogger,
    provider: runtimeProvider(),
    server: {
      address: { host: istiod.host, port: istiod.port },
      name: istiod.name,
      root: { kind: "file", path: istiod.rootPath },
      headers: {},
    },
    pin: null,
    clusterId: "Kubernetes",
    credentials: {
      rootsPem: null,
      present: () => ({ credentials: null, bearer: { kind: "file", path: tokenPath }, spare: null }),
    },
  });
  const held = new HeldDocuments("deny");
  const client = new XdsClient({
    clock: host.clock,
    random: host.random,
    logger: silentLogger,
    open: server.openAds,
    server: server.name,
    node: () =>
      newMessage(NodeSchema, {
        id: "waypoint~127.0.0.1~waypoint.~.svc.cluster.local",
        metadata: { GENERATOR: "api" },
      }),
    handlers: istioDocuments(host.clock, held),
  });
  client.start();
  try {
    const answered = await Promise.race([
      client.ready.then(() => "given" as const),
      comesTrue(() => client.status().error !== null).then(() => "refused" as const),
    ]);
    const found = held.inForce.value?.documents
      .filter(({ kind }) => kind === "ServiceEntry")
      .map(({ metadata: { namespace, name } }) => `${namespace}/${name}`);
    const { error, attempts } = client.status();
    const problem =
      answered === "given"
        ? wanted === null || found?.includes(wanted) === true
          ? null
          : `there is ${found}`
        : wanted === null &&
            /root namespace|permission|unauthenticated|refused/i.test(error ?? "") &&
            attempts < 20
          ? null
          : `${error}, after ${attempts} tries`;
    tally.check(`${prefix}: raw resources are ${answered}`, problem);
  } finally {
    client.close();
    await server.close();
  }
}

export async function wrongToken(tally: Tally, prefix: string, lab: IstiodLab): Promise<void> {
  await lab.stopNode();
  const path = join(lab.directory, "wrong_token");
  writeFileSync(path, "wrong");
  lab.startNode(path);
  const told = await comesTrue(() => /token/.test(lab.node.log()) && /refus|unauthent/i.test(lab.node.log()));
  const isReady = await lab.isReady();
  tally.check(
    `${prefix}: a wrong token is refused, and said`,
    told && !isReady && lab.node.running ? null : `ready: ${isReady}\n${lab.node.log().slice(-2000)}`,
  );
}

async function standInSuite(tally: Tally, directory: string): Promise<void> {
  const prefix = "node ← a script of istiod";
  const python = findPythonWithProtobuf();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const own = join(directory, "istiod_script");
  mkdirSync(own, { recursive: true });
  const at = (name: string): string => join(own, name);
  const tokens = { cart1: ["shop", "cart"], waypoint: ["istio-system", "waypoint"] };
  writeFileSync(
    at("facts.json"),
    JSON.stringify({
      root: at("root.pem"),
      descriptors: await descriptors(own),
      tokens,
      resources: join(import.meta.dir, "../fixtures/istiod/resources.json"),
    }),
  );
  writeFileSync(at("token"), "cart1");
  writeFileSync(at("waypoint_token"), "waypoint");
  const script = Subprocess.start({
    name: "a script of istiod",
    argv: [python.path, join(import.meta.dir, "python/istiod_stand_in.py"), at("facts.json")],
    logPath: at("script.log"),
  });
  const { port } = JSON.parse(await script.waitForLine((line) => line.startsWith('{"port"')));
  const lab = new IstiodLab(
    {
      host: "127.0.0.1",
      port,
      name: "istiod.istio-system.svc",
      rootPath: at("root.pem"),
      tokenPath: at("token"),
      workload: "shop/cart",
    },
    own,
  );
  try {
    lab.startNode();
    await joins(tally, prefix, lab);
    await scripted(tally, prefix, lab, script);
    await outage(tally, prefix, lab, async () => {
      await obey(script, "no-workload good");
      await obey(script, "no-policy only-cart");
      // The token of before is believed no more: the file is read for each call.
      writeFileSync(at("token"), "cart2");
      await obey(script, `tokens ${JSON.stringify({ ...tokens, cart1: undefined, cart2: tokens.cart1 })}`);
    });
    const gone = await comesTrue(async () => {
      const dump = await lab.get("/config_dump");
      return !dump.includes("127.9.0.8") && !dump.includes("only-cart");
    });
    tally.check(
      `${prefix}: what went away meanwhile is gone, policies too`,
      gone ? null : "it is still there",
    );
    await rawResources(tally, prefix, lab, null);
    await waypointDecides(tally, prefix, {
      ...{ istiod: lab.istiod, directory: lab.directory, port: lab.relay.port },
      tokenPath: at("waypoint_token"),
      show: (port) => obey(script, `waypoint-scene ${port}`),
    });
    await rawResources(tally, `${prefix}, as of the root namespace`, lab, "shop/api", at("waypoint_token"));
    await wrongToken(tally, prefix, lab);
  } finally {
    await lab.close();
    await script.stop();
  }
}

async function scripted(tally: Tally, prefix: string, lab: IstiodLab, script: Subprocess): Promise<void> {
  const said = readFileSync(script.logPath, "utf8");
  tally.check(
    `${prefix}: it asks for itself alone, with its own name`,
    said.includes("impersonates") || !said.includes('"issued": "spiffe://cluster.local/ns/shop/sa/cart"')
      ? said
      : null,
  );
  const shows = (text: string, isThere: boolean): Promise<boolean> =>
    comesTrue(async () => (await lab.get("/config_dump")).includes(text) === isThere);
  await obey(script, "workload late");
  tally.check(`${prefix}: a workload comes`, (await shows("127.9.0.7", true)) ? null : "it does not");
  await obey(script, "no-workload late");
  tally.check(`${prefix}: and goes`, (await shows("127.9.0.7", false)) ? null : "it does not");
  await obey(script, "policy only-cart");
  tally.check(`${prefix}: a policy without a version comes`, (await shows("only-cart", true)) ? null : "no");
  await obey(script, "bad");
  const refused = await comesTrue(() => /"nack": "[^"]*WorkloadEntry\/shop\/bad/.test(script.log()));
  tally.check(`${prefix}: a bad resource is refused by name`, refused ? null : script.log().slice(-1000));
  tally.check(`${prefix}: what came with it is taken`, (await shows("127.9.0.8", true)) ? null : "it is not");
  // As with ztunnel, a first answer that was refused in part does not count as the whole mesh.
  await obey(script, "no-workload bad");
}

async function obey(script: Subprocess, command: string): Promise<void> {
  const before = script.lines().filter((line) => line.startsWith('{"done"')).length;
  script.writeLine(command);
  await comesTrue(() => script.lines().filter((line) => line.startsWith('{"done"')).length > before);
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../peer/lab/cleanup.ts");
  cleanUpOnExit();
  const tally = new Tally(true);
  await istiodSuite(tally, scratchDirectory("istiod"));
  console.log(tally.summary());
  process.exit(tally.count("failed") === 0 ? 0 : 1);
}
