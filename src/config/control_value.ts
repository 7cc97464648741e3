/** Readers of the settings that say where the control plane is and how it is known. */
import { type HostPort, IpAddress, parseHostPort } from "../base/ip.ts";
import { joinLimits } from "../base/limits/agent.ts";
import { ports } from "../base/limits/ports.ts";
import type { PemSource, TokenSource } from "../base/settings/node_control.ts";
import { Secret } from "../base/settings/secret.ts";
import { Invalid, type Reader } from "./value.ts";

/** `https://HOST[:PORT]`; 15012 without a port, as istiod has it. Plain text is refused, as ztunnel does (`tls/control.rs`). */
export const readControlAddress: Reader<HostPort> = (text) => {
  const match = /^(?:([a-z]+):\/\/)?([^/?#@]+)\/?$/i.exec(text);
  if (match === null) return new Invalid("not https://HOST:PORT");
  const scheme = match[1]?.toLowerCase() ?? "https";
  if (scheme !== "https") return new Invalid(`${scheme}, and a control plane is reached by https alone`);
  const authority = match[2] ?? "";
  const bare = authority.replace(/^\[(.*)\]$/, "$1");
  if (IpAddress.parse(bare) !== null || !/:[0-9]+$/.test(authority)) {
    return isHost(bare) ? { host: bare, port: ports.control } : new Invalid("not https://HOST:PORT");
  }
  const parsed = parseHostPort(authority);
  return parsed === null || parsed.port === 0 || !isHost(parsed.host)
    ? new Invalid("not https://HOST:PORT")
    : parsed;
};

/** RFC 1123 names, also with a dot at the end. */
export const readHostName: Reader<string> = (text) =>
  isHost(text) ? text.toLowerCase() : new Invalid("not a host name");

function isHost(text: string): boolean {
  if (IpAddress.parse(text) !== null) return true;
  return (
    text.length <= 253 &&
    /^(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/.test(text) &&
    !/^[0-9.]+$/.test(text)
  );
}

/** The digest of the root's public key, as `fairlead join-token create` prints it. @returns 64 hexadecimal digits. */
export const readPin: Reader<string> = (text) => {
  const match = /^sha256:([0-9a-fA-F]{64})$/.exec(text);
  return match === null
    ? new Invalid("not a pin: sha256: and 64 hexadecimal digits")
    : (match[1] ?? "").toLowerCase();
};

export const readPemSource: Reader<PemSource> = (text) => {
  if (text === "SYSTEM")
    return new Invalid("the roots of this machine, under which any web site has a certificate; name a file");
  if (text === "") return new Invalid("empty");
  return text.includes("-----BEGIN ") ? { kind: "pem", pem: text } : { kind: "file", path: text };
};

/** `fjt_<id>_<secret>`. Its words are the server's to judge; what is cut short is noticed here, before the token is shown to anybody. */
export const readJoinToken: Reader<Secret> = (text) =>
  /^fjt_[A-Za-z0-9-]+_[A-Za-z0-9_-]{16,}$/.test(text) && text.length <= joinLimits.maxTokenBytes
    ? new Secret(text)
    : new Invalid("not a whole join token (fjt_…); copy the whole join line");

/** A path, or the token itself when it has the three parts of a JWT, as ztunnel's AUTH_TOKEN may be either. */
export const readTokenSource: Reader<TokenSource> = (text) => {
  if (text === "") return new Invalid("empty");
  return /^[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*$/.test(text)
    ? { kind: "literal", token: new Secret(text) }
    : { kind: "file", path: text };
};

export const readIp: Reader<IpAddress> = (text) => IpAddress.parse(text) ?? new Invalid("not an IP address");

/** `KEY=VALUE`. */
export const readLabel: Reader<readonly [key: string, value: string]> = (text) => {
  const match = /^([A-Za-z0-9](?:[A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?)=([A-Za-z0-9._-]{0,63})$/.exec(text);
  return match === null ? new Invalid("not KEY=VALUE") : [match[1] ?? "", match[2] ?? ""];
};
