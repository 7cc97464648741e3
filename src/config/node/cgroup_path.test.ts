import { expect, test } from "bun:test";
import { captureLimits } from "../../base/limits/capture.ts";
import { parseCgroupPath } from "./cgroup_path.ts";

test("with or without slashes at its ends; systemd's names have backslashes and colons", () => {
  for (const [text, path] of [
    ["mesh.slice", "mesh.slice"],
    ["/system.slice/shop.service", "system.slice/shop.service"],
    ["system.slice/shop.service/", "system.slice/shop.service"],
    ["system.slice/dev-disk-by\\x2dlabel.swap", "system.slice/dev-disk-by\\x2dlabel.swap"],
    ["a b/c:d@1.service", "a b/c:d@1.service"],
  ] as const)
    expect(parseCgroupPath(text)).toBe(path);
});

test("the root, what leads elsewhere, and what would end a rule or a word of it are refused", () => {
  for (const text of ["", "/", "//a", "a//b", "a/../b", "..", "./a", 'a"b', "a\nb", "a\tb", "a\u0000"])
    expect(parseCgroupPath(text)).toBeNull();
});

test("no longer than iptables takes, no deeper than nftables counts", () => {
  const { maxCgroupPathBytes, maxCgroupDepth } = captureLimits;
  const long = "é".repeat(Math.floor(maxCgroupPathBytes / 2));
  expect(parseCgroupPath(`${long}a`)).toBe(`${long}a`);
  expect(parseCgroupPath(`${long}ab`)).toBeNull();
  const deep = Array.from({ length: maxCgroupDepth }, () => "d").join("/");
  expect(parseCgroupPath(deep)).toBe(deep);
  expect(parseCgroupPath(`${deep}/d`)).toBeNull();
});
