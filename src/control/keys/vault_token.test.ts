import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import type { VaultConnection } from "./vault_connection.ts";
import { isToken, obtainToken, renewToken, type VaultAuth } from "./vault_token.ts";

function bench(answer: unknown) {
  const asked: unknown[] = [];
  const connection = {
    send: async (request: unknown) => {
      asked.push(request);
      return answer;
    },
  } as unknown as VaultConnection;
  const files = new MemoryFiles();
  files.put("/token", "  s.file \n");
  files.put("/secret", "wrapped");
  return { asked, obtain: (auth: VaultAuth) => obtainToken(connection, auth, files), connection, files };
}

const ok = (body: unknown) => ({ kind: "ok", body });
const given: VaultAuth = { kind: "token", token: { kind: "value", value: "s.given" } };
const approle: VaultAuth = {
  kind: "approle",
  mount: "apps/role",
  roleId: "r-7",
  secretId: { kind: "file", path: "/secret" },
};

describe("a token that is given", () => {
  test("is looked up: its own lease, in milliseconds, and whether it can be renewed", async () => {
    const { asked, obtain } = bench(ok({ data: { ttl: 90, renewable: true } }));
    expect(await obtain(given)).toEqual({ token: "s.given", leaseMs: 90_000, isRenewable: true });
    expect(asked).toEqual([{ method: "GET", path: "auth/token/lookup-self", token: "s.given", body: null }]);
  });

  test("from a file, which may end in a line break; without a lease it never ends", async () => {
    const { obtain } = bench(ok({ data: { renewable: "yes" } }));
    expect(await obtain({ kind: "token", token: { kind: "file", path: "/token" } })).toEqual({
      token: "s.file",
      leaseMs: 0,
      isRenewable: false,
    });
  });

  test("what Vault says in its way is handed on", async () => {
    const refused = { kind: "refused", message: "permission denied" };
    expect(await bench(refused).obtain(given)).toEqual(refused as never);
  });

  test("is none with a line break in it, empty, or too long; and where it was is said, not what it is", async () => {
    for (const [value, isSecret] of [
      ["a b", false],
      ["a\nX-Vault-Token: b", false],
      ["", false],
      ["x".repeat(8_193), false],
      ["x".repeat(8_192), true],
    ] as const) {
      const { obtain, files } = bench(ok({}));
      files.put("/bad", value);
      const asked = [
        obtain({ kind: "token", token: { kind: "file", path: "/bad" } }),
        obtain({ kind: "token", token: { kind: "value", value } }),
      ] as const;
      if (isSecret) expect(await asked[0]).toMatchObject({ token: value });
      else
        expect([await rejectionOf(asked[0]), await rejectionOf(asked[1])]).toMatchObject([
          { code: "configuration", message: "the file /bad does not have a secret for Vault" },
          { code: "configuration", message: "the file the settings does not have a secret for Vault" },
        ]);
      await Promise.allSettled(asked);
    }
  });
});

describe("a login by AppRole", () => {
  test("names the role and its secret at its mount, and takes the token of the answer", async () => {
    const { asked, obtain } = bench(
      ok({ auth: { client_token: "s.new", lease_duration: 30, renewable: true } }),
    );
    expect(await obtain(approle)).toEqual({ token: "s.new", leaseMs: 30_000, isRenewable: true });
    expect(asked).toEqual([
      {
        method: "POST",
        path: "auth/apps/role/login",
        token: null,
        body: { role_id: "r-7", secret_id: "wrapped" },
      },
    ]);
  });

  test("without a secret where the role is bound otherwise; without a token in the answer it is refused", async () => {
    const { asked, obtain } = bench(ok({ auth: { lease_duration: 30 } }));
    expect(await obtain({ ...approle, secretId: null })).toEqual({
      kind: "refused",
      message: "its answer to a login has no token",
    });
    expect(asked).toMatchObject([{ body: { role_id: "r-7" } }]);
    expect(Object.keys((asked[0] as { body: object }).body)).toEqual(["role_id"]);
    const sealed = { kind: "sealed", message: "Vault is sealed" };
    expect(await bench(sealed).obtain(approle)).toEqual(sealed as never);
  });
});

test("a renewal asks for the whole lease of the token that is there", async () => {
  const before = { token: "s.now", leaseMs: 1, isRenewable: true };
  const { asked, connection } = bench(
    ok({ auth: { client_token: "s.now", lease_duration: 60, renewable: false } }),
  );
  const renewed = await renewToken(connection, before);
  expect(renewed).toEqual({ token: "s.now", leaseMs: 60_000, isRenewable: false });
  expect(asked).toEqual([{ method: "POST", path: "auth/token/renew-self", token: "s.now", body: {} }]);
  const refused = { kind: "refused", message: "lease expired" };
  const failed = await renewToken(bench(refused).connection, before);
  expect(failed).toEqual(refused as never);
  expect([isToken(renewed), isToken(failed)]).toEqual([true, false]);
});
