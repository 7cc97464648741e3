/**
 * The HTTP/2 engine alone, client and server joined in memory: what a frame, a byte and a request cost without sockets and TLS.
 *
 *   bun bench/micro/h2.ts [name]
 */
import { H2Connection } from "../../src/wire/h2/connection.ts";
import type { H2ConnectionEvents } from "../../src/wire/h2/connection_state.ts";
import type { H2Stream, H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { HpackDecoder } from "../../src/wire/hpack/decoder.ts";
import { HpackEncoder } from "../../src/wire/hpack/encoder.ts";
import { type EngineFigure, record } from "./record.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const hbone = [
  ...connect,
  "baggage",
  "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=client,service.name=client,service.version=v1",
  "forwarded",
  'for="10.0.0.5:43210"',
  "traceparent",
  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
];
const ok = [":status", "200"];
const batchBytes = 256 * 1024;
const roundSeconds = 0.5;
const rounds = 5;

class Sink implements H2StreamEvents {
  stream: H2Stream | null = null;
  received = 0;
  readonly #echo: boolean;
  constructor(echo: boolean) {
    this.#echo = echo;
  }
  onHeaders(): void {}
  onData(bytes: Uint8Array, endStream: boolean): void {
    this.received += bytes.length;
    this.stream?.consume(bytes.length);
    if (this.#echo) this.stream?.sendData(bytes, endStream);
  }
  onTrailers(): void {}
  onReset(): void {}
  onWritable(): void {}
  onClose(): void {}
}

const quiet: H2ConnectionEvents = { onRequest: () => {}, onOutputReady: () => {}, onClose: () => {} };

/** Two connections and the socket between: what is taken is copied, as a kernel would, in pieces as large as a read. */
class Joined {
  readonly client: H2Connection;
  readonly server: H2Connection;
  readonly #pipe = new Uint8Array(2 * batchBytes + 1024);
  copies = true;

  constructor(onRequest: (stream: H2Stream) => void) {
    this.client = new H2Connection({ role: "client", now: 0 }, quiet);
    this.server = new H2Connection({ role: "server", now: 0 }, { ...quiet, onRequest });
    this.carry();
  }

  carry(): void {
    while (this.client.wantsOutput || this.server.wantsOutput) {
      this.#move(this.client, this.server);
      this.#move(this.server, this.client);
    }
  }

  #move(from: H2Connection, to: H2Connection): void {
    while (from.wantsOutput) {
      const parts = from.takeOutput(batchBytes);
      if (!this.copies) {
        for (const part of parts) feed(to, part);
        continue;
      }
      let length = 0;
      for (const part of parts) {
        this.#pipe.set(part, length);
        length += part.length;
      }
      feed(to, this.#pipe.slice(0, length));
    }
  }
}

function feed(to: H2Connection, bytes: Uint8Array): void {
  for (let at = to.receive(bytes, 1); at < bytes.length; ) at += to.receive(bytes.subarray(at), 1);
}

function tunnels(count: number, echo: boolean): { joined: Joined; streams: H2Stream[]; sinks: Sink[] } {
  const sinks: Sink[] = [];
  const joined = new Joined((stream) => {
    const sink = new Sink(echo);
    sink.stream = stream;
    sinks.push(sink);
    stream.events = sink;
    stream.sendHeaders(ok, false);
  });
  const streams: H2Stream[] = [];
  for (let i = 0; i < count; i++) {
    const sink = new Sink(false);
    const stream = joined.client.request(connect, false, sink);
    if (stream === null) throw new Error("no stream");
    sink.stream = stream;
    streams.push(stream);
  }
  joined.carry();
  return { joined, streams, sinks };
}

/** By CPU time, which a busy machine disturbs less than the clock on the wall; best of some rounds. */
function measure(name: string, unit: Unit, work: () => number): void {
  if (process.argv[2] !== undefined && !name.includes(process.argv[2])) return;
  work();
  const figures: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = cpuSeconds();
    let done = 0;
    let elapsed = 0;
    do {
      done += work();
      elapsed = cpuSeconds() - start;
    } while (elapsed < roundSeconds);
    figures.push(done / elapsed);
  }
  console.log(`${name.padEnd(58)} ${unit.text(Math.max(...figures))}`);
  record({ engine: "h2", name, unit: unit.name, rounds: figures.map(unit.of) });
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

interface Unit {
  readonly name: EngineFigure["unit"];
  /** Of so many in a second. */
  readonly of: (perSecond: number) => number;
  readonly text: (perSecond: number) => string;
}

const nanoseconds: Unit = {
  name: "ns",
  of: (perSecond) => 1e9 / perSecond,
  text: (perSecond) => `${(1e9 / perSecond).toFixed(0).padStart(8)} ns`,
};
const gigabytes: Unit = {
  name: "GB/s",
  of: (perSecond) => perSecond / 1e9,
  text: (perSecond) => `${(perSecond / 1e9).toFixed(2).padStart(8)} GB/s`,
};

{
  const { joined, streams } = tunnels(32, true);
  const payload = new Uint8Array(300);
  measure("echo of 300 bytes, one stream at a time", nanoseconds, () => {
    for (let i = 0; i < 1000; i++) {
      streams[i & 31]?.sendData(payload, false);
      joined.carry();
    }
    return 1000;
  });
  measure("echo of 300 bytes, 32 streams in one batch", nanoseconds, () => {
    for (let i = 0; i < 100; i++) {
      for (const stream of streams) stream.sendData(payload, false);
      joined.carry();
    }
    return 3200;
  });
}
for (const chunk of [4096, 16_384, 65_536, 262_144]) {
  const { joined, streams } = tunnels(1, false);
  const payload = new Uint8Array(chunk);
  const [stream] = streams;
  if (stream === undefined) throw new Error("no stream");
  joined.copies = false;
  measure(`bulk, chunks of ${chunk}, without the pipe's copy`, gigabytes, () => {
    for (let i = 0; i < 64; i++) {
      stream.sendData(payload, false);
      joined.carry();
    }
    return 64 * chunk;
  });
}
{
  const { joined } = tunnels(0, false);
  const sink = new Sink(false);
  measure("HBONE CONNECT, 200 and reset", nanoseconds, () => {
    for (let i = 0; i < 100; i++) {
      const headers = hbone.slice();
      headers[7] = `for="10.0.0.5:${40_000 + (i % 20_000)}"`;
      const stream = joined.client.request(headers, false, sink);
      joined.carry();
      stream?.reset(8);
      joined.carry();
    }
    return 100;
  });
}
{
  const { joined } = tunnels(0, true);
  const closing = new Sink(false);
  const end = new Uint8Array(0);
  measure("HBONE CONNECT, 200, ended both ways", nanoseconds, () => {
    for (let i = 0; i < 100; i++) {
      const stream = joined.client.request(hbone, false, closing);
      joined.carry();
      stream?.sendData(end, true);
      joined.carry();
    }
    if (joined.client.openStreams > 0) throw new Error("streams are left open");
    return 100;
  });
}
for (const huffman of [false, true]) {
  const encoder = new HpackEncoder({ maxTableBytes: 4096, huffman });
  const decoder = new HpackDecoder();
  const target = new Uint8Array(1024);
  let size = 0;
  let turn = 0;
  const headers = hbone.slice();
  const encode = () => {
    turn++;
    headers[7] = `for="10.0.0.5:${10_000 + (turn % 50_000)}"`;
    headers[9] = `00-0af7651916cd43dd8448eb211c8${10_000 + (turn % 50_000)}-b7ad6b7169203331-00`;
    size = encoder.encode(headers, target, 0);
  };
  measure(`HPACK encode, HBONE request${huffman ? ", Huffman" : ""}`, nanoseconds, () => {
    for (let i = 0; i < 1000; i++) encode();
    return 1000;
  });
  const seeding = new HpackEncoder({ maxTableBytes: 4096, huffman });
  decoder.decode(target, 0, seeding.encode(headers, target, 0), 65_536);
  size = seeding.encode(headers, target, 0);
  measure(`HPACK decode, HBONE request, ${size} bytes${huffman ? ", Huffman" : ""}`, nanoseconds, () => {
    for (let i = 0; i < 1000; i++) decoder.decode(target, 0, size, 65_536);
    return 1000;
  });
}
