import { beforeEach, describe, expect, test } from "bun:test";
import { faultOf, MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
import { type Counter, type MetricFamily, MetricRegistry } from "../base/metrics.ts";
import type { Clock } from "../host/host.ts";
import { SpiffeId } from "../mesh/identity.ts";
import type { VerifiedPeer } from "../pki/trust/verifier.ts";
import { type Connection, ConnectionRegistry } from "./connections.ts";
import type { Parties } from "./parties.ts";
import { Telemetry } from "./telemetry.ts";

const ip = (text: string): IpAddress => {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

function parties(direction: "inbound" | "outbound", serviceAccount: string | null): Parties {
  const identity = serviceAccount === null ? null : new SpiffeId("cluster.local", "shop", serviceAccount);
  return {
    direction,
    source: { address: { ip: ip("10.0.0.1"), port: 4711 }, workload: null, baggage: null, identity },
    destination: {
      address: { ip: ip("10.0.0.2"), port: 15008 },
      hboneAddress: "10.0.0.2:80",
      workload: null,
      baggage: null,
      service: null,
      identity: null,
    },
  };
}

const lost = new MeshError("policy_changed", "policy", "closed by a policy change");
const under = (workloadUid: string, decide: () => MeshError | null) => ({ workloadUid, decide });

let lines: { level: LogLevel; message: string; fields: LogFields }[];
let metrics: MetricRegistry;
let registry: ConnectionRegistry;
let telemetry: Telemetry;
let nowMs: number;
let deferred: (() => void)[];

beforeEach(() => {
  lines = [];
  nowMs = 0;
  metrics = new MetricRegistry();
  const logger: Logger = {
    log: (level, _target, message, fields = {}) => void lines.push({ level, message, fields }),
  };
  deferred = [];
  const clock = {
    now: () => nowMs,
    wallMs: () => nowMs,
    defer: (work: () => void) => void deferred.push(work),
  } as Clock;
  telemetry = new Telemetry(clock, logger, metrics);
  registry = new ConnectionRegistry(clock, telemetry, metrics);
});

function counts(name: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const family of metrics.collect()) {
    if (family.name !== name) continue;
    for (const [labels, child] of (family as MetricFamily<string, Counter>).series()) {
      found[/response_flags="([^"]*)"/.exec(labels)?.[1] ?? labels] = child.value;
    }
  }
  return found;
}

function open(direction: "inbound" | "outbound", serviceAccount: string | null): Connection {
  const connection = registry.open(parties(direction, serviceAccount));
  if (connection instanceof MeshError) throw connection;
  return connection;
}

describe("register of open connections", () => {
  test("a bug of ours is no upstream's fault: the record says so, and one line tells where it is", () => {
    open("outbound", "cart").finish(faultOf(new TypeError("x is not a function")));
    expect(lines.map(({ message }) => message)).toEqual([
      "please report this bug of fairlead: it ended one connection",
      "connection complete",
    ]);
    expect(String(lines[0]?.fields.error)).toContain("connections.test.ts");
    expect(lines[1]?.fields.error).toBe("bug: a bug of ours: x is not a function");
  });

  test("open ones are counted by who reports them, once each however often they end", () => {
    const open_ = (): readonly string[] => {
      const found: string[] = [];
      for (const family of metrics.collect())
        if (family.name === "istio_tcp_sockets_open")
          for (const [labels, child] of (family as MetricFamily<string, Counter>).series())
            found.push(`${labels} ${child.value}`);
      return found.sort();
    };
    const said = (destination: number, source: number) => [
      `reporter="destination" ${destination}`,
      `reporter="source" ${source}`,
    ];
    const [one, , three] = [open("inbound", "cart"), open("inbound", "cart"), open("outbound", "web")];
    expect([open_(), registry.size]).toEqual([said(2, 1), 3]);
    one.finish(null);
    one.finish(lost);
    three.abort(lost);
    three.finish(null);
    expect([open_(), registry.size]).toEqual([said(1, 0), 1]);
  });

  test("what has ended is not torn down again", () => {
    const connection = open("inbound", "cart");
    let torn = 0;
    connection.held = { abort: () => void torn++ };
    connection.finish(null);
    connection.abort(new MeshError("policy_changed", "policy", "closed"));
    expect(torn).toBe(0);
  });

  test("one record a connection: the first reason counts, however many follow", () => {
    const connection = open("inbound", "cart");
    connection.record.bytesToUpstream = 10;
    connection.record.bytesToDownstream = 5;
    nowMs = 17;
    connection.abort(new MeshError("policy_changed", "policy", "closed"));
    connection.finish(new MeshError("h2_reset", "peer", "reset"));
    connection.finish(null);
    expect(lines.map(({ level, message, fields }) => [level, message, fields])).toEqual([
      [
        "error",
        "connection complete",
        {
          "src.addr": "10.0.0.1:4711",
          "src.workload": null,
          "src.namespace": null,
          "src.identity": "spiffe://cluster.local/ns/shop/sa/cart",
          "src.cluster": null,
          "dst.addr": "10.0.0.2:15008",
          "dst.hbone_addr": "10.0.0.2:80",
          "dst.service": null,
          "dst.workload": null,
          "dst.namespace": null,
          "dst.identity": null,
          "dst.cluster": null,
          direction: "inbound",
          bytes_sent: 5,
          bytes_recv: 10,
          "tls.suite": null,
          "tls.group": null,
          duration: "17ms",
          error: "policy_changed: closed",
          dry_run: null,
          id: connection.id,
        },
      ],
    ]);
    expect([
      registry.size,
      counts("istio_tcp_connections_opened"),
      counts("istio_tcp_connections_closed"),
    ]).toEqual([0, { "-": 1 }, { DENY: 1 }]);
    expect([counts("istio_tcp_received_bytes"), counts("istio_tcp_sent_bytes")]).toEqual([
      { "-": 10 },
      { "-": 5 },
    ]);
  });

  test("what is revoked is counted as ztunnel counts it, refused or cut", () => {
    const revoked = new MeshError("certificate_revoked", "peer", "revoked");
    open("inbound", "cart").abort(revoked);
    telemetry.refused("outbound", { ip: ip("10.0.0.1"), port: 4711 }, "10.0.0.2:15008", revoked);
    expect(counts("istio_crl_policy_rejections")).toEqual({
      'reporter="destination"': 1,
      'reporter="source"': 1,
    });
  });

  test("bytes of a connection that is still open are in the metrics", () => {
    const connection = open("outbound", "cart");
    connection.record.bytesToUpstream = 7;
    expect(counts("istio_tcp_received_bytes")).toEqual({ "-": 7 });
    connection.record.bytesToUpstream = 9;
    expect(counts("istio_tcp_received_bytes")).toEqual({ "-": 9 });
  });

  test("a change closes the losers alone, of the workloads that it touches", () => {
    const reasons: MeshError[] = [];
    const loser = open("inbound", "cart");
    const outbound = open("outbound", "cart");
    const keeps = open("inbound", "cart");
    let asked = 0;
    loser.underPolicy = under("touched", () => lost);
    loser.held = { abort: (error) => void reasons.push(error) };
    keeps.underPolicy = under("touched", () => null);
    for (let index = 0; index < 100; index++)
      open("inbound", "cart").underPolicy = under("other", () => {
        asked++;
        return lost;
      });
    const askedOf: string[] = [];
    registry.recheckPolicy((uid) => {
      askedOf.push(uid);
      return uid === "touched";
    });
    // Once each, and of no connection that is under no policy.
    expect(askedOf).toEqual(["touched", "other"]);
    expect([reasons, loser.ended, outbound.ended, keeps.ended]).toEqual([[lost], true, false, false]);
    expect([asked, registry.size, deferred.length]).toEqual([0, 102, 0]);
  });

  test("a hundred thousand are decided again in turns of a few milliseconds each", () => {
    let slowest = 0;
    let turnMs = 0;
    for (let index = 0; index < 100_000; index++)
      // One decision and one end of a connection take a tenth of a millisecond here.
      open("inbound", `caller-${index % 10}`).underPolicy = under("all", () => {
        nowMs += 0.1;
        turnMs += 0.1;
        return lost;
      });
    const inTurn = (work: () => void) => {
      turnMs = 0;
      work();
      slowest = Math.max(slowest, turnMs);
    };
    let turns = 1;
    inTurn(() => registry.recheckPolicy(() => true));
    for (let work = deferred.shift(); work !== undefined; work = deferred.shift()) {
      inTurn(work);
      turns++;
    }
    expect([registry.size, turns > 500]).toEqual([0, true]);
    expect(slowest).toBeLessThan(2 * proxyLimits.recheckSliceMs);
  });

  test("what is decided in a later turn is decided by what holds then, and whoever has ended is left alone", () => {
    let verdict: MeshError | null = lost;
    const all = Array.from({ length: 100 }, () => {
      const connection = open("inbound", "cart");
      connection.underPolicy = under("all", () => {
        nowMs += 1;
        return verdict;
      });
      return connection;
    });
    registry.recheckPolicy(() => true);
    expect([registry.size, deferred.length]).toEqual([100 - proxyLimits.recheckSliceMs, 1]);
    verdict = null;
    all[40]?.finish(null);
    while (deferred.length > 0) deferred.shift()?.();
    expect([registry.size, lines.filter(({ fields }) => fields.error === null).length]).toEqual([
      99 - proxyLimits.recheckSliceMs,
      1,
    ]);
  });

  test("whoever acknowledges hears when all have been decided again, and does not wait for what has begun since", async () => {
    const heard: string[] = [];
    const hear = (what: string) =>
      void (registry.decidedAgain() ?? Promise.reject()).then(() => heard.push(what));
    const decide = (): null => {
      nowMs += proxyLimits.recheckSliceMs;
      return null;
    };
    expect(registry.decidedAgain()).toBeNull();
    for (let index = 0; index < 3; index++) open("inbound", "cart").underPolicy = under("all", decide);
    registry.recheckPolicy(() => true);
    hear("policies");
    deferred.shift()?.();
    const judge = (): null => decide();
    open("inbound", "cart").peer = {} as VerifiedPeer;
    open("inbound", "cart").peer = {} as VerifiedPeer;
    registry.recheckTrust(judge, () => heard.push("tunnels"));
    hear("both");
    await Promise.resolve();
    expect(heard).toEqual([]);
    deferred.shift()?.();
    for (let turn = 0; turn < 9; turn++) await Promise.resolve();
    expect([heard, deferred.length]).toEqual([["policies"], 1]);
    deferred.shift()?.();
    for (let turn = 0; turn < 9; turn++) await Promise.resolve();
    expect([heard, registry.decidedAgain()]).toEqual([["policies", "tunnels", "both"], null]);
  });

  test("what is decided after all is not postponed any more", () => {
    let decided = 0;
    open("inbound", "cart").underPolicy = under("later", () => {
      decided++;
      return null;
    });
    registry.postpone("later");
    registry.recheckPolicy((uid) => uid === "another");
    registry.recheckPostponed();
    expect(decided).toBe(1);
    registry.postpone("later");
    registry.recheckPolicy((uid) => uid === "later");
    registry.recheckPostponed();
    expect(decided).toBe(2);
  });

  test("a peer that is not trusted any more loses all of its connections before its tunnel is cut", () => {
    const peer = {} as VerifiedPeer;
    for (let index = 0; index < 100; index++) open("inbound", "cart").peer = index === 0 ? null : peer;
    let judged = 0;
    let leftAtEnd = -1;
    const judge = () => {
      nowMs += 20;
      judged++;
      return lost;
    };
    registry.recheckTrust(judge, () => {
      leftAtEnd = registry.size;
    });
    expect(leftAtEnd).toBe(-1);
    while (deferred.length > 0) deferred.shift()?.();
    expect([judged, leftAtEnd]).toEqual([1, 1]);
  });

  test("an identity holds a bounded number of connections; others are not held up by it", () => {
    for (let index = 0; index < proxyLimits.maxConnectionsPerPeer; index++) open("inbound", "greedy");
    const refused = registry.open(parties("inbound", "greedy"));
    expect([(refused as MeshError).code, (refused as MeshError).blame]).toEqual(["limit_reached", "peer"]);
    expect(lines.map((line) => String(line.fields.error))).toEqual([
      expect.stringContaining("limit_reached"),
    ]);
    expect(open("inbound", "modest").ended).toBe(false);
    const [first] = registry;
    first?.finish(null);
    expect(open("inbound", "greedy").ended).toBe(false);
  });

  test("what a workload of this host opens counts for no bound of an identity, and makes no room in it", () => {
    for (let index = 1; index < proxyLimits.maxConnectionsPerPeer; index++) open("inbound", "both");
    const outbound = open("outbound", "both");
    const last = open("inbound", "both");
    outbound.finish(null);
    expect(registry.open(parties("inbound", "both"))).toMatchObject({ code: "limit_reached" });
    expect(open("outbound", "both").ended).toBe(false);
    last.finish(null);
    expect(open("inbound", "both").ended).toBe(false);
  });

  test("of an identity whose last connection has ended nothing is kept", () => {
    const both = [open("inbound", "cart"), open("inbound", "cart")];
    open("inbound", null).finish(null);
    open("outbound", "web").finish(null);
    expect(registry.peers).toBe(1);
    both[0]?.finish(null);
    expect(registry.peers).toBe(1);
    both[1]?.finish(null);
    expect(registry.peers).toBe(0);
  });

  test("all connections together are bounded, with the blame on this host", () => {
    for (let index = 0; index < proxyLimits.maxConnections; index++) open("outbound", null);
    const refused = registry.open(parties("outbound", null));
    expect([(refused as MeshError).code, (refused as MeshError).blame]).toEqual(["limit_reached", "local"]);
  });
});
