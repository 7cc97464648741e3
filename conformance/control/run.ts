/** `npm run conformance -- control` */
import { parseArgs } from "node:util";
import { wholeIstiodSuite } from "../istiod/suite.ts";
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { Tally } from "../peer/tally.ts";
import { authoritySuite } from "./authority.ts";
import { badInputSuite } from "./bad_input.ts";
import { certificateSuite } from "./certificates.ts";
import { grpcChannelSuite } from "./grpc_channel.ts";
import { grpcServerSuite } from "./grpc_server.ts";
import { istioctlSuite } from "./istioctl.ts";
import { istiodSuite } from "./istiod.ts";
import { openbaoSuite } from "./openbao.ts";
import { envoySdsSuite } from "./workload_api/envoy_sds.ts";
import { nodeSocketSuite } from "./workload_api/node_socket.ts";
import { spiffeClientSuite } from "./workload_api/spiffe_client.ts";
import { xdsSuite } from "./xds.ts";
import { ztunnelSuite } from "./ztunnel.ts";

const usage = `usage: npm run conformance -- control [--only TEXT] [--verbose]

The control plane and its parts against other implementations: grpcio, go-spiffe, Envoy,
OpenBao, a real ztunnel (ZTUNNEL=path), a real istioctl (ISTIOCTL=path), a whole istiod with a Kubernetes API server
(ISTIOD_LAB=folder), a real istiod (ISTIOD=host:port, ISTIOD_ROOT, ISTIOD_TOKEN and ISTIOD_WORKLOAD).

  --only TEXT   suites whose name contains TEXT
  --verbose     also say what passed
`;

interface ControlSuite {
  readonly name: string;
  /** @param directory of this run, for logs and configuration. */
  run(tally: Tally, directory: string): Promise<void>;
}

/** Add yours. A suite that cannot run here says so with `tally.skip`. */
const suites: readonly ControlSuite[] = [
  { name: "grpc server", run: grpcServerSuite },
  { name: "grpc channel", run: grpcChannelSuite },
  { name: "certificates", run: certificateSuite },
  { name: "xds", run: xdsSuite },
  { name: "bad input", run: badInputSuite },
  { name: "openbao", run: openbaoSuite },
  { name: "ca", run: authoritySuite },
  { name: "workload api", run: spiffeClientSuite },
  { name: "workload api of a node", run: nodeSocketSuite },
  { name: "sds", run: envoySdsSuite },
  { name: "ztunnel", run: ztunnelSuite },
  { name: "istiod", run: istiodSuite },
  { name: "whole istiod", run: wholeIstiodSuite },
  { name: "istioctl", run: istioctlSuite },
];

/** @returns the exit code. */
export async function controlConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", default: "" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(values.verbose);
  const directory = scratchDirectory("control");
  for (const suite of suites.filter(({ name }) => name.includes(values.only))) {
    const before = tally.summary();
    try {
      await suite.run(tally, directory);
    } catch (error) {
      tally.fail(suite.name, error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    if (tally.summary() === before) tally.fail(suite.name, "no check ran");
  }
  if (tally.count("passed") + tally.count("failed") + tally.count("skipped") === 0)
    tally.fail("control", `nothing is called ${values.only}`);
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}
