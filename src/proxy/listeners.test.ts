import { expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { IpAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { ListenOptions } from "../host/host.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { type Flows, Listeners } from "./listeners.ts";
import type { NodeContext } from "./node_context.ts";
import { OwnListeners } from "./own_listeners.ts";

test("a workload's port that cannot be had is told once, tried again until it is there, and not after the workload has gone", async () => {
  const clock = new FakeClock(0);
  const ip = IpAddress.parse("10.0.0.3");
  const workload = { addresses: ip === null ? [] : [ip] };
  let all: readonly (typeof workload)[] = [];
  let changed = (): void => {};
  let reason: string | null = "EMFILE";
  let tries = 0;
  const open = new Set<SocketAddress>();
  const net = {
    localAddresses: () => [],
    listen: ({ address }: ListenOptions) => {
      tries++;
      if (reason !== null) throw new MeshError("descriptors_exhausted", "local", reason);
      open.add(address);
      return { address, close: () => void open.delete(address) };
    },
  };
  const said: string[] = [];
  const locals = {
    get all() {
      return all;
    },
    subscribe: (onChange: () => void) => {
      changed = onChange;
    },
  };
  const logger = {
    log: (level: string, _: string, message: string) => void said.push(`${level} ${message}`),
  };
  const context = { clock, locals, logger, own: new OwnListeners(net, []) } as unknown as NodeContext;
  const settings = {
    bindInbound: "addresses",
    hbonePort: 15008,
    wildcards: [],
    captured: null,
    socks5: [],
    httpConnect: [],
    localPorts: [],
    applications: [],
  } as const;
  const listeners = new Listeners(context, settings, {} as Flows);

  all = [workload];
  changed();
  const told = "error cannot accept HBONE on 10.0.0.3:15008; trying again";
  await clock.advance(proxyLimits.listenRetryMs * 3);
  expect(tries).toBe(4);
  expect(said).toEqual([told]);
  reason = "EADDRINUSE";
  await clock.advance(proxyLimits.listenRetryMs);
  expect(said).toEqual([told, told]);
  reason = null;
  await clock.advance(proxyLimits.listenRetryMs);
  expect(listeners.addresses.map((address) => address.port)).toEqual([15008]);
  expect(said.at(-1)).toBe("info accepts HBONE on 10.0.0.3:15008");
  tries = 0;
  await clock.advance(proxyLimits.listenRetryMs * 10);
  expect(tries).toBe(0);

  all = [];
  changed();
  expect(open.size).toBe(0);
  reason = "EMFILE";
  all = [workload];
  changed();
  all = [];
  changed();
  tries = 0;
  await clock.advance(proxyLimits.listenRetryMs * 10);
  expect(tries).toBe(0);

  all = [workload];
  changed();
  listeners.close();
  tries = 0;
  await clock.advance(proxyLimits.listenRetryMs * 10);
  expect(tries).toBe(0);
});

test("a node for one program accepts HBONE where this host has the address, or nowhere", () => {
  const ips = ["10.0.0.3", "10.0.0.4"].flatMap((text) => IpAddress.parse(text) ?? []);
  const opened = (bindInbound: "addresses" | "host addresses" | "none"): readonly string[] => {
    const net = {
      localAddresses: () => [],
      listen: ({ address }: ListenOptions) => ({ address, close: () => {} }),
    };
    const locals = {
      all: [{ addresses: ips }],
      isBindable: ({ text }: IpAddress) => text === "10.0.0.3",
      subscribe: () => () => {},
    };
    const context = { clock: new FakeClock(0), locals, own: new OwnListeners(net, []) };
    const settings = {
      ...{ bindInbound, hbonePort: 15008, wildcards: [], captured: null },
      ...{ socks5: [], httpConnect: [], localPorts: [], applications: [] },
    };
    const listeners = new Listeners(context as unknown as NodeContext, settings, {} as Flows);
    return listeners.addresses.map(({ ip }) => ip.text);
  };
  expect(opened("addresses")).toEqual(["10.0.0.3", "10.0.0.4"]);
  expect(opened("host addresses")).toEqual(["10.0.0.3"]);
  expect(opened("none")).toEqual([]);
});
