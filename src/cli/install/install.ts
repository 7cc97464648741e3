/** `fairlead install` and `uninstall`: the plan shown, then done. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { CliBindings, ExitCode, SystemBindings } from "../bindings.ts";
import type { Style } from "../style.ts";
import { type Documents, type InstallFacts, planInstall, planUninstall, type Step } from "./plan.ts";

export interface InstallFlags {
  readonly dryRun?: boolean;
  readonly root?: string;
  readonly user: string;
  readonly prefix: string;
  readonly binary?: string;
  /** `--no-start` */
  readonly start: boolean;
}

export interface UninstallFlags {
  readonly dryRun?: boolean;
  readonly root?: string;
  readonly user: string;
  readonly prefix: string;
  readonly keepState?: boolean;
  readonly yes?: boolean;
}

const userName = /^[a-z_][a-z0-9_-]{0,30}$/;

export async function install(
  bindings: CliBindings,
  style: Style,
  words: readonly string[],
  flags: InstallFlags,
  documents: () => Documents,
): Promise<ExitCode> {
  const { terminal, system } = bindings;
  const wrong = checkFlags(flags);
  if (wrong !== null) return refuse(bindings, wrong);
  const root = rootOf(flags.root);
  if (flags.binary === undefined && !system.isBuilt)
    return refuse(
      bindings,
      "this runs from source; build the binary (npm run build) and give it with --binary, or run it itself",
    );
  const from = flags.binary ?? (await system.executable());
  if (!(await system.exists(from))) return refuse(bindings, `--binary ${from}: there is no such file`);
  const facts: InstallFacts = {
    from,
    hasSystemd: await system.exists("/run/systemd/system"),
    hasUser: root === "" && (await hasUser(system, flags.user)),
    userTool: (await system.exists("/usr/sbin/useradd"))
      ? "useradd"
      : (await findTool(system, "adduser"))
        ? "adduser"
        : null,
  };
  const started = words.length === 0 ? ["node", "--config", "/etc/fairlead/fairlead.yaml"] : words;
  const options = {
    user: flags.user,
    prefix: flags.prefix,
    root,
    words: started,
    areGiven: words.length > 0,
    start: flags.start && words.length > 0,
  };
  const steps = planInstall(options, facts, documents());
  if (flags.dryRun === true) {
    for (const step of steps) terminal.out(describe(step, style, true));
    return 0;
  }
  if (root === "" && system.uid !== 0)
    return refuse(bindings, "installing needs root; --dry-run shows what would be done");
  if (!(await perform(bindings, style, steps))) return 1;
  terminal.out(`${style.green("installed")}\n`);
  if (root === "") tellNext(bindings, facts, options);
  return 0;
}

function tellNext(
  { terminal }: CliBindings,
  { hasSystemd }: InstallFacts,
  { prefix, user, words, start }: { prefix: string; user: string; words: readonly string[]; start: boolean },
): void {
  if (!hasSystemd) {
    terminal.out(
      `There is no systemd here. Have your supervisor run this, as ${user} with CAP_NET_ADMIN or as root, and restart it when it ends:\n  ${prefix}/bin/fairlead ${words.join(" ")}\nAfter a kill, remove what it leaves: fairlead capture remove --force; fairlead names remove\n`,
    );
    return;
  }
  terminal.out(
    start
      ? "It runs now and after each start of the host: systemctl status fairlead; fairlead check\n"
      : "Edit /etc/fairlead/fairlead.yaml and /etc/default/fairlead, then: systemctl enable --now fairlead\n",
  );
}

export async function uninstall(
  bindings: CliBindings,
  style: Style,
  flags: UninstallFlags,
): Promise<ExitCode> {
  const { terminal, system } = bindings;
  const wrong = checkFlags(flags);
  if (wrong !== null) return refuse(bindings, wrong);
  const root = rootOf(flags.root);
  const facts = {
    hasSystemd: await system.exists("/run/systemd/system"),
    hasUser: root === "" && (await hasUser(system, flags.user)),
    hasBinary: await system.exists(`${root}${flags.prefix}/bin/fairlead`),
    userTool: (await system.exists("/usr/sbin/userdel"))
      ? "userdel"
      : (await findTool(system, "deluser"))
        ? "deluser"
        : null,
  } as const;
  const steps = planUninstall({ ...flags, root, keepState: flags.keepState === true }, facts);
  if (flags.dryRun === true) {
    for (const step of steps) terminal.out(describe(step, style, true));
    return 0;
  }
  if (root === "" && system.uid !== 0)
    return refuse(bindings, "uninstalling needs root; --dry-run shows what would be done");
  if (flags.yes !== true) {
    for (const step of steps) terminal.out(describe(step, style, false));
    const keys =
      flags.keepState === true ? "" : " Keys, certificates and state go too (--keep-state keeps them).";
    const answer = await bindings.control.ask(`Remove all of this?${keys} [y/N] `);
    if (answer === null)
      return refuse(
        bindings,
        "nobody can be asked here: give --yes, or look with --dry-run".replace("nobody can", "no person can"),
      );
    if (!/^y(es)?$/i.test(answer.trim())) {
      terminal.out("nothing was removed\n");
      return 1;
    }
  }
  if (!(await perform(bindings, style, steps))) return 1;
  terminal.out(`${style.green("uninstalled")}\n`);
  return 0;
}

/** @returns false when a step failed: what was done before stays, and doing it again goes on from there. */
async function perform(
  { terminal, system }: CliBindings,
  style: Style,
  steps: readonly Step[],
): Promise<boolean> {
  for (const step of steps) {
    try {
      if (await done(system, step)) terminal.out(describe(step, style, false));
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      terminal.error(`${style.red("failed")}: ${describe(step, style, false).trim()}: ${message}\n`);
      terminal.error("Mend that and run the same command again; fairlead uninstall removes what is there.\n");
      return false;
    }
  }
  return true;
}

/** @returns whether there was something to do. */
async function done(system: SystemBindings, step: Step): Promise<boolean> {
  switch (step.kind) {
    case "directory":
      // What is above it is made as usual: only the last one has its mode.
      await makeParent(system, step.path);
      await system.makeDirectory(step.path, step.mode);
      if (step.owner !== null) await must(system, ["chown", step.owner, step.path]);
      return true;
    case "file":
      if (step.keep && (await system.exists(step.path))) return false;
      await makeParent(system, step.path);
      await system.writeFile(step.path, step.text, step.mode);
      if (step.owner !== null) await must(system, ["chown", step.owner, step.path]);
      return true;
    case "program":
      await makeParent(system, step.path);
      // Beside it and then over it: a program that runs cannot be written.
      await must(system, ["cp", step.from, `${step.path}.new`]);
      await must(system, ["chmod", "0755", `${step.path}.new`]);
      await must(system, ["mv", "-f", `${step.path}.new`, step.path]);
      return true;
    case "run":
      if (!step.mayFail) await must(system, step.argv);
      else await system.run(step.argv).catch(() => null);
      return true;
    case "remove":
      if (!(await system.exists(step.path))) return false;
      await must(system, ["rm", "-rf", "--", step.path]);
      return true;
  }
}

/** One that is there keeps its mode. */
async function makeParent(system: SystemBindings, path: string): Promise<void> {
  const parent = path.slice(0, path.lastIndexOf("/"));
  if (!(await system.exists(parent))) await system.makeDirectory(parent, 0o755);
}

async function must(system: SystemBindings, argv: readonly string[]): Promise<void> {
  const { exitCode, output } = await system.run(argv);
  if (exitCode !== 0) throw new MeshError("io", "local", `${argv.join(" ")} (${exitCode}): ${output.trim()}`);
}

function describe(step: Step, style: Style, whole: boolean): string {
  switch (step.kind) {
    case "directory":
      return `${style.bold("directory")}  ${step.path}  ${octal(step.mode)}${owned(step.owner)}\n`;
    case "file": {
      const head = `${style.bold("file")}       ${step.path}  ${octal(step.mode)}${owned(step.owner)}${step.keep ? "  (left as it is if it is there)" : ""}\n`;
      // Generated pages are long, and of no interest here.
      const isShown = whole && !/\/share\//.test(step.path);
      return isShown ? `${head}${step.text.replaceAll(/^/gm, "    ").trimEnd()}\n` : head;
    }
    case "program":
      return `${style.bold("program")}    ${step.path}  0755  (a copy of ${step.from})\n`;
    case "run":
      return `${style.bold("run")}        ${step.argv.join(" ")}  (${step.why})\n`;
    case "remove":
      return `${style.bold("remove")}     ${step.path}\n`;
  }
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function owned(owner: string | null): string {
  return owner === null ? "" : `  ${owner}`;
}

function checkFlags({ user, prefix, root }: { user: string; prefix: string; root?: string }): string | null {
  if (!userName.test(user)) return `--user ${user}: not the name of a user`;
  if (!/^\/[A-Za-z0-9/._-]*$/.test(prefix) || prefix.includes(".."))
    return `--prefix ${prefix}: give a whole path`;
  if (root !== undefined && !root.startsWith("/")) return `--root ${root}: give a whole path`;
  return null;
}

function rootOf(root: string | undefined): string {
  return root === undefined ? "" : root.replace(/\/+$/, "");
}

async function hasUser(system: SystemBindings, user: string): Promise<boolean> {
  const text = await system.readText("/etc/passwd").catch(() => "");
  return text.split("\n").some((line) => line.startsWith(`${user}:`));
}

async function findTool(system: SystemBindings, name: string): Promise<boolean> {
  for (const folder of ["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
    if (await system.exists(`${folder}/${name}`)) return true;
  return false;
}

function refuse({ terminal }: CliBindings, message: string): ExitCode {
  terminal.error(`fairlead: ${message}\n`);
  return 2;
}
