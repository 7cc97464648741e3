/** argv → cli, under Node 22.18 or later, or Deno 2: a node without what needs Bun (see "Under Node or Deno" in the README). */
import "./host/node/missing.ts";
import { cliBindings } from "./app/command/bindings.ts";
import { runCli } from "./cli/program.ts";
import { noHandover } from "./host/handover.ts";
import { createNodeHost } from "./host/node/host.ts";
import { serveHttp } from "./host/node/serve_http.ts";
import { ask, onKey, print, screenSize } from "./host/system/terminal.ts";
import { noWorkers } from "./host/workers.ts";

const host = createNodeHost();
host.process.exit(
  await runCli(
    cliBindings(host, {
      serveHttp,
      handover: noHandover,
      workers: noWorkers,
      print,
      ask,
      screen: { onKey, size: screenSize },
      openPrivateNetwork: null,
    }),
  ),
);
