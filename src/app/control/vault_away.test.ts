/** A whole control plane whose CA's key is in Vault's transit engine, started while that is away in each of the ways it can be. */
import { expect, test } from "bun:test";
import { identityLimits } from "../../base/limits/control.ts";
import { json } from "../../control/keys/testing/fake_vault.ts";
import type { HttpResponse } from "../../host/host.ts";
import { type Answer, ControlInMemory, cart, servingSerial } from "./testing/control_in_memory.ts";

const day = 86_400_000;

const ways: readonly (readonly [what: string, answer: Answer | null, said: RegExp])[] = [
  ["gone", null, /connection refused|ECONNREFUSED/i],
  ["frozen: it takes requests and answers none", () => new Promise(() => {}), /no answer of vault\.example/],
  ["sealed", () => json(503, { errors: ["Vault is sealed"] }), /sealed/],
  ["a standby that sends on", () => json(307, {}), /standby/],
  ["talking of something else", () => html("<html>It works!</html>"), /did not answer with JSON/],
  ["answering 10 MB", () => html(`{"data": "${"x".repeat(10_000_000)}"}`), /longer than allowed/],
  ["forgetting who we are", () => json(403, { errors: ["permission denied"] }), /permission denied/],
  ["without the key", () => json(404, { errors: [] }), /there is no such thing/],
];

function html(text: string): HttpResponse {
  return { status: 200, headers: {}, body: new TextEncoder().encode(text) };
}

for (const [what, answer, said] of ways)
  test(`with Vault ${what}, it starts, serves and administers, says why it issues nothing, and comes back by itself`, async () => {
    const w = new ControlInMemory("vault-transit");
    const first = await w.start();
    expect([first.pending(), await w.issue(first)]).toEqual([[], "a chain of 2"]);
    const shown = servingSerial(first);
    const { rootsPem, crls } = first.parts.authority.bundle.value;
    await w.world.settle(first.stop());

    w.vaultIs(answer);
    const begunMs = w.world.nowMs;
    const second = await w.start();
    expect(w.world.nowMs - begunMs).toBeLessThan(20_000);
    expect(servingSerial(second)).toBe(shown);
    expect(second.parts.authority.bundle.value).toMatchObject({ rootsPem, crls });
    expect(second.pending().join()).toMatch(said);
    expect(await w.issue(second)).toStartWith("authority_unavailable: ");
    // Administration: a revocation is durable and said to wait, a join line has its pin.
    const outcome = await w.world.settle(
      w.sources(second).revocations.revoke({ kind: "identity", value: cart.uri }, "", "ada", ""),
    );
    expect(outcome.serialNumbers).toHaveLength(1);
    expect(outcome.pending).not.toBeNull();
    const { line } = await w.world.settle(
      second.parts.identity.joinTokens.create({ binding: { kind: "node", node: "n" }, createdBy: "ada" }),
    );
    expect(line).toContain("sha256:");

    w.vaultIsBack();
    await w.run(90_000);
    expect(second.pending()).toEqual([]);
    expect(servingSerial(second)).not.toBe(shown);
    expect(second.parts.authority.bundle.value.crls).not.toEqual(crls);
    expect(
      w
        .sources(second)
        .authority.list()
        .map((one) => one.unavailable),
    ).toEqual([null, null]);
    await w.world.settle(second.stop());
  });

test("a last certificate that has ended, or was revoked, is not served with: the refusal says what is missing", async () => {
  for (const spoil of ["ended", "revoked"] as const) {
    const w = new ControlInMemory("vault-transit");
    const first = await w.start();
    if (spoil === "revoked")
      await w.world.settle(
        w.sources(first).revocations.revoke({ kind: "serial", value: servingSerial(first) }, "", "ada", ""),
      );
    await w.world.settle(first.stop());
    w.vaultIs(null);
    if (spoil === "ended") w.machine.jumpWall(identityLimits.servingLifetimeMs + day);
    const outcome = await w.start().then(
      () => "it started",
      (thrown: Error) => thrown.message,
    );
    expect(outcome).toMatch(
      spoil === "ended"
        ? /there is no certificate of before to serve with: it ended at/
        : /there is no certificate of before to serve with: it is revoked/,
    );
  }
});

test("the first start of all needs Vault, and says so", async () => {
  const w = new ControlInMemory("vault-transit");
  w.vaultIs(null);
  const outcome = await w.start().then(
    () => "it started",
    (thrown: Error) => thrown.message,
  );
  expect(outcome).toContain("Vault at https://vault.example:8200");
  // Nothing half made is in the way of the next one.
  w.vaultIsBack();
  expect((await w.start()).pending()).toEqual([]);
});
