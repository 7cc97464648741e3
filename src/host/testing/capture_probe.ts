/**
 * Runs inside a network namespace: `capture_probe.ts serve` only listens; `capture_probe.ts node BACKEND METHOD` captures,
 * tries what must and must not be captured, removes the rules, tries again, and prints what it saw as JSON.
 */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import { silentLogger } from "../../base/log.ts";
import { parseIpPrefix } from "../../base/prefix.ts";
import { createBunHost } from "../bun/host.ts";
import { Capture } from "../capture/capture.ts";
import type { BackendName, CaptureOptions } from "../capture/options.ts";
import type { Host, Listener, Socket } from "../host.ts";

const [, , mode, backend, method, network = "0"] = process.argv;
const host = createBunHost();

const inside4 = ip(`10.77.${network}.1`);
const inside6 = ip(`fd77:${network}::1`);
const outside4 = ip(`10.77.${network}.2`);
const outside6 = ip(`fd77:${network}::2`);
const mark = 1337;

const backends: readonly BackendName[] = ["nftables", "iptables", "iptables-legacy"];

const options: CaptureOptions = {
  backend: backends.find((name) => name === backend) ?? "auto",
  outboundPort: 15001,
  inboundPort: 15006,
  mark,
  ownPorts: [15008],
  includeCidrs: [],
  excludeCidrs: [prefix("198.51.100.0/24"), prefix("198.51.100.7"), prefix("2001:db8:5::/48")],
  excludePorts: [9999],
  excludeInboundCidrs: [],
  excludeInterfaces: [],
  method: method === "tproxy" ? "tproxy" : "redirect",
  includeUids: [],
  excludeUids: [],
  includeCgroups: [],
  excludeCgroups: [],
  includePorts: [],
  neverTo: [],
  containers: "exclude",
  originalSource: true,
};

if (mode === "serve") serve();
else process.stdout.write(`${JSON.stringify(await node())}\n`);
if (mode !== "serve") process.exit(0);

/** Every port answers with its name, where the connection was going, and who called. */
function serve(): void {
  for (const address of [outside4, outside6])
    for (const port of [22, 80, 9999, 15001]) answer(address, port, "outside");
  process.stdout.write("ready\n");
  process.stdin.on("data", async (line) => {
    const [to = "", port = "0"] = line.toString().trim().split(" ");
    process.stdout.write(`${await ask({ ip: ip(to), port: Number(port) })}\n`);
  });
}

async function node(): Promise<Record<string, string>> {
  const seen: Record<string, string> = {};
  for (const wildcard of [ip("0.0.0.0"), ip("::")]) {
    answer(wildcard, 15001, "outbound", method === "tproxy");
    answer(wildcard, 15006, "inbound", method === "tproxy");
    for (const port of [22, 8080, 15008]) answer(wildcard, port, "direct");
  }
  const open = await host.net.connect({ to: { ip: outside4, port: 80 }, timeoutMs: 2_000 });
  const first = await Capture.install(host, options, silentLogger);
  // A second installation replaces the first.
  await (await Capture.install(host, options, silentLogger)).remove();
  const second = await Capture.install(host, options, silentLogger);
  seen.backend = second.backend;
  seen.openBefore = await firstText(open);
  seen.outbound4 = await ask({ ip: outside4, port: 80 });
  seen.outbound6 = await ask({ ip: outside6, port: 80 });
  seen.ssh = await ask({ ip: outside4, port: 22 });
  seen.excludedPort = await ask({ ip: outside6, port: 9999 });
  seen.marked4 = await ask({ ip: outside4, port: 80 }, { mark });
  seen.marked6 = await ask({ ip: outside6, port: 80 }, { mark });
  seen.loopback = await ask({ ip: ip("127.0.0.1"), port: 8080 });
  seen.ownAddress = await ask({ ip: inside4, port: 8080 });
  seen.foreign4 = await ask(
    { ip: inside4, port: 8080 },
    { mark, from: { ip: ip("203.0.113.9"), port: 0, transparent: true } },
  );
  seen.foreign6 = await ask(
    { ip: inside6, port: 8080 },
    { mark, from: { ip: ip("2001:db8::9"), port: 0, transparent: true } },
  );
  process.stderr.write("captured\n");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await second.remove();
  await first.remove();
  seen.afterwards4 = await ask({ ip: outside4, port: 80 });
  seen.afterwards6 = await ask({ ip: outside6, port: 80 });
  for (const [name, program, args] of [
    ["nft", "nft", ["list", "tables"]],
    ["iptables", "iptables-save", []],
    ["ip6tables", "ip6tables-save", []],
    ["iptables-legacy", "iptables-legacy-save", []],
    ["rules", "ip", ["rule"]],
    ["rules6", "ip", ["-6", "rule"]],
  ] as const)
    seen[`left ${name}`] = (await host.process.run(program, args)).output
      .split("\n")
      .filter((line) => /fairlead|0x11[123]/i.test(line))
      .join("; ");
  return seen;
}

/** @param transparent TPROXY leaves a connection's own address as it was. */
function answer(address: IpAddress, port: number, name: string, transparent = false): Listener {
  return host.net.listen({ address: { ip: address, port }, transparent }, (socket) => {
    const original = transparent ? socket.local : host.net.originalDestination(socket);
    const going = original === null ? "" : ` for ${formatSocketAddress(original)}`;
    socket.setHandler({ onData() {}, onDrain() {}, onEnd: () => socket.end(), onClose() {} });
    socket.write(new TextEncoder().encode(`${name} ${port}${going} from ${socket.remote.ip.text}`));
  });
}

async function ask(
  to: SocketAddress,
  more: Partial<Parameters<Host["net"]["connect"]>[0]> = {},
): Promise<string> {
  try {
    return await firstText(await host.net.connect({ to, timeoutMs: 2_000, ...more }));
  } catch (thrown) {
    return thrown instanceof MeshError ? thrown.message : String(thrown);
  }
}

function firstText(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    const timer = host.clock.setTimer(2_000, () => resolve("no answer"));
    socket.setHandler({
      onData(bytes) {
        timer.cancel();
        resolve(new TextDecoder().decode(bytes));
        socket.reset();
      },
      onDrain() {},
      onEnd() {},
      onClose: (error) => resolve(`closed ${error?.code}`),
    });
  });
}

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(`not an address: ${text}`);
  return parsed;
}

function prefix(text: string) {
  const parsed = parseIpPrefix(text);
  if (parsed === null) throw new Error(`not a prefix: ${text}`);
  return parsed;
}
