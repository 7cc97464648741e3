/** What an installation is: every directory, file and command, in order, as values that can be shown before anything is done. */
import { argumentsPath, argumentsText, sampleConfig, sampleConfigPath, unitName, unitText } from "./unit.ts";

export type Step =
  | {
      readonly kind: "directory";
      readonly path: string;
      readonly mode: number;
      readonly owner: string | null;
    }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly mode: number;
      readonly text: string;
      /** What an operator may have changed is left as it is. */
      readonly keep: boolean;
      readonly owner: string | null;
    }
  /** A copy of a program. */
  | { readonly kind: "program"; readonly path: string; readonly from: string }
  | {
      readonly kind: "run";
      readonly argv: readonly string[];
      readonly why: string;
      readonly mayFail: boolean;
    }
  | { readonly kind: "remove"; readonly path: string };

export interface InstallFacts {
  /** The binary that is copied. */
  readonly from: string;
  readonly hasSystemd: boolean;
  readonly hasUser: boolean;
  readonly userTool: "useradd" | "adduser" | null;
}

export interface InstallOptions {
  readonly user: string;
  /** `/usr/local`; a package has `/usr`. */
  readonly prefix: string;
  /** Files below it alone, and no command: a package, or an image. "" is this host. */
  readonly root: string;
  readonly words: readonly string[];
  /** The words were given: they take the place of earlier ones. */
  readonly areGiven: boolean;
  readonly start: boolean;
}

/** Generated from the command line itself. */
export interface Documents {
  readonly bash: string;
  readonly zsh: string;
  readonly fish: string;
  readonly manual: string;
}

const directories = { configuration: "/etc/fairlead", state: "/var/lib/fairlead" } as const;

export function planInstall(
  options: InstallOptions,
  facts: InstallFacts,
  documents: Documents,
): readonly Step[] {
  const { user, prefix, root, words, areGiven, start } = options;
  const isHost = root === "";
  const binary = `${prefix}/bin/fairlead`;
  const isRoots = user === "root";
  const steps: Step[] = [];
  if (isHost && !isRoots && !facts.hasUser) steps.push(addUser(user, facts.userTool));
  steps.push({ kind: "program", path: `${root}${binary}`, from: facts.from });
  const file = (
    path: string,
    text: string,
    more: { keep?: boolean; mode?: number; owner?: string } = {},
  ): Step => ({
    kind: "file",
    path: `${root}${path}`,
    mode: more.mode ?? 0o644,
    text,
    keep: more.keep ?? false,
    owner: isHost && !isRoots ? (more.owner ?? null) : null,
  });
  const group = `root:${user}`;
  steps.push(
    {
      kind: "directory",
      path: `${root}${directories.configuration}`,
      mode: 0o750,
      owner: isHost && !isRoots ? group : null,
    },
    file(sampleConfigPath, sampleConfig, { keep: true, mode: 0o640, owner: group }),
    // A join token may be among them.
    file(argumentsPath, argumentsText(words), { keep: !areGiven, mode: 0o600 }),
    file(`/etc/systemd/system/${unitName}`, unitText({ binary, user, words })),
    ...documentPaths(prefix).map(([path, name]) => file(path, documents[name])),
  );
  if (!isHost) return steps;
  if (!facts.hasSystemd) {
    const owner = isRoots ? null : `${user}:${user}`;
    return [...steps, { kind: "directory", path: directories.state, mode: 0o700, owner }];
  }
  steps.push(run(["systemctl", "daemon-reload"], "systemd reads the unit"));
  if (start) {
    steps.push(run(["systemctl", "enable", unitName], "it is started with the host"));
    // Also a second installation: what runs is then what was just installed.
    steps.push(run(["systemctl", "restart", unitName], "it is started now", true));
  }
  return steps;
}

/** @param keepState leaves configuration, keys and state where they are. */
export function planUninstall(
  options: Pick<InstallOptions, "user" | "prefix" | "root"> & { readonly keepState: boolean },
  facts: Pick<InstallFacts, "hasSystemd" | "hasUser"> & {
    readonly hasBinary: boolean;
    readonly userTool: "userdel" | "deluser" | null;
  },
): readonly Step[] {
  const { user, prefix, root, keepState } = options;
  const isHost = root === "";
  const steps: Step[] = [];
  const binary = `${prefix}/bin/fairlead`;
  if (isHost && facts.hasSystemd)
    steps.push(run(["systemctl", "disable", "--now", unitName], "it stops, and is not started again", true));
  if (isHost && facts.hasBinary) {
    steps.push(run([binary, "capture", "remove", "--force"], "no capture rule stays", true));
    steps.push(run([binary, "names", "remove"], "the host resolves names as before", true));
  }
  const remove = (path: string): Step => ({ kind: "remove", path: `${root}${path}` });
  steps.push(
    remove(`/etc/systemd/system/${unitName}`),
    remove(`/etc/systemd/system/${unitName}.d`),
    ...documentPaths(prefix).map(([path]) => remove(path)),
    remove(argumentsPath),
  );
  steps.push(
    run(
      ["rmdir", "--ignore-fail-on-non-empty", ...folders(prefix).map((path) => `${root}${path}`)],
      "folders that are empty now",
      true,
    ),
  );
  if (!keepState) steps.push(remove(directories.configuration), remove(directories.state));
  steps.push(remove("/run/fairlead"), remove(`${binary}.previous`), remove(`${binary}.new`), remove(binary));
  if (isHost && facts.hasSystemd) {
    steps.push(run(["systemctl", "daemon-reload"], "systemd forgets the unit", true));
    steps.push(run(["systemctl", "reset-failed", unitName], "and its failures", true));
  }
  if (isHost && facts.hasUser && user !== "root" && facts.userTool !== null && !keepState)
    steps.push(run([facts.userTool, user], "the user goes", true));
  return steps;
}

function documentPaths(prefix: string): readonly (readonly [path: string, name: keyof Documents])[] {
  return [
    [`${prefix}/share/bash-completion/completions/fairlead`, "bash"],
    [`${prefix}/share/zsh/site-functions/_fairlead`, "zsh"],
    [`${prefix}/share/fish/vendor_completions.d/fairlead.fish`, "fish"],
    [`${prefix}/share/man/man1/fairlead.1`, "manual"],
  ];
}

function folders(prefix: string): readonly string[] {
  return documentPaths(prefix).map(([path]) => path.slice(0, path.lastIndexOf("/")));
}

function addUser(user: string, tool: InstallFacts["userTool"]): Step {
  const why = "a user without a password and a shell, whom the program runs as";
  const words = [
    "--system",
    "--home-dir",
    directories.state,
    "--no-create-home",
    "--shell",
    "/usr/sbin/nologin",
  ];
  // BusyBox has no useradd.
  return tool === "adduser"
    ? run(["adduser", "-S", "-D", "-H", "-h", directories.state, "-s", "/sbin/nologin", user], why)
    : run(["useradd", ...words, "--user-group", user], why);
}

function run(argv: readonly string[], why: string, mayFail = false): Step {
  return { kind: "run", argv, why, mayFail };
}
