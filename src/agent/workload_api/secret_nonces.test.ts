import { expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { SecretNonces } from "./secret_nonces.ts";

test("an answer counts for the response that it names, and for no older one", () => {
  const nonces = new SecretNonces();
  const state = () => [nonces.acknowledged, nonces.refused];
  // Of the stream before.
  expect([nonces.receive("7", undefined), state()]).toEqual([true, [null, null]]);
  expect(nonces.next("v1")).toBe("1");
  expect([nonces.receive("", undefined), state()]).toEqual([true, [null, null]]);
  expect([nonces.receive("1", { message: "no" }), state()]).toEqual([
    true,
    [null, { version: "v1", reason: "no" }],
  ]);
  expect(nonces.next("v2")).toBe("2");
  expect([nonces.receive("1", undefined), state()]).toEqual([false, [null, { version: "v1", reason: "no" }]]);
  expect([nonces.receive("2", undefined), state()]).toEqual([true, ["v2", null]]);
});

test("of a refusal's words so many are kept", () => {
  const nonces = new SecretNonces();
  nonces.receive(nonces.next("v"), { message: `${"x".repeat(workloadApiLimits.maxNackChars)}y` });
  expect(nonces.refused?.reason).toBe("x".repeat(workloadApiLimits.maxNackChars));
});
