/** argv → cli. */
import "./app/command/keep_freed_pages.ts";
import { cliBindings } from "./app/command/bindings.ts";
import { runCli } from "./cli/program.ts";
import { createBunHost } from "./host/bun/host.ts";
import { serveHttp } from "./host/bun/serve_http.ts";
import { ask, onKey, print, screenSize } from "./host/system/terminal.ts";

const host = createBunHost();
host.process.exit(
  await runCli(cliBindings(host, { serveHttp, print, ask, screen: { onKey, size: screenSize } })),
);
