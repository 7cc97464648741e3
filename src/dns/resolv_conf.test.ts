import { expect, test } from "bun:test";
import { IpAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import { isOurs, ourResolvConf, readResolvConf, readSaved, writeSaved } from "./resolv_conf.ts";

test("servers, the last search line and options are read; comments and nonsense are not", () => {
  const text = `# comment
nameserver 10.0.0.53 ; old
nameserver fd00::53
nameserver fe80::1%eth0
nameserver nonsense
domain Example.COM.
search a.example b.example
options ndots:2 edns0
options timeout:1
`;
  const { servers, search, options } = readResolvConf(text);
  expect(servers.map(({ ip, port }) => [ip.text, port])).toEqual([
    ["10.0.0.53", 53],
    ["fd00::53", 53],
  ]);
  expect([search, options]).toEqual([
    ["a.example", "b.example"],
    ["ndots:2", "edns0", "timeout:1"],
  ]);
  expect(readResolvConf("")).toEqual({ servers: [], search: [], options: [] });
});

test("no more servers are read than are asked", () => {
  const text = Array.from(
    { length: dnsLimits.maxServers + 1 },
    (_, index) => `nameserver 10.0.0.${index}`,
  ).join("\n");
  expect(readResolvConf(text).servers.length).toBe(dnsLimits.maxServers);
});

test("ours names the proxy alone, and keeps search and options", () => {
  const before = readResolvConf("nameserver 10.0.0.53\nsearch a.example\noptions edns0\n");
  const ours = ourResolvConf(IpAddress.loopback(true), before, "/etc/x");
  expect(isOurs(ours)).toBe(true);
  expect(readResolvConf(ours)).toMatchObject({
    servers: [{ port: 53 }],
    search: ["a.example"],
    options: ["edns0"],
  });
});

test("what was there is kept byte for byte, and where it was a link to", () => {
  for (const saved of [
    { text: "nameserver 10.0.0.53\n", link: null },
    { text: "", link: null },
    { text: "nameserver 127.0.0.53\n", link: "../run/systemd/resolve/stub-resolv.conf" },
  ])
    expect(readSaved(writeSaved(saved))).toEqual(saved);
});

test("a comment ends with its line, also where lines end as in DOS", () => {
  const { search, options } = readResolvConf("search a.b # corp\r\noptions ndots:2 ; more\r\n");
  expect([search, options]).toEqual([["a.b"], ["ndots:2"]]);
});
