/**
 * A host with systemd as its first process: in namespaces of its own (mounts, processes, network, control groups), on a root that is this
 * machine's, read-only. What can be written there (/etc, /var, /usr/local, /run, /tmp, /dev, homes) is the test's own, so that no unit, whatever
 * it cleans up or sets, reaches this machine.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";

const folders = { etc: "/etc", var: "/var", "usr-local": "/usr/local" } as const;

/** Of the machine's /etc, what programs need to know who is who. */
const copied = [
  "passwd",
  "group",
  "shadow",
  "gshadow",
  "login.defs",
  "nsswitch.conf",
  "ld.so.cache",
  "manpath.config",
];
const copiedFolders = ["alternatives"];

const bootScript = `set -e
base=$1; address=$2; root=$base/root
mount --make-rprivate /
mount --bind / "$root"
mount -o remount,bind,ro "$root"
mount --bind "$base/etc" "$root/etc"
mount --bind "$base/var" "$root/var"
mount --bind "$base/usr-local" "$root/usr/local"
for folder in run tmp dev root home; do mount -t tmpfs -o mode=755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  IFS=: read -r name major minor <<<"$device"
  mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue" "$root/dev/hugepages"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# What systemd says goes where the kernel's log would be.
mkfifo "$root/dev/kmsg"
cat <>"$root/dev/kmsg" >&2 &
ip link set lo up
ip addr add "$address/32" dev lo
# Nothing of this machine may be in reach of what runs from here on.
if touch "$root/probe" 2>/dev/null; then echo "the root can be written to"; exit 1; fi
if [ -n "$(ls -A "$root/tmp" "$root/run" | grep -v :)" ]; then echo "/tmp or /run is the machine's"; exit 1; fi
export container=fairlead SYSTEMD_UNIT_PATH=/etc/systemd/system
exec chroot "$root" ${systemdPath()} --system --unit=multi-user.target --log-target=kmsg --log-level=info --show-status=no
`;

/** The targets that a unit names, and nothing else of what a distribution starts. */
const targets = {
  "sysinit.target": "",
  "basic.target": "Requires=sysinit.target\nAfter=sysinit.target\n",
  "shutdown.target": "DefaultDependencies=no\n",
  "network-online.target": "",
  "multi-user.target": "Requires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
};

function systemdPath(): string {
  return ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].find((path) => existsSync(path)) ?? "systemd";
}

/** Where the control groups of version 2 are; null where they are not, or cannot be added to. */
function controlGroups(): string | null {
  const line = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .find((each) => each.includes(" - cgroup2 "));
  return line?.split(" ")[4] ?? null;
}

export function whyNoSystemd(): string | null {
  if (process.getuid?.() !== 0) return "systemd as the first process needs root";
  if (!existsSync(systemdPath())) return "systemd is not installed here";
  const missing = [
    "systemctl",
    "systemd-analyze",
    "unshare",
    "nsenter",
    "chroot",
    "mknod",
    "ip",
    "bash",
  ].find((tool) => Bun.which(tool) === null);
  if (missing !== undefined) return `${missing} is not installed here`;
  if (controlGroups() === null) return "there are no control groups of version 2 here";
  const allowed = Bun.spawnSync([
    ...["unshare", "-m", "-p", "-u", "-i", "-n", "-C", "--fork", "sh", "-c"],
    'd=$(mktemp -d) && mount -t tmpfs tmpfs "$d" && mkdir "$d/c" && mount -t cgroup2 cgroup2 "$d/c"; code=$?; umount -R "$d"; rmdir "$d"; exit $code',
  ]);
  return allowed.exitCode === 0
    ? null
    : `namespaces cannot be made here: ${allowed.stderr.toString().trim()}`;
}

export class SystemdHost {
  readonly #directory: string;
  readonly #address: string;
  readonly #group: string;
  #process: Subprocess | null = null;
  #boots = 0;

  constructor(directory: string, address: string) {
    this.#directory = directory;
    this.#address = address;
    this.#group = join(controlGroups() ?? "/sys/fs/cgroup", `fairlead-vm-${process.pid}`);
    for (const name of [...Object.keys(folders), "root"]) mkdirSync(this.path(name), { recursive: true });
    for (const name of [...copied, ...copiedFolders])
      if (existsSync(`/etc/${name}`))
        cpSync(`/etc/${name}`, this.path("etc", name), { recursive: true, verbatimSymlinks: true });
    for (const name of ["lib", "log", "tmp", "cache"]) mkdirSync(this.path("var", name));
    symlinkSync("/run", this.path("var/run"));
    mkdirSync(this.path("etc/default"));
    mkdirSync(this.path("etc/systemd/system"), { recursive: true });
    for (const [name, lines] of Object.entries(targets))
      writeFileSync(this.path("etc/systemd/system", name), `[Unit]\nDescription=${name}\n${lines}`);
    writeFileSync(this.path("etc/machine-id"), `${crypto.randomUUID().replaceAll("-", "")}\n`);
    writeFileSync(this.path("boot.sh"), bootScript);
  }

  path(...parts: readonly string[]): string {
    return join(this.#directory, ...parts);
  }

  /** Resolves when systemd has started what it starts by itself. */
  async boot(): Promise<void> {
    mkdirSync(this.#group, { recursive: true });
    const enter =
      'echo $$ >"$0/cgroup.procs" && exec unshare -m -p -u -i -n -C --fork --kill-child bash "$@"';
    const booted = Subprocess.start({
      name: "systemd",
      argv: ["sh", "-c", enter, this.#group, this.path("boot.sh"), this.#directory, this.#address],
      logPath: this.path(`systemd_${++this.#boots}.log`),
    });
    this.#process = booted;
    await eventually(
      "systemd to be up",
      () => booted.running && this.run("systemctl", "is-active", "multi-user.target").out === "active",
      () => booted.log(),
    );
  }

  /** As when its power is cut: nothing is asked to stop. */
  async cutPower(): Promise<void> {
    const pid = this.#first();
    if (pid !== null) process.kill(pid, "SIGKILL");
    await this.#process?.exited;
    this.#process = null;
  }

  run(...argv: readonly string[]): { readonly code: number; readonly out: string } {
    const pid = this.#first();
    if (pid === null) return { code: 1, out: "the host does not run" };
    const enter = ["nsenter", "-t", String(pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"];
    const { exitCode, stdout, stderr } = Bun.spawnSync([...enter, ...argv], { stdin: "ignore" });
    return { code: exitCode, out: `${stdout.toString()}${stderr.toString()}`.trim() };
  }

  /** The last that systemd has said. */
  said(): string {
    return this.#process?.log().split("\n").slice(-20).join("\n") ?? "";
  }

  /** A property of a unit, as `systemctl show` has it. */
  show(unit: string, property: string): string {
    return this.run("systemctl", "show", "--value", "-p", property, unit).out;
  }

  /** What is in the folders that can be written to and outlive the host, with modes and owners. */
  tree(): readonly string[] {
    const { out } = this.run("find", "/etc", "/var", "/usr/local", "-xdev", "-printf", "%p %m %u\\n");
    return out.split("\n").sort();
  }

  async close(): Promise<void> {
    await this.cutPower();
    await eventually("its control groups to be empty", () => removeGroups(this.#group));
  }

  /** As this machine numbers it. */
  #first(): number | null {
    const parent = this.#process?.pid;
    if (parent === undefined || this.#process?.running !== true) return null;
    const children = readChildren(parent);
    return children === null ? null : Number(children);
  }
}

function readChildren(pid: number): string | null {
  try {
    const [first = ""] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return first === "" ? null : first;
  } catch {
    return null;
  }
}

function removeGroups(group: string): boolean {
  try {
    for (const entry of readdirSync(group, { withFileTypes: true }))
      if (entry.isDirectory() && !removeGroups(join(group, entry.name))) return false;
    rmdirSync(group);
    return true;
  } catch (thrown) {
    return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
  }
}
