import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { grpcLimits } from "../base/limits/rpc.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import type { Network } from "../host/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { dial } from "./dial.ts";

/** A name with so many addresses, of which one answers. */
function network(count: number, answers: number) {
  const tried: string[] = [];
  const socket = new FakeSocket();
  const net = {
    resolve: async () =>
      Array.from({ length: count }, (_, index) => IpAddress.parse(`10.0.0.${index}`)).filter(
        (ip) => ip !== null,
      ),
    connect: async ({ to }: { readonly to: { readonly ip: IpAddress; readonly port: number } }) => {
      tried.push(`${to.ip.text}:${to.port}`);
      if (to.ip.text === `10.0.0.${answers}`) return socket;
      throw new MeshError("connect_refused", "upstream", `${to.ip.text} refused`);
    },
  } as unknown as Network;
  return { net, tried, socket };
}

describe("the addresses of a server's name", () => {
  const { maxAddresses } = grpcLimits;
  const target = { host: "control.example", port: 15_012 };

  test("are tried in turn, so many and no more", async () => {
    const last = network(maxAddresses + 5, maxAddresses - 1);
    expect(await dial(last.net, target, 1_000)).toBe(last.socket);
    expect(last.tried).toHaveLength(maxAddresses);
    const past = network(maxAddresses + 5, maxAddresses);
    expect(String(await rejectionOf(dial(past.net, target, 1_000)))).toContain(
      `10.0.0.${maxAddresses - 1} refused`,
    );
    expect(past.tried).toEqual(["10.0.0.0:15012", "10.0.0.1:15012", "10.0.0.2:15012", "10.0.0.3:15012"]);
  });

  test("an address is its own, and a name without one is said to have none", async () => {
    const { net, tried, socket } = network(0, 7);
    expect(await dial(net, { host: "10.0.0.7", port: 9 }, 1_000)).toBe(socket);
    expect(tried).toEqual(["10.0.0.7:9"]);
    expect(await rejectionOf(dial(net, target, 1_000))).toMatchObject({
      code: "name_not_found",
      message: "control.example has no address",
    });
  });
});
