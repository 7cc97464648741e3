/** The configurations of a simulated control plane, and of a node that joins it. */

import { Secret } from "../../src/base/settings/secret.ts";
import type { ControlPlaneConfig } from "../../src/config/control/config.ts";
import type { Config } from "../../src/config/node/config.ts";
import { address } from "./address.ts";
import { trustDomain } from "./workloads.ts";

export const controlAddress = "10.200.0.1";
/** Stands before the control plane for whoever wants a certificate. */
export const relayAddress = "10.201.0.1";
export const controlPort = 15012;
export const controlState = "/control";

export const controlConfig: ControlPlaneConfig = {
  listen: address(controlAddress, controlPort),
  servingNames: [controlAddress, relayAddress],
  publicAddress: null,
  stateDirectory: controlState,
  meshPaths: [],
  network: "",
  clusterId: "sim",
  trustDomain,
  rootNamespace: "istio-system",
  authority: { kind: "local" },
  keyEncryptionKey: null,
  formerKeyEncryptionKeys: [],
  administratorPaths: [],
  issuersPath: null,
  cryptoProvider: "peculiar",
  svidLifetimeMs: 86_400_000,
  hostRetentionMs: 180 * 86_400_000,
  metrics: null,
  readiness: null,
  log: { format: "text", level: "info" },
  audit: { filePath: null, syslog: null, otlp: null, archivePath: null },
  drainDeadlineMs: 1_000,
};

export interface Invitation {
  readonly token: string;
  readonly pin: string;
}

/** The same node, with its mesh and its certificates from the control plane. */
export function joinedConfig(config: Config, { token, pin }: Invitation): Config {
  const server = (host: string) => ({
    address: { host, port: controlPort },
    name: null,
    root: null,
    headers: {},
  });
  return {
    ...config,
    meshPaths: [],
    crlPath: null,
    ca: { kind: "control" },
    control: {
      xds: server(controlAddress),
      ca: server(relayAddress),
      pin,
      joinToken: new Secret(token),
      token: null,
      stateDirectory: "/state",
      joinAddresses: [],
      joinLabels: {},
      node: { podName: "", podNamespace: "", instanceIp: "", metadata: {} },
    },
  };
}
