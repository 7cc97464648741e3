/** The real ztunnel, configured from a file and signing for itself (LOCAL_XDS, FAKE_CA), in dedicated mode. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { allowedPorts, everyPort, type Lab } from "../lab/lab.ts";
import type { Side } from "../lab/place.ts";
import { Subprocess } from "../lab/subprocess.ts";
import type { Ztunnel } from "../lab/tools.ts";
import type { NodeSubject, RunningNode } from "./subject.ts";
import { accessRecord } from "./ztunnel_log.ts";

/** Beyond the two workloads and the policy that every peer is given. */
export interface ZtunnelExtras {
  /** Added to the lists of its file: items in YAML's flow style. */
  readonly mesh?: {
    readonly workloads: readonly string[];
    readonly services: readonly string[];
    readonly policies: readonly string[];
  };
  readonly env?: Readonly<Record<string, string>>;
}

export function ztunnelSubject(
  found: Ztunnel | { readonly missing: string },
  extras: ZtunnelExtras = {},
): NodeSubject {
  const start = async (lab: Lab, side: Side, account: "cart" | "db"): Promise<RunningNode> => {
    if ("missing" in found) throw new Error(found.missing);
    const meshPath = join(lab.directory, "ztunnel_mesh.yaml");
    writeFileSync(meshPath, mesh(lab, extras.mesh));
    const process = Subprocess.start({
      name: `ztunnel ${side.name}`,
      argv: side.command([found.path]),
      logPath: join(lab.directory, `ztunnel_${side.name}.log`),
      env: {
        FAKE_CA: "true",
        XDS_ADDRESS: "",
        LOCAL_XDS_PATH: meshPath,
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: `shop/${account}/${account}`,
        NODE_NAME: `host-${side.name}`,
        CLUSTER_ID: "c1",
        ENABLE_ORIG_SRC: "false",
        ISTIO_META_DNS_CAPTURE: "false",
        ...(lab.crlPath === null ? {} : { CRL_PATH: lab.crlPath }),
        ...extras.env,
      },
    });
    await process.waitForLine((line) => line.includes("marking server ready"));
    return {
      process,
      dial: (port) => `${lab.place.server.address}:${port}`,
      accessRecords: () => process.lines().flatMap(accessRecord),
    };
  };
  return {
    name: "ztunnel",
    missing: "missing" in found ? found.missing : null,
    // Its ports are fixed and bound to every address.
    needsNamespaces: true,
    root: "missing" in found ? null : { certPath: found.caCertPath, keyPath: found.caKeyPath },
    startInbound: (lab) => start(lab, lab.place.server, "db"),
    startOutbound: (lab) => {
      lab.place.capture(everyPort, 15001);
      return start(lab, lab.place.client, "cart");
    },
  };
}

function mesh(lab: Lab, extra: ZtunnelExtras["mesh"]): string {
  const more = (items: readonly string[] = []): string => items.map((item) => `- ${item}\n`).join("");
  const workload = (account: string, side: Side, policies: string): string =>
    `- {uid: "c1//Pod/shop/${account}", name: ${account}, namespace: shop, serviceAccount: ${account}, trustDomain: cluster.local, ` +
    `clusterId: c1, workloadIps: ["${side.address}"], protocol: HBONE, node: host-${side.name}, network: "", services: {}, ` +
    `authorizationPolicies: [${policies}]}`;
  return `workloads:
${workload("cart", lab.place.client, "")}
${workload("db", lab.place.server, '"shop/db-only-cart"')}
${more(extra?.workloads)}${extra === undefined ? "" : `services:\n${more(extra.services)}`}policies:
- name: db-only-cart
  namespace: shop
  scope: WorkloadSelector
  action: Allow
  dryRun: false
  rules:
  - - - principals: [!Exact cluster.local/ns/shop/sa/cart]
    - - destinationPorts: [${allowedPorts.join(", ")}]
${more(extra?.policies)}`;
}
