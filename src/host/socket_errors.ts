/** The operating system's error names, turned into ours. Linux numbers, because the FFI path sees only those. */
import { type Blame, type ErrorCode, MeshError } from "../base/errors.ts";

/** errno(3) on Linux for what socket calls return. */
const names: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  19: "ENODEV",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  32: "EPIPE",
  36: "ENAMETOOLONG",
  91: "EPROTOTYPE",
  97: "EAFNOSUPPORT",
  98: "EADDRINUSE",
  99: "EADDRNOTAVAIL",
  100: "ENETDOWN",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  105: "ENOBUFS",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  112: "EHOSTDOWN",
  113: "EHOSTUNREACH",
};

const localErrors: Readonly<Record<string, ErrorCode>> = {
  EMFILE: "descriptors_exhausted",
  ENFILE: "descriptors_exhausted",
  ENOBUFS: "descriptors_exhausted",
  ENOMEM: "descriptors_exhausted",
  EPERM: "permission_denied",
  EACCES: "permission_denied",
  EADDRINUSE: "address_in_use",
};

export function errnoName(errno: number): string {
  return names[errno] ?? `errno ${errno}`;
}

/** The name (`ECONNRESET`) in whatever the runtime threw or reported; null when it carries none. */
export function systemErrorName(thrown: unknown): string | null {
  if (typeof thrown !== "object" || thrown === null || !("code" in thrown)) return null;
  return typeof thrown.code === "string" ? thrown.code : null;
}

/** A failed connect. What the network or the other end did is the upstream's fault, what this host lacks is ours. */
export function connectError(name: string, target: string): MeshError {
  const local = localErrors[name];
  if (local !== undefined) return new MeshError(local, "local", `connect to ${target}: ${name}`);
  const message = `connect to ${target}: ${name}`;
  switch (name) {
    case "ECONNREFUSED":
    case "ECONNRESET":
      return new MeshError("connect_refused", "upstream", message);
    case "ETIMEDOUT":
      return new MeshError("connect_timeout", "upstream", message);
    case "EADDRNOTAVAIL":
      return new MeshError("io", "local", message);
    default:
      return new MeshError("connect_unreachable", "upstream", message);
  }
}

/** A failed listen. All of them are this host's. */
export function listenError(name: string, target: string): MeshError {
  return new MeshError(localErrors[name] ?? "io", "local", `listen on ${target}: ${name}`);
}

/** An established connection that broke. */
export function connectionError(name: string | null, detail: string, blame: Blame): MeshError {
  const code = name === "ECONNRESET" || name === "EPIPE" ? "connection_reset" : "connection_closed";
  return new MeshError(code, blame, detail);
}
