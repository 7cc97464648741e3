/** What a host has besides a node: firewalls, no IPv6, further addresses, containers, published ports. */

import type { NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { equal, type Group, holds } from "./group.ts";
import { container, outside, peer, service, vm } from "./place.ts";
import { applicationPort } from "./stage.ts";

export const firewalled: Group = {
  cases: [
    "A4 an input policy of drop is found, explained, and opened by the rule that is proposed",
    "A4 the same policy in iptables is found, and opened by the rule that is proposed",
    "A4 firewalld's rules beside it: its plain clients still come in, and the closed port 15008 is told",
    "A4 ufw's rules beside it are named, and opened by what is proposed",
  ],
  async run(stage, check) {
    const { place } = stage;
    await stage.serve();
    const caller = stage.application(place.outside);
    const nft = (input: string) => runToEnd(place.vm.command(["nft", "-f", "-"]), { input });
    nft(droppingPolicy);
    equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "before capture");
    const node = await stage.node(place.vm).ready();
    const stillOpen = async (): Promise<void> => {
      const { text } = stage.fairlead("capture", "status");
      holds(!/drops captured/.test(text), text);
      equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "under the firewall");
    };
    const isTproxy = stage.method === "tproxy";
    await check(this.cases[0] ?? "", async () => {
      // It opens the application's port, by which TPROXY's connections are known: nothing has to be done.
      if (isTproxy) return await stillOpen();
      const told = await node.line({ scope: "capture", message: /drops captured inbound connections/ });
      const proposed = /nft insert rule inet site input (.*)$/.exec(String(told.remedy))?.[1];
      holds(proposed !== undefined, String(told.remedy));
      const status = stage.fairlead("capture", "status");
      holds(/nftables' table inet site drops captured/.test(status.text), status.text);
      nft(`insert rule inet site input ${proposed?.replace("{ 80, 443 }", String(applicationPort))}\n`);
      equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "with the proposed rule");
    });
    nft("table inet site\ndelete table inet site\n");
    await check(this.cases[1] ?? "", async () => {
      const iptables = (words: string) => runToEnd(place.vm.command([stage.iptables, ...words.split(" ")]));
      iptables(`-A INPUT -p tcp --dport ${applicationPort} -j ACCEPT`);
      iptables("-A INPUT -i lo -j ACCEPT");
      iptables("-P INPUT DROP");
      if (isTproxy) await stillOpen();
      else {
        const { text } = stage.fairlead("capture", "status");
        const proposed = new RegExp(`${stage.iptables} (-A INPUT .*ctorigdstport.*)`).exec(text)?.[1];
        holds(proposed !== undefined, text);
        iptables((proposed ?? "").replace("443", String(applicationPort)));
        equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "with the proposed rule");
      }
      iptables("-P INPUT ACCEPT");
    });
    await check(this.cases[2] ?? "", async () => {
      nft(firewalld);
      const { text } = stage.fairlead("capture", "status");
      holds(!/drops captured/.test(text), text);
      holds(/table inet firewalld drops connections to port 15008/.test(text), text);
      holds(text.includes("firewall-cmd --permanent --add-port=15008/tcp"), text);
      equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "a plain client");
    });
    nft("table inet firewalld\ndelete table inet firewalld\n");
    await check(this.cases[3] ?? "", async () => {
      for (const chain of ["before-input", "not-local", "user-input"])
        runToEnd(place.vm.command([stage.iptables, "-N", `ufw-${chain}`]));
      const iptables = (words: string) => runToEnd(place.vm.command([stage.iptables, ...words.split(" ")]));
      // What was opened before; the rule of the redirect is there where there was one. A flush would take the node's along.
      for (const match of [
        `--dport ${applicationPort}`,
        "-i lo",
        `-m conntrack --ctstate DNAT --ctorigdstport ${applicationPort}`,
      ]) {
        const rule = `-D INPUT ${match === "-i lo" ? "" : "-p tcp "}${match} -j ACCEPT`;
        Bun.spawnSync(place.vm.command([stage.iptables, ...rule.split(" ")]));
      }
      for (const rule of ufw) iptables(rule);
      iptables("-P INPUT DROP");
      const { text } = stage.fairlead("capture", "status");
      holds(
        text.includes(`the chain INPUT of ${stage.iptables} (ufw) drops connections to port 15008`),
        text,
      );
      holds(text.includes("ufw allow 15008/tcp"), text);
      if (isTproxy) holds(!/drops captured/.test(text), text);
      else {
        const proposed = new RegExp(`${stage.iptables} (-A INPUT .*ctorigdstport.*)`).exec(text)?.[1];
        holds(proposed !== undefined, text);
        iptables((proposed ?? "").replace("443", String(applicationPort)));
      }
      // What `ufw allow` does.
      iptables("-A ufw-user-input -p tcp -m tcp --dport 15008 -j ACCEPT");
      const after = stage.fairlead("capture", "status").text;
      holds(!/ufw/.test(after), after);
      equal(await caller.call(vm.ip, applicationPort), `you are ${outside.ip}`, "a plain client");
    });
  },
};

const droppingPolicy = `table inet site {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    tcp dport { 22, ${applicationPort} } accept
  }
}
`;

/** What firewalld 1.3 loads for a zone with one open port, without what is not about input. */
const firewalld = `table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    jump filter_INPUT_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_INPUT_ZONES {
    goto filter_IN_public
  }
  chain filter_IN_public {
    jump filter_IN_public_allow
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain filter_IN_public_allow {
    tcp dport 22 accept
    tcp dport ${applicationPort} accept
  }
}
`;

/** What ufw 0.36 loads for a host with SSH and the application's port allowed, without logging and what is not TCP. */
const ufw = [
  "-A INPUT -j ufw-before-input",
  "-A ufw-before-input -i lo -j ACCEPT",
  "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
  "-A ufw-before-input -m conntrack --ctstate INVALID -j DROP",
  "-A ufw-before-input -j ufw-not-local",
  "-A ufw-before-input -j ufw-user-input",
  "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
  "-A ufw-not-local -j DROP",
  "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT",
  `-A ufw-user-input -p tcp -m tcp --dport ${applicationPort} -j ACCEPT`,
] as const;

export const withoutIpv6: Group = {
  cases: [
    "A5 with IPv6 off by sysctl the node starts and captures",
    "A5 IPv6 that is switched on later is captured too",
  ],
  async run(stage, check) {
    const { place } = stage;
    const ipv6 = (off: 0 | 1) =>
      runToEnd(place.vm.command(["sysctl", "-q", "-w", `net.ipv6.conf.all.disable_ipv6=${off}`]));
    ipv6(1);
    await stage.application(place.vm).listen("0.0.0.0", applicationPort, { kind: "greet" });
    stage.strict();
    const caller = stage.application(place.outside);
    await check(this.cases[0] ?? "", async () => {
      await stage.node(place.vm).ready();
      equal(await caller.call(vm.ip, applicationPort), "reset", "a plain call");
    });
    await check(this.cases[1] ?? "", async () => {
      ipv6(0);
      runToEnd(["ip", "-n", place.vm.namespace, "-6", "addr", "add", `${vm.ip6}/64`, "dev", "eth0", "nodad"]);
      await stage.application(place.vm).listen(vm.ip6, applicationPort, { kind: "greet" });
      await eventually(
        "refused over IPv6",
        async () => (await caller.call(vm.ip6, applicationPort)) === "reset",
      );
    });
  },
};

const second = { vm: "10.88.0.2", outside: "10.88.0.4" } as const;

export const addresses: Group = {
  cases: [
    "A6 an address of the host and of no workload is told at the start, and refused at once",
    "A6 a container reaches its host at the bridge's address, and at the workload's by its policy",
    "A6 --capture-containers capture takes that as well",
    "A6 --capture-exclude-inbound leaves an address out, and that one alone",
    "A6 --capture-exclude-interface leaves an interface out",
  ],
  async run(stage, check) {
    const { place } = stage;
    const add = (namespace: string, address: string, device = "eth0") =>
      runToEnd(["ip", "-n", namespace, "addr", "add", `${address}/24`, "dev", device]);
    add(place.vm.namespace, second.vm);
    add(place.outside.namespace, second.outside);
    await stage.serve();
    const caller = stage.application(place.outside);
    const inside = stage.application(place.container);
    const call = (from: typeof caller, to: string): Promise<string> => from.call(to, applicationPort);
    const withNode = async (settings: readonly string[], body: (node: NodeProcess) => Promise<void>) => {
      const node = await stage.node(place.vm, ...settings).ready();
      try {
        await body(node);
      } finally {
        await node.stop();
      }
    };
    if (stage.method === "tproxy") {
      // Where bridges call netfilter before the packet has come in, TPROXY's choice is lost.
      const path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
      const isCalled = runToEnd(place.vm.command(["sh", "-c", `cat ${path} 2>/dev/null || true`])).trim();
      await withNode([], async (node) => {
        if (isCalled === "1") {
          await node.line({ scope: "capture", message: /bridges of this host/ });
          for (const kind of ["iptables", "ip6tables"])
            runToEnd(place.vm.command(["sysctl", "-q", "-w", `net.bridge.bridge-nf-call-${kind}=0`]));
        }
        const { text } = stage.fairlead("capture", "status");
        holds(!/bridges of this host/.test(text), text);
      });
    }
    await withNode([], async (node) => {
      await check(this.cases[0] ?? "", async () => {
        const told = new RegExp(`^${second.vm} .*--capture-exclude-inbound ${second.vm}$`);
        await node.line({ scope: "capture", message: told });
        const bridge = node.log.find(({ message }) => message.startsWith(`${vm.bridge} is an address`));
        equal(bridge, undefined, "what was told of the bridge, which is not captured");
        equal(await call(caller, second.vm), "reset", second.vm);
        equal(await call(caller, vm.ip6), "reset", vm.ip6);
        equal(await call(caller, vm.ip), `you are ${outside.ip}`, vm.ip);
        for (const address of [second.vm, vm.ip6]) {
          const at = address.includes(":") ? `[${address}]` : address;
          const { error } = await node.line({ scope: "access", "dst.addr": `${at}:${applicationPort}` });
          // At once: this node has dialled no one, and waited for no one in vain.
          holds(!/timeout|timed out|dial/i.test(String(error)), `${address}: ${error}`);
        }
      });
      await check(this.cases[1] ?? "", async () => {
        equal(await call(inside, vm.bridge), `you are ${container.ip}`, vm.bridge);
        equal(await call(inside, vm.ip), `you are ${container.ip}`, vm.ip);
        const record = await node.line({ scope: "access", "src.addr": new RegExp(`^${container.ip}:`) });
        equal(record["dst.workload"], "vm", "the record's workload");
      });
    });
    await withNode(["--capture-containers", "capture", "--capture-exclude-inbound", second.vm], async () => {
      await check(this.cases[2] ?? "", async () => {
        equal(await call(inside, vm.bridge), "reset", vm.bridge);
      });
      await check(this.cases[3] ?? "", async () => {
        equal(await call(caller, second.vm), `you are ${second.outside}`, second.vm);
        equal(await call(caller, vm.ip6), "reset", vm.ip6);
      });
    });
    await withNode(["--capture-exclude-interface", "eth*"], async () => {
      await check(this.cases[4] ?? "", async () => {
        equal(await call(caller, second.vm), `you are ${second.outside}`, second.vm);
      });
    });
  },
};

const published = 8080;

export const forwarded: Group = {
  cases: [
    "A7 a port that Docker publishes is reached by a peer of the mesh, and it is told whose address is seen",
    "A7 a port that Docker publishes is reached in plain text where policy permits, and refused under STRICT",
    "A7 beside it the VM's own application still sees its caller's address",
    "A7 a port that REDIRECT leads to another is told, and works with the rule that is proposed",
    "A7 a container reaches the world, and the VM reaches the container",
  ],
  async run(stage, check) {
    const { place } = stage;
    await stage.serve();
    await stage.application(place.container).listen("0.0.0.0", 80, { kind: "greet" });
    for (const line of dockerRules(stage.iptables)) runToEnd(place.vm.command(line));
    await stage.application(place.outside).listen(outside.ip, 7000, { kind: "greet" });
    const node = await stage.node(place.vm).ready();
    await stage.node(place.peer).ready();
    const mesh = stage.application(place.peer);
    const plain = stage.application(place.outside);
    await check(this.cases[0] ?? "", async () => {
      equal(await mesh.call(vm.ip, published), `you are ${vm.bridge}`, "a peer");
      const record = await node.line({ scope: "access", "dst.hbone_addr": `${vm.ip}:${published}` });
      holds(String(record["src.identity"]).endsWith("/sa/peer"), "the record has the peer's identity");
      await node.line({
        scope: "capture",
        message: new RegExp(`send ports of this host elsewhere \\(${published} to `),
      });
    });
    await check(this.cases[2] ?? "", async () => {
      equal(await mesh.call(vm.ip, applicationPort), `you are ${peer.ip}`, "by address");
      equal(await mesh.call(service, applicationPort), `you are ${peer.ip}`, "by service");
    });
    await check(this.cases[3] ?? "", async () => {
      const redirected = 8088;
      runToEnd(
        place.vm.command(
          `${stage.iptables} -t nat -A PREROUTING -p tcp --dport ${redirected} -j REDIRECT --to-ports ${applicationPort}`.split(
            " ",
          ),
        ),
      );
      const { text } = stage.fairlead("capture", "status");
      const proposed = new RegExp(`(${stage.iptables} -t nat -A OUTPUT .*--dport ${redirected} .*)`).exec(
        text,
      )?.[1];
      holds(proposed !== undefined, text);
      runToEnd(place.vm.command((proposed ?? "").split(" ")));
      // An answer from 127.0.0.1 to a foreign address goes nowhere, so the node calls from its own.
      equal(await plain.call(vm.ip, redirected), `you are ${vm.ip}`, "in plain text");
      equal(await mesh.call(vm.ip, redirected), `you are ${vm.ip}`, "a peer");
      holds(!/leads? connections from outside/.test(stage.fairlead("capture", "status").text), "told again");
    });
    await check(this.cases[4] ?? "", async () => {
      equal(
        await stage.application(place.container).call(outside.ip, 7000),
        `you are ${vm.ip}`,
        "from the container",
      );
      equal(
        await stage.application(place.vm).call(container.ip, 80),
        `you are ${vm.bridge}`,
        "to the container",
      );
    });
    await check(this.cases[1] ?? "", async () => {
      equal(await plain.call(vm.ip, published), `you are ${vm.bridge}`, "permitted");
      stage.strict();
      await eventually("refused", async () => (await plain.call(vm.ip, published)) === "reset");
    });
  },
};

/** What dockerd makes for `docker run -p 8080:80`. */
function dockerRules(program: string): readonly (readonly string[])[] {
  return [
    "-t nat -N DOCKER",
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
    "-t nat -A POSTROUTING -s 172.30.0.0/24 ! -o docker0 -j MASQUERADE",
    `-t nat -A DOCKER ! -i docker0 -p tcp --dport ${published} -j DNAT --to-destination ${container.ip}:80`,
  ].map((words) => [program, ...words.split(" ")]);
}
