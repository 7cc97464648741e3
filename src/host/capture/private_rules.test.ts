import { expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { PrivateNetwork } from "../private_network.ts";
import {
  addressCommands,
  layOut,
  type PrivateRules,
  renderPrivateIptables,
  renderPrivateNftables,
} from "./private_rules.ts";

const addresses = ["10.0.0.5", "10.0.0.6", "fd00::5"].flatMap((text) => IpAddress.parse(text) ?? []);
const rules: PrivateRules = { backend: "auto", addresses, outboundPort: 15001, dnsPort: 53 };

test("every address is local, and the first of each family is the source", () => {
  expect(addressCommands(addresses).map((words) => words.join(" "))).toEqual([
    "link set lo up",
    "addr add 10.0.0.5/32 dev lo",
    "addr add 10.0.0.6/32 dev lo",
    "-6 addr add fd00::5/128 dev lo nodad",
    "route add local default dev lo src 10.0.0.5",
    "-6 route add local default dev lo src fd00::5",
  ]);
});

test("nftables: TCP to the node, DNS to its proxy, what is the program's own to itself, all else refused", () => {
  expect(renderPrivateNftables(rules)).toBe(`table inet fairlead {
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr { 127.0.0.0/8, 10.0.0.5, 10.0.0.6 } return
    ip6 daddr { ::1, fd00::5 } return
    meta l4proto { tcp, udp } th dport 53 redirect to :53
    meta l4proto tcp redirect to :15001
  }
  chain nothing_else {
    type filter hook output priority 0; policy accept;
    ct direction reply accept
    ip daddr { 127.0.0.0/8, 10.0.0.5, 10.0.0.6 } accept
    ip6 daddr { ::1, fd00::5 } accept
    reject with icmpx type admin-prohibited
  }
}
`);
});

test("iptables says the same, a family each", () => {
  expect(renderPrivateIptables(rules, false)).toBe(`*nat
-A OUTPUT -d ::1/128 -j RETURN
-A OUTPUT -d fd00::5 -j RETURN
-A OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 53
-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 53
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
*filter
-A OUTPUT -m conntrack --ctdir REPLY -j ACCEPT
-A OUTPUT -d ::1/128 -j ACCEPT
-A OUTPUT -d fd00::5 -j ACCEPT
-A OUTPUT -j REJECT --reject-with icmp6-adm-prohibited
COMMIT
`);
  expect(renderPrivateIptables(rules, true)).toContain("-A OUTPUT -d 10.0.0.6 -j ACCEPT\n");
});

/** @param refusing programs that end with 1. @param missing programs that are not there. */
function network(refusing: readonly string[], missing: readonly string[]) {
  const ran: string[] = [];
  const run: PrivateNetwork["run"] = async (program) => {
    if (missing.includes(program)) throw new Error("no such program");
    ran.push(program);
    const isRefused = refusing.includes(program);
    return { exitCode: isRefused ? 1 : 0, output: isRefused ? "Operation not permitted" : "" };
  };
  return { ran, network: { run } as PrivateNetwork };
}

test("the first program that can load the rules does; a family without an address needs none", async () => {
  const loaded = async (refusing: readonly string[], missing: readonly string[], own = addresses) => {
    const { ran, network: inside } = network(refusing, missing);
    await layOut(inside, { ...rules, addresses: own });
    return ran.filter((program) => program !== "ip");
  };
  expect(await loaded([], [])).toEqual(["nft"]);
  expect(await loaded([], ["nft"])).toEqual(["iptables-restore", "ip6tables-restore"]);
  expect(await loaded([], ["nft"], addresses.slice(0, 2))).toEqual(["iptables-restore"]);
  expect(await loaded(["iptables-restore"], ["nft"])).toEqual([
    "iptables-restore",
    "iptables-legacy-restore",
    "ip6tables-legacy-restore",
  ]);
});

test("where none can, each is named with its reason; and without ip nothing is tried", async () => {
  const { network: inside } = network(["iptables-restore"], ["nft", "iptables-legacy-restore"]);
  const refused = await rejectionOf(layOut(inside, rules));
  expect(refused).toMatchObject({ code: "permission_denied", blame: "local" });
  for (const reason of [
    "nft could not be run",
    "iptables-restore refused the rules: Operation not permitted",
    "iptables-legacy-restore could not be run",
  ])
    expect(String(refused)).toContain(reason);
  const bare = network([], ["ip"]);
  expect(await rejectionOf(layOut(bare.network, rules))).toMatchObject({ code: "unsupported" });
  expect(bare.ran).toEqual([]);
});
