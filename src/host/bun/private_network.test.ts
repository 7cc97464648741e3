import { expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { canMakeNamespaces } from "../testing/namespaces.ts";
import { createBunHost } from "./host.ts";
import { openPrivateNetwork } from "./private_network.ts";

const ip = IpAddress.loopback(true);

if (!canMakeNamespaces)
  console.log("skipped: src/host/bun/private_network.test.ts needs root and network namespaces");

test.skipIf(!canMakeNamespaces)(
  "sockets and programs are inside, and this process is where it was after each of them",
  async () => {
    const host = createBunHost();
    const own = async () => (await host.process.run("readlink", ["/proc/self/ns/net"])).output;
    const before = await own();
    const network = openPrivateNetwork(host.net);
    const other = (await network.run("readlink", ["/proc/self/ns/net"])).output;
    expect(other).toStartWith("net:[");
    expect(other).not.toBe(before);
    expect(await own()).toBe(before);
    expect((await network.run("ip", ["link", "set", "lo", "up"])).exitCode).toBe(0);

    const greeted: number[] = [];
    const inside = network.net.listen({ address: { ip, port: 0 } }, (socket) => {
      greeted.push(socket.local.port);
      socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
      socket.close();
    });
    // The same port of the host is free: two networks.
    const outside = host.net.listen({ address: inside.address }, (socket) => socket.reset());
    const socket = await network.net.connect({ to: inside.address, timeoutMs: 30_000 });
    const closed = Promise.withResolvers<void>();
    socket.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose: () => closed.resolve() });
    socket.end();
    await closed.promise;
    expect(greeted).toEqual([inside.address.port]);

    const heard = Promise.withResolvers<string>();
    const receiver = await network.net.bindUdp({ ip, port: 0 }, (bytes) =>
      heard.resolve(new TextDecoder().decode(bytes)),
    );
    const sender = await network.net.bindUdp({ ip, port: 0 }, () => {});
    sender.send(new TextEncoder().encode("by UDP"), receiver.address);
    expect(await heard.promise).toBe("by UDP");
    expect(await own()).toBe(before);

    for (const each of [inside, outside, receiver, sender, network, network]) each.close();
  },
);

test.skipIf(!canMakeNamespaces)(
  "a program's code, a signal's as a shell has it, and no program",
  async () => {
    const host = createBunHost();
    const network = openPrivateNetwork(host.net);
    const environment = { PATH: host.process.environment.PATH };
    expect(await network.start(["sh", "-c", "exit 9"], environment).exited).toBe(9);
    const sleeper = network.start(["sleep", "600"], environment);
    sleeper.signal("SIGTERM");
    expect(await sleeper.exited).toBe(143);
    expect(() => network.start(["/no/such/program"], environment)).toThrow(
      expect.objectContaining({ code: "io", blame: "local" }),
    );
    network.close();
  },
);
