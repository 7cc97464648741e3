import { expect, test } from "bun:test";
import { versionSkew } from "./version_skew.ts";

test("one minor version apart works together, two do not, nor does another major version", () => {
  for (const [own, other, apart] of [
    ["0.4.0", "0.4.9", null],
    ["0.4.0", "0.3.2", null],
    ["0.4.0", "0.5.0-rc.1", null],
    ["0.4.0", "0.2.9", "older"],
    ["0.4.0", "0.6.0", "newer"],
    ["1.0.0", "0.9.0", "older"],
    ["1.9.3", "2.0.0", "newer"],
    ["1.10.0", "1.9.0", null],
    ["v1.10", "1.8", "older"],
  ] as const)
    expect([own, other, versionSkew(own, other)]).toEqual([own, other, apart]);
});

test("who says no version is not judged by it", () => {
  for (const other of ["", "unknown", "test", "1", "x.y.z", `${"9".repeat(40)}.1.0`])
    expect(versionSkew("0.1.0", other)).toBeNull();
});
