/** Installing on a host that a map of files stands for; conformance/vm installs on real ones. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import type { CliBindings, SystemBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { type InstallFlags, install, uninstall } from "./install.ts";
import type { Documents } from "./plan.ts";
import { argumentsText, unitText } from "./unit.ts";

const documents: Documents = { bash: "b\n", zsh: "z\n", fish: "f\n", manual: "m\n" };

function world(
  shape: {
    hasSystemd?: boolean;
    uid?: number;
    failing?: string;
    isBuilt?: boolean;
    answer?: string | null;
  } = {},
) {
  const files = new Map<string, string>([
    ["/usr/local/bin/new", "binary"],
    ["/etc/passwd", "root:x:0:0::/root:/bin/sh\n"],
    ["/usr/sbin/useradd", ""],
    ["/usr/sbin/userdel", ""],
    ...(shape.hasSystemd === false ? [] : [["/run/systemd/system", ""] as const]),
  ]);
  const ran: string[] = [];
  let out = "";
  let error = "";
  const system: SystemBindings = {
    uid: shape.uid ?? 0,
    isBuilt: shape.isBuilt ?? true,
    executable: async () => "/usr/local/bin/new",
    date: () => "2026-11-29",
    nowMs: () => 0,
    connects: async () => false,
    resolvers: async () => [],
    exists: async (path) => files.has(path) || [...files.keys()].some((name) => name.startsWith(`${path}/`)),
    readText: async (path) => files.get(path) ?? "",
    writeFile: async (path, text) => {
      if (path === shape.failing) throw new MeshError("io", "local", `${path}: EROFS`);
      files.set(path, text);
    },
    makeDirectory: async (path) => void files.set(`${path}/.`, ""),
    run: async (argv) => {
      ran.push(argv.join(" "));
      const [program, ...words] = argv;
      if (program === "cp") files.set(words[1] ?? "", files.get(words[0] ?? "") ?? "");
      if (program === "mv") {
        files.set(words[2] ?? "", files.get(words[1] ?? "") ?? "");
        files.delete(words[1] ?? "");
      }
      if (program === "rm")
        for (const path of [...files.keys()])
          if (path === words[2] || path.startsWith(`${words[2]}/`)) files.delete(path);
      if (program === "useradd")
        files.set("/etc/passwd", `${files.get("/etc/passwd")}fairlead:x:999:999::/:/\n`);
      if (program === "userdel") files.set("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
      return { exitCode: 0, output: "" };
    },
  };
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
    system,
    control: { ask: async () => (shape.answer === undefined ? "y" : shape.answer) },
  } as unknown as CliBindings;
  const flags: InstallFlags = { user: "fairlead", prefix: "/usr/local", start: true };
  const said = () => ({ out, error });
  return {
    files,
    ran,
    said,
    install: (words: readonly string[] = [], more: Partial<InstallFlags> = {}) =>
      install(bindings, plain, words, { ...flags, ...more }, () => documents),
    uninstall: (more: { keepState?: boolean; yes?: boolean; dryRun?: boolean } = {}) =>
      uninstall(bindings, plain, { user: "fairlead", prefix: "/usr/local", yes: true, ...more }),
  };
}

const node = ["node", "--control", "https://c.example:15012", "--capture", "redirect"];

describe("install", () => {
  test("a dry run prints every file and command, and does nothing", async () => {
    const w = world();
    const before = [...w.files];
    expect(await w.install(node, { dryRun: true })).toBe(0);
    expect([[...w.files], w.ran]).toEqual([before, []]);
    const { out } = w.said();
    for (const words of [
      "useradd --system",
      "/usr/local/bin/fairlead  0755",
      "AmbientCapabilities=",
      "FAIRLEAD_ARGS=",
      "systemctl enable fairlead.service",
      "/usr/local/share/man/man1/fairlead.1",
    ])
      expect(out).toContain(words);
  });

  test("makes the user, files and service; a second one changes neither configuration nor user", async () => {
    const w = world();
    expect([await w.install(node), w.said().error]).toEqual([0, ""]);
    expect(w.files.get("/etc/default/fairlead")).toContain("--capture redirect");
    expect(w.ran.filter((line) => line.startsWith("systemctl"))).toEqual([
      "systemctl daemon-reload",
      "systemctl enable fairlead.service",
      "systemctl restart fairlead.service",
    ]);
    w.files.set("/etc/fairlead/fairlead.yaml", "mine");
    w.ran.length = 0;
    expect(await w.install()).toBe(0);
    expect([
      w.files.get("/etc/fairlead/fairlead.yaml"),
      w.files.get("/etc/default/fairlead")?.includes("--capture redirect"),
    ]).toEqual(["mine", true]);
    expect(w.ran.some((line) => line.startsWith("useradd") || line.includes("restart"))).toBe(false);
    // Words that are given take the place of earlier ones.
    expect(await w.install(["control"])).toBe(0);
    expect(w.files.get("/etc/default/fairlead")).toContain('FAIRLEAD_ARGS="control"');
  });

  test("without systemd everything else is there, and how to run it is said", async () => {
    const w = world({ hasSystemd: false });
    expect(await w.install(node)).toBe(0);
    expect(w.ran.some((line) => line.startsWith("systemctl"))).toBe(false);
    expect(w.said().out).toContain("There is no systemd here");
    expect(w.said().out).toContain(
      "/usr/local/bin/fairlead node --control https://c.example:15012 --capture redirect",
    );
  });

  test("below a root no command is run but to copy the program", async () => {
    const w = world();
    expect(await w.install(node, { root: "/image/" })).toBe(0);
    expect(w.files.has("/image/etc/systemd/system/fairlead.service")).toBe(true);
    expect(w.ran.every((line) => /^(?:cp|chmod|mv) /.test(line))).toBe(true);
  });

  for (const [name, shape, more, words] of [
    ["without root", { uid: 1000 }, {}, "needs root"],
    ["from source", { isBuilt: false }, {}, "runs from source"],
    ["with a user that is none", {}, { user: "-x" }, "not the name of a user"],
    ["with a prefix that leads away", {}, { prefix: "/usr/../tmp" }, "give a whole path"],
    ["with a binary that is not there", {}, { binary: "/nowhere" }, "no such file"],
  ] as const)
    test(`${name} is refused, and nothing is done`, async () => {
      const w = world(shape);
      expect(await w.install(node, more)).toBe(2);
      expect([w.said().error.includes(words), w.ran]).toEqual([true, []]);
    });

  test("a step that fails is named, and the same command goes on from there", async () => {
    const w = world({ failing: "/etc/systemd/system/fairlead.service" });
    expect(await w.install(node)).toBe(1);
    expect(w.said().error).toContain("/etc/systemd/system/fairlead.service");
    expect(w.said().error).toContain("EROFS");
  });
});

describe("uninstall", () => {
  test("leaves nothing of what was installed, also of a half of it", async () => {
    for (const missing of [
      null,
      "/etc/systemd/system/fairlead.service",
      "/usr/local/bin/fairlead",
      "/etc/default/fairlead",
    ]) {
      const w = world();
      const before = new Set(w.files.keys());
      await w.install(node);
      w.files.set("/var/lib/fairlead/node.json", "keys");
      if (missing !== null) w.files.delete(missing);
      expect(await w.uninstall()).toBe(0);
      expect([...w.files.keys()].filter((path) => !before.has(path) && !path.endsWith("/."))).toEqual([]);
      expect(w.files.get("/etc/passwd")).not.toContain("fairlead");
      if (missing !== "/usr/local/bin/fairlead")
        expect(w.ran).toContain("/usr/local/bin/fairlead capture remove --force");
    }
  });

  test("keeps keys and configuration where that is said, with their user", async () => {
    const w = world();
    await w.install(node);
    w.files.set("/var/lib/fairlead/node.json", "keys");
    await w.uninstall({ keepState: true });
    expect([w.files.has("/var/lib/fairlead/node.json"), w.files.has("/etc/fairlead/fairlead.yaml")]).toEqual([
      true,
      true,
    ]);
    expect(w.files.get("/etc/passwd")).toContain("fairlead");
  });

  test("asks first, and does nothing without a yes", async () => {
    for (const [answer, code] of [
      ["n", 1],
      ["", 1],
      [null, 2],
    ] as const) {
      const w = world({ answer });
      await w.install(node);
      const before = [...w.files.keys()];
      w.ran.length = 0;
      expect(await w.uninstall({ yes: false })).toBe(code);
      expect([[...w.files.keys()], w.ran]).toEqual([before, []]);
    }
  });
});

describe("the unit", () => {
  const settings = { binary: "/usr/local/bin/fairlead", user: "fairlead", words: node };
  test("writes to /etc only where it sets up names", () => {
    expect(unitText(settings)).not.toContain("ReadWritePaths");
    const naming = unitText({ ...settings, words: [...node, "--dns-setup", "resolv-conf"] });
    expect([naming.includes("ReadWritePaths=-/etc"), naming.includes("CAP_DAC_OVERRIDE")]).toEqual([
      true,
      true,
    ]);
  });

  test("words with blanks and quotes stay one word each", () => {
    expect(argumentsText(["node", "--node", "a b", "it's"])).toContain(
      `FAIRLEAD_ARGS="node --node 'a b' 'it'\\\\''s'"`,
    );
  });
});
