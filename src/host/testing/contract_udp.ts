/** UDP: datagrams arrive whole or not at all, from whom they say. */
import { expect, test } from "bun:test";
import type { SocketAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { HostFixture } from "./contract.ts";
import { bytesOf } from "./recorder.ts";

export function contractUdp(fixture: () => HostFixture): void {
  const bind = (onDatagram: (bytes: Uint8Array, from: SocketAddress) => void = () => {}) => {
    const { host, address, settled } = fixture();
    return settled(host.net.bindUdp({ ip: address, port: 0 }, onDatagram));
  };

  test("a datagram comes whole, with the address to answer to", async () => {
    const heard: string[] = [];
    const server = await bind((bytes, from) => {
      heard.push(new TextDecoder().decode(bytes));
      server.send(bytesOf("pong"), from);
    });
    const answers: Uint8Array[] = [];
    const client = await bind((bytes, from) => {
      expect([from.ip.text, from.port]).toEqual([server.address.ip.text, server.address.port]);
      answers.push(bytes);
    });
    client.send(bytesOf("ping"), server.address);
    client.send(bytesOf("again"), server.address);
    await fixture().until(() => answers.length === 2, "both answers");
    expect(heard).toEqual(["ping", "again"]);
    // Later datagrams do not change earlier ones.
    expect(answers.map((bytes) => new TextDecoder().decode(bytes))).toEqual(["pong", "pong"]);
    server.close();
    client.close();
  });

  test("to where none listens a datagram is lost, and the socket goes on", async () => {
    const gone = await bind();
    gone.close();
    const heard: Uint8Array[] = [];
    const server = await bind((bytes) => heard.push(bytes));
    const client = await bind();
    client.send(bytesOf("lost"), gone.address);
    await fixture().pass(50);
    client.send(bytesOf("heard"), server.address);
    client.send(bytesOf("heard"), server.address);
    await fixture().until(() => heard.length > 0, "the datagram that has a receiver");
    client.close();
    client.send(bytesOf("closed"), server.address);
    client.close();
    server.close();
  });

  test("a port is one socket's", async () => {
    const first = await bind();
    const { host, settled } = fixture();
    expect(await rejectionOf(settled(host.net.bindUdp(first.address, () => {})))).toMatchObject({
      code: "address_in_use",
    });
    first.close();
  });
}
