/** The program on this host: its command line, and the code it ends with. */
import { runCli } from "../../cli/program.ts";
import { createBunRuntime } from "../../host/bun/host.ts";
import { ask, onKey, print, screenSize } from "../../host/system/terminal.ts";
import { cliBindings, type Outside } from "./bindings.ts";

export async function runProgram(): Promise<void> {
  const { host, handover, workers, serveHttp } = await createBunRuntime();
  if (workers.received !== null) {
    const { runWorker } = await import("../node/workers/worker.ts");
    host.process.exit(await runWorker(host, workers.received));
    return;
  }
  const screen = { onKey, size: screenSize };
  const openPrivateNetwork: Outside["openPrivateNetwork"] = async (net) =>
    (await import("../../host/bun/private_network.ts")).openPrivateNetwork(net);
  host.process.exit(
    await runCli(cliBindings(host, { serveHttp, handover, workers, print, ask, screen, openPrivateNetwork })),
  );
}
