import { beforeEach, describe, expect, test } from "bun:test";
import { proxyLimits } from "../../src/base/limits/proxy.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { rulePrograms } from "../../src/host/testing/rule_programs.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { FlowLab, type LabNode, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";

const mesh =
  workloadEntry("cart", "10.0.0.1") +
  workloadEntry("db", "10.0.0.2") +
  serviceEntry("db", "10.88.0.2", 5432, 15432);
const bytes = (text: string) => new TextEncoder().encode(text);
const socks = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

let lab: FlowLab;
let cart: LabNode;
let server: MemoryHost;

beforeEach(async () => {
  lab = await FlowLab.create();
  cart = await lab.node("one", ["10.0.0.1"], mesh, {
    localPorts: "10.0.0.1:8080=db.shop:5432",
    socks5: "10.0.0.1:1080",
    httpConnect: "10.0.0.1:3128",
  });
  server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
});

/** A tunnel by hand where db's node would be; answers each CONNECT with `answer`. */
async function tunnels(id: SpiffeId, answer: Parameters<typeof HbonePeer.listen>[4]) {
  return HbonePeer.listen(lab, server, "10.0.0.2:15008", await svidOf(lab, server, id), answer);
}

async function fails(client: Recorder, limitMs?: number): Promise<string> {
  await lab.until(() => client.closes === 1, "the failure", limitMs);
  await lab.run(50);
  expect(cart.access().length).toBe(1);
  return String(cart.access()[0]?.error);
}

const call = () => lab.connect(cart.host, "10.0.0.1:8080");

describe("whom we call", () => {
  /** A host whose only address is not the one that its workload is known by. */
  async function translated(): Promise<LabNode> {
    return lab.node("nat", ["10.0.0.3"], mesh.replace("10.0.0.1", "203.0.113.1"), {
      workloads: "shop/cart",
      bindInbound: "wildcard",
      localPorts: "10.0.0.3:8080=db.shop:5432",
    });
  }

  test("behind 1:1 NAT the workload's address is none of the host's, and calls are made all the same", async () => {
    const nat = await translated();
    const peers = await tunnels(shopId("db"), (stream) => stream.sendHeaders([":status", "200"], false));
    await lab.connect(nat.host, "10.0.0.3:8080");
    await lab.until(() => peers.length === 1, "the tunnel");
    expect(peers[0]?.remote.ip.text).toBe("10.0.0.3");
  });

  test("an address that has just left the host does not fail the call", async () => {
    const nat = await translated();
    nat.node.context.locals.isHostAddress = () => true;
    const peers = await tunnels(shopId("db"), (stream) => stream.sendHeaders([":status", "200"], false));
    await lab.connect(nat.host, "10.0.0.3:8080");
    await lab.until(() => peers.length === 1, "the tunnel");
    expect(peers[0]?.remote.ip.text).toBe("10.0.0.3");
  });

  test("a plain CONNECT with authority, baggage, forwarded and traceparent, as ztunnel sends it", async () => {
    const seen: string[][] = [];
    await tunnels(shopId("db"), (stream, headers) => {
      seen.push([...headers]);
      stream.sendHeaders([":status", "200"], false);
    });
    await call();
    await lab.until(() => seen.length === 1, "the CONNECT");
    expect(seen[0]?.slice(0, 6)).toEqual([
      ":method",
      "CONNECT",
      ":authority",
      "10.0.0.2:15432",
      "baggage",
      expect.stringContaining("service.name=cart"),
    ]);
    expect(seen[0]?.slice(6)).toEqual([
      "forwarded",
      expect.stringMatching(/^for="10\.0\.0\.1:\d+";host=db\.shop$/),
      "traceparent",
      expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/),
    ]);
  });

  test("another identity of the same CA is not the one we want: nothing is sent, and the record says who it was", async () => {
    const seen: string[][] = [];
    await tunnels(shopId("imposter"), (_stream, headers) => void seen.push([...headers]));
    const error = await fails(await call());
    expect(error).toStartWith("certificate_unexpected: peer is spiffe://cluster.local/ns/shop/sa/imposter");
    expect(seen).toEqual([]);
    expect(cart.access()[0]?.["dst.identity"]).toBeUndefined();
  });

  test("another trust domain is refused", async () => {
    const foreign = new SpiffeId("other.example", "shop", "db");
    const error = await tunnels(foreign, () => {}).then(
      async () => fails(await call()),
      (thrown) => String(thrown),
    );
    expect(error).toContain("trust domain");
  });

  test("no listener: the refusal is the upstream's", async () => {
    expect(await fails(await call())).toStartWith("connect_refused");
  });
});

describe("what they answer", () => {
  const answers: [string, Parameters<typeof HbonePeer.listen>[4], RegExp][] = [
    [
      "401",
      (stream) => stream.sendHeaders([":status", "401"], true),
      /^hbone_status: the tunnel answered 401/,
    ],
    [
      "503",
      (stream) => stream.sendHeaders([":status", "503"], true),
      /^hbone_status: the tunnel answered 503/,
    ],
    ["a reset", (stream) => stream.reset(2), /^h2_reset/],
    ["REFUSED_STREAM, again and again", (stream) => stream.reset(7), /^h2_refused/],
    ["nothing at all", () => {}, /^connect_timeout: the tunnel did not answer/],
  ];
  for (const [what, answer, expected] of answers) {
    test(what, async () => {
      await tunnels(shopId("db"), answer);
      expect(await fails(await call(), 2 * proxyLimits.answerTimeoutMs)).toMatch(expected);
    });
  }

  test("200, data in the same instant, and the end: nothing is lost", async () => {
    await tunnels(shopId("db"), (stream) => {
      stream.sendHeaders([":status", "200"], false);
      stream.sendData(bytes("banner"), true);
    });
    const client = await call();
    await lab.until(() => client.ends === 1, "the end");
    expect(client.text).toBe("banner");
  });

  test("a REFUSED_STREAM once is tried again and the client does not notice", async () => {
    let refused = 0;
    await tunnels(shopId("db"), (stream) => {
      if (refused++ === 0) stream.reset(7);
      else {
        stream.sendHeaders([":status", "200"], false);
        stream.sendData(bytes("there"), false);
      }
    });
    const client = await call();
    await lab.until(() => client.text === "there", "the second try");
    expect(refused).toBe(2);
  });

  test("after GOAWAY new connections go over a new tunnel, and open ones live on", async () => {
    const peers = await tunnels(shopId("db"), (stream) => {
      stream.sendHeaders([":status", "200"], false);
      stream.sendData(bytes("hello"), false);
    });
    const first = await call();
    await lab.until(() => first.text === "hello", "the first");
    peers[0]?.connection.drain();
    await lab.run(50);
    const second = await call();
    await lab.until(() => second.text === "hello", "the second");
    expect([peers.length, first.closes]).toEqual([2, 0]);
  });

  test("CANCEL is the end of data, CONNECT_ERROR is an error", async () => {
    for (const [code, ends] of [
      [8, 1],
      [10, 0],
    ] as const) {
      const streams: { reset(code: number): void }[] = [];
      lab = await FlowLab.create();
      cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=db.shop:5432" });
      server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
      await tunnels(shopId("db"), (stream) => {
        stream.sendHeaders([":status", "200"], false);
        stream.sendData(bytes("part"), false);
        streams.push(stream);
      });
      const client = await call();
      await lab.until(() => client.text === "part", "the data");
      streams[0]?.reset(code);
      await lab.run(100);
      expect(client.ends).toBe(ends);
    }
  });
});

describe("ways in", () => {
  test("SOCKS5 by name: answered when the tunnel is there, payload both ways", async () => {
    await tunnels(shopId("db"), (stream) => {
      stream.events = {
        ...stream.events,
        onHeaders() {},
        onTrailers() {},
        onReset() {},
        onWritable() {},
        onClose() {},
        onData: (data) => stream.sendData(data, false),
      };
      stream.sendHeaders([":status", "200"], false);
    });
    const client = await lab.connect(cart.host, "10.0.0.1:1080");
    client.socket.write(socks("050100"));
    await lab.until(() => client.byteCount === 2, "the method");
    client.socket.write(socks("05010003 07 64622e73686f70 1538"));
    client.socket.write(bytes("echo"));
    await lab.until(() => client.text.endsWith("echo"), "the echo");
    expect([...client.bytes.subarray(2, 4)]).toEqual([5, 0]);
  });

  test("SOCKS5: a name that is nowhere is answered with its own word and recorded", async () => {
    const client = await lab.connect(cart.host, "10.0.0.1:1080");
    client.socket.write(socks("050100 05010003 02 6e6f 0050"));
    await lab.until(() => client.byteCount >= 4, "the answer");
    expect(client.bytes[3]).toBe(4);
    await lab.run(50);
    expect(String(cart.access()[0]?.error)).toStartWith("name_not_found");
    expect(cart.access()[0]?.["dst.addr"]).toBe("no:80");
  });

  test("HTTP CONNECT: 200, or a status and the reason in words", async () => {
    const client = await lab.connect(cart.host, "10.0.0.1:3128");
    client.socket.write(bytes("CONNECT db.shop:5432 HTTP/1.1\r\n\r\n"));
    await lab.until(() => client.ends === 1, "the answer");
    expect(client.text).toStartWith("HTTP/1.1 502");
    expect(client.text).toContain("connect_refused");
  });

  test("an address outside the mesh is reached in the clear", async () => {
    const outside = lab.world.machine("outside", { addresses: ["192.0.2.9"] }).start();
    const served = lab.application(outside, "192.0.2.9:80");
    const client = await lab.connect(cart.host, "10.0.0.1:3128");
    client.socket.write(bytes("CONNECT 192.0.2.9:80 HTTP/1.1\r\n\r\nhi"));
    await lab.until(() => served[0]?.text === "hi", "the application outside");
    client.socket.reset();
    await lab.run(50);
    const [line] = cart.access();
    expect([line?.["dst.addr"], line?.["dst.identity"], line?.["src.identity"]]).toEqual([
      "192.0.2.9:80",
      undefined,
      undefined,
    ]);
  });

  test("captured traffic finds its destination and its workload", async () => {
    lab = await FlowLab.create(3);
    // The rules themselves are tested in namespaces; here the world redirects, and its programs only keep the rules.
    const machine = lab.world.machine("one", {
      addresses: ["10.0.0.1"],
      programs: rulePrograms(),
    });
    machine.capture = {
      outboundPort: 15001,
      inboundPort: 15006,
      mark: 1337,
      excludedPorts: new Set([22, 15008]),
    };
    lab.prepare(machine, mesh);
    cart = await lab.start(machine, { capture: "redirect" });
    server = lab.world.machine("server", { addresses: ["10.0.0.2"] }).start();
    await tunnels(shopId("db"), (stream) => stream.sendHeaders([":status", "200"], false));
    await lab.connect(machine.start(), "10.88.0.2:5432");
    await lab.until(() => cart.node.context.connections.size === 1, "the captured connection");
    const [connection] = cart.node.context.connections;
    expect(connection?.record.parties.destination.hboneAddress).toBe("10.0.0.2:15432");
    expect(connection?.record.parties.source.workload?.name).toBe("cart");
  });

  test("captured traffic of no workload is reset after a bounded wait, and its record says whom it called", async () => {
    lab = await FlowLab.create(3);
    const machine = lab.world.machine("one", {
      addresses: ["10.0.0.1", "10.0.0.7", "10.0.0.8"],
      programs: rulePrograms(),
    });
    machine.capture = {
      outboundPort: 15001,
      inboundPort: 15006,
      mark: 1337,
      excludedPorts: new Set([22, 15008]),
    };
    lab.prepare(machine, mesh + workloadEntry("web", "10.0.0.8"));
    cart = await lab.start(machine, { capture: "redirect" });
    const client = await lab.connect(machine.start(), "10.88.0.2:5432", "10.0.0.7:40000");
    expect(await fails(client, proxyLimits.workloadWaitMs + 1_000)).toStartWith("unknown_workload: ");
    // An orderly end would be the empty answer of a server that was reached.
    expect([client.ends, client.error?.code]).toEqual([0, "connection_reset"]);
    expect(cart.access()[0]?.["dst.addr"]).toBe("10.88.0.2:5432");
  });
});
