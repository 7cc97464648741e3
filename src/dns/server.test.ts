/** The proxy on simulated hosts: what the mesh answers, what is passed on and to whom, and its bounds. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import { MetricRegistry } from "../base/metrics.ts";
import { writeMetrics } from "../base/metrics_text.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import type { Host } from "../host/host.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { VirtualAddresses } from "../mesh/names/virtual_addresses.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { ip, member, service, workload } from "../mesh/testing/fixture.ts";
import {
  codeOf,
  dnsCode,
  dnsType,
  isAnswerTo,
  isTruncated,
  readAddresses,
  readQuery,
  withId,
  writeAnswer,
  writeFailure,
  writeQuery,
} from "../wire/dns/message.ts";
import { keepVirtualAddresses, MeshNames } from "./mesh_names.ts";
import { DnsServer } from "./server.ts";
import { framed, MessageReader } from "./tcp_exchange.ts";
import { Upstream } from "./upstream.ts";

const proxyAt: SocketAddress = { ip: ip("127.0.0.1"), port: 15053 };
const client = workload("client", { addresses: [ip("10.0.0.1")] });

/** An upstream server that says what `answer` says, and counts. */
async function resolver(host: Host, at: string, answer: (query: Uint8Array) => Uint8Array | null) {
  const asked: string[] = [];
  const reply = (bytes: Uint8Array): Uint8Array | null => {
    const read = readQuery(bytes);
    asked.push(read !== null && "name" in read ? `${read.name} ${read.type}` : "?");
    return answer(bytes);
  };
  const address = { ip: ip(at), port: 53 };
  const udp = await host.net.bindUdp(address, (bytes, from) => {
    const said = reply(bytes);
    if (said !== null) udp.send(said, from);
  });
  host.net.listen({ address }, (socket) => {
    const reader = new MessageReader(65_535);
    socket.setHandler({
      onData: (bytes) => {
        for (const message of reader.receive(bytes) ?? []) {
          const said = reply(message);
          if (said !== null) socket.write(framed(said));
        }
      },
      onDrain: () => {},
      onEnd: () => socket.close(),
      onClose: () => {},
    });
  });
  return { address, asked };
}

const says =
  (...addresses: string[]) =>
  (query: Uint8Array): Uint8Array => {
    const read = readQuery(query);
    if (read === null || !("question" in read)) throw new Error("no query");
    const answer = { code: 0, canonicalName: null, addresses: addresses.map(ip), ttlSeconds: 5 };
    return writeAnswer(read, answer, 65_535);
  };

interface Shape {
  readonly servers?: readonly SocketAddress[];
  readonly isCaptured?: boolean;
  readonly hasClient?: boolean;
  readonly search?: readonly string[];
}

async function world(shape: Shape = {}) {
  const w = new MemoryWorld(1);
  const host = w.host("node", { addresses: ["10.0.0.1"] });
  const outside = w.machine("outside", { addresses: ["10.0.0.53", "10.0.0.54", "10.0.0.55"] }).start();
  const store = new MeshStore();
  const virtual = shape.isCaptured === false ? null : new VirtualAddresses();
  const servers: SocketAddress[] = [...(shape.servers ?? [])];
  const { clock, random, net } = host;
  const names = new MeshNames({
    store,
    virtual,
    clusterDomain: "cluster.local",
    searchDomains: () => shape.search ?? [],
    random: () => 0,
  });
  const upstream = new Upstream({ clock, random, net, servers: () => servers, mark: null });
  const metrics = new MetricRegistry();
  const clientAt = () => (shape.hasClient === false ? null : client);
  const server = new DnsServer({ clock, net, names, upstream, metrics, clientAt });
  await w.settle(server.listen(proxyAt));
  const add = (...services: ReturnType<typeof service>[]) => store.apply({ services: { upsert: services } });
  const ask = async (
    name: string,
    type: number = dnsType.a,
    over: "udp" | "tcp" = "udp",
    from: string = "127.0.0.1",
  ) => {
    const query = writeQuery(7, name, type) ?? new Uint8Array(0);
    const answer = await w.settle(server.answer(query, { ip: ip(from), port: 4000 }, over));
    if (answer === null) return null;
    const read = readQuery(query);
    const question = read !== null && "question" in read ? read.question : new Uint8Array(0);
    expect(isAnswerTo(answer, 7, question)).toBe(true);
    return {
      code: codeOf(answer),
      isCut: isTruncated(answer),
      addresses: (readAddresses(answer, question.length) ?? []).map(({ text }) => text).sort(),
    };
  };
  return { w, host, outside, store, virtual, servers, upstream, server, metrics, add, ask };
}

describe("names of the mesh", () => {
  test("a service's addresses of the client's network, of the family that is asked for", async () => {
    const { add, ask, server, w } = await world();
    const raw = async (name: string): Promise<Uint8Array> => {
      const query = writeQuery(7, name, dnsType.a) ?? new Uint8Array(0);
      return (await w.settle(server.answer(query, { ip: ip("127.0.0.1"), port: 1 }, "udp"))) ?? query;
    };
    /** Behind the head, the question, and the record's name (a pointer), type and class. */
    const ttlOf = (answer: Uint8Array) =>
      new DataView(answer.buffer, answer.byteOffset).getUint32(12 + "db.shop".length + 2 + 4 + 6);
    const at = (text: string, network = "") => ({ network, ip: ip(text) });
    add(
      service(
        "db",
        { 80: 80 },
        { addresses: [at("10.9.0.1"), at("10.9.0.2"), at("fd09::1"), at("10.8.0.1", "far")] },
      ),
    );
    expect(await ask("db.shop")).toEqual({ code: 0, isCut: false, addresses: ["10.9.0.1", "10.9.0.2"] });
    expect(ttlOf(await raw("db.shop"))).toBe(dnsLimits.ttlSeconds);
    expect((await ask("DB.Shop", dnsType.aaaa))?.addresses).toEqual(["fd09::1"]);
    expect((await ask("db"))?.addresses).toEqual(["10.9.0.1", "10.9.0.2"]);
    add(service("four", { 80: 80 }, { addresses: [at("10.9.0.3")] }));
    // A known name without an address of the family: no error, and nothing (RFC 2308 §2.2).
    expect(await ask("four.shop", dnsType.aaaa)).toEqual({ code: 0, isCut: false, addresses: [] });
  });

  test("a service without an address has a virtual one while something captures it", async () => {
    const { add, ask, virtual, store } = await world();
    if (virtual === null) throw new Error("no virtual addresses");
    const end = keepVirtualAddresses(store, virtual);
    add(service("db", { 80: 80 }), service("any", { 80: 80 }, { hostname: "*.wild.shop" }));
    const [ipv4 = ""] = (await ask("db.shop"))?.addresses ?? [];
    expect(ipv4).toStartWith("240.240.");
    expect(virtual.nameOf(ip(ipv4))).toBe("db.shop");
    expect((await ask("db.shop", dnsType.aaaa))?.addresses[0]).toStartWith("2001:2::");
    // One address cannot stand for all that a wildcard does; nor can one be captured where nothing captures.
    expect((await ask("x.wild.shop"))?.code).toBe(dnsCode.serverFailure);
    store.apply({ services: { remove: ["shop/db.shop"] } });
    expect(virtual.nameOf(ip(ipv4))).toBeNull();
    end();
    const without = await world({ isCaptured: false });
    without.add(service("db", { 80: 80 }));
    expect((await without.ask("db.shop"))?.code).toBe(dnsCode.serverFailure);
  });

  test("a headless service of the cluster's domain is where its endpoints are", async () => {
    const { add, ask, store } = await world();
    const hostname = "db.shop.svc.cluster.local";
    add(service("db", { 80: 80 }, { hostname }));
    const endpoint = (name: string, at: string) =>
      workload(name, { addresses: [ip(at)], services: member(`shop/${hostname}`) });
    store.apply({ workloads: { upsert: [endpoint("a", "10.0.0.7"), endpoint("b", "10.0.0.8")] } });
    for (const name of ["db", "db.shop", "db.shop.svc", hostname])
      expect((await ask(name))?.addresses).toEqual(["10.0.0.7", "10.0.0.8"]);
  });

  test("found behind a search domain, the answer says under which name", async () => {
    const { add, ask } = await world({ search: ["corp.example"] });
    add(service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] }));
    expect((await ask("db.shop.corp.example"))?.addresses).toEqual(["10.9.0.1"]);
  });

  test("another namespace's own service is not told, and wildcards are looked for from the left", async () => {
    const { add, ask } = await world();
    const at = (text: string) => [{ network: "", ip: ip(text) }];
    add(
      service(
        "secret",
        { 80: 80 },
        { namespace: "bank", hostname: "secret.bank", visibility: "NAMESPACE", addresses: at("10.9.0.1") },
      ),
      service("all", { 80: 80 }, { hostname: "*.b.example", addresses: at("10.9.0.2") }),
    );
    expect((await ask("secret.bank"))?.code).toBe(dnsCode.serverFailure);
    expect((await ask("a.b.example"))?.addresses).toEqual(["10.9.0.2"]);
  });

  test("more than UDP carries is cut, and told over TCP; more than is of use is left out", async () => {
    const { add, ask } = await world();
    const addresses = Array.from({ length: dnsLimits.maxAddresses + 1 }, (_, index) => ({
      network: "",
      ip: ip(`10.9.${index >> 8}.${index & 255}`),
    }));
    add(service("db", { 80: 80 }, { addresses }));
    expect(await ask("db.shop")).toEqual({ code: 0, isCut: true, addresses: [] });
    expect((await ask("db.shop", dnsType.a, "tcp"))?.addresses.length).toBe(dnsLimits.maxAddresses);
  });

  test("without a workload of this host the mesh is not spoken of, and the outside still answers", async () => {
    const { add, ask, outside, servers, w } = await world({ hasClient: false });
    servers.push((await w.settle(resolver(outside, "10.0.0.53", says("192.0.2.7")))).address);
    add(service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] }));
    expect((await ask("db.shop"))?.addresses).toEqual(["192.0.2.7"]);
  });
});

describe("names of the outside", () => {
  test("go to the first server as they are; other types of names of the mesh too", async () => {
    const { add, ask, outside, servers, w, metrics } = await world();
    const good = await w.settle(resolver(outside, "10.0.0.53", says("192.0.2.7")));
    const spare = await w.settle(resolver(outside, "10.0.0.54", says("192.0.2.8")));
    servers.push(good.address, spare.address);
    add(service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] }));
    expect((await ask("Example.com"))?.addresses).toEqual(["192.0.2.7"]);
    await ask("db.shop", 15);
    expect((await ask("example.com", dnsType.a, "tcp"))?.addresses).toEqual(["192.0.2.7"]);
    expect([good.asked, spare.asked]).toEqual([["example.com 1", "db.shop 15", "example.com 1"], []]);
    expect(writeMetrics(metrics, "prometheus")).toContain(
      'fairlead_dns_queries_total{outcome="forwarded"} 3',
    );
  });

  for (const [name, broken] of [
    ["says nothing", () => null],
    ["fails", (query: Uint8Array) => failure(query, dnsCode.serverFailure)],
    ["refuses", (query: Uint8Array) => failure(query, dnsCode.refused)],
    ["answers another question", (query: Uint8Array) => says("192.0.2.66")(renamed(query))],
    ["answers under another id", (query: Uint8Array) => withId(says("192.0.2.66")(query), 1)],
  ] as const)
    test(`a server that ${name} is passed over, and asked last for a while`, async () => {
      const { ask, outside, servers, w } = await world();
      const bad = await w.settle(resolver(outside, "10.0.0.53", broken));
      const good = await w.settle(resolver(outside, "10.0.0.54", says("192.0.2.8")));
      servers.push(bad.address, good.address);
      const started = w.nowMs;
      expect((await ask("example.com"))?.addresses).toEqual(["192.0.2.8"]);
      expect(w.nowMs - started).toBeLessThan(dnsLimits.serverTimeoutMs + 500);
      expect((await ask("example.org"))?.addresses).toEqual(["192.0.2.8"]);
      expect([bad.asked.length, good.asked.length]).toEqual([1, 2]);
      await w.run(w.nowMs + dnsLimits.failedServerMs);
      await ask("example.net");
      expect(bad.asked.length).toBe(2);
    });

  test("a guess from another address is no answer, however well it guesses", async () => {
    const { ask, outside, servers, host } = await world();
    // It hears each query as it comes, and answers from elsewhere before the server does.
    const forger = await host.net.bindUdp({ ip: ip("10.0.0.1"), port: 0 }, () => {});
    const udp = await outside.net.bindUdp({ ip: ip("10.0.0.53"), port: 53 }, (query, from) => {
      forger.send(says("192.0.2.66")(query), from);
      outside.clock.setTimer(200, () => udp.send(says("192.0.2.7")(query), from));
    });
    servers.push({ ip: ip("10.0.0.53"), port: 53 });
    expect((await ask("example.com"))?.addresses).toEqual(["192.0.2.7"]);
    for (const each of [forger, udp]) each.close();
  });

  test("what became of each query is counted by its own name", async () => {
    const { add, ask, outside, servers, w, metrics, server } = await world();
    add(service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] }));
    const good = await w.settle(resolver(outside, "10.0.0.53", says("192.0.2.7")));
    servers.push(good.address);
    await ask("db.shop");
    for (let count = 0; count < 2; count++) await ask("example.com");
    servers.splice(0);
    for (let count = 0; count < 3; count++) await ask("example.com");
    const notOneQuestion = writeQuery(7, "a.b", dnsType.a) ?? new Uint8Array(0);
    notOneQuestion[5] = 2;
    for (let count = 0; count < 4; count++)
      await w.settle(server.answer(notOneQuestion, { ip: ip("127.0.0.1"), port: 1 }, "udp"));
    const counted = writeMetrics(metrics, "prometheus").match(/^fairlead_dns_queries_total.*$/gm);
    expect(counted).toEqual([
      'fairlead_dns_queries_total{outcome="mesh"} 1',
      'fairlead_dns_queries_total{outcome="forwarded"} 2',
      'fairlead_dns_queries_total{outcome="failed"} 3',
      'fairlead_dns_queries_total{outcome="refused"} 4',
    ]);
  });

  test("a name that is not there is an answer, and no reason to ask another", async () => {
    const { ask, outside, servers, w } = await world();
    const sure = await w.settle(resolver(outside, "10.0.0.53", (query) => failure(query, dnsCode.nameError)));
    const other = await w.settle(resolver(outside, "10.0.0.54", says("192.0.2.8")));
    servers.push(sure.address, other.address);
    expect((await ask("nowhere.example"))?.code).toBe(dnsCode.nameError);
    expect(other.asked).toEqual([]);
  });

  test("with every server away the client is told in bounded time", async () => {
    const { ask, servers, w } = await world();
    servers.push(
      ...["10.0.0.53", "10.0.0.54", "10.0.0.55", "10.0.0.99"].map((text) => ({ ip: ip(text), port: 53 })),
    );
    const started = w.nowMs;
    expect((await ask("example.com"))?.code).toBe(dnsCode.serverFailure);
    expect(w.nowMs - started).toBeLessThanOrEqual(dnsLimits.forwardTimeoutMs + 100);
  });

  test("a query that comes back to us is a circle, and is refused", async () => {
    const { ask, servers, w } = await world();
    servers.push(proxyAt);
    const started = w.nowMs;
    expect((await ask("example.com"))?.code).toBe(dnsCode.refused);
    expect(w.nowMs - started).toBeLessThan(1_000);
  });

  test("no client has more on its way than its share, and no more are than there is room for", async () => {
    const { server, servers, w } = await world();
    servers.push({ ip: ip("10.0.0.99"), port: 53 });
    let sent = 0;
    const codes: number[] = [];
    const send = (from: string): void => {
      const query = writeQuery(7, `n${sent++}.example`, dnsType.a) ?? new Uint8Array(0);
      void server
        .answer(query, { ip: ip(from), port: 4000 }, "udp")
        .then((answer) => void codes.push(codeOf(answer ?? query)));
    };
    for (let index = 0; index < dnsLimits.maxForwardedPerClient; index++) send("127.0.0.1");
    await w.run(w.nowMs + 1);
    expect(codes).toEqual([]);
    send("127.0.0.1");
    await w.run(w.nowMs + 1);
    expect(codes).toEqual([dnsCode.serverFailure]);
    for (let index = dnsLimits.maxForwardedPerClient; index < dnsLimits.maxForwarded; index++)
      send(`127.0.0.${1 + Math.floor(index / dnsLimits.maxForwardedPerClient)}`);
    await w.run(w.nowMs + 1);
    expect(codes.length).toBe(1);
    send("127.0.0.99");
    await w.run(w.nowMs + 1);
    expect(codes.length).toBe(2);
    // What was held is given back.
    await w.run(w.nowMs + dnsLimits.forwardTimeoutMs);
    expect(codes.length).toBe(dnsLimits.maxForwarded + 2);
    send("127.0.0.1");
    await w.run(w.nowMs + 1);
    expect(codes.length).toBe(dnsLimits.maxForwarded + 2);
  });
});

describe("clients", () => {
  test("who is not of this host is not answered: it would be a mirror for whoever forges its address", async () => {
    const { ask } = await world();
    expect(await ask("example.com", dnsType.a, "udp", "10.0.0.53")).toBeNull();
    expect((await ask("example.com", dnsType.a, "udp", "10.0.0.1"))?.code).toBe(dnsCode.serverFailure);
  });

  async function connect(w: MemoryWorld, host: Host, from: string = "127.0.0.1") {
    const source = { ip: ip(from), port: 0, transparent: false };
    const socket = await w.settle(host.net.connect({ to: proxyAt, timeoutMs: 1_000, from: source }));
    const seen = { bytes: 0, closed: false };
    socket.setHandler({
      onData: (bytes) => {
        seen.bytes += bytes.length;
      },
      onDrain: () => {},
      onEnd: () => {
        seen.closed = true;
      },
      onClose: () => {
        seen.closed = true;
      },
    });
    return { socket, seen };
  }

  test("over TCP several queries are answered on one connection, cut up in any way", async () => {
    const { w, host, add } = await world();
    add(service("db", { 80: 80 }, { addresses: [{ network: "", ip: ip("10.9.0.1") }] }));
    const { socket, seen } = await connect(w, host);
    const query = framed(writeQuery(7, "db.shop", dnsType.a) ?? new Uint8Array(0));
    for (const byte of query) socket.write(Uint8Array.of(byte));
    socket.write(query);
    await w.run(w.nowMs + 1_000);
    expect([seen.bytes > 2 * 40, seen.closed]).toEqual([true, false]);
    // Each query makes it live on.
    await w.run(w.nowMs + dnsLimits.tcpIdleMs - 1_500);
    socket.write(query);
    await w.run(w.nowMs + dnsLimits.tcpIdleMs - 1_500);
    expect(seen.closed).toBe(false);
    await w.run(w.nowMs + 3_000);
    expect(seen.closed).toBe(true);
  });

  test("a query that is longer than any is the end of its connection", async () => {
    const { w, host } = await world();
    const { socket, seen } = await connect(w, host);
    socket.write(framed(new Uint8Array(dnsLimits.maxQueryBytes + 1)).subarray(0, 2));
    await w.run(w.nowMs + 1_000);
    expect(seen.closed).toBe(true);
  });

  test("one address has so many connections and no more, and all together so many", async () => {
    const { w, host } = await world();
    const open: Awaited<ReturnType<typeof connect>>[] = [];
    const closed = async (): Promise<number> => {
      await w.run(w.nowMs + 100);
      return open.filter(({ seen }) => seen.closed).length;
    };
    for (let index = 0; index < dnsLimits.maxTcpPerClient; index++) open.push(await connect(w, host));
    expect(await closed()).toBe(0);
    open.push(await connect(w, host));
    expect(await closed()).toBe(1);
    for (let index = dnsLimits.maxTcpPerClient; index < dnsLimits.maxTcpClients; index++)
      open.push(await connect(w, host, `127.0.1.${1 + Math.floor(index / dnsLimits.maxTcpPerClient)}`));
    expect(await closed()).toBe(1);
    open.push(await connect(w, host, "127.0.2.1"));
    expect(await closed()).toBe(2);
  });

  test("who does not read its answers is given no more of them", async () => {
    const { w, host, add, server } = await world();
    const addresses = Array.from({ length: dnsLimits.maxAddresses }, (_, index) => ({
      network: "",
      ip: ip(`10.9.0.${index}`),
    }));
    add(service("db", { 80: 80 }, { addresses }));
    const { socket, seen } = await connect(w, host);
    socket.pause();
    let asked = 0;
    const answer = server.answer.bind(server);
    server.answer = (bytes, from, over) => {
      asked++;
      return answer(bytes, from, over);
    };
    const query = framed(writeQuery(7, "db.shop", dnsType.a) ?? new Uint8Array(0));
    const many = new Uint8Array(query.length * 2_000);
    for (let index = 0; index < 2_000; index++) many.set(query, index * query.length);
    socket.write(many);
    await w.run(w.nowMs + dnsLimits.tcpIdleMs / 2);
    const answered = asked;
    expect(answered).toBeLessThan(2_000);
    await w.run(w.nowMs + dnsLimits.tcpIdleMs);
    expect([asked, seen.bytes]).toEqual([answered, 0]);
  });
});

describe("for the node itself", () => {
  test("names are resolved by those servers, over TCP where UDP is cut", async () => {
    const { upstream, outside, servers, w } = await world();
    let asked = 0;
    const cut = (query: Uint8Array): Uint8Array => {
      const answer = says("192.0.2.9")(query);
      const read = readQuery(query);
      const type = read !== null && "type" in read ? read.type : 0;
      if (type === dnsType.aaaa) return says()(query);
      if (asked++ > 0) return answer;
      answer[2] = (answer[2] ?? 0) | 0x02;
      return answer.slice(0, answer.length);
    };
    servers.push((await w.settle(resolver(outside, "10.0.0.53", cut))).address);
    expect((await w.settle(upstream.resolve("example.com"))).map(({ text }) => text)).toEqual(["192.0.2.9"]);
    expect(asked).toBe(2);
    expect((await upstream.resolve("10.1.1.1")).map(({ text }) => text)).toEqual(["10.1.1.1"]);
    for (const name of ["localhost", "a.localhost"])
      expect((await upstream.resolve(name)).map(({ text }) => text)).toEqual(["127.0.0.1", "::1"]);
  });

  test("over TCP they are asked past capture", async () => {
    const { host, servers, w } = await world();
    servers.push({ ip: ip("10.0.0.53"), port: 53 });
    const marks: unknown[] = [];
    const net = Object.create(host.net, {
      connect: {
        value: async (options: { readonly mark?: number }) => {
          marks.push(options.mark);
          throw new MeshError("connect_refused", "upstream", "nothing listens");
        },
      },
    });
    for (const mark of [1337, null]) {
      const { clock, random } = host;
      const upstream = new Upstream({ clock, random, net, servers: () => servers, mark });
      const query = writeQuery(7, "example.com", dnsType.a) ?? new Uint8Array(0);
      await w.settle(upstream.forward(query, query.slice(12, -11), "tcp"));
    }
    expect(marks).toEqual([1337, undefined]);
  });

  test("a name that none knows, or that is none, is not found", async () => {
    const { upstream, outside, servers, w } = await world();
    servers.push(
      (await w.settle(resolver(outside, "10.0.0.53", (query) => failure(query, dnsCode.nameError)))).address,
    );
    for (const name of ["nowhere.example", "a..b", `${"a".repeat(64)}.b`])
      expect(await rejectionOf(w.settle(upstream.resolve(name)))).toMatchObject({ code: "name_not_found" });
  });
});

function failure(query: Uint8Array, code: number): Uint8Array {
  const read = readQuery(query);
  if (read === null) throw new Error("no query");
  return writeFailure(read, code);
}

function renamed(query: Uint8Array): Uint8Array {
  const copy = query.slice();
  copy[13] = (copy[13] ?? 0) ^ 1;
  return copy;
}
