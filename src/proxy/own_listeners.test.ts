import { expect, test } from "bun:test";
import type { SocketAddress } from "../base/ip.ts";
import { IpAddress, parseSocketAddress } from "../base/ip.ts";
import type { ListenOptions } from "../host/host.ts";
import { OwnListeners } from "./own_listeners.ts";

function at(text: string): SocketAddress {
  const address = parseSocketAddress(text);
  if (address === null) throw new Error(text);
  return address;
}

const hostAddress = IpAddress.parse("10.0.0.2");
const net = {
  localAddresses: () => (hostAddress === null ? [] : [hostAddress]),
  listen: ({ address }: { address: SocketAddress }) => ({ address, close() {} }),
};

test.each([
  ["its own address and port", "10.0.0.2:8080", "10.0.0.2:8080", true],
  ["its address, another port", "10.0.0.2:8080", "10.0.0.2:8081", false],
  ["its port at another address: an application's", "127.0.0.1:8080", "10.0.0.2:8080", false],
  ["a wildcard holds every address", "0.0.0.0:8080", "10.0.0.2:8080", true],
  ["a wildcard may serve both families", "[::]:8080", "10.0.0.2:8080", true],
  ["the unspecified address is loopback", "127.0.0.1:8080", "0.0.0.0:8080", true],
  ["the unspecified address of IPv6 is too", "[::1]:8080", "[::]:8080", true],
  ["another loopback address is not", "127.0.0.1:8080", "127.0.0.2:8080", false],
])("%s", (_what, listener, target, expected) => {
  expect(new OwnListeners(net, [at(listener)]).holds(at(target))).toBe(expected);
});

test("a wildcard holds no address of another host", () => {
  const own = new OwnListeners(net, [at("0.0.0.0:15008")]);
  expect(
    ["10.0.0.2", "127.0.0.9", "0.0.0.0", "192.0.2.1"].map((ip) => own.isReachedAt(at(`${ip}:15008`))),
  ).toEqual([true, true, true, false]);
});

test("one of several processes shares the port with the others", () => {
  const asked: (boolean | undefined)[] = [];
  const kernel = {
    ...net,
    listen: (options: ListenOptions) => {
      asked.push(options.reusePort);
      return net.listen(options);
    },
  };
  new OwnListeners(kernel, [], true).listen({ address: at("10.0.0.2:80") }, () => {}).close();
  new OwnListeners(kernel, []).listen({ address: at("10.0.0.2:80") }, () => {}).close();
  expect(asked).toEqual([true, undefined]);
});

test("a listener is held until it is closed, once for each that opened it", () => {
  const own = new OwnListeners(net, []);
  const remove = own.add(at("10.0.0.2:80"));
  const listener = own.listen({ address: at("10.0.0.2:80") }, () => {});
  remove();
  remove();
  expect(own.holds(at("10.0.0.2:80"))).toBe(true);
  listener.close();
  expect(own.holds(at("10.0.0.2:80"))).toBe(false);
});

test("one that is added twice is held until it is removed twice, and one that comes again is not removed by the first", () => {
  const own = new OwnListeners(net, []);
  const address = at("10.0.0.2:80");
  const first = own.add(address);
  const second = own.add(address);
  first();
  first();
  expect(own.holds(address)).toBe(true);
  second();
  expect(own.holds(address)).toBe(false);
  own.add(address);
  first();
  expect(own.holds(address)).toBe(true);
});

test("a call to a port that nothing of ours has, or has any more, does not ask for this host's addresses", () => {
  let asked = 0;
  const localAddresses = () => {
    asked++;
    return hostAddress === null ? [] : [hostAddress];
  };
  const own = new OwnListeners({ ...net, localAddresses }, []);
  const remove = own.add(at("10.0.0.2:80"));
  expect([own.isReachedAt(at("10.0.0.2:81")), asked]).toEqual([false, 0]);
  expect([own.isReachedAt(at("10.0.0.2:80")), asked]).toEqual([true, 1]);
  remove();
  expect([own.isReachedAt(at("10.0.0.2:80")), asked]).toEqual([false, 1]);
});
