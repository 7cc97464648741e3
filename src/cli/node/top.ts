/** `fairlead top`: the services of a running node, live, with rates; one reading where there is no screen. */

import { asMeshError, MeshError } from "../../base/errors.ts";
import { cliLimits } from "../../base/limits/cli.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { readMetrics } from "./top_rows.ts";
import { TopView } from "./top_view.ts";

const alternateScreen = { enter: "\u001b[?1049h\u001b[?25l", leave: "\u001b[?25h\u001b[?1049l" };
const home = "\u001b[H";
const clearToEndOfLine = "\u001b[K";
const clearBelow = "\u001b[J";

/** @throws MeshError when the node does not answer at first. Later the screen says so, and it is asked again. */
export async function top(
  bindings: CliBindings,
  style: Style,
  intervalMs: number,
  admin: AdminTarget,
): Promise<ExitCode> {
  const { live } = bindings;
  const view = new TopView();
  view.take(await read(bindings, admin));
  if (live.size() === null) {
    if (await live.sleep(intervalMs)) view.take(await read(bindings, admin));
    live.write(`${view.lines(null, style).join("\n")}\n`);
    return 0;
  }
  let quit = false;
  const draw = (): void => {
    const lines = view.lines(live.size() ?? { columns: 80, rows: 24 }, style);
    const text = lines.map((line) => `${line}${clearToEndOfLine}`).join("\r\n");
    if (!live.write(`${home}${text}${clearBelow}`)) quit = true;
  };
  let wake = (): void => {};
  const forget = live.onKey((pressed) => {
    if (!view.key(pressed)) {
      quit = true;
      wake();
    } else draw();
  });
  live.write(alternateScreen.enter);
  try {
    while (!quit) {
      draw();
      const woken = new Promise<boolean>((resolve) => {
        wake = () => resolve(false);
      });
      if (!(await Promise.race([live.sleep(intervalMs), woken]))) break;
      await refresh(bindings, view, admin);
    }
  } finally {
    forget();
    live.write(alternateScreen.leave);
  }
  return 0;
}

async function refresh(bindings: CliBindings, view: TopView, admin: AdminTarget): Promise<void> {
  try {
    view.take(await read(bindings, admin));
  } catch (thrown) {
    view.problem = asMeshError(thrown, "io", "upstream").message;
  }
}

async function read({ live, askAdmin }: CliBindings, admin: AdminTarget) {
  const { status, text } = await askAdmin(admin, "GET", "/stats/prometheus");
  if (status !== 200)
    throw new MeshError("io", "upstream", `the node refused its metrics (${status}): ${text.trim()}`);
  return readMetrics(text, live.now());
}

/** `2s`, `500ms`, within the bounds. @returns null for what is none. */
export function readInterval(text: string): number | null {
  const match = /^(\d{1,5})(ms|s)$/.exec(text);
  if (match === null) return null;
  const ms = Number(match[1]) * (match[2] === "s" ? 1000 : 1);
  return ms < cliLimits.minTopIntervalMs || ms > cliLimits.maxTopIntervalMs ? null : ms;
}
