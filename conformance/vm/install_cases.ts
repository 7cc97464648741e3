/**
 * Installation on a host of its own: a mount namespace with copies of /etc, /usr/local and /var/lib, so that this machine's are not
 * touched. A script that runs the source takes the place of the binary.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fromSource } from "../namespaces/node_process.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";
import { type Check, equal, type Group, holds } from "./group.ts";

const cases = {
  dryRun: "--dry-run prints every file and command first, and does nothing",
  files: "every file is there with its mode, and the program runs from its place",
  user: "the user is made, without a shell, and reads the configuration alone",
  withoutSystemd: "without systemd the line that a supervisor runs is said",
  again: "a second installation changes nothing that an operator wrote",
  half: "a half-removed installation is completed by installing again",
  unit: "systemd finds nothing wrong with the unit, and less exposed than 3.0",
  completion: "bash completes commands, options and words",
  manual: "the manual page has no warning",
  asUser:
    "as that user, with the unit's capabilities alone, a node captures, answers names on port 53 and stops clean",
  readOnly: "with /etc read-only the file that cannot be written is named",
  notRoot: "without root nothing is done",
  traces: "uninstalling leaves no trace",
  deb: "the .deb has every file in Debian's places, made by dpkg-deb and by us",
} as const;

export const install: Group = {
  cases: Object.values(cases),
  whyNot: () => {
    if (process.getuid?.() !== 0) return "an installation needs root";
    return ["unshare", "mount", "setpriv", "useradd", "tar"].find((tool) => Bun.which(tool) === null) ?? null;
  },
  run: async (directory, check) => {
    const host = new InstallHost(directory);
    await installed(host, check);
    await bundled(host, check);
  },
};

const words = ["--", "node", "--control", "https://control.example:15012", "--capture", "redirect"];

class InstallHost {
  readonly directory: string;
  readonly binary: string;
  readonly #roots = ["etc", "usr-local", "var-lib"] as const;
  isReadOnly = false;

  constructor(directory: string) {
    this.directory = directory;
    for (const name of this.#roots) mkdirSync(join(directory, name), { recursive: true });
    for (const name of ["passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf", "ld.so.cache"])
      if (existsSync(`/etc/${name}`)) cpSync(`/etc/${name}`, this.path("etc", name));
    mkdirSync(this.path("etc", "default"));
    this.binary = join(directory, "fairlead-binary");
    writeFileSync(this.binary, `#!/bin/sh\nexec ${fromSource.join(" ")} "$@"\n`);
    chmodSync(this.binary, 0o755);
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  /** The argv of `argv` on that host. */
  inside(argv: readonly string[]): string[] {
    const binds = [
      ["etc", "/etc"],
      ["usr-local", "/usr/local"],
      ["var-lib", "/var/lib"],
    ].map(([name, target]) => `mount --bind "$0/${name}" ${target}`);
    const readOnly = this.isReadOnly ? ["mount -o remount,bind,ro /etc"] : [];
    const script = ["mount --make-rprivate /", ...binds, ...readOnly, 'exec "$@"'].join(" && ");
    return ["unshare", "-m", "sh", "-c", script, this.directory, ...argv];
  }

  run(...argv: readonly string[]): { readonly code: number; readonly out: string } {
    const { exitCode, stdout, stderr } = Bun.spawnSync(this.inside(argv));
    return { code: exitCode, out: `${stdout.toString()}${stderr.toString()}`.trim() };
  }

  install(...more: readonly string[]): { readonly code: number; readonly out: string } {
    return this.run(...fromSource, "install", "--binary", this.binary, ...more);
  }

  /** Everything that is there, with its mode. */
  tree(): readonly string[] {
    return this.#roots.flatMap((name) =>
      readdirSync(this.path(name), { recursive: true, withFileTypes: true })
        .map((entry) => join(entry.parentPath, entry.name))
        .map((path) => `${path.slice(this.directory.length)} ${(statSync(path).mode & 0o7777).toString(8)}`)
        // useradd keeps a copy of each of its files beside it, and makes a lock.
        .filter(
          (line) =>
            !/\/etc\/(?:(?:passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock|sub[ug]id) /.test(line),
        )
        .sort(),
    );
  }

  read(...parts: readonly string[]): string {
    return readFileSync(this.path(...parts), "utf8");
  }
}

async function installed(host: InstallHost, check: Check): Promise<void> {
  const before = host.tree();
  const accounts = host.read("etc", "passwd");
  await check(cases.notRoot, async () => {
    const found = host.run(
      "setpriv",
      "--reuid",
      "65534",
      "--clear-groups",
      ...fromSource,
      "install",
      "--binary",
      "/bin/sh",
    );
    holds(found.out.includes("needs root"), found.out);
    equal(found.code, 2);
    equal(host.tree(), before);
  });
  await check(cases.dryRun, async () => {
    const { code, out } = host.install("--dry-run", ...words);
    equal(code, 0);
    for (const line of [
      "useradd --system",
      "/usr/local/bin/fairlead",
      "/etc/systemd/system/fairlead.service",
      "NoNewPrivileges=yes",
      "FAIRLEAD_ARGS=",
    ])
      holds(out.includes(line), `it does not say ${line}`);
    equal(host.tree(), before);
  });
  await check(cases.readOnly, async () => {
    host.isReadOnly = true;
    const { code, out } = host.install("--user", "root", ...words);
    host.isReadOnly = false;
    equal([code, /failed: .*\/etc\//.test(out), out.includes("again")], [1, true, true], out);
  });
  await check(cases.withoutSystemd, async () => {
    const { code, out } = host.install(...words);
    equal(code, 0, out);
    holds(out.includes("There is no systemd here"), out);
    holds(
      out.includes("/usr/local/bin/fairlead node --control https://control.example:15012 --capture redirect"),
      out,
    );
  });
  await check(cases.files, async () => {
    const mode = (...parts: readonly string[]) => (statSync(host.path(...parts)).mode & 0o7777).toString(8);
    equal(
      [
        mode("usr-local", "bin", "fairlead"),
        mode("etc", "fairlead"),
        mode("etc", "fairlead", "fairlead.yaml"),
        mode("etc", "default", "fairlead"),
        mode("etc", "systemd", "system", "fairlead.service"),
        mode("etc", "systemd"),
        mode("var-lib", "fairlead"),
      ],
      ["755", "750", "640", "600", "644", "755", "700"],
    );
    holds(host.run("/usr/local/bin/fairlead", "version").out.startsWith("fairlead 0."), "it does not run");
  });
  await check(cases.user, async () => {
    const line =
      host
        .read("etc", "passwd")
        .split("\n")
        .find((each) => each.startsWith("fairlead:")) ?? "";
    equal(line.split(":").slice(5), ["/var/lib/fairlead", "/usr/sbin/nologin"]);
    const as = (...argv: readonly string[]) =>
      host.run("setpriv", "--reuid", "fairlead", "--regid", "fairlead", "--init-groups", ...argv).code;
    equal(
      [
        as("cat", "/etc/fairlead/fairlead.yaml"),
        as("touch", "/etc/fairlead/x"),
        as("touch", "/var/lib/fairlead/x"),
      ],
      [0, 1, 0],
    );
  });
  await check(cases.again, async () => {
    writeFileSync(host.path("etc", "fairlead", "fairlead.yaml"), "logLevel: debug\n");
    const tree = host.tree();
    equal(host.install().code, 0);
    equal(host.tree(), tree);
    equal(host.read("etc", "fairlead", "fairlead.yaml"), "logLevel: debug\n");
    holds(host.read("etc", "default", "fairlead").includes("--capture redirect"), "its words are lost");
  });
  await check(cases.half, async () => {
    const tree = host.tree();
    rmSync(host.path("etc", "systemd", "system", "fairlead.service"));
    rmSync(host.path("usr-local", "share"), { recursive: true });
    equal(host.install().code, 0);
    equal(host.tree(), tree);
  });
  await check(cases.unit, async () => judgeUnit(host));
  await check(cases.completion, async () => judgeCompletion(host));
  await check(cases.manual, async () => {
    if (Bun.which("man") === null) return;
    const { out } = host.run(
      "sh",
      "-c",
      "man --warnings -E UTF-8 -l -Tutf8 /usr/local/share/man/man1/fairlead.1 2>&1 >/dev/null",
    );
    // groff's own file for the site is not on every host.
    equal(
      out.split("\n").filter((line) => line !== "" && !line.includes("man.local")),
      [],
    );
  });
  await check(cases.asUser, async () => runAsUser(host));
  await check(cases.traces, async () => {
    const { code, out } = host.run(...fromSource, "uninstall", "--yes");
    equal(code, 0, out);
    const left = host.tree().filter((line) => !before.includes(line));
    // The shells' own folders above those that were made stay, as they would be there on most hosts.
    equal(
      left.filter((line) => !/^\/(?:usr-local\/(?:bin|share)|etc\/systemd)(?:\/[a-z1-]+)* 755$/.test(line)),
      [],
    );
    equal(host.read("etc", "passwd"), accounts);
    equal(host.run(...fromSource, "uninstall", "--yes").code, 0, "a second time");
  });
}

function judgeUnit(host: InstallHost): void {
  if (Bun.which("systemd-analyze") === null) return;
  const unit = host.path("etc", "systemd", "system", "fairlead.service");
  const verified = Bun.spawnSync(["systemd-analyze", "verify", unit]);
  const complaints = `${verified.stdout}${verified.stderr}`
    .split("\n")
    // The program and its page are in another mount namespace.
    .filter((line) => line !== "" && !/is not executable|man fairlead\(1\)/.test(line));
  equal(complaints, []);
  const { stdout } = Bun.spawnSync(["systemd-analyze", "security", "--offline=yes", unit]);
  const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(stdout.toString())?.[1] ?? Number.NaN);
  holds(exposure < 3, `exposure ${exposure}`);
}

function judgeCompletion(host: InstallHost): void {
  const offer = (...line: readonly string[]): readonly string[] => {
    const script = `. /usr/local/share/bash-completion/completions/fairlead; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fairlead; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return host
      .run("bash", "-c", script, "bash", ...line)
      .out.split("\n")
      .sort();
  };
  equal(offer("fairlead", "expl"), ["explain"]);
  equal(offer("fairlead", "ca", "rot"), ["rotate"]);
  equal(offer("fairlead", "get", "workloads", "--out"), ["--output"]);
  equal(offer("fairlead", "node", "--dns-se"), ["--dns-setup"]);
  equal(offer("fairlead", "get", "--output", "ya"), ["yaml"]);
}

const nodeDocuments = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: 127.0.0.1, serviceAccount: cart}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop]
  addresses: [10.99.0.1]
  ports: [{number: 80, name: a, protocol: TCP}]
  resolution: STATIC
`;

/** In a network namespace of its own, where it may do all that its capabilities allow. */
function runAsUser(host: InstallHost): void {
  // What the unit's sandbox leaves it to read.
  for (const folder of [repository, host.directory]) holds(existsSync(folder), folder);
  mkdirSync(host.path("etc", "fairlead", "mesh"), { recursive: true });
  writeFileSync(host.path("etc", "fairlead", "mesh", "mesh.yaml"), nodeDocuments);
  chmodSync(host.path("etc", "fairlead", "mesh"), 0o755);
  chmodSync(host.path("etc", "fairlead"), 0o755);
  const capabilities = "+net_admin,+net_raw,+net_bind_service,+dac_override";
  const program = [
    ...["setpriv", "--reuid", "fairlead", "--regid", "fairlead", "--init-groups", "--no-new-privs"],
    ...[
      "--inh-caps",
      `-all,${capabilities}`,
      "--ambient-caps",
      `-all,${capabilities}`,
      "--bounding-set",
      `-all,${capabilities}`,
    ],
    ...[
      "/usr/local/bin/fairlead",
      "up",
      "-f",
      "/etc/fairlead/mesh",
      "--capture",
      "redirect",
      "--dns-setup",
      "resolv-conf",
    ],
    ...["--state-directory", "/var/lib/fairlead/state"],
  ];
  writeFileSync(host.path("etc", "resolv.conf"), "nameserver 192.0.2.1\n");
  const script = `ip link set lo up
${program.map((word) => `'${word}'`).join(" ")} >"$1" 2>&1 &
pid=$!
for i in $(seq 1 200); do curl -sf -m 2 http://127.0.0.1:15021/healthz/ready >/dev/null && break; sleep 0.1; done
echo "ready=$(curl -s -m 2 -o /dev/null -w %{http_code} http://127.0.0.1:15021/healthz/ready)"
echo "capture=$(/usr/local/bin/fairlead capture status | head -1)"
echo "name=$(getent hosts db.shop | head -1 | cut -d' ' -f1)"
echo "user=$(ps -o user= -p $pid | tr -d ' ')"
kill -TERM $pid; wait $pid
echo "exit=$?"
echo "rules=$(nft list ruleset | wc -l)"
echo "resolv=$(cat /etc/resolv.conf)"
# Who watched the kernel for it is gone a moment later; a user that has a process cannot be taken away.
for i in $(seq 1 600); do pgrep -u fairlead >/dev/null || break; sleep 0.1; done`;
  const log = host.path("as-user.log");
  writeFileSync(log, "");
  chmodSync(log, 0o666);
  const { out } = host.run("unshare", "-n", "sh", "-c", script, "sh", log);
  rmSync(host.path("etc", "resolv.conf"));
  const told = () => `${out}\n${readFileSync(log, "utf8").slice(-1500)}`;
  for (const line of [
    "ready=200",
    "capture=in force",
    "name=10.99.0.1",
    "user=fairlead",
    "exit=0",
    "rules=0",
    "resolv=nameserver 192.0.2.1",
  ])
    holds(out.includes(line), `not ${line}: ${told()}`);
}

async function bundled(host: InstallHost, check: Check): Promise<void> {
  await check(cases.deb, async () => {
    const script = join(repository, "scripts", "package.ts");
    const lists: string[] = [];
    for (const [name, ...more] of [
      ["own.deb", "--own"],
      ...(Bun.which("dpkg-deb") === null ? [] : [["dpkg.deb"]]),
    ]) {
      const target = host.path(name ?? "");
      runToEnd([process.execPath, script, host.binary, target, ...more]);
      const unpacked = host.path(`${name}-files`);
      mkdirSync(unpacked);
      runToEnd([
        "sh",
        "-c",
        `cd "${unpacked}" && ar x "${target}" && cat debian-binary && mkdir d c && tar -xzf data.tar.gz -C d && tar -xzf control.tar.gz -C c`,
      ]);
      const files = readdirSync(join(unpacked, "d"), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(unpacked.length + 2))
        .sort();
      lists.push(JSON.stringify(files));
      for (const path of [
        "/usr/bin/fairlead",
        "/usr/lib/systemd/system/fairlead.service",
        "/usr/share/man/man1/fairlead.1.gz",
        "/etc/fairlead/fairlead.yaml",
      ])
        holds(files.includes(path), `${name} has no ${path}`);
      holds(
        readFileSync(join(unpacked, "d/usr/lib/systemd/system/fairlead.service"), "utf8").includes(
          "ExecStart=/usr/bin/fairlead ",
        ),
        "the unit starts another",
      );
      holds(
        readFileSync(join(unpacked, "c/control"), "utf8").includes("Package: fairlead\n"),
        "no control file",
      );
      for (const step of ["postinst", "prerm", "postrm"]) runToEnd(["sh", "-n", join(unpacked, "c", step)]);
      equal((statSync(join(unpacked, "d", "etc")).mode & 0o777).toString(8), "755", "/etc");
    }
    equal(new Set(lists).size, 1, "two ways, one package");
  });
}
