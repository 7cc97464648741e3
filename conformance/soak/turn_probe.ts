/**
 * Loaded before the program (`bun --preload`): measures its turns, as `adversary/` does, and writes the longest of each second to a file of
 * this process in `HOME`: a line with milliseconds since the Unix epoch and milliseconds held.
 */
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { TurnMeter } from "../adversary/turn_meter.ts";

const meter = new TurnMeter(5);
const path = join(process.env.HOME ?? ".", `turns-${process.pid}`);
setInterval(() => appendFileSync(path, `${Date.now()} ${meter.take().toFixed(2)}\n`), 1000).unref();
