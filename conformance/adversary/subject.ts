/**
 * A node or a control plane as a process of its own, whose turns are measured: `bun conformance/adversary/subject.ts node|control JSON`,
 * where the JSON is settings by name. Says `ready`, and the longest turn so far at each line on standard input.
 */
import { startControl } from "../../src/app/control/control.ts";
import { startNode } from "../../src/app/node/node.ts";
import { loadConfig, loadControlPlane } from "../../src/config/load.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import { TurnMeter } from "./turn_meter.ts";

const [kind, json = "{}"] = process.argv.slice(2);
const flags = new Map(
  Object.entries(JSON.parse(json) as Record<string, string>).map(([name, text]) => [
    name as SettingName,
    [text],
  ]),
);
const host = createBunHost();
const logger = new LogWriter(host.clock, (text) => host.process.writeError(text), "text", "error");
const sources = { flags, environment: {}, file: null };
if (kind === "control") {
  const loaded = loadControlPlane(sources);
  if (loaded.config === null) throw new Error(JSON.stringify(loaded));
  await startControl(host, loaded.config, logger);
} else {
  const loaded = loadConfig(sources);
  if (loaded.config === null) throw new Error(JSON.stringify(loaded));
  await startNode(host, loaded.config, logger);
}
const meter = new TurnMeter();
console.log("ready");
for await (const _line of console) console.log(JSON.stringify({ turnMs: meter.take() }));
process.exit(0);
