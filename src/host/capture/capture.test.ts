import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { parseSocketAddress } from "../../base/ip.ts";
import { silentLogger } from "../../base/log.ts";
import { parseIpPrefix } from "../../base/prefix.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import type { Host } from "../host.ts";
import { canMakeNamespaces, makeNamespaces, run } from "../testing/namespaces.ts";
import { Capture } from "./capture.ts";
import { renderIptables, renderIptablesRemoval } from "./iptables.ts";
import { renderNftables } from "./nftables.ts";
import {
  type BackendName,
  type CaptureMethod,
  type CaptureOptions,
  type HostFacts,
  returnMark,
} from "./options.ts";
import { installReturnPath } from "./return_path.ts";
import { describeCapture } from "./trial.ts";

function prefixes(...texts: readonly string[]) {
  return texts.map((text) => {
    const prefix = parseIpPrefix(text);
    assert(prefix !== null, text);
    return prefix;
  });
}

const options: CaptureOptions = {
  backend: "auto",
  outboundPort: 15001,
  inboundPort: 15006,
  mark: 1337,
  ownPorts: [15008, 15021],
  includeCidrs: [],
  excludeCidrs: [],
  excludePorts: [],
  excludeInboundCidrs: [],
  excludeInterfaces: [],
  method: "redirect",
  includeUids: [],
  excludeUids: [],
  includeCgroups: [],
  excludeCgroups: [],
  includePorts: [],
  neverTo: [],
  containers: "exclude",
  originalSource: false,
};

const neverTo = ["10.0.0.9:15012", "[fd00::53]:53"].flatMap((text) => parseSocketAddress(text) ?? []);

const facts: HostFacts = {
  ipv6: true,
  containerBridges: ["docker0"],
  listenedPorts: [22, 9000, 15006],
  cgroups: [],
};

describe("the rules as text", () => {
  test("nftables: outbound to 15001, inbound to 15006, and what never is", () => {
    expect(renderNftables(options, facts)).toBe(`table inet fairlead
delete table inet fairlead
table inet fairlead {
  set guarded {
    type inet_service
    elements = { 9000 }
  }
  chain output {
    type nat hook output priority -101; policy accept;
    meta l4proto != tcp return
    meta mark 1337 return
    tcp flags & (fin | syn | rst | ack) != syn return
    tcp dport { 22 } return
    meta mark & 0xfff == 0x111 return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    meta l4proto tcp redirect to :15001
  }
  chain prerouting {
    type nat hook prerouting priority -101; policy accept;
    meta l4proto != tcp return
    iifname "lo" return
    tcp dport { 22, 15001, 15006, 15008, 15021 } return
    iifname { "docker0" } fib daddr . iif type local return
    tcp flags & (fin | syn | rst | ack) != syn return
    fib daddr type != local return
    meta l4proto tcp redirect to :15006
  }
  chain guard {
    type filter hook input priority 0; policy accept;
    meta l4proto != tcp return
    iifname "lo" return
    tcp dport { 22, 15001, 15006, 15008, 15021 } return
    iifname { "docker0" } fib daddr . iif type local return
    tcp flags & (syn | ack) == syn counter drop
    tcp dport @guarded tcp flags & rst == 0 counter reject with tcp reset
  }
}
`);
  });

  test("nftables, by TPROXY: marked on its way out, taken by socket on its way in, kept from other NAT, and never let out", () => {
    const text = renderNftables(
      { ...options, method: "tproxy", includeUids: [1000], excludeUids: [33], includePorts: [80], neverTo },
      facts,
    );
    expect(text).not.toContain("redirect to");
    expect(text).toContain(`  chain output {
    type route hook output priority -150; policy accept;
    meta l4proto != tcp return
    meta mark 1337 return
    ct direction reply return
    ct mark & 0xfff == 0x112 meta mark set 0x112 return
    tcp flags & (fin | syn | rst | ack) != syn return
    tcp dport { 22 } return
    tcp dport != { 80 } return
    meta mark & 0xfff == 0x111 return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    ip daddr 10.0.0.9 tcp dport 15012 return
    ip6 daddr fd00::53 tcp dport 53 return
    meta skuid { 33 } return
    meta skuid { 1000 } ct mark set 0x112 meta mark set 0x112
  }
  chain prerouting {
    type filter hook prerouting priority -150; policy accept;
    iifname "lo" meta mark & 0xfff == 0x112 meta l4proto tcp tproxy to :15001 accept
`);
    for (const rule of [
      "tcp flags & (syn | ack) == syn meta l4proto tcp tproxy to :15006 meta mark set 0x113 accept",
      "meta nfproto ipv6 meta mark & 0xfff == 0x113 dnat ip6 to ip6 daddr",
      'oifname != "lo" meta mark & 0xfff == 0x112 counter drop',
      "socket transparent 1 return\n    tcp flags & (syn | ack) == syn counter reject with tcp reset",
    ])
      expect(text).toContain(rule);
  });

  test("iptables, by TPROXY: the same decisions, and REDIRECT's chains are not left behind", () => {
    const loaded = "*mangle\n:FAIRLEAD_INPUT -\n:FAIRLEAD_OLD -\n-A INPUT -p tcp -j FAIRLEAD_INPUT";
    const text = renderIptables(
      { ...options, method: "tproxy", includeUids: [1000], excludeUids: [33], includePorts: [80], neverTo },
      facts,
      true,
      loaded,
    );
    expect(text).not.toContain("REDIRECT");
    for (const rule of [
      "-F FAIRLEAD_OLD\n-X FAIRLEAD_OLD\n",
      "-A FAIRLEAD_OUTPUT -d 10.0.0.9 -p tcp --dport 15012 -j RETURN\n",
      "-A FAIRLEAD_OUTPUT -m owner --uid-owner 33 -j RETURN\n",
      "-A FAIRLEAD_OUTPUT -m owner --uid-owner 1000 -p tcp -m multiport --dports 80 -j CONNMARK --set-xmark 0x112/0xfff\n",
      "-A FAIRLEAD_PREROUTING -i lo -m mark --mark 0x112/0xfff -p tcp -j TPROXY --on-port 15001 --tproxy-mark 0x112/0xfff\n",
      "-A FAIRLEAD_PREROUTING -p tcp --tcp-flags SYN,ACK SYN -m multiport --dports 80 -j TPROXY --on-port 15006 --tproxy-mark 0x113/0xfff\n",
      "-A FAIRLEAD_POSTROUTING ! -o lo -m mark --mark 0x112/0xfff -j DROP\n",
      "-A FAIRLEAD_INPUT -m socket --transparent --nowildcard -j RETURN\n-A FAIRLEAD_INPUT -p tcp -m multiport --dports 80 --tcp-flags SYN,ACK SYN -j DROP\n",
    ])
      expect(text).toContain(rule);
    expect(text).not.toContain("fd00::53");
  });

  test("a selection by port holds both ways, and no port that is left out is guarded", () => {
    const chosen = { ...options, includePorts: [80] };
    const text = renderNftables(chosen, facts);
    expect(text).not.toContain("@guarded");
    expect(text.match(/tcp dport != \{ 80 \} return/g)?.length).toBe(3);
    const rules = renderIptables(chosen, facts, true, "");
    expect(rules).toContain(
      "-A FAIRLEAD_PREROUTING -p tcp -m multiport --dports 80 -j REDIRECT --to-ports 15006",
    );
    expect(rules).toContain(
      "-A FAIRLEAD_OUTPUT -p tcp -m multiport --dports 80 -j REDIRECT --to-ports 15001",
    );
  });

  describe("by cgroup", () => {
    const mount = "/sys/fs/cgroup";
    const there = { ...facts, cgroups: [{ path: "mesh.slice/a", mount, identity: "1:2" }] };
    const chosen = { ...options, includeCgroups: ["mesh.slice/a"], includeUids: [1000] };

    test("nftables: the level and the path, wherever it is mounted; users and cgroups both hold", () => {
      expect(renderNftables(chosen, there)).toContain(
        '    meta skuid { 1000 } socket cgroupv2 level 2 "mesh.slice/a" meta l4proto tcp redirect to :15001\n',
      );
      const tproxy = renderNftables(
        { ...options, method: "tproxy", excludeCgroups: ["mesh.slice/a"] },
        there,
      );
      expect(tproxy).toContain('    socket cgroupv2 level 2 "mesh.slice/a" return\n    ct mark set 0x112');
      for (const [at, named] of [
        ["/sys/fs/cgroup/unified", "unified/mesh.slice/a"],
        ["/run/two", "../../../run/two/mesh.slice/a"],
      ] as const) {
        const elsewhere = { ...facts, cgroups: [{ path: "mesh.slice/a", mount: at, identity: "1:2" }] };
        expect(renderNftables(chosen, elsewhere)).toContain(`cgroupv2 level 2 "${named}" `);
      }
    });

    test("iptables: the path as the kernel finds it, its backslashes doubled", () => {
      const text = renderIptables(chosen, there, true, "");
      expect(text).toContain(
        '-A FAIRLEAD_OUTPUT -m owner --uid-owner 1000 -m cgroup --path "mesh.slice/a" -p tcp -j REDIRECT',
      );
      const odd = "dev\\x2dsda.swap";
      const excluded = { ...facts, cgroups: [{ path: odd, mount, identity: "1:2" }] };
      expect(renderIptables({ ...options, excludeCgroups: [odd] }, excluded, false, "")).toContain(
        '-A FAIRLEAD_OUTPUT -m cgroup --path "dev\\\\x2dsda.swap" -j RETURN\n',
      );
    });

    test("while no cgroup that is named is there nothing goes out by the node, and inbound is captured", () => {
      for (const method of ["redirect", "tproxy"] as const) {
        const nft = renderNftables({ ...chosen, method }, facts);
        expect(nft).not.toMatch(/redirect to :15001|ct mark set 0x112 meta mark set/);
        expect(nft).toMatch(/(redirect|tproxy) to :15006/);
        const rules = renderIptables({ ...chosen, method }, facts, true, "");
        expect(rules).not.toMatch(/--to-ports 15001|CONNMARK --set-xmark 0x112/);
        expect(rules).toMatch(/(--to-ports|--on-port) 15006/);
      }
    });

    test("what was confirmed before cgroups could be named stays confirmed; naming one is on trial", () => {
      const before = describeCapture(options);
      expect(before).not.toContain("Cgroups");
      expect(describeCapture({ ...options, excludeCgroups: ["a"] })).not.toBe(before);
    });
  });

  test("prefixes lose their host bits and go to the chain of their family", () => {
    const text = renderNftables(
      {
        ...options,
        includeCidrs: prefixes("10.1.2.3/8"),
        excludeCidrs: prefixes("10.0.0.0/16", "fd00::1/8"),
      },
      facts,
    );
    expect(text).toContain("elements = { 10.0.0.0/8 }");
    expect(text).toContain("elements = { fd00::/8 }");
    expect(text).toContain("ip daddr @exclude4 return");
    expect(text).toContain("ip6 daddr @exclude6 return");
    expect(text).toContain("ip daddr != @include4 return");
    // Nothing of IPv6 is included, so nothing of it is captured.
    expect(text).toContain("meta nfproto ipv6 return");
    expect(text).not.toContain("include6");
  });

  test("the exclusions stand before the inclusions, and both before the redirect", () => {
    for (const text of [
      renderNftables(
        {
          ...options,
          includeCidrs: prefixes("10.0.0.0/8"),
          excludeCidrs: prefixes("10.9.0.0/16"),
        },
        facts,
      ),
      renderIptables(
        { ...options, includeCidrs: prefixes("10.0.0.0/8"), excludeCidrs: prefixes("10.9.0.0/16") },
        facts,
        true,
        "",
      ),
    ]) {
      const places = [
        /exclude4 return|-d 10.9.0.0\/16 -j RETURN/,
        /@include4 return|-d 10.0.0.0\/8/,
        /redirect to :15001|-j REDIRECT --to-ports 15001/,
      ].map((pattern) => text.search(pattern));
      expect(places.every((place) => place >= 0)).toBe(true);
      expect(places).toEqual([...places].sort((a, b) => a - b));
    }
  });

  test("iptables: the same decisions", () => {
    const text = renderIptables({ ...options, originalSource: true, excludePorts: [9999] }, facts, true, "");
    expect(text).toContain("-A FAIRLEAD_OUTPUT -m mark --mark 1337 -j RETURN");
    expect(text).toContain("-A FAIRLEAD_OUTPUT -p tcp -m multiport --dports 22,9999 -j RETURN");
    expect(text).toContain(
      "-A FAIRLEAD_PREROUTING -p tcp -m multiport --dports 22,9999,15001,15006,15008,15021 -j RETURN",
    );
    expect(text).toContain("-A FAIRLEAD_INPUT -p tcp --tcp-flags SYN,ACK SYN -j DROP");
    expect(text).toContain(
      "-A FAIRLEAD_INPUT -i docker0 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN",
    );
    expect(text).toContain("-j CONNMARK --restore-mark");
    expect(text.match(/^COMMIT$/gm)?.length).toBe(3);
  });

  test("iptables: what is loaded is replaced within each table, and removed whoever loaded it", () => {
    const loaded = `*nat
:FAIRLEAD_OUTPUT -
-A OUTPUT -p tcp -j FAIRLEAD_OUTPUT
-A OUTPUT -p tcp -j FAIRLEAD_OUTPUT
-A FAIRLEAD_OUTPUT -o lo -j RETURN
*filter
:FAIRLEAD_OLD -`;
    const jump = "-D OUTPUT -p tcp -j FAIRLEAD_OUTPUT";
    expect(renderIptables(options, facts, true, loaded)).toStartWith(
      `*nat
:FAIRLEAD_OUTPUT - [0:0]
:FAIRLEAD_PREROUTING - [0:0]
:FAIRLEAD_POSTROUTING - [0:0]
${jump}
${jump}
-A FAIRLEAD_OUTPUT `,
    );
    expect(renderIptablesRemoval(loaded)).toBe(`*nat
${jump}
${jump}
-F FAIRLEAD_OUTPUT
-X FAIRLEAD_OUTPUT
COMMIT

*filter
-F FAIRLEAD_OLD
-X FAIRLEAD_OLD
COMMIT
`);
    expect(renderIptablesRemoval("")).toBe("");
  });

  test("iptables: more ports than one rule takes are several rules", () => {
    const many = Array.from({ length: 31 }, (_, index) => 2000 + index);
    const text = renderIptables(options, { ...facts, listenedPorts: many }, true, "");
    expect(text.match(/--tcp-flags RST NONE -j REJECT/g)?.length).toBe(3);
  });
});

describe("when it cannot be had", () => {
  function hostThatRuns(run: (program: string) => { exitCode: number; output: string } | null): {
    readonly host: Host;
    readonly ran: string[];
  } {
    const ran: string[] = [];
    const host = {
      clock: { now: () => 0, defer: queueMicrotask },
      files: {
        readText: async () => {
          throw new MeshError("io", "local", "no such file");
        },
        list: async () => null,
      },
      process: {
        run: async (program: string, args: readonly string[]) => {
          ran.push([program, ...args].join(" "));
          const result = run(program);
          if (result === null) throw new Error("no such program");
          return result;
        },
      },
    } as unknown as Host;
    return { host, ran };
  }

  test("without nft and iptables it is unsupported", async () => {
    const { host } = hostThatRuns(() => null);
    expect(await rejectionOf(Capture.install(host, options, silentLogger))).toMatchObject({
      code: "unsupported",
      blame: "local",
    });
  });

  test("without the right it is permission_denied, and every program's reason is told", async () => {
    const { host } = hostThatRuns((program) =>
      program === "nft"
        ? null
        : { exitCode: program.endsWith("-restore") ? 4 : 0, output: "you must be root" },
    );
    const installed = Capture.install(host, options, silentLogger);
    expect(await rejectionOf(installed)).toMatchObject({ code: "permission_denied" });
    expect(await outcomeOf(installed)).toThrow(
      /nftables is not installed; iptables-restore refused .* root; iptables-legacy-restore refused/,
    );
  });

  test("a routing rule that another node has just made is as good as our own; any other refusal is none", async () => {
    const installed = async (said: string) => {
      const { host } = hostThatRuns((program) =>
        program === "ip" ? { exitCode: 2, output: said } : { exitCode: 0, output: "" },
      );
      await installReturnPath(host, true, [returnMark]);
    };
    await installed("RTNETLINK answers: File exists");
    expect(await rejectionOf(installed("RTNETLINK answers: Operation not permitted"))).toMatchObject({
      code: "permission_denied",
    });
  });

  test("a program that was named is not replaced by another", async () => {
    const { host, ran } = hostThatRuns((program) => (program === "nft" ? null : { exitCode: 0, output: "" }));
    const installed = Capture.install(host, { ...options, backend: "nftables" }, silentLogger);
    expect(await outcomeOf(installed)).toThrow("nftables is not installed");
    expect(ran.filter((line) => line.includes("-restore"))).toEqual([]);
  });
});

describe("in a network namespace", () => {
  if (!canMakeNamespaces)
    console.warn("capture: not root on Linux, so the rules themselves are NOT tested here");
  const probe = join(import.meta.dir, "../testing/capture_probe.ts");

  const programs: readonly (readonly [BackendName, string, CaptureMethod])[] = [
    ["nftables", "nft", "redirect"],
    ["iptables", "iptables", "redirect"],
    ["iptables-legacy", "iptables-legacy", "redirect"],
    ["nftables", "nft", "tproxy"],
    ["iptables", "iptables", "tproxy"],
    ["iptables-legacy", "iptables-legacy", "tproxy"],
  ];
  for (const [index, [backend, program, method]] of programs.entries()) {
    test.skipIf(!canMakeNamespaces || run([program, "--version"]).exitCode !== 0)(
      `${backend}, by ${method}, captures what it should, and leaves nothing behind`,
      async () => {
        const n = 10 + index;
        const namespaces = makeNamespaces(n);
        const spawn = (name: string, args: readonly string[]) =>
          Bun.spawn(namespaces.within(name, [process.execPath, probe, ...args, String(n)]), {
            stdin: "pipe",
            stdout: "pipe",
            stderr: "pipe",
          });
        const outside = spawn(namespaces.outside, ["serve", "-", method]);
        const answers = lines(outside.stdout);
        expect(await next(answers)).toBe("ready");
        const inside = spawn(namespaces.inside, ["node", backend, method]);
        try {
          const words = lines(inside.stderr);
          const first = await next(words);
          // A probe that broke tells why in all that follows.
          if (first !== "captured") throw new Error([first, ...(await rest(words))].join("\n"));
          const call = async (address: string, port: number) => {
            outside.stdin.write(`${address} ${port}\n`);
            outside.stdin.flush();
            return await next(answers);
          };
          expect(await call(`10.77.${n}.1`, 8080)).toBe(
            `inbound 15006 for 10.77.${n}.1:8080 from 10.77.${n}.2`,
          );
          expect(await call(`fd77:${n}::1`, 8080)).toBe(
            `inbound 15006 for [fd77:${n}::1]:8080 from fd77:${n}::2`,
          );
          expect(await call(`10.77.${n}.1`, 15008)).toBe(`direct 15008 from 10.77.${n}.2`);
          expect(await call(`10.77.${n}.1`, 22)).toBe(`direct 22 from 10.77.${n}.2`);
          inside.stdin.write("go on\n");
          inside.stdin.flush();
          const seen = JSON.parse(await new Response(inside.stdout).text());
          expect(seen).toEqual({ ...expected(n), backend });
        } finally {
          outside.kill();
          inside.kill();
          namespaces.close();
        }
      },
      30_000,
    );
  }
});

function expected(n: number): Record<string, string> {
  const [in4, in6, out4, out6] = [`10.77.${n}.1`, `fd77:${n}::1`, `10.77.${n}.2`, `fd77:${n}::2`];
  return {
    openBefore: `outside 80 from ${in4}`,
    outbound4: `outbound 15001 for ${out4}:80 from ${in4}`,
    outbound6: `outbound 15001 for [${out6}]:80 from ${in6}`,
    ssh: `outside 22 from ${in4}`,
    excludedPort: `outside 9999 from ${in6}`,
    marked4: `outside 80 from ${in4}`,
    marked6: `outside 80 from ${in6}`,
    loopback: "direct 8080 from 127.0.0.1",
    ownAddress: `direct 8080 from ${in4}`,
    foreign4: "direct 8080 from 203.0.113.9",
    foreign6: "direct 8080 from 2001:db8::9",
    afterwards4: `outside 80 from ${in4}`,
    afterwards6: `outside 80 from ${in6}`,
    "left nft": "",
    "left iptables": "",
    "left ip6tables": "",
    "left iptables-legacy": "",
    "left rules": "",
    "left rules6": "",
  };
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const complete = text.split("\n");
    text = complete.pop() ?? "";
    yield* complete;
  }
}

async function next(source: AsyncGenerator<string>): Promise<string> {
  const { value } = await source.next();
  return String(value);
}

async function rest(source: AsyncGenerator<string>): Promise<readonly string[]> {
  const all: string[] = [];
  for await (const line of source) all.push(line);
  return all;
}
