/** What the command asks of the node and of this host, with both as values. */
import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { CliBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { type UpgradeFlags, upgrade } from "./upgrade.ts";

const target = { sockets: ["/run/fairlead/admin.sock"] as const, address: null };

function world(
  shape: {
    outcome?: object;
    status?: number;
    words?: string;
    executable?: string | null;
    failing?: string;
    step?: string;
  } = {},
) {
  const done: string[] = [];
  let out = "";
  let error = "";
  const {
    outcome = { result: "done", from: "1", to: "2", pid: 9, program: "/p" },
    executable = "/bin/fairlead",
  } = shape;
  const bindings = {
    terminal: {
      isTerminal: false,
      out: (text: string) => {
        out += text;
      },
      error: (text: string) => {
        error += text;
      },
    },
    askAdmin: async (_: unknown, method: string, path: string) => {
      done.push(`${method} ${path}`);
      if (method === "GET")
        return {
          status: 200,
          text: JSON.stringify({ version: "1", pid: 5, executable, step: shape.step ?? null }),
        };
      return shape.status === undefined
        ? { status: 200, text: `\n${JSON.stringify(outcome)}\n` }
        : { status: shape.status, text: shape.words ?? "" };
    },
    system: {
      run: async (argv: readonly string[]) => {
        done.push(argv.join(" "));
        if (argv[0] === shape.failing) return { exitCode: 1, output: "Permission denied\n" };
        return { exitCode: 0, output: argv[0] === "readlink" ? "/opt/new\n" : "" };
      },
    },
  } as unknown as CliBindings;
  return {
    done,
    said: () => ({ out, error }),
    run: (flags: Partial<UpgradeFlags> = {}) =>
      upgrade(bindings, plain, { readyWithin: 2_000, drainDeadline: 1_000, ...flags }, target),
  };
}

const copying = [
  "GET /upgrade",
  "readlink -e -- new",
  "rm -f -- /bin/fairlead.new",
  "cp -- /opt/new /bin/fairlead.new",
];
const staged = [...copying, "test -x /opt/new", "chmod 0755 /bin/fairlead.new"];
const asked = "POST /upgrade?ready=2000&deadline=1000&program=%2Fbin%2Ffairlead.new";

describe("fairlead upgrade", () => {
  test("copies the binary beside the node's own, and puts it in its place when the node runs it", async () => {
    const w = world();
    expect(await w.run({ to: "new" })).toBe(0);
    expect(w.done).toEqual([
      ...staged,
      asked,
      "ln -f -- /bin/fairlead /bin/fairlead.previous",
      "mv -f -- /bin/fairlead.new /bin/fairlead",
    ]);
    expect(w.said().out).toContain("2 runs as process 9");
  });

  for (const result of ["refused", "rolled back"] as const)
    test(`${result}: the copy goes, the installed binary stays, and why is said`, async () => {
      const w = world({ outcome: { result, from: "1", to: null, reason: "cannot run it" } });
      expect(await w.run({ to: "new" })).toBe(1);
      expect(w.done).toEqual([...staged, asked, "rm -f -- /bin/fairlead.new"]);
      expect(w.said().error).toContain(`${result}: cannot run it`);
    });

  test("what is no program is copied as it is, for the node to say so", async () => {
    const w = world({ failing: "test", outcome: { result: "refused", reason: "cannot run it" } });
    expect(await w.run({ to: "new" })).toBe(1);
    expect(w.done).toEqual([...copying, "test -x /opt/new", asked, "rm -f -- /bin/fairlead.new"]);
  });

  test("while another one is under way nothing is copied over its binary", async () => {
    const w = world({ step: "an upgrade to /x waits for the new process" });
    expect(String(await rejectionOf(w.run({ to: "new" })))).toContain("an upgrade to /x waits");
    expect(w.done).toEqual(["GET /upgrade"]);
  });

  test("--check leaves nothing behind", async () => {
    const w = world({ outcome: { result: "checked", from: "1", to: "2" } });
    expect(await w.run({ to: "new", check: true })).toBe(0);
    expect(w.done).toEqual([...staged, `${asked}&check=1`, "rm -f -- /bin/fairlead.new"]);
  });

  test("--keep-binary, a node that runs from source, and no --to touch no file", async () => {
    const kept = world();
    expect(await kept.run({ to: "new", keepBinary: true })).toBe(0);
    expect(kept.done.slice(2)).toEqual(["POST /upgrade?ready=2000&deadline=1000&program=%2Fopt%2Fnew"]);
    const source = world({ executable: null });
    expect(await source.run({ to: "new" })).toBe(0);
    expect(source.done.slice(2)).toEqual(["POST /upgrade?ready=2000&deadline=1000&program=%2Fopt%2Fnew"]);
    const again = world();
    expect(await again.run()).toBe(0);
    expect(again.done).toEqual(["GET /upgrade", "POST /upgrade?ready=2000&deadline=1000"]);
  });

  test("what cannot be copied is not begun; the node's own binary is no other", async () => {
    const w = world({ failing: "cp" });
    expect(String(await rejectionOf(w.run({ to: "new" })))).toContain("may write beside /bin/fairlead");
    expect(w.done).toEqual(copying);
    const own = world({ executable: "/opt/new" });
    expect(await own.run({ to: "new" })).toBe(2);
  });

  test("a second one, a stranger and an earlier node are told apart", async () => {
    for (const [status, words, code] of [
      [409, "an upgrade to /x waits; wait for its end\n", "limit_reached"],
      [403, "only root and the user of the node may replace it\n", "permission_denied"],
      [404, "404 Not Found", "unsupported"],
    ] as const) {
      const w = world({ status, words });
      const error = await rejectionOf(w.run({ to: "new" }));
      expect(error).toMatchObject({ code });
      if (status !== 404) expect(String(error)).toContain(words.trim());
      expect(w.done.at(-1)).toBe("rm -f -- /bin/fairlead.new");
    }
  });
});
