/** Readers of single settings: text in, a typed value or the reason why not out. */
import {
  type HostPort,
  parseHostPort,
  parsePort,
  parseSocketAddress,
  type SocketAddress,
} from "../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../base/prefix.ts";
import { nearestWord } from "../mesh/documents/nearest.ts";
import { parseCgroupPath } from "./node/cgroup_path.ts";

/** Where an application may enter the mesh; `workload` (`namespace/name`) is whose identity it uses, null when the host has just one. */
export interface EntryPoint {
  readonly listen: SocketAddress;
  readonly workload: string | null;
}

/** A local port that leads to one service. */
export interface LocalPort extends EntryPoint {
  readonly target: HostPort;
}

/** Why a text is not the value that was asked for; continues the sentence `"…" is`. */
export class Invalid {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

export type Reader<T> = (text: string) => T | Invalid;

export const readText: Reader<string> = (text) => text;

/** "off" is null. */
export const readPathOrOff: Reader<{ readonly path: string | null }> = (text) =>
  text === "" ? new Invalid("empty") : { path: text === "off" ? null : text };

export const readNonEmpty: Reader<string> = (text) => (text === "" ? new Invalid("empty") : text);

/** One of a few words; the nearest is suggested. */
export function readWord<const T extends string>(...words: readonly T[]): Reader<T> {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    const near = nearestWord(text, words);
    return new Invalid(`not one of ${words.join(", ")}${near === null ? "" : `; did you mean ${near}?`}`);
  };
}

export const readPort: Reader<number> = (text) => {
  const port = parsePort(text);
  return port === null || port === 0 ? new Invalid("not a port (1 to 65535)") : port;
};

/** Decimal or 0x…; 32 bits. */
export const readMark: Reader<number> = (text) => {
  const mark = /^(0x[0-9a-fA-F]+|[0-9]+)$/.test(text) ? Number(text) : Number.NaN;
  return mark > 0 && mark <= 0xffffffff ? mark : new Invalid("not a mark (1 to 0xffffffff)");
};

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `500ms`, `5s`, `5m`, `24h`, `7d`, as ztunnel writes durations. */
export function readDuration(minimumMs: number, maximumMs: number): Reader<number> {
  return (text) => {
    const match = /^([0-9]{1,9})(ms|s|m|h|d)$/.exec(text);
    if (match === null) return new Invalid("not a duration such as 500ms, 5s, 5m or 24h");
    const ms = Number(match[1]) * (unitMs[match[2] ?? ""] ?? 0);
    if (ms >= minimumMs && ms <= maximumMs) return ms;
    return new Invalid(`out of range (${writeDuration(minimumMs)} to ${writeDuration(maximumMs)})`);
  };
}

/** The largest unit that gives a whole number. */
export function writeDuration(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    const size = unitMs[unit] ?? 1;
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

export function readInteger(minimum: number, maximum: number): Reader<number> {
  return (text) => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= minimum && value <= maximum
      ? value
      : new Invalid(`not a whole number from ${minimum} to ${maximum}`);
  };
}

/** `127.0.0.1:15000`, `localhost:15000` or `[::1]:15000`. */
export const readAddress: Reader<SocketAddress> = (text) => {
  const address = parseSocketAddress(text.replace(/^localhost:/, "127.0.0.1:"));
  return address ?? new Invalid("not an IP address with a port, such as 127.0.0.1:15000 or [::1]:15000");
};

export const readAddressOrOff: Reader<SocketAddress | null> = (text) =>
  text === "off" ? null : readAddress(text);

export const readPrefix: Reader<IpPrefix> = (text) =>
  parseIpPrefix(text) ?? new Invalid("not an address range such as 10.0.0.0/8");

/** `eth1`, `wg*`. What the kernel takes as a name, without what would mean something in a rule. */
export const readInterface: Reader<string> = (text) =>
  /^[A-Za-z0-9_.:@-]{1,15}\*?$/.test(text) && text.length <= 15
    ? text
    : new Invalid("not the name of an interface, such as eth1 or wg*");

/** Without slashes at its ends. */
export const readCgroup: Reader<string> = (text) => {
  if (text.startsWith("/sys/fs/cgroup"))
    return new Invalid("not below the root of cgroups; leave out where they are mounted");
  return (
    parseCgroupPath(text) ??
    new Invalid("not the path of a cgroup below the root, such as system.slice/shop.service")
  );
};

/** `namespace/name`. */
export const readWorkloadName: Reader<string> = (text) =>
  /^[A-Za-z0-9._-]+\/[A-Za-z0-9._-]+$/.test(text) ? text : new Invalid("not namespace/name");

/** Lower case, as SPIFFE wants it. */
export const readTrustDomain: Reader<string> = (text) =>
  /^[a-z0-9._-]{1,255}$/.test(text)
    ? text
    : new Invalid("not a trust domain (lower-case letters, digits, dots, dashes)");

/** `LISTEN[@namespace/name]`. */
export const readEntryPoint: Reader<EntryPoint> = (text) => {
  const { before, workload } = splitWorkload(text);
  if (workload instanceof Invalid) return workload;
  const listen = readAddress(before);
  return listen instanceof Invalid ? listen : { listen, workload };
};

/** `LISTEN=HOST:PORT[@namespace/name]`. */
export const readLocalPort: Reader<LocalPort> = (text) => {
  const { before, workload } = splitWorkload(text);
  if (workload instanceof Invalid) return workload;
  const parts = before.split("=");
  const target: HostPort | null = parseHostPort(parts[1] ?? "");
  if (parts.length !== 2 || target === null || target.port === 0)
    return new Invalid("not LISTEN=HOST:PORT[@namespace/name], such as 127.0.0.1:8080=backend.shop:80");
  const listen = readAddress(parts[0] ?? "");
  return listen instanceof Invalid ? listen : { listen, target, workload };
};

/** `ADDRESS=ADDRESS`: a workload's address and port, and where its application really listens. */
export const readApplication: Reader<{
  readonly workload: SocketAddress;
  readonly listens: SocketAddress;
}> = (text) => {
  const parts = text.split("=");
  if (parts.length !== 2) return new Invalid("not ADDRESS:PORT=ADDRESS:PORT");
  const workload = readAddress(parts[0] ?? "");
  if (workload instanceof Invalid) return workload;
  const listens = readAddress(parts[1] ?? "");
  return listens instanceof Invalid ? listens : { workload, listens };
};

function splitWorkload(text: string): {
  readonly before: string;
  readonly workload: string | null | Invalid;
} {
  const at = text.indexOf("@");
  if (at === -1) return { before: text, workload: null };
  const name = text.slice(at + 1);
  const workload = readWorkloadName(name);
  return {
    before: text.slice(0, at),
    workload:
      workload instanceof Invalid ? new Invalid(`for "${name}", which is ${workload.reason}`) : workload,
  };
}
