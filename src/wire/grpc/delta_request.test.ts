import { describe, expect, test } from "bun:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import { deltaRequestCodec } from "./delta_request.ts";
import type { MethodDescription } from "./method.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { CallPair, echoMethod, HandClock } from "./testing/calls.ts";

function decodeInSteps(bytes: Uint8Array) {
  const steps = deltaRequestCodec.decodeInSteps?.(bytes);
  if (steps === undefined) throw new Error("it cannot");
  return runSteps(steps);
}

function encode(fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): Uint8Array {
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, fields));
}

const text = fc.string({ maxLength: 12, unit: "grapheme" });

describe("a delta request that is read in steps", () => {
  test.each([
    ["a value that ends beyond its entry", "2a090a016112093132333432013263636363"],
    ["an unknown field that does", "2a090a04676d617849010203"],
    ["a field without a number", "2a060a016100ff01"],
    ["the start of a group", "2a050a0161130a"],
    ["a group around its entries", "732a060a0161120131742a00"],
    ["a name that is a number", "2a06080312026e6f"],
    ["a version that is a number", "2a050a01611003"],
  ])("refuses %s, at once and in steps", (_, hex) => {
    const bytes = Uint8Array.fromHex(hex);
    expect(() => deltaRequestCodec.decode(bytes)).toThrow();
    expect(() => decodeInSteps(bytes)).toThrow();
  });

  test("is what it is read at once, with what the client holds apart", () => {
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 5 }),
        fc.dictionary(text, text, { maxKeys: 20 }),
        text,
        (names, initialResourceVersions, responseNonce) => {
          const bytes = encode({ resourceNamesSubscribe: names, initialResourceVersions, responseNonce });
          const { heldEntries, ...rest } = decodeInSteps(bytes);
          expect(rest).toEqual({ ...deltaRequestCodec.decode(bytes), initialResourceVersions: {} });
          expect(new Map(heldEntries)).toEqual(new Map(Object.entries(initialResourceVersions)));
        },
      ),
    );
  });

  test("entries without a name or a version, and of one name, are as Protocol Buffers has them", () => {
    const entry = (...fields: readonly number[]) => [0x2a, fields.length, ...fields];
    const bytes = new Uint8Array([
      ...entry(),
      ...entry(0x0a, 1, 0x61),
      ...entry(0x12, 1, 0x31, 0x0a, 1, 0x62),
      ...entry(0x0a, 1, 0x62, 0x12, 1, 0x32),
      ...entry(0x0a, 1, 0x63, 0x12, 1, 0x33, 0x18, 0x05),
      // The same two fields, a length in more bytes than it takes.
      ...entry(0x0a, 0x81, 0x00, 0x64, 0x12, 1, 0x34),
      ...entry(0x0a, 1, 0x65, 0x12, 0x81, 0x00, 0x35),
      ...entry(0x0a, 2, 0xc3, 0xa9, 0x12, 1, 0x36),
    ]);
    expect(Object.fromEntries(decodeInSteps(bytes).heldEntries ?? [])).toEqual(
      deltaRequestCodec.decode(bytes).initialResourceVersions,
    );
  });

  test("whatever the bytes are, it refuses what is refused at once, or more", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        let message: unknown;
        try {
          message = decodeInSteps(bytes);
        } catch {
          return;
        }
        expect(message).toBeDefined();
        expect(() => deltaRequestCodec.decode(bytes)).not.toThrow();
      }),
      { numRuns: 5_000 },
    );
  });

  test("gives way again and again where there are many", () => {
    const held = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`name-${at}`, `${at}`]));
    const steps = deltaRequestCodec.decodeInSteps?.(encode({ initialResourceVersions: held }));
    let count = 0;
    while (steps?.next().done === false) count++;
    expect(count).toBeGreaterThan(20);
  });
});

/** A clock whose deferred work is done by hand; each look at it takes a while, so that every step is a turn. */
class TurnClock extends HandClock {
  #waiting: (() => void)[] = [];
  #looks = 0;

  override now(): number {
    this.#looks += 10;
    return super.now() + this.#looks;
  }

  defer(work: () => void): void {
    this.#waiting.push(work);
  }

  async turn(): Promise<boolean> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const work of waiting) work();
    for (let count = 0; count < 10; count++) await Promise.resolve();
    return waiting.length > 0;
  }
}

/** Decodes what is large in steps; what it decodes to is its length, and 255 refuses. */
const slow: MethodDescription<Uint8Array, Uint8Array> = {
  ...echoMethod,
  request: {
    ...echoMethod.request,
    *decodeInSteps(bytes) {
      for (let step = 0; step < 5; step++) yield;
      if (bytes[0] === 255) throw new GrpcError(grpcCode.invalidArgument, "too much");
      return bytes;
    },
  },
};

describe("a call whose message is decoded in steps", () => {
  class Lab {
    readonly clock = new TurnClock();
    readonly calls = new CallPair({ clock: this.clock });
    readonly told: string[] = [];
    readonly stream;
    readonly answers;
    onMessage: () => void = () => {};
    pause: () => void = () => {};
    resume: () => void = () => {};

    constructor() {
      this.calls.service.stream(slow, (stream) => {
        this.pause = () => stream.pause();
        this.resume = () => stream.resume();
        return {
          onMessage: (message) => {
            this.told.push(`${message.length}`);
            this.onMessage();
          },
          onHalfClose: () => {
            this.told.push("half close");
            stream.end();
          },
          onWritable: () => {},
          onClose: () => void this.told.push("close"),
        };
      });
      const { stream, answers } = this.calls.call({}, slow);
      this.stream = stream;
      this.answers = answers;
    }

    send(length: number, first = 0): void {
      const bytes = new Uint8Array(length);
      bytes[0] = first;
      this.stream.send(bytes);
      this.calls.pair.settle();
    }

    async settle(): Promise<void> {
      do this.calls.pair.settle();
      while (await this.clock.turn());
      this.calls.pair.settle();
    }
  }

  const large = grpcLimits.decodedAtOnceBytes + 1;

  test("is told before all that came behind it, its end too", async () => {
    const lab = new Lab();
    lab.send(large);
    lab.send(3);
    lab.send(large + 1);
    lab.stream.end();
    lab.calls.pair.settle();
    expect(lab.told).toEqual([]);
    await lab.settle();
    expect(lab.told).toEqual([`${large}`, "3", `${large + 1}`, "half close", "close"]);
    expect(lab.answers.code).toBe(0);
  });

  test("waits for a handler that has paused meanwhile", async () => {
    const lab = new Lab();
    lab.send(2);
    lab.onMessage = () => {};
    lab.send(large);
    await lab.clock.turn();
    lab.pause();
    await lab.settle();
    expect(lab.told).toEqual(["2"]);
    lab.resume();
    expect(lab.told).toEqual(["2", `${large}`]);
  });

  test("is refused with the reason of its decoder, and nothing behind it is looked at", async () => {
    const lab = new Lab();
    lab.send(large, 255);
    lab.send(3);
    await lab.settle();
    expect(lab.told).toEqual(["close"]);
    expect(lab.answers.code).toBe(grpcCode.invalidArgument);
  });

  test("is given up with the call", async () => {
    const lab = new Lab();
    lab.send(large);
    lab.stream.cancel();
    lab.calls.pair.settle();
    await lab.settle();
    expect(lab.told).toEqual(["close"]);
    expect(await lab.clock.turn()).toBe(false);
  });
});
