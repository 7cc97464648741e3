/** `fairlead control`: a control plane, its metrics and readiness. */
import { createMetricsApp, createReadinessApp } from "../../admin/probes.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { StartedControl } from "../../cli/control/bindings.ts";
import { administratorFile } from "../../config/control/client.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import type { Host, ServeHttp } from "../../host/host.ts";
import { loadAuthority } from "../../pki/issue/load_authority.ts";
import { startControl } from "../control/control.ts";
import { reachOf } from "../control/given.ts";
import { openLog, serveProgram } from "../served.ts";

/** @throws MeshError when it cannot start as it was told to. */
export async function startServedControl(
  host: Host,
  serveHttp: ServeHttp,
  config: ControlPlaneConfig,
): Promise<StartedControl> {
  const logger = openLog(host, config.log);
  // One turn of 25 ms, from source of 70: now, and not in the first rotation, when everybody would wait for it.
  await loadAuthority();
  const control = await startControl(host, config, logger);
  const served = await serveProgram({
    host,
    logger,
    serveHttp,
    program: control,
    unit: "request",
    open: (ports) => {
      ports.serve(config.metrics, createMetricsApp({ metrics: control.metrics }));
      ports.serve(config.readiness, createReadinessApp({ pending: () => control.pending() }));
    },
  });
  return {
    ...served,
    address: formatSocketAddress(control.address),
    url: reachOf(host, config).url,
    administratorPath: `${config.stateDirectory}/${administratorFile}`,
  };
}
