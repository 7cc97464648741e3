/** Readers of the settings that say where the audit log goes, besides the state. */
import { type HostPort, parseHostPort } from "../../base/ip.ts";
import { Invalid, type Reader, readAddress } from "../value.ts";

export type SyslogAddress =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "udp" | "tcp"; readonly server: HostPort }
  | { readonly transport: "tls"; readonly server: HostPort };

const syslogForms =
  "udp://HOST[:PORT], tcp://HOST[:PORT], tls://HOST[:PORT] or unix:///PATH, such as unix:///dev/log";

/** RFC 5426 and RFC 5425; TCP has none of its own, and servers listen for it at UDP's. */
const plainPort = 514;
const tlsPort = 6514;

export const readSyslog: Reader<SyslogAddress> = (text) => {
  const local = /^unix:\/\/(\/.+)$/.exec(text)?.[1];
  if (local !== undefined) return { transport: "unix", path: local };
  const [, scheme, authority = ""] = /^(udp|tcp|tls):\/\/([^/?#@]+)\/?$/.exec(text) ?? [];
  const transport = (["udp", "tcp", "tls"] as const).find((one) => one === scheme);
  if (transport === undefined) return new Invalid(`not ${syslogForms}`);
  const port = transport === "tls" ? tlsPort : plainPort;
  const withPort = /(?:^[^:]*|\]):[0-9]+$/.test(authority) ? authority : `${authority}:${port}`;
  const server = parseHostPort(withPort);
  if (server === null || server.port === 0) return new Invalid(`not ${syslogForms}`);
  return transport === "tls" ? { transport, server } : { transport, server };
};

/** A base address gets the path of logs (OTLP Specification, "OTLP/HTTP Request"). */
export const readOtlpUrl: Reader<string> = (text) => {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return new Invalid("not http(s)://HOST[:PORT][/PATH]");
  if (url.username !== "" || url.password !== "")
    return new Invalid("an address with a password; put credentials into --audit-otlp-headers");
  if (url.protocol === "http:" && !isLoopback(url.hostname))
    return new Invalid(
      "plain http to another host, where everyone on the way reads and changes it; use https",
    );
  if (url.pathname === "/") url.pathname = "/v1/logs";
  return url.href;
};

function isLoopback(host: string): boolean {
  const address = readAddress(`${host}:1`);
  return host === "localhost" || (!(address instanceof Invalid) && address.ip.isLoopback);
}
