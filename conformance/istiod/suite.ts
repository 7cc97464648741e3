/** Nodes and a waypoint of ours at a whole istiod with a Kubernetes API server (`ISTIOD_LAB`). */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { keySet, signToken, testKey } from "../../src/pki/testing/token_issuer.ts";
import { IstiodLab, joins, outage, rawResources, wrongToken } from "../control/istiod.ts";
import { waypointDecides } from "../control/istiod_waypoint.ts";
import { comesTrue } from "../peer/lab/eventually.ts";
import { Tally } from "../peer/tally.ts";
import { findIstiodFolder } from "./folder.ts";
import type { Kubernetes } from "./kubernetes.ts";
import {
  apiMesh,
  bindings,
  databasePolicy,
  kubernetesServices,
  nodesMesh,
  pod,
  podStatus,
  waypointMesh,
  workloadEntry,
} from "./mesh.ts";
import { nodesCarry } from "./traffic.ts";
import { also, waypointFollows } from "./waypoint.ts";
import { rootNamespace, WholeIstiod } from "./whole_istiod.ts";

const prefix = "node ← a whole istiod";

/** What every check of these is given. */
export interface Scene {
  readonly istiod: WholeIstiod;
  readonly directory: string;
  readonly tokens: { readonly cart: string; readonly db: string; readonly waypoint: string };
}

export async function wholeIstiodSuite(tally: Tally, directory: string): Promise<void> {
  const folder = findIstiodFolder();
  if ("missing" in folder) return tally.skip(prefix, folder.missing);
  const own = join(directory, "whole_istiod");
  const istiod = await WholeIstiod.start({ folder, directory: own });
  try {
    const { kubernetes } = istiod;
    await kubernetes.applyAll(nodesMesh);
    const tokenOf = async (namespace: string, account: string): Promise<string> => {
      const path = join(own, `${account}_token`);
      writeFileSync(path, await kubernetes.token(namespace, account));
      return path;
    };
    const tokens = {
      cart: await tokenOf("shop", "cart"),
      db: await tokenOf("shop", "db"),
      waypoint: await tokenOf(rootNamespace, "waypoint"),
    };
    const scene: Scene = { istiod, directory: own, tokens };
    await nodeFollows(tally, scene);
    await nodesCarry(tally, prefix, scene);
    await waypoint(tally, scene);
  } finally {
    await istiod.stop();
  }
}

async function nodeFollows(tally: Tally, { istiod, directory, tokens }: Scene): Promise<void> {
  const { port, name, rootPath, kubernetes } = istiod;
  const at = join(directory, "node");
  mkdirSync(at);
  const lab = new IstiodLab(
    { host: "127.0.0.1", port, name, rootPath, tokenPath: tokens.cart, workload: "shop/cart" },
    at,
  );
  const late = workloadEntry({ namespace: "shop", name: "late", address: "127.9.0.7" });
  const shows = (text: string, isThere: boolean): Promise<boolean> =>
    comesTrue(async () => (await lab.get("/config_dump")).includes(text) === isThere);
  try {
    lab.startNode();
    await joins(tally, prefix, lab);
    await kubernetes.applyAll(late);
    tally.check(`${prefix}: a workload comes`, (await shows("127.9.0.7", true)) ? null : "it does not");
    await kubernetes.applyAll(databasePolicy("{action: ALLOW}"));
    tally.check(`${prefix}: a policy comes`, (await shows("shop/db", true)) ? null : "it does not");
    await podComes(tally, kubernetes, lab);
    await outage(tally, prefix, lab, async () => {
      await kubernetes.removeAll(late);
      await kubernetes.removeAll(databasePolicy("{action: ALLOW}"));
    });
    const gone = await shows("127.9.0.7", false);
    tally.check(`${prefix}: what went away meanwhile is gone`, gone ? null : "it is still there");
    await istiod.stopIstiod();
    const noticed = await comesTrue(async () => (await lab.xds())?.connected === false);
    tally.check(`${prefix}: an istiod that ends is reported`, noticed ? null : await lab.get("/control"));
    await kubernetes.applyAll(late);
    await istiod.startIstiod();
    tally.check(
      `${prefix}: another istiod in its place is followed`,
      (await shows("127.9.0.7", true)) ? null : await lab.get("/control"),
    );
    await kubernetes.removeAll(late);
    await rawResources(tally, prefix, lab, null);
    await wrongToken(tally, prefix, lab);
  } finally {
    await lab.close();
  }
}

/** A workload of Kubernetes itself, in both families. */
async function podComes(tally: Tally, kubernetes: Kubernetes, lab: IstiodLab): Promise<void> {
  await kubernetes.apply(pod);
  await kubernetes.report(pod, podStatus);
  let shown = "";
  const isThere = await comesTrue(async () => {
    const dump: { readonly workloads?: readonly { readonly uid: string }[] } = JSON.parse(
      (await lab.get("/config_dump")) || "{}",
    );
    shown = JSON.stringify(dump.workloads?.find(({ uid }) => uid === "Kubernetes//Pod/shop/web-1"));
    return [...podStatus.podIPs.map(({ ip }) => ip), "HBONE", "node-1", '"cart"', '"v3"'].every((text) =>
      (shown ?? "").includes(text),
    );
  });
  tally.check(`${prefix}: a Pod is a workload, as istiod describes it`, isThere ? null : `${shown}`);
}

async function waypoint(tally: Tally, scene: Scene): Promise<void> {
  const { istiod, directory, tokens } = scene;
  const { kubernetes } = istiod;
  await kubernetes.applyAll(waypointMesh);
  const gateway = {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: "waypoint", namespace: rootNamespace },
  };
  const told = await comesTrue(async () => {
    const { status } = (await kubernetes.get(gateway)) as {
      readonly status?: { readonly addresses?: readonly unknown[] };
    };
    return (status?.addresses?.length ?? 0) > 0;
  });
  tally.check(
    `${prefix}: istiod gives the Gateway an address`,
    told ? null : JSON.stringify(await kubernetes.get(gateway)),
  );
  const issuer = await testKey("one", "RS256");
  const at = join(directory, "waypoint");
  mkdirSync(at);
  await waypointDecides(tally, prefix, {
    istiod: { name: istiod.name, rootPath: istiod.rootPath, tokenPath: tokens.cart },
    ...{ directory: at, port: istiod.port, tokenPath: tokens.waypoint },
    also,
    show: async (port) => {
      await kubernetes.applyAll(apiMesh(port, keySet(issuer)));
      await kubernetes.applyAll(kubernetesServices(port));
      await kubernetes.applyAll(bindings(port));
    },
    further: async (running) => {
      const token = await signToken(issuer, Date.now(), { sub: "ada" });
      const came = await running.ask("/items/1", { "x-token": `Bearer ${token}` });
      tally.check(`${prefix}: a waypoint takes a token of the issuer`, came.startsWith("200") ? null : came);
      await waypointFollows(tally, prefix, scene, running);
    },
  });
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../peer/lab/cleanup.ts");
  cleanUpOnExit();
  const tally = new Tally(true);
  await wholeIstiodSuite(tally, scratchDirectory("whole_istiod"));
  console.log(tally.summary());
  process.exit(tally.count("failed") === 0 ? 0 : 1);
}
