import { beforeEach, describe, expect, test } from "bun:test";
import { faultOf, MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
import { type Counter, type MetricFamily, MetricRegistry } from "../base/metrics.ts";
import type { Clock } from "../host/host.ts";
import { SpiffeId } from "../mesh/identity.ts";
import type { Decision } from "../policy/decision.ts";
import { type Connection, ConnectionRegistry } from "./connections.ts";
import { type Parties, Telemetry } from "./telemetry.ts";

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

const denial: Decision = {
  allowed: false,
  reason: "denied_by_rule",
  policy: "shop/deny",
  rule: 2,
  location: { file: "mesh.yaml", line: 7, column: 5 },
  version: 3,
};

let lines: { level: LogLevel; message: string; fields: LogFields }[];
let metrics: MetricRegistry;
let registry: ConnectionRegistry;
let telemetry: Telemetry;
let nowMs: number;

beforeEach(() => {
  lines = [];
  nowMs = 0;
  metrics = new MetricRegistry();
  const logger: Logger = {
    log: (level, _target, message, fields = {}) => void lines.push({ level, message, fields }),
  };
  const clock = { now: () => nowMs } as Clock;
  telemetry = new Telemetry(clock, logger, metrics);
  registry = new ConnectionRegistry(telemetry, metrics);
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
      "please report this: one connection ended by a bug of ours",
      "connection complete",
    ]);
    expect(String(lines[0]?.fields.error)).toContain("connections.test.ts");
    expect(lines[1]?.fields.error).toBe("bug: a bug of ours: x is not a function");
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
    telemetry.refused("outbound", parties("outbound", null).source.address, "10.0.0.2:15008", revoked);
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

  test("a policy change closes the losers alone, and tells policy, rule and line", () => {
    const reasons: MeshError[] = [];
    const loser = open("inbound", "cart");
    const outbound = open("outbound", "cart");
    loser.decide = () => denial;
    loser.onAbort = (error) => reasons.push(error);
    expect(registry.recheckPolicy()).toBe(1);
    expect(reasons.map((error) => [error.code, error.message])).toEqual([
      ["policy_changed", "closed by a policy change: denied by shop/deny rule 2 (mesh.yaml:7:5)"],
    ]);
    expect([loser.ended, outbound.ended]).toEqual([true, false]);
  });

  test("ten thousand connections are decided again in far less than a second", () => {
    for (let index = 0; index < 10_000; index++) open("inbound", "cart").decide = () => denial;
    expect(registry.recheckPolicy()).toBe(10_000);
    expect(registry.size).toBe(0);
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

  test("all connections together are bounded, with the blame on this host", () => {
    for (let index = 0; index < proxyLimits.maxConnections; index++) open("outbound", null);
    const refused = registry.open(parties("outbound", null));
    expect([(refused as MeshError).code, (refused as MeshError).blame]).toEqual(["limit_reached", "local"]);
  });
});
