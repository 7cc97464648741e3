/** argv → cli. */
import { cliBindings } from "./app_cli.ts";
import { runCli } from "./cli/program.ts";
import { createBunHost } from "./host/bun.ts";
import { ask } from "./host/bun_ask.ts";
import { serveHttp } from "./host/bun_http.ts";
import { print } from "./host/bun_print.ts";

const host = createBunHost();
host.process.exit(await runCli(cliBindings(host, { serveHttp, print, ask })));
