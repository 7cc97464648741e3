/** One record a connection, and what is counted of it. The flows' own metrics are in conformance/flows/telemetry.test.ts. */
import { describe, expect, test } from "bun:test";
import { assert } from "../base/assert.ts";
import { type ErrorCode, MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { LogFields } from "../base/log.ts";
import { MetricRegistry } from "../base/metrics.ts";
import type { Clock } from "../host/host.ts";
import { SpiffeId } from "../mesh/identity.ts";
import { workload } from "../mesh/testing/fixture.ts";
import type { Baggage } from "../wire/headers.ts";
import type { Parties, Party } from "./parties.ts";
import { responseFlag, Telemetry } from "./telemetry.ts";

function at(text: string, port: number): { readonly ip: IpAddress; readonly port: number } {
  const ip = IpAddress.parse(text);
  assert(ip !== null, text);
  return { ip, port };
}

const cart = new SpiffeId("td", "shop", "cart");
const db = new SpiffeId("td", "store", "db");

function parties(
  direction: Parties["direction"],
  more: Partial<Party> = {},
  to: Partial<Parties["destination"]> = {},
): Parties {
  return {
    direction,
    source: { address: at("10.0.0.1", 4711), workload: null, baggage: null, identity: cart, ...more },
    destination: {
      address: at("10.0.0.2", 15008),
      workload: null,
      baggage: null,
      identity: db,
      hboneAddress: "10.0.0.2:80",
      service: null,
      ...to,
    },
  };
}

function bench(wants?: (level: string, target: string) => boolean) {
  const lines: { readonly level: string; readonly message: string; readonly fields: LogFields }[] = [];
  const metrics = new MetricRegistry();
  const clock = { now: () => clock.nowMs, wallMs: () => 5_000_000, nowMs: 1_000 };
  const telemetry = new Telemetry(
    clock as unknown as Clock,
    {
      log: (level, _target, message, fields = {}) => void lines.push({ level, message, fields }),
      ...(wants === undefined ? {} : { wants }),
    },
    metrics,
  );
  /** `name label="value" 3` of each series, where the label is the one that is asked for. */
  const counted = (name: string, label: string): readonly string[] =>
    [...metrics.collect()]
      .filter((family) => family.name === name)
      .flatMap((family) => [...family.series()])
      .map(([labels, child]) => {
        const value = new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(labels)?.[1];
        return `${value} ${"value" in child ? child.value : "?"}`;
      });
  return { lines, clock, telemetry, counted };
}

const failure = (code: ErrorCode): MeshError => new MeshError(code, "peer", "so it was");

describe("a failure's flag", () => {
  test.each([
    ["DENY", ["policy_denied", "policy_missing", "policy_changed"]],
    ["CERT_REVOKED", ["certificate_revoked"]],
    ["IDENTITY_ERROR", ["identity_unavailable", "workload_changed"]],
    [
      "TLS_FAILURE",
      [
        "tls_handshake",
        "tls_parameters",
        "certificate_missing",
        "certificate_malformed",
        "certificate_untrusted",
        "certificate_expired",
        "certificate_not_yet_valid",
        "certificate_usage",
        "certificate_identity",
        "trust_changed",
      ],
    ],
    ["H2_HANDSHAKE_FAILURE", ["h2_protocol", "h2_flow_control", "h2_flood", "h2_keepalive_timeout"]],
    ["CONNECT", ["connect_refused", "connect_timeout", "hbone_status", "draining"]],
  ] as const)("%s", (flag, codes) => {
    for (const code of codes) {
      expect([code, responseFlag(code)]).toEqual([code, flag]);
      const { telemetry, counted } = bench();
      telemetry.opened(parties("outbound")).close(failure(code));
      expect(counted("istio_tcp_connections_closed", "response_flags")).toEqual([`${flag} 1`]);
      expect(counted("istio_tcp_connections_failed", "response_flags")).toEqual([`${flag} 1`]);
    }
  });

  test("is none without a failure, and then nothing has failed", () => {
    const { telemetry, counted } = bench();
    for (let n = 0; n < 2; n++) telemetry.opened(parties("inbound")).close(null);
    expect(counted("istio_tcp_connections_opened", "reporter")).toEqual(["destination 2"]);
    expect(counted("istio_tcp_connections_closed", "response_flags")).toEqual(["- 2"]);
    expect(counted("istio_tcp_connections_failed", "response_flags")).toEqual([]);
  });
});

describe("a certificate that is revoked is counted for itself, by who reports it", () => {
  test("of a connection, and of one that was refused before its parties were known", () => {
    const { telemetry, counted } = bench();
    const [from, to] = [at("10.0.0.1", 1), at("10.0.0.2", 2)];
    telemetry.opened(parties("outbound")).close(failure("certificate_revoked"));
    telemetry.opened(parties("inbound")).close(failure("certificate_revoked"));
    telemetry.refused("inbound", from, to, failure("certificate_revoked"));
    telemetry.refused("inbound", from, to, failure("tls_handshake"));
    telemetry.opened(parties("inbound")).close(failure("tls_handshake"));
    expect(counted("istio_crl_policy_rejections", "reporter")).toEqual(["source 1", "destination 2"]);
  });
});

describe("a record", () => {
  test("of what was refused early has one line, with what is known, and counts no connection", () => {
    const { telemetry, lines, counted } = bench();
    telemetry.refused("inbound", at("10.0.0.1", 4711), at("10.0.0.2", 15008), failure("tls_handshake"));
    telemetry.refused("outbound", at("10.0.0.1", 4712), "db.example:80", failure("name_not_found"));
    const line = (src: string, dst: string, direction: string, error: string) => ({
      level: "warn",
      message: "connection failed",
      fields: { "src.addr": src, "dst.addr": dst, direction, error, id: expect.any(Number) },
    });
    expect(lines).toEqual([
      line("10.0.0.1:4711", "10.0.0.2:15008", "inbound", "tls_handshake: so it was"),
      line("10.0.0.1:4712", "db.example:80", "outbound", "name_not_found: so it was"),
    ]);
    expect(counted("istio_tcp_connections_opened", "reporter")).toEqual([]);
  });

  test("counts bytes from its own end, how long it took, and what protected it; a failure is an error", () => {
    const { telemetry, lines, clock } = bench();
    for (const direction of ["outbound", "inbound"] as const) {
      const record = telemetry.opened(parties(direction));
      record.bytesToUpstream = 7;
      record.bytesToDownstream = 13;
      record.tls = { cipherSuite: "SUITE", keyExchange: "GROUP" };
      record.verifiedDestination = db;
      clock.nowMs += 20.4;
      record.close(direction === "outbound" ? null : failure("h2_reset"));
    }
    expect(
      lines.map(({ level, fields }) => [
        level,
        fields.bytes_sent,
        fields.bytes_recv,
        fields["tls.suite"],
        fields["tls.group"],
        fields.duration,
        fields.error,
      ]),
    ).toEqual([
      ["info", 7, 13, "SUITE", "GROUP", "20ms", null],
      ["error", 13, 7, "SUITE", "GROUP", "20ms", "h2_reset: so it was"],
    ]);
    expect(lines.map(({ fields }) => [fields["src.identity"], fields["dst.identity"]])).toEqual([
      [cart.uri, db.uri],
      [cart.uri, db.uri],
    ]);
  });

  test("names identities only where they were verified, and takes from the other tunnel what we do not know ourselves", () => {
    const { telemetry, lines } = bench();
    const baggage: Baggage = {
      cluster: "far",
      namespace: "far-space",
      workloadName: "far-workload",
      serviceName: "far-app",
      serviceVersion: "far-v1",
      region: "far-region",
      zone: "",
    } as Baggage;
    telemetry.opened(parties("inbound", { baggage, identity: null })).close(null);
    const known = workload("cart-pod", { namespace: "shop", clusterId: "near" });
    telemetry.opened(parties("inbound", { baggage, workload: known })).close(null);
    const source = lines.map(({ fields }) =>
      ["src.workload", "src.namespace", "src.cluster", "src.identity", "dst.identity"].map(
        (name) => fields[name],
      ),
    );
    expect(source).toEqual([
      ["far-workload", "far-space", "far", null, null],
      [known.name, "shop", "near", cart.uri, null],
    ]);
  });

  test("of a name is counted when it is known for whom it stands, once, and closed once", () => {
    const { telemetry, lines, counted } = bench();
    const named = parties("outbound", {}, { address: { host: "db.example", port: 80 } });
    const record = telemetry.opened(named);
    record.bytesToUpstream = 5;
    record.flushBytes();
    expect(counted("istio_tcp_connections_opened", "reporter")).toEqual([]);
    record.reached(parties("outbound", {}, { identity: null, hboneAddress: null }));
    record.reached(parties("outbound", {}, { identity: null, hboneAddress: null }));
    expect(counted("istio_tcp_connections_opened", "connection_security_policy")).toEqual(["unknown 1"]);
    record.flushBytes();
    record.flushBytes();
    record.bytesToUpstream = 9;
    record.bytesToDownstream = 2;
    record.close(null);
    record.close(failure("h2_reset"));
    record.reached(named);
    expect(record.parties.destination.address).toEqual(at("10.0.0.2", 15008));
    expect(counted("istio_tcp_received_bytes", "reporter")).toEqual(["source 9"]);
    expect(counted("istio_tcp_sent_bytes", "reporter")).toEqual(["source 2"]);
    expect(lines.map(({ fields }) => [fields["dst.addr"], fields.error])).toEqual([["10.0.0.2:15008", null]]);
    // One that never came so far is counted at its end.
    telemetry.opened(named).close(failure("name_not_found"));
    expect(counted("istio_tcp_connections_opened", "connection_security_policy")).toEqual([
      "unknown 1",
      "mutual_tls 1",
    ]);
  });

  test("of other parties has other counters: by each of them, and by the service", () => {
    const { telemetry, counted } = bench();
    const service = {
      hostname: "db.example",
      namespace: "store",
      name: "db-entry",
    } as Parties["destination"]["service"];
    for (const one of [
      parties("outbound"),
      parties("inbound"),
      parties("outbound", { identity: null }),
      parties("outbound", {}, { identity: null }),
      parties("outbound", {}, { service }),
      parties("outbound", { workload: workload("one") }),
      parties("outbound"),
    ])
      telemetry.opened(one);
    expect(counted("istio_tcp_connections_opened", "reporter")).toEqual([
      "source 2",
      "destination 1",
      "source 1",
      "source 1",
      "source 1",
      "source 1",
    ]);
  });

  test("that no reader wants is not written, and is counted all the same; its beginning is said where debugging is wanted", () => {
    const said = (wanted: readonly string[]) => {
      const { telemetry, lines, counted } = bench((level, target) => wanted.includes(`${level} ${target}`));
      telemetry.opened(parties("inbound")).close(null);
      telemetry.opened(parties("inbound")).close(failure("h2_reset"));
      expect(counted("istio_tcp_connections_closed", "response_flags")).toEqual(["- 1", "CONNECT 1"]);
      return lines.map(({ level, message }) => `${level} ${message}`);
    };
    const complete = (level: string) => `${level} connection complete`;
    const opened = "debug connection opened";
    expect(said(["error access"])).toEqual([complete("error")]);
    expect(said(["info access", "error access"])).toEqual([complete("info"), complete("error")]);
    expect(said(["debug access", "info access", "error access"])).toEqual([
      ...[opened, complete("info")],
      ...[opened, complete("error")],
    ]);
  });

  test("of a bug of ours says where it is, in a line of its own", () => {
    const { telemetry, lines } = bench();
    const bug = new MeshError("bug", "local", "a bug of ours", { cause: new TypeError("x is no function") });
    telemetry.opened(parties("inbound")).close(bug);
    telemetry
      .opened(parties("inbound"))
      .close(new MeshError("bug", "local", "a bug of ours", { cause: "words" }));
    const bugs = lines.filter(({ message }) => message.startsWith("please report this bug"));
    expect(bugs.map(({ level }) => level)).toEqual(["error", "error"]);
    expect(String(bugs[0]?.fields.error)).toContain("telemetry.test.ts");
    expect(bugs[1]?.fields.error).toBe("words");
  });

  test("many label sets are found again as far as there is room, and counted right past it", () => {
    const { telemetry, counted } = bench();
    const { telemetrySeries } = proxyLimits;
    for (let n = 0; n <= telemetrySeries; n++)
      telemetry.opened(parties("outbound", { identity: new SpiffeId("td", "shop", `a${n}`) })).close(null);
    telemetry.opened(parties("outbound", { identity: new SpiffeId("td", "shop", "a0") })).close(null);
    const opened = counted("istio_tcp_connections_opened", "source_principal");
    expect(opened).toHaveLength(telemetrySeries + 1);
    expect(opened[0]).toBe("spiffe://td/ns/shop/sa/a0 2");
  });
});
