import { expect, test } from "bun:test";
import fc from "fast-check";
import { IpAddress } from "../../base/ip.ts";
import { type IpPrefix, prefixContains } from "../../base/prefix.ts";
import { PrefixIndex } from "./prefix_index.ts";

function address(bytes: readonly number[]): IpAddress {
  const ip = IpAddress.fromBytes(Uint8Array.from(bytes));
  if (ip === null) throw new Error("not an address");
  return ip;
}

/** Few distinct bytes, so that prefixes overlap and hit. */
const byte = fc.constantFrom(0, 10, 64, 127, 128, 255);
const ip = fc.oneof(
  fc.array(byte, { minLength: 4, maxLength: 4 }).map(address),
  fc.array(byte, { minLength: 16, maxLength: 16 }).map(address),
);
const prefix = fc
  .tuple(ip, fc.nat(128))
  .map(([base, length]): IpPrefix => ({ ip: base, length: length % (base.bytes.length * 8 + 1) }));

test("finds exactly the prefixes that hold the address, after any additions and removals", () => {
  fc.assert(
    fc.property(
      fc.array(prefix, { maxLength: 40 }),
      fc.array(fc.nat(39), { maxLength: 20 }),
      ip,
      (prefixes, removals, wanted) => {
        const index = new PrefixIndex<number>();
        for (const [value, entry] of prefixes.entries()) index.add(entry, value);
        const gone = new Set(removals);
        for (const value of gone) {
          const entry = prefixes[value];
          if (entry !== undefined) index.remove(entry, value);
        }
        const expected = prefixes.flatMap((entry, value) =>
          !gone.has(value) && prefixContains(entry, wanted) ? [value] : [],
        );
        const found: number[] = [];
        index.visit(wanted, (value, length) => {
          expect(length).toBe(prefixes[value]?.length ?? -1);
          found.push(value);
        });
        expect(found.sort((a, b) => a - b)).toEqual(expected);
      },
    ),
    { numRuns: 300 },
  );
});

test("is empty again when everything is removed", () => {
  const index = new PrefixIndex<string>();
  const ten: IpPrefix = { ip: address([10, 0, 0, 0]), length: 8 };
  index.add(ten, "a");
  index.remove(ten, "b");
  expect(index.isEmpty).toBe(false);
  index.remove(ten, "a");
  expect(index.isEmpty).toBe(true);
});
