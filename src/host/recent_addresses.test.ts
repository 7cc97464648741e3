import { describe, expect, test } from "bun:test";
import { RecentAddresses } from "./recent_addresses.ts";

const v4 = (...bytes: number[]) => Uint8Array.from(bytes);
const v6 = (last: number) => Uint8Array.from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);

describe("addresses that were seen before", () => {
  test("the same bytes are the same object, of either family", () => {
    const recent = new RecentAddresses();
    for (const bytes of [v4(10, 0, 0, 7), v6(1)]) {
      const first = recent.of(bytes);
      expect(first?.bytes).toEqual(bytes);
      expect(recent.of(bytes.slice())).toBe(first);
    }
  });

  test("other bytes are another address, also in the same place", () => {
    const recent = new RecentAddresses();
    const texts = new Map<string, object | null>();
    // More than there are places: each is right whatever had its place before.
    for (let round = 0; round < 2; round++)
      for (let low = 0; low < 2048; low++) {
        const address = recent.of(v4(10, 1, low >> 8, low & 255));
        expect(address?.text).toBe(`10.1.${low >> 8}.${low & 255}`);
        texts.set(address?.text ?? "", address);
      }
    expect(texts.size).toBe(2048);
  });

  test("what the caller writes over afterwards changes nothing", () => {
    const recent = new RecentAddresses();
    const scratch = v4(192, 0, 2, 1);
    const first = recent.of(scratch);
    scratch[3] = 2;
    expect([first?.text, recent.of(scratch)?.text]).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  test("an IPv4-mapped address is its IPv4 address, and bytes of no family are none", () => {
    const recent = new RecentAddresses();
    const mapped = Uint8Array.from([...new Array(10).fill(0), 0xff, 0xff, 10, 0, 0, 7]);
    expect([recent.of(mapped)?.text, recent.of(mapped)?.text]).toEqual(["10.0.0.7", "10.0.0.7"]);
    expect(recent.of(v4(1, 2, 3))).toBeNull();
  });
});
