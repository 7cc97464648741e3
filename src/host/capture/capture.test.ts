import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import { parseIpPrefix } from "../../base/prefix.ts";
import type { Host } from "../host.ts";
import { canMakeNamespaces, makeNamespaces, run } from "../testing/namespaces.ts";
import { type CaptureOptions, installCapture } from "./capture.ts";
import { renderIptables, renderIptablesRemoval } from "./iptables.ts";
import { renderNftables } from "./nftables.ts";

function prefixes(...texts: readonly string[]) {
  return texts.map((text) => {
    const prefix = parseIpPrefix(text);
    assert(prefix !== null, text);
    return prefix;
  });
}

const options: CaptureOptions = {
  outboundPort: 15001,
  inboundPort: 15006,
  mark: 1337,
  ownPorts: [15008, 15021],
  includeCidrs: [],
  excludeCidrs: [],
  excludePorts: [],
  originalSource: false,
};

describe("the rules as text", () => {
  test("nftables: outbound to 15001, inbound to 15006, and what never is", () => {
    expect(renderNftables(options)).toBe(`table inet fairlead
delete table inet fairlead
table inet fairlead {
  chain output {
    type nat hook output priority -100; policy accept;
    meta l4proto != tcp return
    meta mark 1337 return
    tcp flags & (fin | syn | rst | ack) != syn return
    tcp dport { 22 } return
    meta mark and 0xfff == 0x111 return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    redirect to :15001
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    meta l4proto != tcp return
    meta mark 1337 return
    tcp flags & (fin | syn | rst | ack) != syn return
    tcp dport { 22, 15001, 15006, 15008, 15021 } return
    iifname "lo" return
    fib daddr type != local return
    redirect to :15006
  }
}
`);
  });

  test("prefixes lose their host bits and go to the chain of their family", () => {
    const text = renderNftables({
      ...options,
      includeCidrs: prefixes("10.1.2.3/8"),
      excludeCidrs: prefixes("10.0.0.0/16", "fd00::1/8"),
    });
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
      renderNftables({
        ...options,
        includeCidrs: prefixes("10.0.0.0/8"),
        excludeCidrs: prefixes("10.9.0.0/16"),
      }),
      renderIptables(
        { ...options, includeCidrs: prefixes("10.0.0.0/8"), excludeCidrs: prefixes("10.9.0.0/16") },
        true,
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
    const text = renderIptables({ ...options, originalSource: true, excludePorts: [9999] }, true);
    expect(text).toContain("-A FAIRLEAD_OUTPUT -m mark --mark 1337 -j RETURN");
    expect(text).toContain("-A FAIRLEAD_OUTPUT -p tcp --dport 22 -j RETURN");
    expect(text).toContain("-A FAIRLEAD_PREROUTING -p tcp --dport 15008 -j RETURN");
    expect(text).toContain("-A FAIRLEAD_PREROUTING -p tcp --dport 9999 -j RETURN");
    expect(text).toContain("-j CONNMARK --restore-mark");
    expect(text.match(/^COMMIT$/gm)?.length).toBe(2);
    const removed = renderIptablesRemoval().map((args) => args.join(" "));
    expect(removed).toContain("-t nat -D OUTPUT -p tcp -j FAIRLEAD_OUTPUT");
    expect(removed).toContain("-t mangle -X FAIRLEAD_PREROUTING");
  });
});

describe("when it cannot be had", () => {
  function hostThatRuns(run: (program: string) => { exitCode: number; output: string } | null): {
    readonly host: Host;
    readonly ran: string[];
  } {
    const ran: string[] = [];
    const host = {
      files: { exists: async () => false },
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
    await expect(installCapture(host, options)).rejects.toMatchObject({
      code: "unsupported",
      blame: "local",
    });
  });

  test("without the right it is permission_denied, and what was done is undone", async () => {
    const { host, ran } = hostThatRuns((program) =>
      program === "nft"
        ? null
        : { exitCode: program.endsWith("-restore") ? 4 : 0, output: "you must be root" },
    );
    await expect(installCapture(host, options)).rejects.toMatchObject({ code: "permission_denied" });
    expect(ran.lastIndexOf("iptables -t nat -X FAIRLEAD_OUTPUT")).toBeGreaterThan(
      ran.indexOf("iptables-restore --noflush"),
    );
  });
});

describe("in a network namespace", () => {
  if (!canMakeNamespaces)
    console.warn("capture: not root on Linux, so the rules themselves are NOT tested here");
  const probe = join(import.meta.dir, "../testing/capture_probe.ts");

  for (const [index, backend] of (["nft", "iptables"] as const).entries()) {
    test.skipIf(!canMakeNamespaces || run([backend, "--version"]).exitCode !== 0)(
      `${backend} captures what it should, and leaves nothing behind`,
      async () => {
        const n = 10 + index;
        const namespaces = makeNamespaces(n);
        const spawn = (name: string, args: readonly string[]) =>
          Bun.spawn(namespaces.within(name, [process.execPath, probe, ...args, String(n)]), {
            stdin: "pipe",
            stdout: "pipe",
            stderr: "pipe",
          });
        const outside = spawn(namespaces.outside, ["serve", "-"]);
        const answers = lines(outside.stdout);
        expect(await next(answers)).toBe("ready");
        const inside = spawn(namespaces.inside, ["node", backend]);
        try {
          expect(await next(lines(inside.stderr))).toBe("captured");
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
          expect(seen).toEqual(expected(n));
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
