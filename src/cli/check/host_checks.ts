/** What is looked at of the host alone, before anything is installed too. */
import { asMeshError } from "../../base/errors.ts";
import { ports } from "../../base/limits/ports.ts";
import type { CliBindings } from "../bindings.ts";
import type { CheckFinding, Code } from "./codes.ts";

/** The kernel that has what the rules use: nft's redirect in `inet` tables. */
const oldestKernel = [4, 18] as const;
const fewDescriptors = 4_096;
/** No clock that is right is before this version was made. */
const earliestMs = Date.UTC(2026, 0, 1);

const unitPath = "/etc/systemd/system/fairlead.service";
const packagedUnit = "/usr/lib/systemd/system/fairlead.service";
const binaries = ["/usr/local/bin/fairlead", "/usr/bin/fairlead"];

/** @param isNodeRunning its own ports and rules are as they should be then. */
export async function checkHost(
  { system, capture, names }: Pick<CliBindings, "system" | "capture" | "names">,
  isNodeRunning: boolean,
): Promise<readonly CheckFinding[]> {
  const found: CheckFinding[] = [];
  const find = (code: Code, subject: string, detail: string): void =>
    void found.push({ code, subject, detail });

  const release = (await read(system, "/proc/sys/kernel/osrelease")).trim();
  const [major = 0, minor = 0] = release.split(".").map((part) => Number.parseInt(part, 10));
  if (release === "") find("FL101", "kernel", "there is no /proc of Linux");
  else if (major < oldestKernel[0] || (major === oldestKernel[0] && minor < oldestKernel[1]))
    find("FL101", "kernel", `the kernel is ${release}`);

  const tools = await Promise.all(["nft", "iptables"].map((tool) => hasProgram(system, tool)));
  if (!tools.includes(true)) find("FL102", "nft", "neither nft nor iptables is installed");
  const mayAdminister = system.uid === 0 || (await hasNetAdmin(system));
  if (!mayAdminister) find("FL103", `uid ${system.uid}`, `user ${system.uid} has no CAP_NET_ADMIN`);

  if (!isNodeRunning) {
    const taken = await listeningPorts(system);
    for (const [name, port] of Object.entries(ports))
      if (name !== "control" && name !== "socks5" && taken.has(port))
        find("FL104", String(port), `port ${port} (${name}) is listened on`);
  }
  if (system.nowMs() < earliestMs)
    find("FL105", "clock", `it is ${new Date(system.nowMs()).toISOString()} here`);
  if (mayAdminister) await checkRules(capture, isNodeRunning, find);
  const mode = await names.isSet();
  // Whose proxy is not there does not answer, and that is said already.
  if (mode !== "off" && !isNodeRunning) find("FL108", mode, `it was set up by ${mode}`);
  else
    for (const { server, answers } of await system.resolvers())
      if (!answers) find("FL106", server, `${server} did not answer`);
  const limit = Number(
    /^Max open files\s+(\d+)/m.exec(await read(system, "/proc/self/limits"))?.[1] ?? Number.POSITIVE_INFINITY,
  );
  if (limit < fewDescriptors) find("FL109", "descriptors", `${limit} files at most`);
  if (await isReadOnly(system, "/etc")) find("FL110", "/etc", "/etc is mounted read-only");
  const hasUnit = (await system.exists(unitPath)) || (await system.exists(packagedUnit));
  const hasBinary = (await Promise.all(binaries.map((path) => system.exists(path)))).includes(true);
  if (hasUnit && !hasBinary)
    find("FL111", "program", `there is a service, and no program at ${binaries.join(" or ")}`);
  return found;
}

async function checkRules(
  capture: CliBindings["capture"],
  isNodeRunning: boolean,
  find: (code: Code, subject: string, detail: string) => void,
): Promise<void> {
  try {
    const { state, findings } = await capture.status();
    if (state === "left behind" || (state !== "none" && !isNodeRunning))
      find("FL107", "capture", `the rules are ${state}`);
    for (const { message, remedy } of findings) find("FL112", remedy, message);
  } catch (thrown) {
    const { message } = asMeshError(thrown, "io", "local");
    find("FL103", "capture", message);
  }
}

type System = CliBindings["system"];

async function read(system: System, path: string): Promise<string> {
  return (await system.exists(path)) ? await system.readText(path).catch(() => "") : "";
}

async function hasProgram(system: System, name: string): Promise<boolean> {
  for (const folder of ["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
    if (await system.exists(`${folder}/${name}`)) return true;
  return false;
}

/** capabilities(7): bit 12 of the effective set. */
async function hasNetAdmin(system: System): Promise<boolean> {
  const mask = /^CapEff:\s+([0-9a-f]+)/m.exec(await read(system, "/proc/self/status"))?.[1] ?? "0";
  return (BigInt(`0x${mask}`) & (1n << 12n)) !== 0n;
}

/** proc(5): `/proc/net/tcp`, state 0A. */
async function listeningPorts(system: System): Promise<ReadonlySet<number>> {
  const found = new Set<number>();
  for (const path of ["/proc/net/tcp", "/proc/net/tcp6"])
    for (const line of (await read(system, path)).split("\n")) {
      const match = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A /.exec(line);
      if (match?.[1] !== undefined) found.add(Number.parseInt(match[1], 16));
    }
  return found;
}

/** The longest mount point that `path` is below, and the last of those: it covers the others. */
async function isReadOnly(system: System, path: string): Promise<boolean> {
  let best = "";
  let options = "";
  for (const line of (await read(system, "/proc/self/mounts")).split("\n")) {
    const [, point = "", , given = ""] = line.split(" ");
    const isAbove = point === path || point === "/" || path.startsWith(`${point}/`);
    if (!isAbove || point.length < best.length) continue;
    best = point;
    options = given;
  }
  return options.split(",").includes("ro");
}
