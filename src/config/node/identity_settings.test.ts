import { describe, expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { loadConfig } from "../load.ts";
import type { SettingName } from "../settings.ts";
import { Invalid } from "../value.ts";
import { readSocketMode } from "./identity_settings.ts";

type Flags = Partial<Record<SettingName, readonly string[]>>;

function load(flags: Flags) {
  const all = { mesh: ["mesh.yaml"], ...flags };
  return loadConfig({
    flags: new Map(Object.entries(all) as [SettingName, readonly string[]][]),
    environment: { HOME: "/h" },
    file: null,
  });
}

const errorsOf = (flags: Flags): string[] =>
  load(flags).errors.map(({ where, message }) => `${where}: ${message}`);

const rules = ["uid=1001=shop/cart", "uid=0,gid=7=spiffe://mesh.example/ns/shop/sa/web"];

describe("the identity socket in the configuration", () => {
  test("a path and its rules, which may be of a trust domain that is learned later", () => {
    expect(load({}).config?.identitySocket).toBeNull();
    expect(load({ identitySocket: ["/run/i.sock"], identityFor: rules }).config?.identitySocket).toEqual({
      path: "/run/i.sock",
      mode: 0o666,
      rules,
    });
  });

  for (const [text, mode] of [
    ["600", 0o600],
    ["0660", 0o660],
  ] as const)
    test(`mode ${text}`, () => {
      const { config } = load({
        identitySocket: ["/s"],
        identityFor: rules,
        identitySocketMode: [text],
      });
      expect(config?.identitySocket?.mode).toBe(mode);
    });

  test("either without the other is a lost word", () => {
    expect(errorsOf({ identitySocket: ["/s"] })).toEqual([
      "--identity-socket: needs --identity-for: without it, no program gets an identity there",
    ]);
    expect(errorsOf({ identityFor: rules })).toEqual(["--identity-for: needs --identity-socket PATH"]);
  });

  test("as many rules as there is room for, and not one more", () => {
    const users = (count: number) => Array.from({ length: count }, (_, uid) => `uid=${uid}=shop/cart`);
    const { maxIdentityRules } = workloadApiLimits;
    expect(errorsOf({ identitySocket: ["/s"], identityFor: users(maxIdentityRules) })).toEqual([]);
    expect(errorsOf({ identitySocket: ["/s"], identityFor: users(maxIdentityRules + 1) })).toEqual([
      "--identity-for: given 1001 times; at most 1000",
    ]);
  });

  for (const text of ["cart", "uid=1=fairlead-nodes/edge-1", "pid=1=shop/cart", "uid=1=spiffe://x/y"])
    test(`${text} is no rule`, () => {
      const errors = errorsOf({ identitySocket: ["/s"], identityFor: [text] });
      expect(errors[0]).toStartWith(`--identity-for: "${text}" is no rule: `);
    });

  for (const text of ["", "66", "0888", "1777", "rw"])
    test(`"${text}" is no mode`, () => {
      const flags = { identitySocket: ["/s"], identityFor: rules, identitySocketMode: [text] };
      expect(errorsOf(flags)[0]).toContain("not a file mode such as 0660");
    });
});

test("a socket's mode is three octal digits, and neither setuid nor sticky", () => {
  expect([readSocketMode("0660"), readSocketMode("777"), readSocketMode("000")]).toEqual([0o660, 0o777, 0]);
  for (const text of ["4755", "1777", "0o660", "668", "66", "", "rw-rw----"])
    expect(readSocketMode(text)).toBeInstanceOf(Invalid);
});
