/** Listening and dialling, and every way they fail. */
import { expect, test } from "bun:test";
import { formatSocketAddress, IpAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Socket } from "../host.ts";
import type { HostFixture } from "./contract.ts";
import { bytesOf, connectPair, Recorder } from "./recorder.ts";

export function contractConnect(fixture: () => HostFixture): void {
  const net = () => fixture().host.net;
  const anyPort = () => ({ ip: fixture().address, port: 0 });

  test("port 0 becomes a real port", () => {
    const listener = net().listen({ address: anyPort() }, () => {});
    expect(listener.address.port).toBeGreaterThan(0);
    listener.close();
  });

  test("a port that is taken is address_in_use, blame local", () => {
    const listener = net().listen({ address: anyPort() }, () => {});
    expect(() => net().listen({ address: listener.address }, () => {})).toThrow(
      expect.objectContaining({ code: "address_in_use", blame: "local" }),
    );
    listener.close();
  });

  test("with reusePort two listeners share a port", () => {
    const first = net().listen({ address: anyPort(), reusePort: true }, () => {});
    const second = net().listen({ address: first.address, reusePort: true }, () => {});
    first.close();
    second.close();
  });

  test("a closed listener accepts no more; what it accepted lives on, and its port can be had again", async () => {
    const { client, server, close } = await connectPair(fixture());
    close();
    close();
    expect(
      await rejectionOf(fixture().settled(net().connect({ to: client.remote, timeoutMs: 60_000 }))),
    ).toMatchObject({ code: "connect_refused", blame: "upstream" });
    const receiver = new Recorder(server);
    client.write(bytesOf("still here"));
    await fixture().until(() => receiver.byteCount === 10, "the bytes");
    client.reset();
    await fixture().until(() => receiver.closes === 1, "the close");
    const again = net().listen({ address: client.remote }, () => {});
    again.close();
  });

  test("a port without a listener is connect_refused, blame upstream, with the address", async () => {
    const listener = net().listen({ address: anyPort() }, () => {});
    listener.close();
    expect(
      await rejectionOf(fixture().settled(net().connect({ to: listener.address, timeoutMs: 60_000 }))),
    ).toMatchObject({
      code: "connect_refused",
      blame: "upstream",
      message: expect.stringContaining(formatSocketAddress(listener.address)),
    });
  });

  test("no answer is connect_timeout, after its time and not before", async () => {
    const { host, blackhole } = fixture();
    const startedMs = host.clock.now();
    expect(
      await rejectionOf(fixture().settled(net().connect({ to: blackhole, timeoutMs: 120 }))),
    ).toMatchObject({
      code: "connect_timeout",
      blame: "upstream",
    });
    expect(host.clock.now() - startedMs).toBeGreaterThanOrEqual(119);
  });

  test("many connects at once find many accepts", async () => {
    const accepted: Socket[] = [];
    const listener = net().listen({ address: anyPort() }, (socket) => accepted.push(socket));
    const sockets = await fixture().settled(
      Promise.all(
        Array.from({ length: 50 }, () => net().connect({ to: listener.address, timeoutMs: 60_000 })),
      ),
    );
    await fixture().until(() => accepted.length === 50, "fifty accepts");
    const dialled = new Set(sockets.map((socket) => socket.local.port));
    expect(accepted.every((socket) => dialled.has(socket.remote.port))).toBe(true);
    for (const socket of sockets) socket.reset();
    listener.close();
  });

  test("a connection that was not redirected has no original destination", async () => {
    const { client, server, close } = await connectPair(fixture());
    expect(net().originalDestination(server)).toBeNull();
    client.reset();
    close();
  });

  test("the host knows its own addresses", () => {
    expect(net().localAddresses().map(String)).toContain(fixture().address.text);
  });

  test("an address resolves to itself, an unknown name to name_not_found", async () => {
    const found = await fixture().settled(net().resolve("192.0.2.7"));
    expect(found.map(String)).toEqual(["192.0.2.7"]);
    expect(found[0]).toBeInstanceOf(IpAddress);
    // RFC 6761 §6.4: never resolves.
    expect(await rejectionOf(fixture().settled(net().resolve("nobody.invalid")))).toMatchObject({
      code: "name_not_found",
    });
  });
}
