/**
 * What is told of each flow, as an operator reads it: the metrics port's text, the open connections at the admin port, and the access
 * log. No two values of the two ends are the same, so that one that is of the wrong end, or the wrong way round, shows.
 */
import { describe, expect, test } from "bun:test";
import { serveAdministration } from "../../src/app/node/administration.ts";
import type { HttpApp } from "../../src/app/served.ts";
import { assert } from "../../src/base/assert.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { type AccessLine, at, FlowLab, isIpv6, type LabNode, labConfig, withPort } from "./lab.ts";
import { answering, ok } from "./waypoint_lab.ts";

const noActions = {
  drain: () => {},
  upgrades: {
    status: async () => ({ version: "1", pid: 1, executable: null, step: null }),
    run: () => Promise.reject(new Error("no upgrade is asked for")),
  },
};

const bytes = (text: string) => new TextEncoder().encode(text);

interface Told {
  readonly name: string;
  readonly address: string;
  readonly namespace: string;
  readonly extra?: string;
}

function entry({ name, address, namespace, extra = "" }: Told): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}-host
  namespace: ${namespace}
  labels:
    app: ${name}
    service.istio.io/canonical-name: ${name}-app
    service.istio.io/canonical-revision: ${name}-v7
    ${extra}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${address}, serviceAccount: ${name}-sa, locality: ${name}-region/${name}-zone/x}
---
`;
}

const cart = { name: "cart", address: "10.0.0.1", namespace: "shop" };
const db = { name: "db", address: "10.0.0.2", namespace: "store" };
const gate = {
  name: "gate",
  address: "10.0.0.9",
  namespace: "store",
  extra: "istio.io/waypoint-for: all",
};

function service(protocol: string, labels = ""): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db-entry, namespace: store, labels: {${labels}}}
spec:
  hosts: [db.example]
  addresses: [10.88.0.2]
  ports: [{number: 5432, name: port, protocol: ${protocol}, targetPort: 15432}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: db}}
---
`;
}

interface Ports {
  metrics(): Promise<readonly string[]>;
  connections(): Promise<unknown>;
}

/** The ports of administration, asked as an operator does. */
async function portsOf(lab: FlowLab, { host, node }: LabNode): Promise<Ports> {
  const apps = new Map<number, HttpApp>();
  const config = labConfig({ admin: "127.0.0.1:15000", metrics: "127.0.0.1:15020", adminReads: "anyone" });
  const logger = new LogWriter(host.clock, () => true, "json", "info");
  const ports = {
    serve: (address: { readonly port: number } | null, app: HttpApp) => {
      if (address !== null) apps.set(address.port, app);
      return null;
    },
    onClose: () => {},
  };
  await lab.world.settle(serveAdministration(host, node, config, logger, ports, noActions));
  const read = async (port: number, path: string): Promise<string> => {
    const app = apps.get(port);
    assert(app !== undefined, `port ${port} is served`);
    const answer = await app.fetch(
      new Request(`http://localhost${path}`, { headers: { host: "localhost" } }),
    );
    expect([path, answer.status]).toEqual([path, 200]);
    return await answer.text();
  };
  return {
    metrics: async () => (await read(15_020, "/metrics")).split("\n"),
    connections: async () => JSON.parse(await read(15_000, "/connections")),
  };
}

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly counts: Readonly<Record<string, number>>;
}

/** What is counted of TCP, by label set: `{ opened: 1, received: 7 }`. */
function tcp(lines: readonly string[]): readonly Series[] {
  const found = new Map<string, { labels: Record<string, string>; counts: Record<string, number> }>();
  for (const line of lines) {
    const [, name, text = "", value] =
      /^istio_tcp_(?:connections_)?(\w+?)(?:_bytes)?_total\{(.*)\} (\d+)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const labels = Object.fromEntries(
      [...text.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, each]) => [key, each]),
    );
    const series = found.get(text) ?? { labels, counts: {} as Record<string, number> };
    found.set(text, series);
    series.counts[name] = Number(value);
  }
  return [...found.values()];
}

const accounts = { cart: "shop", db: "store", gate: "store" } as const;
type Name = keyof typeof accounts;

const identityOf = (name: Name) => `spiffe://cluster.local/ns/${accounts[name]}/sa/${name}-sa`;

/** The labels of one end, which no label of another end equals. */
function labelsOf(
  side: "source" | "destination",
  name: Name | null,
  isSecure: boolean,
): Record<string, string> {
  const or = (text: string) => (name === null ? "unknown" : text);
  return {
    [`${side}_workload`]: or(`${name}-host`),
    [`${side}_canonical_service`]: or(`${name}-app`),
    [`${side}_canonical_revision`]: or(`${name}-v7`),
    [`${side}_workload_namespace`]: name === null ? "unknown" : accounts[name],
    [`${side}_principal`]: name !== null && isSecure ? identityOf(name) : "unknown",
    [`${side}_app`]: or(`${name}-app`),
    [`${side}_version`]: or(`${name}-v7`),
    [`${side}_cluster`]: "unknown",
    [`${side}_region`]: or(`${name}-region`),
    [`${side}_zone`]: or(`${name}-zone`),
  };
}

function labels(
  reporter: "source" | "destination",
  [source, destination]: readonly [Name | null, Name | null],
  how: "mutual_tls" | "plain",
  { service: isService = how === "mutual_tls", flags = "-" } = {},
): Record<string, string> {
  const isSecure = how === "mutual_tls";
  return {
    reporter,
    ...labelsOf("source", source, isSecure),
    ...labelsOf("destination", destination, isSecure),
    destination_service: isService ? "db.example" : "unknown",
    destination_service_namespace: isService ? "store" : "unknown",
    destination_service_name: isService ? "db-entry" : "unknown",
    request_protocol: "tcp",
    response_flags: flags,
    connection_security_policy: isSecure ? "mutual_tls" : "unknown",
  };
}

const carried = { opened: 1, closed: 1, received: 7, sent: 13 };

/** Of an access line, what does not depend on time and chance. */
function fields(line: AccessLine | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(line ?? {}).filter(
      ([key]) => !["time", "scope", "duration", "tls.suite", "id"].includes(key),
    ),
  );
}

function line(
  direction: "inbound" | "outbound",
  [source, destination]: readonly [Name | null, Name | null],
  addresses: {
    readonly src: string;
    readonly dst: string;
    readonly hbone?: string;
    readonly service?: boolean;
  },
  [sent, received]: readonly [number, number] = direction === "outbound" ? [7, 13] : [13, 7],
): Record<string, unknown> {
  const { src, dst, hbone, service: isService = hbone !== undefined } = addresses;
  const end = (side: "src" | "dst", name: Name | null) =>
    name === null
      ? {}
      : {
          [`${side}.workload`]: `${name}-host`,
          [`${side}.namespace`]: accounts[name],
          ...(hbone === undefined ? {} : { [`${side}.identity`]: identityOf(name) }),
        };
  return {
    level: "info",
    message: "connection complete",
    "src.addr": expect.stringMatching(
      new RegExp(
        `^${withPort(src, 1)
          .slice(0, -1)
          .replace(/[.[\]]/g, "\\$&")}\\d+$`,
      ),
    ),
    ...end("src", source),
    "dst.addr": dst,
    ...(hbone === undefined ? {} : { "dst.hbone_addr": hbone }),
    ...(isService ? { "dst.service": "db.example" } : {}),
    ...end("dst", destination),
    direction,
    bytes_sent: sent,
    bytes_recv: received,
  };
}

/** Says thirteen bytes to whoever comes, and ends. */
function sayThirteen(peer: Recorder): void {
  peer.socket.write(bytes("thirteen byte"));
  peer.socket.end();
}

async function saySeven(lab: FlowLab, client: Recorder): Promise<void> {
  client.socket.write(bytes("seven!!"));
  client.socket.end();
  await lab.until(() => client.closes === 1, "the close");
  await lab.run(100);
}

describe("TCP between two nodes", () => {
  async function two(settings: Parameters<FlowLab["node"]>[3]) {
    const lab = await FlowLab.create();
    const mesh = entry(cart) + entry(db) + service("TCP");
    const one = await lab.node("one", ["10.0.0.1"], mesh, settings);
    const other = await lab.node("two", ["10.0.0.2"], mesh);
    return { lab, one, other, ports: [await portsOf(lab, one), await portsOf(lab, other)] as const };
  }
  const overHbone = { src: "10.0.0.1", dst: "10.0.0.2:15008", hbone: "10.0.0.2:15432" };

  test("a local port: each end says the same of both, and counts bytes by who asks", async () => {
    const { lab, one, other, ports } = await two({ localPorts: "10.0.0.1:8080=db.example:5432" });
    lab.application(other.host, "10.0.0.2:15432", sayThirteen);
    await saySeven(lab, await lab.connect(one.host, "10.0.0.1:8080"));
    expect(tcp(await ports[0].metrics())).toEqual([
      { labels: labels("source", ["cart", "db"], "mutual_tls"), counts: carried },
    ]);
    expect(tcp(await ports[1].metrics())).toEqual([
      { labels: labels("destination", ["cart", "db"], "mutual_tls"), counts: carried },
    ]);
    expect(one.access().map(fields)).toEqual([line("outbound", ["cart", "db"], overHbone)]);
    expect(other.access().map(fields)).toEqual([line("inbound", ["cart", "db"], overHbone)]);
  });

  test("while it is open: the gauge of its side, and both ends at the admin port", async () => {
    const { lab, one, other, ports } = await two({ localPorts: "10.0.0.1:8080=db.example:5432" });
    const served = lab.application(
      other.host,
      "10.0.0.2:15432",
      (peer) => void peer.socket.write(bytes("thirteen byte")),
    );
    const client = await lab.connect(one.host, "10.0.0.1:8080");
    client.socket.write(bytes("seven!!"));
    await lab.until(() => served[0]?.text === "seven!!" && client.byteCount === 13, "both");
    const open = (
      direction: "inbound" | "outbound",
      [bytesSent, bytesReceived]: readonly [number, number],
    ) => ({
      total: 1,
      connections: [
        {
          id: 1,
          direction,
          source: {
            address: expect.stringMatching(/^10\.0\.0\.1:\d+$/),
            workload: "shop/cart-host",
            identity: identityOf("cart"),
          },
          destination: {
            address: "10.0.0.2:15008",
            workload: "store/db-host",
            identity: identityOf("db"),
            hboneAddress: "10.0.0.2:15432",
            service: "store/db.example",
          },
          ageMs: expect.any(Number),
          bytesSent,
          bytesReceived,
          policy: null,
        },
      ],
    });
    expect(await ports[0].connections()).toEqual(open("outbound", [7, 13]));
    expect(await ports[1].connections()).toEqual(open("inbound", [13, 7]));
    const gauges = (lines: readonly string[]) =>
      lines.filter((each) => each.startsWith("istio_tcp_sockets_open{"));
    expect(gauges(await ports[0].metrics())).toEqual([
      'istio_tcp_sockets_open{reporter="destination"} 0',
      'istio_tcp_sockets_open{reporter="source"} 1',
    ]);
    expect(gauges(await ports[1].metrics())).toEqual([
      'istio_tcp_sockets_open{reporter="destination"} 1',
      'istio_tcp_sockets_open{reporter="source"} 0',
    ]);
  });

  test("SOCKS: by name over HBONE, and in the clear to what is outside of the mesh", async () => {
    const { lab, one, other, ports } = await two({ socks5: "10.0.0.1:1080" });
    lab.application(other.host, "10.0.0.2:15432", sayThirteen);
    const far = lab.world.machine("far", { addresses: ["192.0.2.9"] }).start();
    lab.application(far, "192.0.2.9:7000", sayThirteen);
    for (const request of [
      [5, 1, 0, 3, "db.example".length, ...bytes("db.example"), 5432 >> 8, 5432 & 0xff],
      [5, 1, 0, isIpv6 ? 4 : 1, ...at("192.0.2.9:7000").ip.bytes, 7000 >> 8, 7000 & 0xff],
    ]) {
      const client = await lab.connect(one.host, "10.0.0.1:1080");
      client.socket.write(Uint8Array.of(5, 1, 0));
      await lab.until(() => client.byteCount === 2, "the method");
      client.socket.write(Uint8Array.from(request));
      await lab.until(() => client.byteCount >= 12, "the answer");
      await saySeven(lab, client);
    }
    expect(tcp(await ports[0].metrics())).toEqual([
      { labels: labels("source", ["cart", "db"], "mutual_tls"), counts: carried },
      { labels: labels("source", ["cart", null], "plain"), counts: carried },
    ]);
    expect(one.access().map(fields)).toEqual([
      line("outbound", ["cart", "db"], overHbone),
      line("outbound", ["cart", null], { src: "10.0.0.1", dst: "192.0.2.9:7000" }),
    ]);
  });

  test("an application that refuses, and a policy that denies, are counted as failed at each end with its flag", async () => {
    const { lab, one, other, ports } = await two({ localPorts: "10.0.0.1:8080=db.example:5432" });
    const call = async () => {
      const client = await lab.connect(one.host, "10.0.0.1:8080");
      await lab.until(() => client.closes === 1, "the close");
      await lab.run(100);
    };
    await call();
    await other.documents(
      "deny.yaml",
      `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: none, namespace: store}
spec: {}
`,
    );
    await call();
    await call();
    const ends = ["cart", "db"] as const;
    const hbone = (reporter: "source" | "destination", flags = "-") =>
      labels(reporter, ends, "mutual_tls", { flags });
    expect(tcp(await ports[0].metrics())).toEqual([
      { labels: hbone("source"), counts: { opened: 3, received: 0, sent: 0 } },
      { labels: hbone("source", "CONNECT"), counts: { closed: 3, failed: 3 } },
    ]);
    expect(tcp(await ports[1].metrics())).toEqual([
      { labels: hbone("destination"), counts: { opened: 3, received: 0, sent: 0 } },
      { labels: hbone("destination", "CONNECT"), counts: { closed: 1, failed: 1 } },
      { labels: hbone("destination", "DENY"), counts: { closed: 2, failed: 2 } },
    ]);
  });
});

test("plain TCP to a workload whose application the node fronts", async () => {
  const lab = await FlowLab.create();
  const mesh = entry(cart) + entry(db) + service("TCP");
  const node = await lab.node("two", ["10.0.0.2", "10.9.0.2"], mesh, {
    applications: "10.0.0.2:15432=10.9.0.2:15432",
  });
  lab.application(node.host, "10.9.0.2:15432", sayThirteen);
  const ports = await portsOf(lab, node);
  const outsider = lab.world.machine("outsider", { addresses: ["10.0.0.77"] }).start();
  const member = lab.world.machine("one", { addresses: ["10.0.0.1"] }).start();
  await saySeven(lab, await lab.connect(outsider, "10.0.0.2:15432"));
  await saySeven(lab, await lab.connect(member, "10.0.0.2:15432"));
  expect(tcp(await ports.metrics())).toEqual([
    { labels: labels("destination", [null, "db"], "plain"), counts: carried },
    { labels: labels("destination", ["cart", "db"], "plain"), counts: carried },
  ]);
  expect(node.access().map(fields)).toEqual([
    line("inbound", [null, "db"], { src: "10.0.0.77", dst: "10.0.0.2:15432" }),
    line("inbound", ["cart", "db"], { src: "10.0.0.1", dst: "10.0.0.2:15432" }),
  ]);
});

describe("through a waypoint", () => {
  async function three(protocol: string, onAccept: (peer: Recorder) => void) {
    const lab = await FlowLab.create();
    const mesh =
      entry(cart) + entry(db) + entry(gate) + service(protocol, "istio.io/use-waypoint: gate-host");
    const one = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.example:5432" });
    const between = await lab.node("gate", ["10.0.0.9"], mesh, { waypoints: "store/gate-host" });
    const two = await lab.node("two", ["10.0.0.2"], mesh);
    lab.application(two.host, "10.0.0.2:15432", onAccept);
    const nodes = [one, between, two] as const;
    const ports = [await portsOf(lab, one), await portsOf(lab, between), await portsOf(lab, two)] as const;
    return { lab, nodes, ports, client: await lab.connect(one.host, "10.0.0.1:8080") };
  }
  const first = { src: "10.0.0.1", dst: "10.0.0.9:15008", hbone: "10.88.0.2:5432" };
  const second = { src: "10.0.0.9", dst: "10.0.0.2:15008", hbone: "10.0.0.2:15432" };

  test("TCP: the caller reaches the waypoint, and the waypoint the workload", async () => {
    const { lab, nodes, ports, client } = await three("TCP", sayThirteen);
    await saySeven(lab, client);
    expect(tcp(await ports[0].metrics())).toEqual([
      { labels: labels("source", ["cart", "gate"], "mutual_tls"), counts: carried },
    ]);
    expect(tcp(await ports[1].metrics())).toEqual([
      { labels: labels("destination", ["cart", "gate"], "mutual_tls"), counts: carried },
    ]);
    expect(tcp(await ports[2].metrics())).toEqual([
      { labels: labels("destination", ["gate", "db"], "mutual_tls"), counts: carried },
    ]);
    expect(nodes.flatMap((node) => node.access().map(fields))).toEqual([
      line("outbound", ["cart", "gate"], first),
      line("inbound", ["cart", "gate"], first),
      line("inbound", ["gate", "db"], second),
    ]);
  });

  test("HTTP: the request is counted between caller and workload, by what it and its answer carry", async () => {
    const { lab, ports, client } = await three(
      "HTTP",
      answering(() => ok("thirteen byte")),
    );
    client.socket.write(bytes("POST /x HTTP/1.1\r\nHost: db.example\r\nContent-Length: 7\r\n\r\nseven!!"));
    await lab.until(() => client.text.endsWith("thirteen byte"), "the answer");
    client.socket.end();
    await lab.run(100);
    const found = (await ports[1].metrics()).flatMap((each) => {
      const [, name, text = "", value] =
        /^istio_(requests_total|request_bytes_sum|response_bytes_sum)\{(.*)\} (\d+)$/.exec(each) ?? [];
      const entries = [...text.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, one]) => [key, one]);
      return name === undefined ? [] : [[name, Number(value), Object.fromEntries(entries)]];
    });
    const {
      request_protocol: _,
      source_region: _a,
      source_zone: _b,
      ...ends
    } = labels("source", ["cart", "db"], "mutual_tls");
    const { destination_region: _c, destination_zone: _d, ...shared } = ends;
    const wanted = {
      ...shared,
      reporter: "waypoint",
      request_protocol: "http",
      response_code: "200",
      grpc_response_status: "",
    };
    expect(found).toEqual([
      ["requests_total", 1, wanted],
      ["request_bytes_sum", 7, wanted],
      ["response_bytes_sum", 13, wanted],
    ]);
  });
});
