import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import { silentLogger } from "../base/log.ts";
import type { ListenOptions, Socket } from "../host/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import type { Workload } from "../mesh/workload.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { type Flows, type ListenerSettings, Listeners } from "./listeners.ts";
import type { NodeContext } from "./node_context.ts";
import type { Accepted } from "./outbound.ts";
import { OwnListeners } from "./own_listeners.ts";
import { at } from "./tunnel/testing/tunnel_scene.ts";

const turn = async () => {
  for (let index = 0; index < 10; index++) await Promise.resolve();
};

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
  expect(clock.timers).toBe(0);
  await clock.advance(proxyLimits.listenRetryMs * 10);
  expect(tries).toBe(0);

  // One that comes again is told of again.
  const times = said.length;
  all = [workload];
  changed();
  expect(said.slice(times)).toEqual([told]);
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

describe("what a node listens on", () => {
  const capture = { outboundPort: 15001, inboundPort: 15006, transparent: false };
  const workloads = { cart: workload("cart", { addresses: [ip("10.0.0.1")] }) };

  /** A node whose ports are by hand. */
  function scene(
    given: Partial<ListenerSettings> = {},
    { isRefused = false, isNowhere = false, happened = [] as string[] } = {},
  ) {
    const clock = new FakeClock(0);
    const open = new Map<string, { readonly options: ListenOptions; accept(socket: Socket): void }>();
    const told: string[] = [];
    const calls: unknown[] = [];
    let original: SocketAddress | null = null;
    let all: readonly Workload[] = [workloads.cart];
    let changed = (): void => {};
    const net = {
      localAddresses: () => [ip("10.0.0.1")],
      originalDestination: () => original,
      listen: (options: ListenOptions, accept: (socket: Socket) => void) => {
        const text = formatSocketAddress(options.address);
        if (isRefused && text === "10.0.0.1:15008")
          throw new MeshError("address_in_use", "local", "somebody else has it");
        happened.push(`open ${text}`);
        open.set(text, { options, accept });
        return {
          address: options.address,
          close: () => {
            happened.push(`close ${text}`);
            open.delete(text);
          },
        };
      },
    };
    const context = {
      ...{ clock, net, own: new OwnListeners(net, []), logger: silentLogger },
      telemetry: {
        refused: (direction: string, _from: unknown, to: unknown, { code }: MeshError) =>
          void told.push(
            `${direction} ${code} ${typeof to === "string" ? to : formatSocketAddress(to as SocketAddress)}`,
          ),
      },
      locals: {
        get all() {
          return all;
        },
        isBindable: () => true,
        caller: () => (isNowhere ? null : workloads.cart),
        byName: (name: string) => workloads[name.replace("shop/", "") as "cart"] ?? null,
        wait: async (find: () => Workload | null, what: string) => {
          const found = find();
          if (found === null) throw new MeshError("unknown_workload", "local", what);
          return found;
        },
        subscribe: (onChange: () => void) => {
          changed = onChange;
        },
      },
    } as unknown as NodeContext;
    const flows = {
      outbound: { carry: async (accepted: Accepted) => void calls.push(accepted) },
      passthrough: {
        carry: async (_socket: Socket, to: SocketAddress) =>
          void calls.push(`into ${formatSocketAddress(to)}`),
      },
      hbone: { accept: async () => void calls.push("hbone") },
    } as unknown as Flows;
    const settings: ListenerSettings = {
      ...{ bindInbound: "none", hbonePort: 15008, wildcards: [], captured: null },
      ...{ socks5: [], httpConnect: [], localPorts: [], applications: [] },
      ...given,
    };
    const listeners = new Listeners(context, settings, flows);
    return {
      ...{ clock, open, happened, told, calls, listeners },
      /** A connection that is accepted there. */
      arrive: (listener: string, local: SocketAddress, goesTo: SocketAddress | null = null) => {
        original = goesTo;
        const socket = Object.assign(new FakeSocket(), { local, remote: at("10.0.0.5", 4711) });
        open.get(listener)?.accept(socket);
        return socket;
      },
      follow: (next: readonly Workload[]) => {
        all = next;
        changed();
      },
    };
  }

  test("inbound HBONE on every address of the host, as TLS, or on those of its workloads, and then not on every one", () => {
    const wildcards = [ip("0.0.0.0"), ip("::")];
    const everywhere = scene({ bindInbound: "wildcard", wildcards });
    expect([...everywhere.open.keys()]).toEqual(["0.0.0.0:15008", "[::]:15008"]);
    expect(everywhere.open.get("[::]:15008")?.options.tls).toBe(true);
    const addresses = scene({ bindInbound: "addresses", wildcards, captured: capture });
    expect([...addresses.open.keys()]).toEqual([
      "0.0.0.0:15001",
      "0.0.0.0:15006",
      "[::]:15001",
      "[::]:15006",
      "10.0.0.1:15008",
    ]);
    everywhere.arrive("[::]:15008", at("10.0.0.1", 15008));
    addresses.arrive("10.0.0.1:15008", at("10.0.0.1", 15008));
    expect([everywhere.calls, addresses.calls]).toEqual([["hbone"], ["hbone"]]);
    expect(addresses.clock.timers).toBe(0);
  });

  test("what is open and still wanted stays open, untouched, and no timer waits for anything", () => {
    const { happened, follow, clock } = scene({ bindInbound: "addresses" });
    follow([workloads.cart]);
    expect(happened).toEqual(["open 10.0.0.1:15008"]);
    follow([workloads.cart, workload("web", { addresses: [ip("10.0.0.3")] })]);
    follow([workload("web", { addresses: [ip("10.0.0.3")] })]);
    expect(happened.slice(1)).toEqual(["open 10.0.0.3:15008", "close 10.0.0.1:15008"]);
    expect(clock.timers).toBe(0);
  });

  test("at start a workload's port that cannot be had is an error, and nothing else stays open", () => {
    const settings: Partial<ListenerSettings> = {
      bindInbound: "addresses",
      socks5: [{ listen: at("127.0.0.1", 1080), workload: null }],
    };
    const happened: string[] = [];
    expect(() => scene(settings, { isRefused: true, happened })).toThrow("somebody else has it");
    expect(happened).toEqual(["open 127.0.0.1:1080", "close 127.0.0.1:1080"]);
  });

  describe("captured connections", () => {
    const settings = { wildcards: [ip("0.0.0.0")], captured: capture };
    const outbound = "0.0.0.0:15001";
    const inbound = "0.0.0.0:15006";

    test("go where the kernel says that they were going", async () => {
      const { arrive, calls } = scene(settings);
      arrive(outbound, at("10.0.0.1", 15001), at("10.88.0.2", 80));
      // One of the two alone is not ourselves.
      arrive(outbound, at("10.0.0.1", 15001), at("10.0.0.1", 80));
      arrive(outbound, at("10.0.0.1", 15001), at("10.0.0.2", 15001));
      arrive(inbound, at("10.0.0.1", 15006), at("10.0.0.1", 8080));
      await turn();
      expect(calls.map((one) => (typeof one === "string" ? one : (one as Accepted).destination))).toEqual([
        "into 10.0.0.1:8080",
        at("10.88.0.2", 80),
        at("10.0.0.1", 80),
        at("10.0.0.2", 15001),
      ]);
    });

    test("that came to our port by themselves are reset, and on record", async () => {
      for (const goesTo of ["nowhere", "here"] as const) {
        const { arrive, calls, told } = scene(settings);
        const sockets = [
          arrive(outbound, at("10.0.0.1", 15001), goesTo === "here" ? at("10.0.0.1", 15001) : null),
          arrive(inbound, at("10.0.0.1", 15006), goesTo === "here" ? at("10.0.0.1", 15006) : null),
        ];
        await turn();
        expect([sockets.map(({ state }) => state), calls]).toEqual([["reset", "reset"], []]);
        expect(told).toEqual(["outbound self_call 10.0.0.1:15001", "inbound self_call 10.0.0.1:15006"]);
      }
    });

    test("with TPROXY go to their own address, which is not one of ours", async () => {
      const { arrive, calls, told } = scene({ ...settings, captured: { ...capture, transparent: true } });
      arrive(outbound, at("10.88.0.2", 80), at("192.0.2.1", 1));
      const direct = arrive(outbound, at("10.0.0.1", 15001), at("192.0.2.1", 1));
      await turn();
      expect([calls.map((one) => (one as Accepted).destination), direct.state, told.length]).toEqual([
        [at("10.88.0.2", 80)],
        "reset",
        1,
      ]);
    });

    test("of no workload are reset; a client that speaks a protocol is told, and then closed", async () => {
      const nowhere = { isNowhere: true };
      const { arrive, calls } = scene(settings, nowhere);
      const captured = arrive(outbound, at("10.0.0.1", 15001), at("10.88.0.2", 80));
      await turn();
      expect([captured.state, captured.text, calls]).toEqual(["reset", "", []]);
      const entry = scene({ httpConnect: [{ listen: at("10.0.0.1", 3128), workload: null }] }, nowhere);
      const client = entry.arrive("10.0.0.1:3128", at("10.0.0.1", 3128));
      client.receive("CONNECT db.shop:80 HTTP/1.1\r\n\r\n");
      await turn();
      expect([client.state, client.text.split("\r\n")[0]?.startsWith("HTTP/1.1 5"), entry.told]).toEqual([
        "closed",
        true,
        ["outbound unknown_workload db.shop:80"],
      ]);
    });
  });

  test("an entry's calls are of the workload that it names, or of the one at its address", async () => {
    const listen = at("10.0.0.1", 8080);
    const target = { host: "db.shop", port: 80 };
    for (const [name, found] of [
      ["shop/cart", true],
      ["shop/none", false],
      [null, true],
    ] as const) {
      const { arrive, calls } = scene({ localPorts: [{ listen, workload: name, target }] });
      arrive("10.0.0.1:8080", listen);
      await turn();
      expect(calls.map((one) => (one as Accepted).source)).toEqual(found ? [workloads.cart] : []);
    }
  });

  test("an application that we front is plain text into its workload", () => {
    const { arrive, calls } = scene({ applications: [at("10.0.0.1", 9090)] });
    arrive("10.0.0.1:9090", at("10.0.0.1", 9090));
    expect(calls).toEqual(["into 10.0.0.1:9090"]);
  });
});
