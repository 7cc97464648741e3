/** Short texts of strangers: addresses, identities, paths, and the headers that say where a request comes from. */

import { isIP } from "node:net";
import {
  formatSocketAddress,
  IpAddress,
  parseHostPort,
  parsePort,
  parseSocketAddress,
} from "../../../src/base/ip.ts";
import { formatPrefix, parseIpPrefix, prefixContains } from "../../../src/base/prefix.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { factsOfRequest } from "../../../src/waypoint/auth/request_facts.ts";
import type { Downstream } from "../../../src/waypoint/exchange.ts";
import { cookie } from "../../../src/waypoint/match/affinity.ts";
import { HeadView } from "../../../src/waypoint/match/head_view.ts";
import { type Normalisation, normaliseTarget } from "../../../src/waypoint/match/normalise.ts";
import { readTraceContext, withTraceContext } from "../../../src/waypoint/telemetry/trace_context.ts";
import { connectHeaders, parseConnect } from "../../../src/wire/hbone.ts";
import { formatBaggage, parseBaggage, parseForwardedHost } from "../../../src/wire/headers.ts";
import { bytesOf, holds, type Look, latin1, same, type Target } from "../target.ts";

function checkAddress(text: string): void {
  const ip = IpAddress.parse(text);
  // What we read as an address, the system does; a zone is none of ours.
  if (ip !== null) {
    holds(isIP(text) !== 0, `${text} is an address elsewhere, too`);
    same(IpAddress.parse(ip.text)?.text, ip.text, "an address, written and read again");
    same(IpAddress.fromBytes(ip.bytes)?.text, ip.text, "its bytes, read again");
  } else if (!text.includes("%"))
    holds(isIP(text) === 0, `${JSON.stringify(text)} is no address elsewhere either`);
  const prefix = parseIpPrefix(text);
  if (prefix !== null) {
    const again = parseIpPrefix(formatPrefix(prefix));
    same(
      again === null ? null : formatPrefix(again),
      formatPrefix(prefix),
      "a prefix, written and read again",
    );
    holds(prefixContains(prefix, prefix.ip), "a prefix contains its own address");
  }
  const socket = parseSocketAddress(text);
  if (socket !== null) {
    const again = parseSocketAddress(formatSocketAddress(socket));
    same(
      again === null ? null : formatSocketAddress(again),
      formatSocketAddress(socket),
      "an address with its port",
    );
  }
  const hostPort = parseHostPort(text);
  if (hostPort !== null)
    holds(hostPort.host !== "" && hostPort.port >= 0 && hostPort.port <= 65_535, "a host and a port");
  const port = parsePort(text);
  if (port !== null) same(port, Number(text), "a port");
}

function checkIdentity(text: string): void {
  const id = SpiffeId.parse(text);
  if (id === null) return;
  same(id.uri, text, "an identity, written again");
  const url = new URL(text);
  same(
    [url.host, url.pathname],
    [id.trustDomain, `/ns/${id.namespace}/sa/${id.serviceAccount}`],
    "its parts, and a URL's",
  );
}

const normalisations: readonly Normalisation[] = [
  "NONE",
  "BASE",
  "MERGE_SLASHES",
  "DECODE_AND_MERGE_SLASHES",
];

function checkPath(text: string): void {
  for (const how of normalisations) {
    const once = normaliseTarget(text, how);
    if (once === null) continue;
    same(normaliseTarget(once, how), once, `${how}, and once more`);
    if (how === "NONE" || !text.startsWith("/")) continue;
    const path = once.split("?")[0] ?? "";
    holds(path.startsWith("/"), "a path begins with a slash");
    holds(!path.split("/").some((part) => part === "." || part === ".."), "no segment of dots is left");
    if (how !== "BASE") holds(!path.includes("//"), "no two slashes are left");
    holds(!/%(?:2e|2d|5f|7e|3[0-9]|[46][1-9a-f]|[57][0-9a])/i.test(path), "no letter is left encoded");
  }
  const head = {
    method: "GET",
    scheme: "http" as const,
    authority: "a",
    path: text,
    fields: [],
    version: "1.1" as const,
    protocol: null,
  };
  const view = new HeadView(head);
  holds(!/[?#]/.test(view.path), "a path has neither query nor fragment");
  view.query("a");
}

const downstream = {
  peer: new SpiffeId("a", "b", "c"),
  source: { ip: IpAddress.loopback(true), port: 1 },
  destination: { ip: null, port: 80 },
  sni: "",
} as unknown as Downstream;

/** Lines `name: value`. */
function checkHeaders(text: string): void {
  const fields = text.split("\n").flatMap((line) => {
    const colon = line.indexOf(":");
    return colon < 1 ? [] : [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const trace = readTraceContext(fields);
  if (trace !== null) {
    const sampled = trace.sampled ?? true;
    const again = readTraceContext(withTraceContext(fields, { ...trace, sampled }));
    same(
      [again?.traceId, again?.spanId, again?.sampled],
      [trace.traceId, trace.spanId, sampled],
      "a trace, written and read again",
    );
  }
  const head = {
    method: "GET",
    scheme: "http" as const,
    authority: "A:80",
    path: "/?q#f",
    fields,
    version: "1.1" as const,
    protocol: null,
  };
  for (const proxies of [0, 1, 2]) {
    const { remoteIp } = factsOfRequest(downstream, head, null, proxies);
    if (proxies === 0)
      same(remoteIp.text, "127.0.0.1", "without trusted proxies the client's word is nothing");
  }
  cookie(fields, "a");
  const named = fields[1] ?? "";
  const baggage = parseBaggage(named);
  const again = parseBaggage(formatBaggage(baggage));
  same(parseBaggage(formatBaggage(again)), again, "baggage, written and read again");
  parseForwardedHost(named);
  const asked = parseConnect([":method", "CONNECT", ":authority", named, "baggage", named]);
  if (!("status" in asked))
    same(parseConnect(connectHeaders(asked)), asked, "a CONNECT, written and read again");
}

function run(input: Uint8Array, look: Look): void {
  const text = latin1(input.subarray(1));
  const check = [checkAddress, checkIdentity, checkPath, checkHeaders][(input[0] ?? 0) % 4];
  look.turn(() => check?.(text));
}

const texts: readonly (readonly string[])[] = [
  [
    "10.0.0.1",
    "2001:db8::1",
    "::ffff:1.2.3.4",
    "10.0.0.0/8",
    "2001:db8::/32",
    "[::1]:80",
    "1.2.3.4:65535",
    "a.b:80",
    "fe80::1%eth0",
    "0.0.0.0/0",
  ],
  ["spiffe://cluster.local/ns/shop/sa/cart", "spiffe://a/ns/../sa/b"],
  ["/a/b/../c//d/./e?x=1#f", "/%61%2fb%5C%2e%2E/", "*", "http://a/b", "/a\\b", "/%00", "/a;b=c/%zz"],
  [
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
    "x-b3-traceid: 463ac35c9f6413ad\nx-b3-spanid: a2fb4a1d1a96d312\nx-b3-sampled: 0",
    'x-forwarded-for: 1.2.3.4, [::1]:80, 5.6.7.8:9\ncookie: a="b"; c=d',
    "baggage: k8s.cluster.name=c,k8s.namespace.name=n,k8s.pod.name=p,service.name=s",
    'forwarded: for="10.0.0.1:1";host=a.b',
    "authority: 10.0.0.1:80",
  ],
];

export const target: Target = {
  maxBytes: 256,
  seeds: () => texts.flatMap((list, kind) => list.map((text) => Uint8Array.of(kind, ...bytesOf(text)))),
  dictionary: [
    "::",
    "/",
    "//",
    "/../",
    "/./",
    "%2e",
    "%2F",
    "%5c",
    "255",
    "0",
    ":",
    ".",
    "\\",
    "#",
    "?",
    ";",
    "%00",
    "-",
    "_",
    "~",
    ",",
  ],
  run,
};
