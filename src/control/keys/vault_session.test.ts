import { describe, expect, test } from "bun:test";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { FakeVault, gone, json } from "./testing/fake_vault.ts";
import { newClock } from "./testing/fixture.ts";
import { asRecord, numberField, readVaultAnswer } from "./vault_answer.ts";
import { VaultConnection, vaultPath } from "./vault_connection.ts";
import { type VaultOptions, VaultSession } from "./vault_session.ts";

const address = { url: "https://vault.example:8200/", namespace: "team", trustedRootsPem: "ROOT" };

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    (value) => JSON.stringify(value),
    (error) => {
      const { code, blame, message } = asMeshError(error, "io", "local");
      return `${code} ${blame}: ${message}`;
    },
  );
}

function open(vault: FakeVault, more: Partial<VaultOptions> = {}) {
  const [clock, files] = [newClock(), new MemoryFiles()];
  files.put("secret-id", "secret\n");
  const random = { fill: () => {}, float: () => 0.5 };
  const secretId = { kind: "file", path: "secret-id" } as const;
  const auth = { kind: "approle", mount: "approle", roleId: "role", secretId } as const;
  const session = new VaultSession({
    http: vault,
    files,
    clock,
    random,
    logger: silentLogger,
    address,
    auth,
    ...more,
  });
  return { session, clock, files };
}

describe("a session with Vault", () => {
  test("logs in once for all who ask, and sends token, name space, bounds and roots", async () => {
    const vault = new FakeVault();
    const { session } = open(vault);
    const answers = await Promise.all(Array.from({ length: 5 }, () => session.request("GET", "secret/one")));
    expect(answers).toEqual(Array.from({ length: 5 }, () => ({ value: "yes" })));
    expect(vault.logins).toBe(1);
    expect(vault.requests.at(-1)).toMatchObject({
      url: "https://vault.example:8200/v1/secret/one",
      headers: { "x-vault-token": "token-1", "x-vault-namespace": "team", "x-vault-request": "true" },
      timeoutMs: keysLimits.vaultTimeoutMs,
      maxResponseBytes: keysLimits.maxVaultResponseBytes,
      reach: "any",
      trustedRootsPem: "ROOT",
    });
    session.close();
  });

  test("keeps its token alive while no caller asks, and logs in again when the lease gets short", async () => {
    const vault = new FakeVault();
    const { session, clock } = open(vault);
    await session.request("GET", "x");
    await clock.advance(10 * 60_000);
    expect(vault.renewals).toBeGreaterThanOrEqual(14);
    expect(vault.logins).toBe(1);
    vault.leaseSeconds = 10;
    await clock.advance(60_000);
    expect(vault.logins).toBe(2);
    session.close();
    const { length } = vault.requests;
    await clock.advance(10 * 60_000);
    expect(vault.requests.length).toBe(length);
  });

  test("logs in again when its token is no longer known, and tells a refusal from that", async () => {
    const vault = new FakeVault((request) =>
      request.url.endsWith("/forbidden")
        ? json(403, { errors: ["1 error occurred:\n\t* permission denied"] })
        : json(204, null),
    );
    const { session } = open(vault);
    expect(await session.request("POST", "fine", {})).toEqual({});
    vault.forgetTokens();
    expect(await session.request("POST", "fine", {})).toEqual({});
    expect(vault.logins).toBe(2);
    expect(await failure(session.request("GET", "forbidden"))).toBe(
      "authority_unavailable local: Vault at https://vault.example:8200: GET forbidden: permission denied (1 error occurred: * permission denied)",
    );
    // One more login to be sure, and no storm of them.
    expect(vault.logins).toBe(3);
  });

  test("reads a secret again for each login", async () => {
    const vault = new FakeVault();
    const { session, files } = open(vault);
    files.put("secret-id", "stale");
    expect(await failure(session.request("GET", "x"))).toContain("invalid role or secret ID");
    files.put("secret-id", "secret");
    expect(await session.request("GET", "x")).toEqual({ value: "yes" });
    files.put("secret-id", "two\r\nlines");
    vault.forgetTokens();
    expect(await failure(session.request("GET", "x"))).toContain("does not have a secret");
  });

  test("waits for a bounded time while Vault is away or sealed, and goes on when it is back", async () => {
    const vault = new FakeVault();
    const { session, clock } = open(vault);
    await session.request("GET", "x");
    vault.fault = () => json(503, { errors: ["Vault is sealed"] });
    const waiting = failure(session.request("GET", "x"));
    await clock.advance(keysLimits.keyWaitMs);
    expect(await waiting).toBe(
      "authority_unavailable upstream: Vault at https://vault.example:8200: it is sealed or in maintenance (Vault is sealed)",
    );
    expect(session.status()).toMatchObject({
      state: "away",
      message: "it is sealed or in maintenance (Vault is sealed)",
    });
    expect(vault.requests.length).toBeLessThan(12);
    vault.fault = gone;
    const patient = failure(session.request("GET", "x"));
    await clock.advance(3_000);
    vault.fault = null;
    await clock.advance(5_000);
    expect(await patient).toBe('{"value":"yes"}');
    expect(session.status().state).toBe("ready");
    // The time counts from the question, so that whoever waits in line does not wait for longer.
    vault.fault = gone;
    const crowd = Array.from({ length: 3 * keysLimits.maxVaultRequests }, () =>
      failure(session.request("GET", "x")),
    );
    await clock.advance(keysLimits.keyWaitMs);
    for (const one of await Promise.all(crowd)) expect(one).toStartWith("authority_unavailable upstream");
    session.close();
  });

  test("says in the log when Vault goes and comes, once each, and how it is", async () => {
    const vault = new FakeVault();
    const lines: string[] = [];
    const logger = {
      log: (level: string, _target: string, message: string, fields = {}) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    };
    const { session, clock } = open(vault, { logger });
    const name = "https://vault.example:8200";
    expect(session.status()).toEqual({ address: name, state: "new", message: null });
    for (let times = 0; times < 2; times++) await session.request("GET", "x");
    expect(lines).toEqual([
      `info logged in {"address":"${name}","lease_ms":60000}`,
      `info Vault is ready {"address":"${name}","error":null}`,
    ]);
    lines.length = 0;
    vault.fault = gone;
    for (let times = 0; times < 2; times++) {
      const waiting = failure(session.request("GET", "x"));
      await clock.advance(keysLimits.keyWaitMs);
      expect(await waiting).toContain("connection refused");
    }
    expect(lines).toEqual([`warn Vault is away {"address":"${name}","error":"connection refused"}`]);
    vault.fault = null;
    await session.request("GET", "x");
    expect(lines.slice(1)).toEqual([`info Vault is ready {"address":"${name}","error":null}`]);
    expect(session.status()).toEqual({ address: name, state: "ready", message: null });
    session.close();
  });

  test("has nothing where Vault has nothing, and asks nothing once it is closed", async () => {
    const vault = new FakeVault((request) =>
      json(request.url.endsWith("/none") ? 404 : 200, { data: { value: 7 } }),
    );
    const { session } = open(vault);
    expect(await session.request("GET", "none")).toBeNull();
    expect(await session.request("POST", "some", { a: 1 })).toEqual({ value: 7 });
    const [without, withBody] = vault.requests.slice(-2);
    expect([without?.headers?.["content-type"], without?.body]).toEqual([undefined, undefined]);
    expect([withBody?.headers?.["content-type"], new TextDecoder().decode(withBody?.body)]).toEqual([
      "application/json",
      '{"a":1}',
    ]);
    session.close();
    const { length } = vault.requests;
    expect(await failure(session.request("GET", "some"))).toBe("stopped local: the control plane stops");
    expect(vault.requests.length).toBe(length);
  });

  test("goes on with a token that cannot be renewed for now, and replaces one that cannot be renewed at all", async () => {
    const vault = new FakeVault();
    const { session, clock } = open(vault);
    await session.request("GET", "x");
    vault.fault = gone;
    await clock.advance(45_000);
    vault.fault = null;
    // Its token is good for the rest of its lease: no login is tried meanwhile.
    expect(vault.requests.filter(({ url }) => url.endsWith("/login"))).toHaveLength(1);
    expect([vault.logins, vault.renewals]).toEqual([1, 0]);
    await clock.advance(keysLimits.vaultBackoff.backoffMaxMs);
    expect([vault.logins, vault.renewals > 0]).toEqual([1, true]);
    session.close();
    const endless = new FakeVault();
    endless.leaseSeconds = 0;
    const forever = open(endless);
    await forever.session.request("GET", "x");
    await forever.clock.advance(10 * 60_000);
    expect([endless.logins, endless.renewals]).toEqual([1, 0]);
    forever.session.close();
    const fixed = new FakeVault();
    fixed.isRenewable = false;
    const other = open(fixed);
    await other.session.request("GET", "x");
    await other.clock.advance(50_000);
    expect([fixed.logins, fixed.renewals]).toEqual([2, 0]);
    other.session.close();
  });

  test("does not follow to where a standby points, and refuses a crowd beyond its bound", async () => {
    const vault = new FakeVault();
    const { session, clock } = open(vault);
    vault.fault = () => ({ status: 307, headers: { location: "https://elsewhere" }, body: new Uint8Array() });
    const most = keysLimits.maxVaultRequests + keysLimits.maxVaultWaiting;
    const crowd = Array.from({ length: most + 1 }, () => failure(session.request("GET", "x")));
    await clock.advance(keysLimits.keyWaitMs);
    const said = await Promise.all(crowd);
    expect(said.at(-1)).toBe("limit_reached local: too many requests are waiting for Vault");
    expect(said[0]).toContain("it is a standby that redirects to another server");
    expect(vault.requests.every((one) => one.url.startsWith("https://vault.example:8200/v1/"))).toBe(true);
    session.close();
  });
});

test("what is no answer of Vault's is no absence of it: a bug is thrown, and what is wrong here too", async () => {
  const send = async (thrown: Error): Promise<unknown> => {
    const http = {
      send: async () => {
        throw thrown;
      },
    };
    const request = { method: "GET", path: "x", token: null, body: null } as const;
    return await new VaultConnection(http, address).send(request).catch((error: unknown) => error);
  };
  const [bug, local] = [
    new TypeError("x is no function"),
    new MeshError("configuration", "local", "bad roots"),
  ];
  expect([await send(bug), await send(local)]).toEqual([bug, local]);
  expect(await send(new MeshError("connect_refused", "upstream", "refused"))).toEqual({
    kind: "away",
    message: "refused",
  });
  expect(await send(new MeshError("limit_reached", "upstream", "too long"))).toEqual({
    kind: "refused",
    message: "too long",
  });
});

test("a standby points elsewhere by every status of three hundred, and by no other", () => {
  const said = (status: number) => readVaultAnswer(json(status, {}));
  const elsewhere = { kind: "away", message: "it is a standby that redirects to another server" } as const;
  expect([said(300), said(307), said(399)]).toEqual([elsewhere, elsewhere, elsewhere]);
  expect([said(299).kind, said(400).kind]).toEqual(["refused", "refused"]);
});

test("of an answer only what is of its type is read", () => {
  for (const none of [5, "x", null, undefined, [1], true]) expect(asRecord(none)).toBeNull();
  expect(asRecord({ a: 1 })).toEqual({ a: 1 });
  const data = { text: "x", empty: "", number: 7, text_of_a_number: "7", endless: Number.POSITIVE_INFINITY };
  expect(Object.keys(data).map((name) => numberField(data, name))).toEqual([null, null, 7, null, null]);
});

describe("a session that is closed", () => {
  /** Answers wait for `release`. */
  function held() {
    const vault = new FakeVault();
    const waiting: (() => void)[] = [];
    let isHeld = false;
    const { session, clock } = open(vault, {
      http: {
        send: async (request) => {
          const answer = await vault.send(request);
          if (isHeld) await new Promise<void>((resolve) => waiting.push(resolve));
          return answer;
        },
      },
    });
    return {
      ...{ vault, session, clock },
      hold: (): void => {
        isHeld = true;
      },
      release: async (): Promise<void> => {
        isHeld = false;
        for (const go of waiting.splice(0)) go();
        await clock.advance(0);
      },
    };
  }

  test("while it logs in keeps no token, and no timer", async () => {
    const { session, clock, hold, release } = held();
    hold();
    const asked = failure(session.request("GET", "x"));
    await clock.advance(0);
    session.close();
    await release();
    await asked;
    expect(clock.timers).toBe(0);
  });

  test("while it renews its token, or gets another, renews nothing more", async () => {
    for (const isRenewable of [true, false]) {
      const { vault, session, clock, hold, release } = held();
      vault.isRenewable = isRenewable;
      await session.request("GET", "x");
      hold();
      await clock.advance(59_000);
      expect([vault.renewals, vault.logins]).toEqual(isRenewable ? [1, 1] : [0, 2]);
      session.close();
      await release();
      expect([clock.timers, vault.renewals + vault.logins]).toEqual([0, 2]);
    }
  });

  test("a token that was lost meanwhile is not kept alive in the place of the new one", async () => {
    const { vault, session, clock, hold, release } = held();
    await session.request("GET", "x");
    hold();
    await clock.advance(59_000);
    expect(vault.renewals).toBe(1);
    vault.forgetTokens();
    await release();
    expect(await session.request("GET", "x")).toEqual({ value: "yes" });
    expect(clock.timers).toBe(1);
    expect(vault.requests.at(-1)?.headers?.["x-vault-token"]).toBe("token-2");
    session.close();
  });
});

test("a login at a mount that is not there is a refusal, and not an absence of what was asked for", async () => {
  const vault = new FakeVault();
  vault.fault = () => json(404, { errors: [] });
  const { session } = open(vault);
  expect(await failure(session.request("GET", "x"))).toBe(
    "authority_unavailable local: Vault at https://vault.example:8200: GET x: login: there is no such thing",
  );
  session.close();
});

test("what Vault says is bounded and put on one line", () => {
  const answer = readVaultAnswer(json(400, { errors: ["a\nb".padEnd(100_000, "x")] }));
  if (answer.kind !== "refused") throw new Error(answer.kind);
  expect(answer.message.length).toBeLessThan(keysLimits.maxVaultErrorLength + 20);
  expect(answer.message).toStartWith("status 400 (a b");
  expect(readVaultAnswer({ status: 200, headers: {}, body: new TextEncoder().encode("<html>") }).kind).toBe(
    "refused",
  );
});

test("tokens are not sent in the open, nor to an address that is none", () => {
  const connect = (url: string): string => {
    try {
      return new VaultConnection(new FakeVault(), { ...address, url }).name;
    } catch (error) {
      return asMeshError(error, "io", "local").message;
    }
  };
  expect(connect("http://127.0.0.1:8200")).toBe("http://127.0.0.1:8200");
  expect(connect("https://vault.example/prefix/")).toBe("https://vault.example/prefix");
  expect(connect("http://vault.example:8200")).toContain("has to be reached by https");
  for (const bad of ["vault:8200", "ftp://x", "https://user:word@x", "https://x/?a", "https://x/#a", ""])
    expect(connect(bad)).toContain("is not an http(s) URL");
});

test("a mount is a path and nothing else", () => {
  expect(vaultPath("/team/pki/", "the mount")).toBe("team/pki");
  for (const bad of ["", "..", "a/../b", "a//b", "a?b", "a b", "a%2e", "a\nb"])
    expect(() => vaultPath(bad, "the mount")).toThrow("the mount of Vault cannot be");
});
