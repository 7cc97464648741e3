import { expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { RunRequest } from "../../cli/bindings.ts";
import { loadConfig } from "../../config/load.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import type { PrivateNetwork } from "../../host/private_network.ts";
import type { NodePlace } from "../node/place.ts";
import { launchWords } from "./launch.ts";
import { addressesOf, runIn } from "./program_in_mesh.ts";

const ips = (...texts: readonly string[]) => texts.flatMap((text) => IpAddress.parse(text) ?? []);

const helped = {
  unshare: () => ({ exitCode: 0, output: "" }),
  mount: () => ({ exitCode: 0, output: "" }),
  setpriv: () => ({ exitCode: 0, output: " --pdeathsig keep|clear|<signame>\n" }),
};

function lab(changes: { readonly programs?: typeof helped | Record<string, never> } = {}) {
  const world = new MemoryWorld(1);
  const host = world.host("vm", { addresses: ["10.0.0.1"], programs: changes.programs ?? helped });
  const told: string[] = [];
  const program = Promise.withResolvers<number>();
  const node = Promise.withResolvers<void>();
  const network = {
    net: { ...host.net, listen: () => told.push("listens inside") },
    run: async () => ({ exitCode: 0, output: "" }),
    start: (argv: readonly string[]) => {
      told.push(`starts ${argv.at(-1)}`);
      return { exited: program.promise, signal: (name: string) => void told.push(`program ${name}`) };
    },
    close: () => void told.push("closed"),
  } as unknown as PrivateNetwork;
  const seen: { host?: Host; config?: Config; place?: NodePlace } = {};
  const { config } = loadConfig({
    flags: new Map([
      ["mesh", ["mesh.yaml"]],
      ["socks5", ["127.0.0.1:1080"]],
      ["capture", ["off"]],
    ]),
    environment: {},
    file: null,
  });
  if (config === null) throw new Error("no config");
  const request: RunRequest = {
    as: "shop/reports",
    command: ["sh", "-c", "the program"],
    config,
    inbound: true,
    user: null,
  };
  const run = (startNode: () => Promise<unknown> = async () => {}) =>
    runIn(network, host, request, async (inner, nodeConfig, place) => {
      Object.assign(seen, { host: inner, config: nodeConfig, place });
      await startNode();
      return {
        ended: node.promise,
        drain: () => {
          told.push("node drains");
          node.resolve();
        },
      };
    });
  /** Files and programs of a simulated host take their time. */
  const pass = () => world.run(world.nowMs + 1_000);
  return { host, told, program, node, seen, run, pass };
}

test("the program runs when the node listens; what it wrote last is carried, and its code is ours", async () => {
  const { run, pass, told, program, seen } = lab();
  const done = run();
  await pass();
  expect(told).toEqual(["starts the program"]);
  program.resolve(7);
  await pass();
  expect(await done).toBe(7);
  expect(told).toEqual(["starts the program", "node drains", "closed"]);
  expect(seen.config).toMatchObject({ workloads: ["shop/reports"], socks5: [], layer7: null });
  expect(seen.config?.capture.mode).toBe("redirect");
  expect([seen.place?.bindInbound, seen.place?.services]).toEqual(["host addresses", ["shop/reports"]]);
});

test("only the ports of capture and of names are inside", async () => {
  const { run, pass, told, program, seen } = lab();
  const done = run();
  await pass();
  const [any, loopback] = ips("0.0.0.0", "127.0.0.1");
  if (any === undefined || loopback === undefined) throw new Error("addresses");
  const listen = (ip: IpAddress, port: number) => seen.host?.net.listen({ address: { ip, port } }, () => {});
  listen(any, 15001);
  listen(loopback, 53);
  expect(told.filter((text) => text === "listens inside").length).toBe(2);
  listen(any, 15008)?.close();
  expect(told.filter((text) => text === "listens inside").length).toBe(2);
  program.resolve(0);
  await pass();
  await done;
});

test("signals go to the program while it runs, and before that end the start", async () => {
  const running = lab();
  const done = running.run();
  await running.pass();
  running.host.signal("SIGTERM");
  running.host.signal("SIGINT");
  await running.pass();
  expect(running.told.slice(1)).toEqual(["program SIGTERM", "program SIGINT"]);
  running.program.resolve(143);
  await running.pass();
  expect(await done).toBe(143);

  const starting = lab();
  const given = starting.run(() => new Promise(() => {}));
  await starting.pass();
  starting.host.signal("SIGINT");
  await starting.pass();
  expect([await given, starting.told]).toEqual([130, ["closed"]]);
});

test("a program whose node has ended is ended: it would have no way out", async () => {
  const { run, pass, told, program, node } = lab();
  const done = run();
  await pass();
  node.resolve();
  await pass();
  expect(told).toContain("program SIGTERM");
  program.resolve(143);
  await pass();
  expect(await done).toBe(143);
});

test("addresses: the workload's own, and a placeholder for a family that it has none of and the host has", () => {
  const own = (...texts: readonly string[]) => ({ all: [{ addresses: ips(...texts) }] }) as never;
  const texts = (found: readonly IpAddress[]) => found.map(({ text }) => text);
  expect(texts(addressesOf(own("10.0.0.5"), ips("10.0.0.1", "::1", "fe80::1")))).toEqual(["10.0.0.5"]);
  expect(texts(addressesOf(own("10.0.0.5"), ips("10.0.0.1", "fd00::1")))).toEqual([
    "10.0.0.5",
    "fdfa:1e4d::1",
  ]);
  expect(texts(addressesOf(own("fd00::5"), ips("fd00::1")))).toEqual(["fd00::5", "192.0.0.8"]);
  expect(texts(addressesOf(own(), ips("10.0.0.1")))).toEqual(["192.0.0.8"]);
});

test("the words of the launch: a mount namespace, less than root may do, and the user with his home", async () => {
  const { host, pass } = lab();
  const command = ["curl", "-s"];
  const user = { name: "www", uid: 33, gid: 34, home: "/srv" };
  const plain = launchWords(host, { command, user: null, resolvConf: "nameserver 127.0.0.1\n" });
  const other = launchWords(host, { command, user, resolvConf: "" });
  await pass();
  const words = await plain;
  expect([words.slice(0, 3), words[5]]).toEqual([["unshare", "--mount", "sh"], "fairlead-run"]);
  expect(words.slice(-7)).toEqual([
    "--pdeathsig",
    "KILL",
    "--bounding-set",
    "-net_admin,-sys_admin,-sys_ptrace,-sys_module",
    "--",
    "curl",
    "-s",
  ]);
  expect((await other).join(" ")).toEndWith(
    "env HOME=/srv USER=www LOGNAME=www setpriv --pdeathsig KILL --bounding-set -net_admin,-sys_admin,-sys_ptrace,-sys_module --reuid 33 --regid 34 --init-groups -- curl -s",
  );
});

test("without unshare nothing is run, and without setpriv no other user", async () => {
  const { unshare, mount } = helped;
  const launch = { command: ["true"], user: null, resolvConf: "" };
  const bare = lab({ programs: {} });
  const refused = rejectionOf(launchWords(bare.host, launch));
  await bare.pass();
  expect(await refused).toMatchObject({ code: "unsupported", message: expect.stringContaining("unshare") });
  const small = lab({ programs: { unshare, mount } as unknown as typeof helped });
  const user = { name: "www", uid: 33, gid: 33, home: "/" };
  const asUser = rejectionOf(launchWords(small.host, { ...launch, user }));
  const asRoot = launchWords(small.host, launch);
  await small.pass();
  expect(await asUser).toMatchObject({ code: "unsupported", message: expect.stringContaining("setpriv") });
  expect((await asRoot).at(-1)).toBe("true");
});
