import { describe, expect, test } from "bun:test";
import { type Normalisation, normaliseTarget } from "./normalise.ts";

/** Istio `tests/integration/security/normalization_test.go`, whole. */
const istio: Readonly<Record<string, readonly (readonly [Normalisation, string, string])[]>> = {
  "NONE leaves a path as it is": [
    ["NONE", "/", "/"],
    ["NONE", "/app#foo", "/app"],
    ["NONE", "/app/", "/app/"],
    ["NONE", "/app/../admin", "/app/../admin"],
    ["NONE", "/app", "/app"],
    ["NONE", "/app//", "/app//"],
    ["NONE", "/app/%2f", "/app/%2f"],
    ["NONE", "/app%2f/", "/app%2f/"],
    ["NONE", "/xyz%30..//abc", "/xyz%30..//abc"],
    ["NONE", "/app/%2E./admin", "/app/%2E./admin"],
    ["NONE", "/app\\admin", "/app\\admin"],
    ["NONE", "/app/\\/\\/\\admin", "/app/\\/\\/\\admin"],
    ["NONE", "/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc"],
    ["NONE", "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc", "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc"],
    ["NONE", "/app//../admin", "/app//../admin"],
    ["NONE", "/app//../../admin", "/app//../../admin"],
  ],
  "BASE is RFC 3986": [
    ["BASE", "/", "/"],
    ["BASE", "/app#foo", "/app"],
    ["BASE", "/app/", "/app/"],
    ["BASE", "/app/../admin", "/admin"],
    ["BASE", "/app", "/app"],
    ["BASE", "/app//", "/app//"],
    ["BASE", "/app/%2f", "/app/%2f"],
    ["BASE", "/app%2f/", "/app%2f/"],
    ["BASE", "/xyz%30..//abc", "/xyz0..//abc"],
    ["BASE", "/app/%2E./admin", "/admin"],
    ["BASE", "/app\\admin", "/app/admin"],
    ["BASE", "/app/\\/\\/\\admin", "/app//////admin"],
    ["BASE", "/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc"],
    ["BASE", "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc", "/%5Capp%2f%5c%2F..%2fadmin%5c/abc"],
    ["BASE", "/app//../admin", "/app/admin"],
    ["BASE", "/app//../../admin", "/admin"],
  ],
  "MERGE_SLASHES makes several slashes one": [
    ["MERGE_SLASHES", "/", "/"],
    ["MERGE_SLASHES", "/app#foo", "/app"],
    ["MERGE_SLASHES", "/app/", "/app/"],
    ["MERGE_SLASHES", "/app/../admin", "/admin"],
    ["MERGE_SLASHES", "/app//", "/app/"],
    ["MERGE_SLASHES", "/app/%2f", "/app/%2f"],
    ["MERGE_SLASHES", "/app%2f/", "/app%2f/"],
    ["MERGE_SLASHES", "/xyz%30..//abc", "/xyz0../abc"],
    ["MERGE_SLASHES", "/app/%2E./admin", "/admin"],
    ["MERGE_SLASHES", "/app\\admin", "/app/admin"],
    ["MERGE_SLASHES", "/app/\\/\\/\\admin", "/app/admin"],
    ["MERGE_SLASHES", "/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc"],
    ["MERGE_SLASHES", "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc", "/%5Capp%2f%5c%2F..%2fadmin%5c/abc"],
    ["MERGE_SLASHES", "/app//../admin", "/app/admin"],
    ["MERGE_SLASHES", "/app//../../admin", "/admin"],
  ],
  "DECODE_AND_MERGE_SLASHES decodes slashes too": [
    ["DECODE_AND_MERGE_SLASHES", "/app/%2f", "/app/"],
    ["DECODE_AND_MERGE_SLASHES", "/app%2f/", "/app/"],
    ["DECODE_AND_MERGE_SLASHES", "/xyz%30..//abc", "/xyz0../abc"],
    ["DECODE_AND_MERGE_SLASHES", "/app/%2E./admin", "/admin"],
    ["DECODE_AND_MERGE_SLASHES", "/app\\admin", "/app/admin"],
    ["DECODE_AND_MERGE_SLASHES", "/%2Fapp%5cadmin%5Cabc", "/app/admin/abc"],
    ["DECODE_AND_MERGE_SLASHES", "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc", "/app/admin/abc"],
    ["DECODE_AND_MERGE_SLASHES", "/app//../admin", "/app/admin"],
    ["DECODE_AND_MERGE_SLASHES", "/app//../../admin", "/admin"],
    ["DECODE_AND_MERGE_SLASHES", "/%c0%2e%c0%2e/admin", "/%c0.%c0./admin"],
    ["DECODE_AND_MERGE_SLASHES", "/%c0%2fadmin", "/%c0/admin"],
  ],
};

for (const [name, cases] of Object.entries(istio))
  describe(name, () => {
    test.each(cases.map((one) => [...one]))("%s: %s is %s", (how, target, expected) => {
      expect(normaliseTarget(target, how as Normalisation)).toBe(expected);
    });
  });

test.each(
  [
    ...[
      "/0x2e0x2e/admin",
      "/0x2e0x2e0x2fadmin",
      "/0x2f0x2fadmin",
      "/0x5c0x5cadmin",
      "/.../admin",
      "/..../admin",
    ],
    ...["/%25c0%25ae%25c1%259cadmin", "/%25c0%25afadmin", "/%252e%252e/admin", "/%252e%252e%252fadmin"],
    ...["/%c1%9cadmin", "/%c0%ae%c0%ae/admin", "/%c0%afadmin", "/..;/admin", "/;/admin", "/admin;a=b/xyz"],
    ...["/admin,a=b/xyz", "/Admin", "/ADMIN"],
  ].map((target) => [target]),
)("what is no encoding of a path is left as it is: %s", (target) => {
  expect(normaliseTarget(target, "DECODE_AND_MERGE_SLASHES")).toBe(target);
});

test("of %01 to %ff those of unreserved characters and slashes are decoded, and no others", () => {
  for (let code = 1; code <= 0xff; code++) {
    const written = `/admin%${code.toString(16).padStart(2, "0")}`;
    const char = String.fromCharCode(code);
    const decoded = char === "\\" ? "/" : char;
    // Decoded, a dot at the end is still part of the segment.
    const expected = /[A-Za-z0-9._~/\\-]/.test(char) ? `/admin${decoded}` : written;
    expect(normaliseTarget(written, "DECODE_AND_MERGE_SLASHES")).toBe(expected);
  }
});

/** `CheckForNestedEscapes` of googleurl's `url_canon_path.cc`: the percent sign that would begin an escape is escaped itself. */
test.each([
  ["/%%361dmin", "/%2561dmin"],
  ["/%6%31dmin", "/%2561dmin"],
  ["/%%36%31dmin", "/%2561dmin"],
  ["/%%32f/admin", "/%252f/admin"],
  ["/%2%66/admin", "/%252f/admin"],
  ["/%%32e%2%65/admin", "/%252e%252e/admin"],
  ["/%%30%30", "/%2500"],
  ["/%%36", "/%6"],
  ["/%%36g", "/%6g"],
  ["/%a%7a", "/%az"],
  ["/%%%36", "/%%6"],
  ["/%zz%36%31", "/%zz61"],
])("no escape is made of pieces: %s is %s", (target, expected) => {
  for (const how of ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] as const) {
    expect(normaliseTarget(target, how)).toBe(expected);
    expect(normaliseTarget(expected, how)).toBe(expected);
  }
});

test("a NUL is refused", () => {
  expect(normaliseTarget("/admin\0", "BASE")).toBeNull();
  expect(normaliseTarget("/admin%00", "BASE")).toBeNull();
  expect(normaliseTarget("/admin%00", "NONE")).toBe("/admin%00");
});

test("what is normalised stays as it is, and the query is not touched", () => {
  const signs = ["/", "..", ".", "%2f", "%2e", "\\", "%5C", "a", "%41", "%", "%zz", "?", "//", "é", " "];
  let seed = 7;
  for (let i = 0; i < 5_000; i++) {
    let target = "/";
    for (let j = 0; j < 6; j++) {
      seed = (seed * 48_271) % 2_147_483_647;
      target += signs[seed % signs.length] ?? "";
    }
    for (const how of ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] as const) {
      const once = normaliseTarget(target, how);
      if (once === null) continue;
      expect(once.startsWith("/")).toBe(true);
      const query = target.indexOf("?");
      if (query !== -1) expect(once.slice(once.indexOf("?"))).toBe(target.slice(query));
      const path = once.split("?")[0] ?? "";
      expect(path.split("/")).not.toContain("..");
      expect(normaliseTarget(once, how)).toBe(once);
    }
  }
});
