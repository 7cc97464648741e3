/** Terminals as they are: narrow, of no size, not there, and gone while something is shown. */
import { join } from "node:path";
import { unavailable } from "../namespaces/available.ts";
import { workload } from "../namespaces/documents.ts";
import { fromSource } from "../namespaces/node_process.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { World } from "./world.ts";

const cases = {
  narrow: "top in 20 columns shows no line that is longer, and gives the terminal back at q",
  tiny: "top in one column and one row goes on; in a terminal that tells no size it is a table",
  none: "without a terminal top and get are plain text: no escape, no cursor",
  hangUp: "top and tap end when their terminal hangs up",
  closed: "top and tap end when their terminal is gone",
  reader: "tap ends when its reader has ended, and the node goes on",
} as const;

export const terminals: Group = {
  cases: Object.values(cases),
  whyNot: () =>
    unavailable ?? ["python3", "unshare", "curl"].find((tool) => Bun.which(tool) === null) ?? null,
  run: async (directory, check) => {
    const world = new World(
      directory,
      [workload("cart", "10.78.0.11"), workload("db", "10.78.0.21")].join(""),
    );
    try {
      await world.open();
      await world.node().ready();
      await inTerminals(world, check);
    } finally {
      await world.close();
    }
  },
};

const escapeByte = "\u001b";

async function inTerminals(world: World, check: Check): Promise<void> {
  const run = (
    columns: number,
    rows: number,
    end: "q" | "hang up" | "close",
    ...words: readonly string[]
  ) => {
    const script = join(import.meta.dir, "terminal.py");
    const { out } = world.run("python3", script, String(columns), String(rows), end, ...fromSource, ...words);
    holds(out.startsWith("{"), out);
    return JSON.parse(out) as { readonly shown: string; readonly ended: number | null };
  };
  await check(cases.narrow, async () => {
    const { shown, ended } = run(20, 5, "q", "top");
    equal(ended, 0);
    holds(
      shown.includes(`${escapeByte}[?1049h`) && shown.endsWith(`${escapeByte}[?25h${escapeByte}[?1049l`),
      JSON.stringify(shown),
    );
    const screens = shown.split(`${escapeByte}[H`).slice(1);
    holds(screens.length > 0, "nothing was shown");
    for (const screen of screens) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a terminal is sent.
      const lines = screen.replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, "").split(/\r+\n/);
      equal([lines.filter((line) => [...line].length > 20), lines.length <= 5], [[], true]);
    }
  });
  await check(cases.tiny, async () => {
    equal(run(1, 1, "q", "top").ended, 0);
    const sizeless = run(0, 0, "q", "top");
    equal(
      [sizeless.ended, sizeless.shown.includes("SERVICE"), sizeless.shown.includes(`${escapeByte}[?1049h`)],
      [0, true, false],
    );
  });
  await check(cases.none, async () => {
    for (const words of [["top"], ["get", "traffic"], ["get", "workloads"]]) {
      const { code, out } = world.fairlead(...words);
      equal([code, out.includes(escapeByte), out.length > 0], [0, false, true], words.join(" "));
    }
  });
  await check(cases.hangUp, async () => {
    for (const name of ["top", "tap"]) equal(run(80, 24, "hang up", name).ended !== null, true, name);
  });
  await check(cases.closed, async () => {
    for (const name of ["top", "tap"]) equal(run(80, 24, "close", name).ended !== null, true, name);
  });
  await check(cases.reader, async () => {
    const program = fromSource.join(" ");
    const script = `${program} tap --json | head -n 1 & sleep 1
for i in $(seq 50); do curl -s -o /dev/null -m 5 --interface 10.78.0.11 http://10.78.0.21:8080/; kill -0 $! 2>/dev/null || break; done
wait $!; echo "ended=$?"; curl -s http://127.0.0.1:15021/healthz/ready`;
    const { out } = world.run("sh", "-c", script);
    holds(out.startsWith("{") && out.includes("ended=0\nready"), out);
  });
}
