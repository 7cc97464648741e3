/** Scripted HTTP services, and Unix sockets of other users, in a world of memory. */
import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { HttpRequest } from "../host.ts";
import { MemoryWorld } from "./world.ts";

function newWorld() {
  const world = new MemoryWorld(1);
  const machine = world.machine("a", { addresses: ["10.0.0.1"] });
  machine.disk.makeFolder("/run");
  world.setName("issuer.example", ["93.184.216.34"]);
  world.setName("inside.example", ["10.0.0.9"]);
  return { world, machine, host: machine.start() };
}

function get(url: string, more: Partial<HttpRequest> = {}): HttpRequest {
  return { method: "GET", url, timeoutMs: 500, maxResponseBytes: 8, reach: "public", ...more };
}

describe("HTTP", () => {
  test("a service answers what its script says, until it is taken away", async () => {
    const { world, host } = newWorld();
    world.http.set("https://issuer.example", ({ url }) => ({
      status: 200,
      headers: {},
      body: new TextEncoder().encode(new URL(url).pathname),
    }));
    const response = await world.settle(host.http.send(get("https://issuer.example/keys")));
    expect(new TextDecoder().decode(response.body)).toBe("/keys");
    world.http.set("https://issuer.example", null);
    expect(await rejectionOf(world.settle(host.http.send(get("https://issuer.example/keys"))))).toMatchObject(
      {
        code: "connect_refused",
      },
    );
  });

  test("bounds and reach are those of the real client", async () => {
    const { world, host } = newWorld();
    const body = new Uint8Array(9);
    world.http.set("https://issuer.example", () => ({ status: 200, headers: {}, body }));
    world.http.set("http://inside.example", () => new Promise(() => {}));
    for (const [request, code] of [
      [get("https://issuer.example/"), "limit_reached"],
      [get("http://inside.example/"), "address_forbidden"],
      [get("http://inside.example/", { reach: "any" }), "connect_timeout"],
      [get("http://nobody.example/"), "name_not_found"],
      [get("ftp://issuer.example/"), "configuration"],
    ] as const)
      expect(await rejectionOf(world.settle(host.http.send(request)))).toMatchObject({ code });
  });
});

describe("Unix sockets", () => {
  test("each process has the user it was started as", async () => {
    const { world, machine, host } = newWorld();
    const cart = machine.start({ user: { uid: 1001, gid: 1002 } });
    const seen: unknown[] = [];
    host.net.listenUnix("/run/s.sock", 0o666, (socket) => seen.push(host.net.peerCredentials(socket)));
    const client = await world.settle(cart.net.connectUnix("/run/s.sock", 100));
    await world.runUntilQuiet();
    expect(seen).toEqual([{ uid: 1001, gid: 1002, groups: [], pid: cart.process.pid }]);
    expect(cart.net.peerCredentials(client)).toMatchObject({ uid: 0, gid: 0 });
  });

  test("the mode keeps others out", async () => {
    const { world, machine } = newWorld();
    const owner = machine.start({ user: { uid: 1, gid: 1 } });
    const colleague = machine.start({ user: { uid: 2, gid: 1 } });
    const stranger = machine.start({ user: { uid: 3, gid: 3 } });
    owner.net.listenUnix("/run/s.sock", 0o660, () => {});
    await world.settle(colleague.net.connectUnix("/run/s.sock", 100));
    expect(await rejectionOf(world.settle(stranger.net.connectUnix("/run/s.sock", 100)))).toMatchObject({
      code: "permission_denied",
    });
  });

  test("the socket of a process that was killed is stale: there is no answer, and it is replaced", async () => {
    const { world, machine, host } = newWorld();
    host.net.listenUnix("/run/s.sock", 0o600, () => {});
    host.kill();
    const next = machine.start();
    expect(await rejectionOf(world.settle(next.net.connectUnix("/run/s.sock", 100)))).toMatchObject({
      code: "connect_refused",
    });
    next.net.listenUnix("/run/s.sock", 0o600, () => {});
    await world.settle(next.net.connectUnix("/run/s.sock", 100));
  });
});
