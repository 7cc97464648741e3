import { beforeEach, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { IpAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Clock, ConnectOptions, Socket } from "../host/host.ts";
import { mintPermit } from "../policy/decision.ts";
import { OwnListeners } from "./own_listeners.ts";
import { UnshownSources } from "./unshown_sources.ts";
import { connectWorkload } from "./workload_dial.ts";

function at(text: string, port: number): SocketAddress {
  const ip = IpAddress.parse(text);
  if (ip === null) throw new Error(text);
  return { ip, port };
}

interface Dialled {
  readonly options: ConnectOptions;
  readonly socket: Socket;
  connects(): Promise<void>;
  fails(error: MeshError): Promise<void>;
  resets: number;
}

let dialled: Dialled[];
let timers: { atMs: number; callback: () => void }[];
let nowMs: number;
let said: string[];
let unshown: UnshownSources;

const clock = {
  now: () => nowMs,
  setTimer: (delayMs: number, callback: () => void) => {
    const timer = { atMs: nowMs + delayMs, callback };
    timers.push(timer);
    return {
      cancel: () => {
        timers = timers.filter((other) => other !== timer);
      },
    };
  },
} as Clock;

const turn = async () => {
  for (let index = 0; index < 5; index++) await Promise.resolve();
};

/** What a dial has come to by now, which may be nothing. */
async function endOf(dialling: Promise<Socket>): Promise<unknown> {
  let end: unknown = "it waits";
  dialling.then(
    (socket) => {
      end = socket;
    },
    (error) => {
      end = error;
    },
  );
  await turn();
  return end;
}

async function wait(ms: number): Promise<void> {
  nowMs += ms;
  const due = timers.filter(({ atMs }) => atMs <= nowMs);
  timers = timers.filter(({ atMs }) => atMs > nowMs);
  for (const { callback } of due) callback();
  await turn();
}

const net = {
  localAddresses: () => [],
  listen: () => ({ address: at("10.0.0.2", 0), close() {} }),
  connect: (options: ConnectOptions) => {
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    const one: Dialled = {
      options,
      socket: { reset: () => void one.resets++ } as unknown as Socket,
      resets: 0,
      connects: () => {
        resolve(one.socket);
        return turn();
      },
      fails: (error) => {
        reject(error);
        return turn();
      },
    };
    dialled.push(one);
    return promise;
  },
};

beforeEach(() => {
  dialled = [];
  timers = [];
  nowMs = 0;
  said = [];
  unshown = new UnshownSources(clock, { log: (_level, _target, message) => void said.push(message) });
});

const target = at("10.77.0.2", 8080);
const caller = at("10.77.0.3", 41_000);
const timeout = () => new MeshError("connect_timeout", "upstream", "no answer");

interface Scene {
  readonly from?: SocketAddress | null;
  /** Where the application listens. */
  readonly listens?: SocketAddress;
  readonly mark?: number;
  /** Of this process. */
  readonly own?: readonly SocketAddress[];
}

function dial(
  originalSource: "auto" | "on" | "off" = "auto",
  onLoopback = false,
  { from = caller, listens = target, mark, own = [] }: Scene = {},
): Promise<Socket> {
  const asked = {
    sourceIp: caller.ip,
    sourceIdentity: null,
    destinationIp: target.ip,
    destinationPort: target.port,
  };
  const applicationAddresses = new Map(listens === target ? [] : [["10.77.0.2:8080", listens]]);
  const settings = { originalSource, mark: mark ?? null, applicationAddresses };
  return connectWorkload(
    { clock, unshown, own: new OwnListeners(net, own), applications: net, settings } as unknown as Parameters<
      typeof connectWorkload
    >[0],
    { permit: mintPermit(asked, 1, null), source: from, onLoopback },
  );
}

const shown = (index: number) => dialled[index]?.options.from?.ip.text ?? null;

test("the application sees the caller's address, and nothing else is tried when it answers", async () => {
  const socket = dial();
  await dialled[0]?.connects();
  expect(await socket).toBe(dialled[0]?.socket as Socket);
  await wait(60_000);
  expect([dialled.length, shown(0)]).toEqual([1, "10.77.0.3"]);
});

test("behind a forwarded port, where the answer goes to the caller itself, our own address is tried after a moment", async () => {
  const socket = dial();
  await wait(proxyLimits.originalSourceWaitMs - 1);
  expect(dialled.length).toBe(1);
  await wait(1);
  expect([dialled.length, shown(1)]).toEqual([2, null]);
  await dialled[1]?.connects();
  expect(await socket).toBe(dialled[1]?.socket as Socket);
  // That the first never answers is what tells: said once, and known from then on.
  expect(said).toEqual([]);
  await dialled[0]?.fails(timeout());
  expect(said).toEqual([
    `10.77.0.2:8080 cannot answer to its callers' own addresses; it now sees this host's address`,
  ]);
  void dial();
  expect([dialled.length, shown(2)]).toEqual([3, null]);
  await wait(proxyLimits.unshownMs);
  void dial();
  expect(shown(3)).toBe("10.77.0.3");
});

test("an application that is only slow keeps seeing its callers", async () => {
  const socket = dial();
  await wait(proxyLimits.originalSourceWaitMs);
  await dialled[1]?.connects();
  await socket;
  await dialled[0]?.connects();
  expect([dialled[0]?.resets, dialled[1]?.resets, said]).toEqual([1, 0, []]);
  void dial();
  expect(shown(2)).toBe("10.77.0.3");
});

test("whichever answers first is taken, and the other is reset when it comes", async () => {
  const socket = dial();
  await wait(proxyLimits.originalSourceWaitMs);
  await dialled[0]?.connects();
  await dialled[1]?.connects();
  expect(await socket).toBe(dialled[0]?.socket as Socket);
  expect(dialled[1]?.resets).toBe(1);
});

test("a refusal is told at once, and when neither answers it is our own address's failure", async () => {
  const refused = dial();
  await dialled[0]?.fails(new MeshError("connect_refused", "upstream", "no"));
  expect(await endOf(refused)).toMatchObject({ code: "connect_refused" });
  const dead = dial();
  await wait(proxyLimits.originalSourceWaitMs);
  await dialled[1]?.fails(timeout());
  await dialled[2]?.fails(timeout());
  expect(await endOf(dead)).toMatchObject({ code: "connect_timeout" });
  expect(said).toEqual([]);
});

test("where the host does not permit it, our own address is used; `on` insists", async () => {
  const forbidden = () => new MeshError("permission_denied", "local", "EPERM");
  const socket = dial();
  await dialled[0]?.fails(forbidden());
  await dialled[1]?.connects();
  expect(await socket).toBe(dialled[1]?.socket as Socket);
  const insists = dial("on");
  await dialled[2]?.fails(forbidden());
  expect(await endOf(insists)).toMatchObject({ code: "permission_denied" });
});

test("an application of PROXY headers is dialled on loopback, from loopback", async () => {
  void dial("auto", true);
  expect([dialled[0]?.options.to.ip.text, dialled[0]?.options.to.port, shown(0)]).toEqual([
    "127.0.0.1",
    8080,
    null,
  ]);
});

test("an application that two callers found out about is told of once, and for as long as from the first", async () => {
  const both = [dial(), dial()];
  await wait(proxyLimits.originalSourceWaitMs);
  await dialled[2]?.connects();
  await dialled[3]?.connects();
  await Promise.all(both);
  await dialled[0]?.fails(timeout());
  nowMs += proxyLimits.unshownMs - 1;
  await dialled[1]?.fails(timeout());
  expect(said.length).toBe(1);
  nowMs += 1;
  expect(unshown.has(target)).toBe(false);
});

test("a caller is not shown where that is off, from loopback, in another family, or to where the application really listens", () => {
  void dial("off");
  void dial("on", false, { from: at("127.0.0.1", 41_000) });
  void dial("on", false, { from: at("2001:db8::3", 41_000) });
  void dial("on", false, { from: null });
  const real = at("127.0.0.1", 9_090);
  void dial("on", true, { listens: real });
  void dial("on");
  expect(dialled.map(({ options }, index) => [options.to.port, shown(index)])).toEqual([
    [8080, null],
    [8080, null],
    [8080, null],
    [8080, null],
    [9090, null],
    [8080, "10.77.0.3"],
  ]);
});

test("what is dialled has the mark that capture leaves alone, and none without capture", () => {
  void dial("off", false, { mark: 1337 });
  void dial("off");
  expect(dialled.map(({ options }) => options.mark)).toEqual([1337, undefined]);
  expect("mark" in (dialled[1]?.options ?? {})).toBe(false);
});

test("a listener of this process is not dialled", async () => {
  const refused = await endOf(dial("auto", false, { own: [target] }));
  expect(refused).toMatchObject({ code: "self_call", blame: "peer" });
  expect(dialled).toEqual([]);
});

test("so many applications are remembered and no more", () => {
  for (let index = 0; index <= proxyLimits.maxUnshown; index++) unshown.add(at("10.77.0.2", index));
  expect([0, 1, proxyLimits.maxUnshown].map((port) => unshown.has(at("10.77.0.2", port)))).toEqual([
    false,
    true,
    true,
  ]);
});
