import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { cpuTimer } from "../../base/testing/cpu_time.ts";
import { frameMessage, MessageReader } from "./message_reader.ts";
import { GrpcError, grpcCode } from "./status.ts";

function reader(
  maxMessageBytes = 1 << 20,
  encoding: string | null = null,
  end: "client" | "server" = "server",
) {
  return new MessageReader({ maxMessageBytes, encoding, end });
}

function framed(...messages: Uint8Array[]): Uint8Array {
  return Buffer.concat(messages.flatMap((message) => frameMessage(message)));
}

function drain(from: MessageReader): (Uint8Array | GrpcError)[] {
  const found: (Uint8Array | GrpcError)[] = [];
  for (let next = from.next(); next !== null; next = from.next()) {
    found.push(next instanceof GrpcError ? next : next.slice());
    if (next instanceof GrpcError) break;
  }
  return found;
}

const message = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff);

describe("Length-Prefixed-Message", () => {
  test("however the bytes are cut, the messages are the same", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40_000 }), { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 50 }),
        (messages, cuts) => {
          const bytes = framed(...messages);
          const machine = reader();
          const found: (Uint8Array | GrpcError)[] = [];
          let read = 0;
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = cuts[turn % cuts.length] ?? 1;
            machine.push(bytes.slice(at, at + size));
            at += size;
            found.push(...drain(machine));
            read += machine.takeReadBytes();
          }
          expect(
            found.map((each) => (each instanceof GrpcError ? each : Buffer.from(each).toString("hex"))),
          ).toEqual(messages.map((each) => Buffer.from(each).toString("hex")));
          expect(read).toBe(bytes.length);
          expect(machine.atBoundary).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  test("byte by byte, a message of 300 KiB costs a linear number of copied bytes", () => {
    const sent = message(300 * 1024);
    const machine = reader();
    const bytes = framed(sent);
    const cpuMs = cpuTimer();
    for (const byte of bytes) {
      machine.push(Uint8Array.of(byte));
      if (machine.next() === null) continue;
    }
    // Quadratic copying would move 45 GB.
    expect(cpuMs()).toBeLessThan(5_000);
    expect(machine.atBoundary).toBe(true);
  });

  test("a message that lies whole in a piece is a view of it", () => {
    const bytes = new Uint8Array(framed(message(100), message(50)));
    const machine = reader();
    machine.push(bytes);
    const first = machine.next();
    expect(first instanceof Uint8Array && first.buffer === bytes.buffer).toBe(true);
  });

  test("what is promised is not allocated before it comes", () => {
    const machine = reader(200 << 20);
    machine.push(Uint8Array.of(0, 0x0c, 0x80, 0, 0, 1));
    expect(machine.next()).toBeNull();
    expect(machine.assembledBytes).toBe(1);
  });

  test("a message of the bound is taken, of one byte more it is RESOURCE_EXHAUSTED before its body came", () => {
    const exact = reader(1_000);
    exact.push(framed(message(1_000)));
    expect(drain(exact)).toEqual([message(1_000)]);
    const over = reader(1_000);
    over.push(framed(message(1_001)).subarray(0, 5));
    expect(over.next()).toMatchObject({ code: grpcCode.resourceExhausted });
    expect(over.next()).toMatchObject({ code: grpcCode.resourceExhausted });
  });

  test("Compressed-Flag: unknown encodings are UNIMPLEMENTED by a server and INTERNAL by a client, a lie is INTERNAL", () => {
    const flagged = (encoding: string | null, end: "client" | "server", flag = 1) => {
      const machine = reader(1_000, encoding, end);
      machine.push(Uint8Array.of(flag, 0, 0, 0, 0));
      return machine.next();
    };
    expect(flagged("gzip", "server")).toMatchObject({ code: grpcCode.unimplemented });
    expect(flagged("gzip", "client")).toMatchObject({ code: grpcCode.internal });
    expect(flagged(null, "server")).toMatchObject({ code: grpcCode.internal });
    expect(flagged("identity", "server")).toMatchObject({ code: grpcCode.internal });
    expect(flagged("gzip", "server", 2)).toMatchObject({ code: grpcCode.internal });
  });

  test("dropping counts every byte that was not taken", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 3_000 }),
        fc.integer({ min: 0, max: 3 }),
        (body, reads) => {
          const machine = reader();
          const bytes = framed(body, body, body);
          machine.push(bytes.subarray(0, 7));
          machine.push(bytes.subarray(7));
          for (let index = 0; index < reads; index++) machine.next();
          const taken = machine.takeReadBytes();
          expect(taken + machine.drop()).toBe(bytes.length);
        },
      ),
    );
  });
});
