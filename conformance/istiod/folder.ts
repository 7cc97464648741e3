/** Where a whole istiod comes from: the folder that `ISTIOD_LAB` names. */
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

export interface IstiodFolder {
  readonly pilotDiscovery: string;
  readonly kubeApiserver: string;
  readonly etcd: string;
  /** Kubernetes' documents that say which kinds of Istio's and of the Gateway API there are. */
  readonly definitions: readonly string[];
}

/** The folder has `pilot-discovery`, `kube-apiserver`, `etcd` unless the path has one, and CustomResourceDefinitions in files `*.yaml`. */
export function findIstiodFolder(): IstiodFolder | { readonly missing: string } {
  const named = process.env.ISTIOD_LAB;
  if (named === undefined || named === "") return { missing: "ISTIOD_LAB is not set" };
  const folder = resolve(named);
  if (!existsSync(folder)) return { missing: `ISTIOD_LAB=${named} does not exist` };
  const program = (name: string): string | null =>
    existsSync(join(folder, name)) ? join(folder, name) : Bun.which(name);
  const pilotDiscovery = program("pilot-discovery");
  if (pilotDiscovery === null) return { missing: `there is no pilot-discovery in ${folder}` };
  const kubeApiserver = program("kube-apiserver");
  if (kubeApiserver === null) return { missing: `there is no kube-apiserver in ${folder}` };
  const etcd = program("etcd");
  if (etcd === null) return { missing: `etcd is neither in ${folder} nor installed` };
  const definitions = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => join(folder, name));
  if (definitions.length === 0)
    return { missing: `there are no CustomResourceDefinitions (*.yaml) in ${folder}` };
  return { pilotDiscovery, kubeApiserver, etcd, definitions };
}
