/** argv → cli. */
import { cliBindings } from "./app/command/bindings.ts";
import { runCli } from "./cli/program.ts";
import { ask } from "./host/bun/ask.ts";
import { createBunHost } from "./host/bun/host.ts";
import { print } from "./host/bun/print.ts";
import { serveHttp } from "./host/bun/serve_http.ts";

const host = createBunHost();
host.process.exit(await runCli(cliBindings(host, { serveHttp, print, ask })));
