/** `/etc/resolv.conf` on a simulated host: set up, kept, given back. conformance/vm has the same on real ones. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import { silentLogger } from "../base/log.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { ip } from "../mesh/testing/fixture.ts";
import {
  dropInPath,
  findSetupMode,
  ResolverSetup,
  removeResolver,
  resolvConfPath,
  resolverIsSet,
  type SetupMode,
  savedPath,
} from "./resolver_setup.ts";

const original = "nameserver 10.0.0.53\nsearch a.example\n";
const listens = { ip: ip("127.0.0.1"), port: 15053 };
const port53 = ip("127.0.0.153");

async function world(
  text: string | null = original,
  mode: SetupMode = "resolv-conf",
  upstreams: string[] = [],
  programs: readonly string[] = [],
) {
  const w = new MemoryWorld(1);
  const ran: string[] = [];
  const host = w.host("node", {
    addresses: ["10.0.0.1"],
    programs: Object.fromEntries(
      programs.map((program) => [
        program,
        (args: readonly string[], input: string) => {
          ran.push([program, ...args, ...(input === "" ? [] : [`< ${input.split("\n")[0]}`])].join(" "));
          return { exitCode: 0, output: program === "readlink" ? "../run/systemd/stub.conf\n" : "" };
        },
      ]),
    ),
  });
  const write = (content: string, path: string = resolvConfPath) =>
    w.settle(host.files.writeAtomic(path, new TextEncoder().encode(content), 0o644));
  const read = () => w.settle(host.files.readText(resolvConfPath));
  await w.settle(host.files.makeDirectory("/etc", 0o755));
  if (text !== null) await write(text);
  const settings = {
    mode,
    listens,
    port53,
    upstreams: upstreams.map((each) => ({ ip: ip(each), port: 53 })),
  };
  const open = () => w.settle(ResolverSetup.open(host, settings, silentLogger));
  return { w, ran, host, write, read, open, has: (path: string) => w.settle(host.files.exists(path)) };
}

const serversOf = (setup: ResolverSetup): readonly string[] => setup.servers.map(({ ip: { text } }) => text);

describe("resolv.conf", () => {
  test("names the proxy while it is set, and is as it was afterwards", async () => {
    const { w, host, read, open, has } = await world();
    const setup = await open();
    expect([await read(), serversOf(setup), setup.search]).toEqual([original, ["10.0.0.53"], ["a.example"]]);
    await w.settle(setup.apply());
    expect(await read()).toContain("nameserver 127.0.0.153\nsearch a.example\n");
    expect([setup.problem, await w.settle(resolverIsSet(host))]).toEqual([null, "resolv-conf"]);
    await w.settle(setup.remove());
    expect([await read(), await has(savedPath), await w.settle(resolverIsSet(host))]).toEqual([
      original,
      false,
      "off",
    ]);
    expect(await w.settle(removeResolver(host))).toBe(false);
  });

  test("of a run that was killed is found again: what was there is behind the proxy, and comes back", async () => {
    const { w, read, open, has } = await world();
    await w.settle((await open()).apply());
    const next = await open();
    expect(serversOf(next)).toEqual(["10.0.0.53"]);
    await w.settle(next.apply());
    await w.settle(next.remove());
    expect([await read(), await has(savedPath)]).toEqual([original, false]);
  });

  test("that another program writes is what is behind the proxy from then on, and what comes back", async () => {
    const { w, read, open, write } = await world();
    const setup = await open();
    await w.settle(setup.apply());
    await write("nameserver 10.0.0.54\n");
    await w.run(w.nowMs + dnsLimits.repairDelayMs + 500);
    expect([serversOf(setup), (await read()).includes("127.0.0.153")]).toEqual([["10.0.0.54"], true]);
    // One that names us alone tells nothing new.
    await write("nameserver 127.0.0.153\n");
    await w.run(w.nowMs + dnsLimits.repairDelayMs + 500);
    expect(serversOf(setup)).toEqual(["10.0.0.54"]);
    await write("nameserver 10.0.0.55\n");
    await w.settle(setup.remove());
    // What was written last, after us, is the newest word.
    expect(await read()).toBe("nameserver 10.0.0.55\n");
  });

  test("that is written again and again is left alone for a while after some times", async () => {
    const { w, read, open, write } = await world();
    const setup = await open();
    await w.settle(setup.apply());
    for (let time = 0; time < dnsLimits.maxRepairsInARow; time++) {
      await write(`nameserver 10.0.1.${time}\n`);
      await w.run(w.nowMs + dnsLimits.repairDelayMs + 500);
      expect(await read()).toContain("127.0.0.153");
    }
    await write("nameserver 10.0.2.1\n");
    await w.run(w.nowMs + dnsLimits.repairDelayMs + 500);
    expect(await read()).toBe("nameserver 10.0.2.1\n");
    await w.run(w.nowMs + dnsLimits.repairPauseMs + 500);
    expect(await read()).toContain("127.0.0.153");
  });

  test("the proxy is never behind itself, and named servers take the place of those that were found", async () => {
    const { open } = await world("nameserver 127.0.0.153\nnameserver 10.0.0.53\n");
    expect(serversOf(await open())).toEqual(["10.0.0.53"]);
    const named = await world(original, "off", ["10.0.0.99"]);
    expect(serversOf(await named.open())).toEqual(["10.0.0.99"]);
  });

  test("with nothing kept beside it ours cannot be undone, and says so", async () => {
    const { w, host, open } = await world();
    await w.settle((await open()).apply());
    await w.settle(host.files.remove(savedPath));
    expect(await rejectionOf(w.settle(removeResolver(host)))).toMatchObject({ code: "io" });
  });

  test("switched off is not touched, and is read all the same", async () => {
    const { w, read, open } = await world(original, "off");
    const setup = await open();
    await w.settle(setup.apply());
    await w.settle(setup.remove());
    expect([await read(), serversOf(setup)]).toEqual([original, ["10.0.0.53"]]);
  });
});

test("what was a link is one again, to where it led", async () => {
  const { w, ran, open } = await world(original, "resolv-conf", [], ["readlink", "ln"]);
  const setup = await open();
  await w.settle(setup.apply());
  await w.settle(setup.remove());
  expect(ran).toEqual(["readlink /etc/resolv.conf", "ln -sfn ../run/systemd/stub.conf /etc/resolv.conf"]);
});

test("a file that is mounted alone cannot be replaced, and is written in its place; any other failure is one", async () => {
  for (const [said, written] of [
    [
      "EBUSY: resource busy",
      ["tee /etc/resolv.conf < # Written by fairlead: its node answers names of the mesh"],
    ],
    ["EACCES", []],
  ] as const) {
    const { w, ran, host, open } = await world(original, "resolv-conf", [], ["tee"]);
    const { writeAtomic } = host.files;
    host.files.writeAtomic = async (path, bytes, mode) => {
      if (path === resolvConfPath) throw new MeshError("io", "local", said);
      await writeAtomic(path, bytes, mode);
    };
    const setup = await open();
    await w.settle(setup.apply());
    expect(ran.map((line) => line.replace(/, and passes.*/, ""))).toEqual([...written]);
    expect(setup.problem === null).toBe(written.length > 0);
  }
});

test("systemd-resolved is told of the proxy, by either family, and once more when it is no longer asked", async () => {
  for (const [listening, line] of [
    [listens, "DNS=127.0.0.1:15053"],
    [{ ip: ip("::1"), port: 15053 }, "DNS=[::1]:15053"],
  ] as const) {
    const { w, ran, host } = await world(original, "resolved", [], ["systemctl"]);
    const settings = { mode: "resolved", listens: listening, port53, upstreams: [] } as const;
    const setup = await w.settle(ResolverSetup.open(host, settings, silentLogger));
    await w.settle(setup.apply());
    expect((await w.settle(host.files.readText(dropInPath))).split("\n")).toContain(line);
    expect(await w.settle(resolverIsSet(host))).toBe("resolved");
    expect(ran).toEqual(["systemctl restart systemd-resolved"]);
    await w.settle(setup.remove());
    expect(await w.settle(host.files.exists(dropInPath))).toBe(false);
    expect(ran.length).toBe(2);
  }
});

test("systemd-resolved is used where the host's programs ask it", async () => {
  const { w, host, write } = await world("nameserver 127.0.0.53\n");
  expect(await w.settle(findSetupMode(host))).toBe("resolv-conf");
  await w.settle(host.files.makeDirectory("/run/systemd/resolve", 0o755));
  await write("nameserver 10.0.0.53\n", "/run/systemd/resolve/resolv.conf");
  expect(await w.settle(findSetupMode(host))).toBe("resolved");
  await write("nameserver 10.0.0.53\n");
  expect(await w.settle(findSetupMode(host))).toBe("resolv-conf");
});
