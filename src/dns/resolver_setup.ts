/**
 * This host's programs led to the proxy, and back: by systemd-resolved, or by `/etc/resolv.conf`. What was there is kept beside it, and
 * other programs (DHCP clients, NetworkManager) go on writing it: what they write is taken for what is behind the proxy, and ours is
 * written again.
 */
import { asMeshError, MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import type { Logger } from "../base/log.ts";
import type { Host, Timer } from "../host/host.ts";
import {
  isOurs,
  ourResolvConf,
  type ResolvConf,
  readResolvConf,
  readSaved,
  writeSaved,
} from "./resolv_conf.ts";

export type SetupHost = Pick<Host, "files" | "process" | "clock">;

export const resolvConfPath = "/etc/resolv.conf";
export const savedPath = "/etc/resolv.conf.before-fairlead";
export const dropInPath = "/etc/systemd/resolved.conf.d/fairlead.conf";
/** The servers that systemd-resolved has from links, without itself. */
const resolvedUpstreams = "/run/systemd/resolve/resolv.conf";

export type SetupMode = "resolved" | "resolv-conf" | "off";

export interface SetupSettings {
  readonly mode: SetupMode;
  /** Where the proxy listens, and with resolv.conf also on port 53, which is the only one that such a file can mean. */
  readonly listens: SocketAddress;
  readonly port53: IpAddress;
  /** In place of those that are found; empty: those. */
  readonly upstreams: readonly SocketAddress[];
}

/** @returns how this host resolves names. */
export async function findSetupMode(host: SetupHost): Promise<Exclude<SetupMode, "off">> {
  const usesResolved =
    (await host.files.exists(resolvedUpstreams)) &&
    (await readOr(host, resolvConfPath, "")).includes("127.0.0.53");
  return usesResolved ? "resolved" : "resolv-conf";
}

export class ResolverSetup {
  readonly #host: SetupHost;
  readonly #settings: SetupSettings;
  readonly #logger: Logger;
  #before: ResolvConf = { servers: [], search: [], options: [] };
  #unwatch: () => void = () => {};
  #timer: Timer | null = null;
  #repairs = 0;
  #lastRepairMs = Number.NEGATIVE_INFINITY;
  #problem: string | null = null;
  #isClosed = false;
  #working: Promise<void> = Promise.resolve();

  private constructor(host: SetupHost, settings: SetupSettings, logger: Logger) {
    this.#host = host;
    this.#settings = settings;
    this.#logger = logger;
  }

  /** Reads what is behind the proxy. Nothing is changed before `apply`, so that no program is led to a proxy that does not listen yet. */
  static async open(host: SetupHost, settings: SetupSettings, logger: Logger): Promise<ResolverSetup> {
    const setup = new ResolverSetup(host, settings, logger);
    await setup.#read();
    return setup;
  }

  /** Whom the proxy asks, in order; never itself. */
  get servers(): readonly SocketAddress[] {
    const { upstreams } = this.#settings;
    return (upstreams.length > 0 ? upstreams : this.#before.servers).filter(
      (server) => !this.#isSelf(server),
    );
  }

  get mode(): SetupMode {
    return this.#settings.mode;
  }

  get search(): readonly string[] {
    return this.#before.search;
  }

  /** Why programs of this host do not get to the proxy; null when they do, or are not meant to. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Never throws: a host whose files cannot be written goes on without, says so, and is tried again when they change. */
  async apply(): Promise<void> {
    const watched = this.#settings.mode === "resolved" ? resolvedUpstreams : resolvConfPath;
    this.#unwatch = this.#host.files.watch(watched, () => this.#onChange());
    await this.#inTurn(() => this.#write());
  }

  /** Another process answers now, and leads this host's programs: nothing is changed. */
  async leave(): Promise<void> {
    this.#isClosed = true;
    this.#unwatch();
    this.#timer?.cancel();
    await this.#working;
  }

  /** Puts back what was there. */
  async remove(): Promise<void> {
    await this.leave();
    if (this.#settings.mode !== "off") await removeResolver(this.#host);
  }

  #isSelf({ ip, port }: SocketAddress): boolean {
    const { listens, port53 } = this.#settings;
    return (ip.equals(listens.ip) && port === listens.port) || (ip.equals(port53) && port === 53);
  }

  async #read(): Promise<void> {
    const { mode } = this.#settings;
    if (mode === "resolved") {
      this.#before = readResolvConf(await readOr(this.#host, resolvedUpstreams, ""));
      return;
    }
    const text = await readOr(this.#host, resolvConfPath, "");
    // Ours, of a run that was killed: what was there is beside it.
    const before = isOurs(text) ? readSaved(await readOr(this.#host, savedPath, "")).text : text;
    const read = readResolvConf(before);
    // A file that another program wrote from ours names us alone: what was known stays.
    if (read.servers.some((server) => !this.#isSelf(server))) this.#before = read;
  }

  #onChange(): void {
    if (this.#isClosed || this.#timer !== null) return;
    const now = this.#host.clock.now();
    if (now - this.#lastRepairMs > dnsLimits.repairPauseMs) this.#repairs = 0;
    const isTooOften = this.#repairs >= dnsLimits.maxRepairsInARow;
    this.#timer = this.#host.clock.setTimer(
      isTooOften ? dnsLimits.repairPauseMs : dnsLimits.repairDelayMs,
      () => {
        this.#timer = null;
        void this.#inTurn(() => this.#repair());
      },
    );
  }

  async #repair(): Promise<void> {
    if (this.#isClosed) return;
    const { mode } = this.#settings;
    if (mode === "resolved" || mode === "off") {
      await this.#read();
      return;
    }
    if (isOurs(await readOr(this.#host, resolvConfPath, "")) && this.#problem === null) return;
    this.#repairs++;
    this.#lastRepairMs = this.#host.clock.now();
    await this.#read();
    await this.#write();
    if (this.#problem === null)
      this.#logger.log(
        "warn",
        "dns",
        `another program wrote ${resolvConfPath}; names of the mesh are set up again`,
        {
          servers: this.servers.length,
        },
      );
  }

  async #write(): Promise<void> {
    const { mode } = this.#settings;
    const before = this.#problem;
    try {
      if (mode === "resolv-conf") await this.#writeResolvConf();
      if (mode === "resolved") await this.#writeDropIn();
      this.#problem = null;
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      this.#problem = message;
      if (before === null)
        this.#logger.log("error", "dns", "programs of this host are not led to the names of the mesh", {
          reason: message,
          remedy: "make the file writable, or point the resolver at the proxy yourself (--dns-setup off)",
        });
    }
  }

  async #writeResolvConf(): Promise<void> {
    const { files } = this.#host;
    const text = await readOr(this.#host, resolvConfPath, "");
    if (!isOurs(text)) {
      const saved = writeSaved({ text, link: await linkOf(this.#host, resolvConfPath) });
      await files.writeAtomic(savedPath, new TextEncoder().encode(saved), 0o644);
    }
    await replace(this.#host, resolvConfPath, ourResolvConf(this.#settings.port53, this.#before, savedPath));
  }

  async #writeDropIn(): Promise<void> {
    const { listens } = this.#settings;
    const address = listens.ip.isIpv4 ? listens.ip.text : `[${listens.ip.text}]`;
    const text = `# Written by fairlead; it goes when the node stops, or by \`fairlead names remove\`.\n[Resolve]\nDNS=${address}:${listens.port}\nDomains=~.\n`;
    if ((await readOr(this.#host, dropInPath, "")) === text) return;
    await this.#host.files.makeDirectory(dropInPath.slice(0, dropInPath.lastIndexOf("/")), 0o755);
    await this.#host.files.writeAtomic(dropInPath, new TextEncoder().encode(text), 0o644);
    await restartResolved(this.#host);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#working = this.#working.then(work);
    return this.#working;
  }
}

/**
 * Undoes what any run has set up; nothing where there is nothing.
 *
 * @returns whether there was something. @throws MeshError `io`.
 */
export async function removeResolver(host: SetupHost): Promise<boolean> {
  const { files } = host;
  let found = false;
  if (await files.exists(dropInPath)) {
    found = true;
    await files.remove(dropInPath);
    await restartResolved(host);
  }
  const isSet = isOurs(await readOr(host, resolvConfPath, ""));
  if (!(await files.exists(savedPath))) {
    if (!isSet) return found;
    throw new MeshError(
      "io",
      "local",
      `${resolvConfPath} is of fairlead, and ${savedPath} is gone: write the file again by hand`,
    );
  }
  // What another program wrote since is newer than what was kept.
  if (isSet) {
    const { text, link } = readSaved(await files.readText(savedPath));
    if (link === null) await replace(host, resolvConfPath, text);
    else await run(host, "ln", ["-sfn", link, resolvConfPath]);
  }
  await files.remove(savedPath);
  return true;
}

/** Whether programs of this host are led to a proxy of ours. */
export async function resolverIsSet(host: SetupHost): Promise<SetupMode> {
  if (await host.files.exists(dropInPath)) return "resolved";
  return isOurs(await readOr(host, resolvConfPath, "")) ? "resolv-conf" : "off";
}

/** In one step; where the file is mounted alone, as in containers, it cannot be replaced, and is written in its place. */
async function replace(host: SetupHost, path: string, text: string): Promise<void> {
  try {
    await host.files.writeAtomic(path, new TextEncoder().encode(text), 0o644);
  } catch (thrown) {
    const { message } = asMeshError(thrown, "io", "local");
    if (!message.includes("EBUSY")) throw thrown;
    await run(host, "tee", [path], text);
  }
}

async function linkOf(host: SetupHost, path: string): Promise<string | null> {
  const found = await host.process.run("readlink", [path]).catch(() => null);
  const target = found?.exitCode === 0 ? found.output.trim() : "";
  return target === "" ? null : target;
}

async function restartResolved(host: SetupHost): Promise<void> {
  await run(host, "systemctl", ["restart", "systemd-resolved"]);
}

async function run(host: SetupHost, program: string, args: readonly string[], input?: string): Promise<void> {
  const { exitCode, output } = await host.process.run(program, args, input);
  if (exitCode !== 0)
    throw new MeshError("io", "local", `${program} ${args.join(" ")} failed (${exitCode}): ${output.trim()}`);
}

async function readOr(host: SetupHost, path: string, otherwise: string): Promise<string> {
  return (await host.files.exists(path)) ? await host.files.readText(path) : otherwise;
}
