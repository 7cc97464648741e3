import { describe, expect, test } from "bun:test";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Files } from "../host.ts";
import { parseEarlierRules, parseIptablesNat, parseNftNat } from "./findings.ts";
import { readIptables } from "./firewalls.ts";
import { listenedPortsOf } from "./host_facts.ts";
import { opensIpv6Sockets } from "./ipv6_sockets.ts";

describe("rules of other programs", () => {
  test("iptables NAT: DNAT and REDIRECT, each with its chain; our own are left out", () => {
    const text = `*nat
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80
-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8088
-A FAIRLEAD_PREROUTING -p tcp -j REDIRECT --to-ports 15006
COMMIT`;
    expect(parseIptablesNat(text, "iptables")).toEqual([
      { program: "iptables", hook: "DOCKER", port: "8080", target: "172.30.0.2:80" },
      { program: "iptables", hook: "PREROUTING", port: "80", target: "8088" },
    ]);
  });

  test("nftables NAT: what iptables keeps there and our own table are left out", () => {
    const text = `table inet site {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 80 redirect to :8088
		tcp dport 81 dnat ip to 10.0.0.9:80
	}
}
table ip nat {
	chain DOCKER {
		tcp dport 8080 counter packets 0 bytes 0 dnat to 172.30.0.2:80
	}
}
table inet fairlead {
	chain output {
		type nat hook output priority -101; policy accept;
		meta l4proto tcp redirect to :15001
	}
}`;
    expect(parseNftNat(text)).toEqual([
      { program: "nft", hook: "PREROUTING", port: "80", target: "8088" },
      { program: "nft", hook: "PREROUTING", port: "81", target: "10.0.0.9:80" },
    ]);
  });

  test("ufw's chains, and what RETURN keeps from a drop further down", () => {
    const ufw = `*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-after-input -p tcp -m tcp --dport 139 -j ufw-skip-to-policy-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT`;
    const opened = ufw.replace("COMMIT", "-A ufw-user-input -p tcp -m tcp --dport 15008 -j ACCEPT\nCOMMIT");
    const asked = { port: 15008, isRedirected: false };
    expect([ufw, opened].map((text) => readIptables(text, asked))).toEqual([true, false]);
    // A chain that drops all that has not returned is no alarm by itself.
    expect(readIptables(ufw.replace("INPUT DROP", "INPUT ACCEPT"), asked)).toBe(false);
  });

  const redirected = { port: 15006, isRedirected: true };
  const filters: readonly (readonly [name: string, rules: string, drops: boolean])[] = [
    ["a policy of accept", ":INPUT ACCEPT [0:0]", false],
    ["a policy of drop", ":INPUT DROP [0:0]", true],
    ["another port accepted", ":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT", true],
    ["loopback accepted", ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT", true],
    [
      "only open ones accepted",
      ":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      true,
    ],
    [
      "a range that holds it",
      ":INPUT DROP [0:0]\n-A INPUT -p tcp -m multiport --dports 22,15000:15010 -j ACCEPT",
      false,
    ],
    ["all that was redirected", ":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate DNAT -j ACCEPT", false],
    [
      "a last rule that refuses",
      ":INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp-port-unreachable",
      true,
    ],
    ["a drop of some source", ":INPUT ACCEPT [0:0]\n-A INPUT -s 10.9.0.0/16 -j DROP", false],
    [
      "accepted in a chain",
      ":INPUT DROP [0:0]\n:own - [0:0]\n-A INPUT -j own\n-A own -p tcp -j ACCEPT",
      false,
    ],
    ["refused in a chain", ":INPUT ACCEPT [0:0]\n:own - [0:0]\n-A INPUT -j own\n-A own -j DROP", true],
    ["chains that call each other", ":INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a", true],
  ];
  for (const [name, rules, drops] of filters)
    test(`iptables INPUT: ${name}`, () => expect(readIptables(rules, redirected)).toBe(drops));
});

test("ports that are listened on, but for loopback", () => {
  const table = `  sl  local_address rem_address   st
   0: 00000000:2328 00000000:0000 0A 00000000:00000000
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   2: 024D0A0A:2329 044D0A0A:C350 01 00000000:00000000
   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
   4: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A
   5: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A`;
  expect(runSteps(listenedPortsOf(table))).toEqual([9000, 80]);
});

test("a table of many connections is read in many steps, and its last line too", () => {
  const open = "   2: 024D0A0A:2329 044D0A0A:C350 01 00000000:00000000\n".repeat(100_000);
  const steps = listenedPortsOf(`${open}   0: 00000000:2328 00000000:0000 0A`);
  let taken = 0;
  let step = steps.next();
  for (; step.done !== true; step = steps.next()) taken++;
  expect(step.value).toEqual([9000]);
  expect(taken).toBeGreaterThan(300);
});

test("a kernel without IPv6 is told by what /proc has", async () => {
  const withFiles = (...paths: readonly string[]) => {
    const files: Pick<Files, "exists"> = { exists: async (path) => paths.includes(path) };
    return opensIpv6Sockets(files);
  };
  expect(await withFiles("/proc/net/tcp", "/proc/net/tcp6")).toBe(true);
  expect(await withFiles("/proc/net/tcp")).toBe(false);
  // Not Linux, or a world of memory.
  expect(await withFiles()).toBe(true);
});

test("routing rules of others before ours are those that take its mark: by it, by what it is not, or all", () => {
  const rules = `0:	from all lookup local
99:	not from all fwmark 0xca6c lookup 51820
100:	from all fwmark 0x200/0xf00 lookup 2004
101:	from all fwmark 0x112/0xff lookup 300
102:	from all fwmark 0x12/0xf lookup 301
103:	from 10.0.0.0/8 lookup 302
104:	from all to 10.0.0.0/8 lookup 303
105:	not from all fwmark 0x112 lookup 304
106:	from all lookup main suppress_prefixlength 0
107:	from all fwmark 0x112 unreachable
32763:	from all fwmark 0x112/0xfff lookup 100
32766:	from all lookup main
`;
  expect(parseEarlierRules(rules, 0x112).map((rule) => rule.split(":")[0])).toEqual([
    "99",
    "101",
    "102",
    "106",
    "107",
  ]);
  expect(parseEarlierRules(rules, 0x111)).toEqual([]);
  expect(parseEarlierRules("", 0x112)).toEqual([]);
});
