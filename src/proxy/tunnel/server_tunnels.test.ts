/** Tunnels into this host by themselves: their connections are in memory, and each handshake ends when the test says so. */
import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { ip, workload } from "../../mesh/testing/fixture.ts";
import { H2Link } from "../../transport/h2_link.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import type { InboundFlow } from "../inbound.ts";
import type { NodeContext } from "../node_context.ts";
import type { ServerTunnel } from "./server_tunnel.ts";
import { ServerTunnels } from "./server_tunnels.ts";
import { at, shopId, TunnelScene, WireSocket } from "./testing/tunnel_scene.ts";

const quiet: H2StreamEvents = {
  onHeaders() {},
  onData() {},
  onTrailers() {},
  onReset() {},
  onWritable() {},
  onClose() {},
};

let scene: TunnelScene;
let server: ServerTunnels;
/** What was asked for, by tunnel. */
let requests: { readonly tunnel: ServerTunnel; readonly stream: H2Stream }[];

const locals = {
  byAddress: ({ text }: { readonly text: string }) =>
    ({ "10.0.0.2": workload("db"), "10.0.0.3": workload("web") })[text] ?? null,
  wait: async (find: () => unknown) => {
    const found = find();
    if (found === null) throw new MeshError("unknown_workload", "local", "no workload");
    return found;
  },
};

/** @param workers the bounds of this process are one share of so many. */
function make(workers = 1): void {
  scene = new TunnelScene();
  requests = [];
  const flow = {
    carry: async (tunnel: ServerTunnel, stream: H2Stream) => {
      stream.events = quiet;
      requests.push({ tunnel, stream });
    },
  } as unknown as InboundFlow;
  server = new ServerTunnels(scene.context({ workers }, { locals } as unknown as Partial<NodeContext>), flow);
}

beforeEach(() => make());

/** A peer's connection, which is accepted. */
function arrive(from = "10.0.0.1", to = "10.0.0.2") {
  const [near, far] = WireSocket.pair(at(to, 15008), at(from, 40_000));
  const accepted = server.accept(near);
  return { near, far, accepted };
}

/** A peer whose handshake is through, and which speaks HTTP/2. */
async function tunnel(from?: string, to?: string) {
  const { near, far } = arrive(from, to);
  await scene.settle();
  let goAways = 0;
  const link = new H2Link(scene.clock, far, { role: "client" }, { onGoAway: () => void goAways++ });
  link.start();
  await scene.settle();
  return { near, link, goAways: () => goAways };
}

function use({ link }: { readonly link: H2Link }): void {
  link.connection.request([":method", "CONNECT", ":authority", "10.0.0.2:80"], false, quiet);
}

describe("another process has fewer", () => {
  const answers = (asked: unknown[], isSo: (source: string) => boolean) =>
    server.evenOut((source, to, held) => {
      asked.push([source.text, `${to.ip.text}:${to.port}`, held]);
      return isSo(source.text);
    });

  test("one tunnel is given up, the least used of those that it would take, and its streams go on", async () => {
    const busy = await tunnel("10.0.0.9");
    const idle = await tunnel("10.0.0.9", "10.0.0.3");
    const other = await tunnel("10.0.0.8");
    for (const [one, count] of [
      [busy, 2],
      [idle, 1],
    ] as const)
      for (let at = 0; at < count; at++) use(one);
    await scene.settle();
    const asked: unknown[] = [];
    answers(asked, (source) => source === "10.0.0.9");
    await scene.settle();
    expect(asked).toContainEqual(["10.0.0.9", "10.0.0.3:15008", { ofSource: 2, all: 3 }]);
    expect(asked).toContainEqual(["10.0.0.8", "10.0.0.2:15008", { ofSource: 1, all: 3 }]);
    expect([busy, idle, other].map(({ goAways }) => goAways() > 0)).toEqual([false, true, false]);
    expect(idle.link.over).toBe(false);
    expect([...server.tunnels].filter(({ isDraining }) => isDraining)).toHaveLength(1);
  });

  test("of those that are used alike the oldest is, in whatever order they came", async () => {
    const made = [await tunnel(), await tunnel(), await tunnel("10.0.0.9")];
    const [idle, alike, busy] = made;
    if (busy !== undefined) use(busy);
    await scene.settle();
    answers([], () => true);
    await scene.settle();
    expect(made.map(({ goAways }) => goAways() > 0)).toEqual([true, false, false]);
    expect([idle?.link.over, alike?.link.over]).toEqual([true, false]);
  });

  test("one that was given up already is asked for and counted no more", async () => {
    const first = await tunnel("10.0.0.9");
    use(first);
    await scene.settle();
    answers([], () => true);
    await tunnel("10.0.0.9");
    const asked: unknown[] = [];
    answers(asked, () => false);
    expect(asked).toEqual([["10.0.0.9", "10.0.0.2:15008", { ofSource: 1, all: 1 }]]);
  });

  test("where none would be better off, none is given up", async () => {
    const one = await tunnel();
    answers([], () => false);
    await scene.settle();
    expect([one.goAways(), one.link.over]).toEqual([0, false]);
  });
});

describe("how many one source may hold", () => {
  const workers = proxyLimits.maxTunnelsPerSource / 2;

  test("so many and no more; what is refused is reset, and on record", async () => {
    make(workers);
    await tunnel();
    await tunnel();
    const { near, accepted } = arrive();
    await accepted;
    expect([near.given, scene.refused, server.tunnels.size]).toEqual(["reset", ["limit_reached"], 2]);
    const other = arrive("10.0.0.9");
    await scene.settle();
    expect([other.near.given, server.tunnels.size]).toEqual([null, 3]);
  });

  test("a place that becomes free is given again, as often as it does", async () => {
    make(workers);
    const first = await tunnel();
    await tunnel();
    for (let round = 0, last = first; round < 5; round++) {
      last.link.abort();
      await scene.settle();
      expect(server.tunnels.size).toBe(1);
      last = await tunnel();
      expect(server.tunnels.size).toBe(2);
    }
    const { near, accepted } = arrive();
    await accepted;
    expect([near.given, scene.refused]).toEqual(["reset", ["limit_reached"]]);
  });

  test("of a source whose last tunnel has gone nothing is kept", async () => {
    const [first, second, other] = [await tunnel(), await tunnel(), await tunnel("10.0.0.9")];
    expect(server.sources).toBe(2);
    first.link.abort();
    other.link.abort();
    await scene.settle();
    expect(server.sources).toBe(1);
    second.link.abort();
    await scene.settle();
    expect(server.sources).toBe(0);
  });
});

describe("a handshake", () => {
  test("that made room for another is ended, and on record with that reason, whatever it failed with then", async () => {
    // One place in all.
    make(1_000_000);
    scene.handshakes.close();
    const first = arrive();
    await scene.settle();
    await scene.clock.advance(60_000);
    const second = arrive("10.0.0.9");
    await scene.settle();
    expect([first.near.given, second.near.given]).toEqual(["reset", null]);
    scene.handshakes.open();
    await scene.settle();
    expect([scene.refused, server.tunnels.size]).toEqual([["limit_reached"], 1]);
    const labels = [...scene.metrics.collect()]
      .filter(({ name }) => name === "fairlead_unproven_connections")
      .flatMap((family) => [...family.series()].map(([text]) => text));
    expect(labels.join()).toContain('door="hbone"');
  });

  test("that fails is on record with its own reason", async () => {
    const { near, accepted } = arrive("10.0.0.1", "10.0.0.77");
    await accepted;
    expect([near.given, scene.refused]).toEqual(["reset", ["unknown_workload"]]);
  });

  test("that ends when its node drains: the tunnel is told so; one that begins later is refused", async () => {
    scene.handshakes.close();
    const { near, far } = arrive();
    await scene.settle();
    server.drain(0);
    const late = arrive();
    await scene.settle();
    expect([late.near.given, scene.refused]).toEqual(["reset", ["draining"]]);
    scene.handshakes.open();
    await scene.settle();
    let goAways = 0;
    new H2Link(scene.clock, far, { role: "client" }, { onGoAway: () => void goAways++ }).start();
    await scene.clock.advance(2_000);
    expect([goAways > 0, near.given, server.tunnels.size]).toEqual([true, "closed", 0]);
  });

  test("whose certificate is renewed meanwhile: the tunnel is told to go; with none in its place it stays", async () => {
    for (const [change, goes] of [
      [() => scene.renew(shopId("db")), true],
      [() => scene.forget(shopId("db")), false],
      [() => {}, false],
    ] as const) {
      make();
      scene.handshakes.close();
      const { far } = arrive();
      await scene.settle();
      change();
      scene.handshakes.open();
      await scene.settle();
      let goAways = 0;
      new H2Link(scene.clock, far, { role: "client" }, { onGoAway: () => void goAways++ }).start();
      await scene.settle();
      expect(goAways > 0).toBe(goes);
    }
  });

  test("whose peer is not believed any more when it is through has no tunnel", async () => {
    scene.handshakes.close();
    const { near } = arrive();
    await scene.settle();
    scene.distrust = new MeshError("certificate_revoked", "peer", "revoked meanwhile");
    scene.handshakes.open();
    await scene.settle();
    expect([near.given, server.tunnels.size]).toEqual(["reset", 0]);
  });
});

describe("tunnels that are there", () => {
  test("a new certificate: those that show an older one of that identity are told to go, and no others", async () => {
    const db = await tunnel();
    const web = await tunnel("10.0.0.1", "10.0.0.3");
    use(db);
    await scene.settle();
    // Told again of what a tunnel shows already.
    scene.renew(shopId("web"));
    await scene.settle();
    const webNow = await tunnel("10.0.0.1", "10.0.0.3");
    await scene.settle();
    expect([db.goAways(), web.goAways() > 0, webNow.goAways()]).toEqual([0, true, 0]);
    scene.renew(shopId("db"));
    await scene.settle();
    expect([db.goAways() > 0, db.near.given, webNow.goAways()]).toEqual([true, null, 0]);
    scene.tell(shopId("web"));
    await scene.settle();
    expect(webNow.goAways()).toBe(0);
  });

  test("trust that ends cuts those of the peer that it ended for", async () => {
    const one = await tunnel();
    const other = await tunnel("10.0.0.9");
    const [first] = [...server.tunnels];
    const revoked = new MeshError("certificate_revoked", "peer", "revoked");
    server.recheckTrust((peer) => (peer === first?.peer ? revoked : null));
    await scene.settle();
    expect([one.near.given, other.near.given, server.tunnels.size]).toEqual(["reset", null, 1]);
  });
});

describe("what a caller says of itself", () => {
  test("is read of each CONNECT, also where it says something else than before, or nothing", async () => {
    use(await tunnel());
    await scene.settle();
    const [request] = requests;
    const named = (name: string | null) =>
      request?.tunnel.baggage(name === null ? null : `k8s.deployment.name=${name}`);
    expect(named(null)).toBeNull();
    const cart = named("cart");
    expect(cart?.workloadName).toBe("cart");
    expect(named("cart")).toBe(cart as never);
    expect(named("web")?.workloadName).toBe("web");
    expect(named(null)).toBeNull();
    expect(ip("10.0.0.2").equals(request?.tunnel.localIp as never)).toBe(true);
  });
});
