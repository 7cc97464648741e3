/** How a session with Vault keeps a token, and how long it tries: each answer at the time when it is not wanted any more. */
import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { HttpRequest } from "../../host/host.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { FakeVault, gone, json } from "./testing/fake_vault.ts";
import { newClock } from "./testing/fixture.ts";
import { VaultSession } from "./vault_session.ts";
import type { VaultAuth } from "./vault_token.ts";

const { backoffStartMs, backoffMaxMs } = keysLimits.vaultBackoff;
const approle: VaultAuth = {
  kind: "approle",
  mount: "approle",
  roleId: "role",
  secretId: { kind: "value", value: "secret" },
};

/** The first answer to what `holds` names waits for `release`. */
function bench(auth: VaultAuth = approle, vault = new FakeVault()) {
  const clock = newClock();
  const lines: string[] = [];
  let holds: ((request: HttpRequest) => boolean) | null = null;
  let release = (): void => {};
  const session = new VaultSession({
    http: {
      send: async (request) => {
        const answer = await vault.send(request);
        if (holds?.(request) === true) {
          holds = null;
          await new Promise<void>((resolve) => {
            release = resolve;
          });
        }
        return answer;
      },
    },
    files: new MemoryFiles(),
    clock,
    random: { fill: () => {}, float: () => 0.5 },
    logger: { log: (level, _target, message) => void lines.push(`${level} ${message}`) },
    address: { url: "https://vault.example:8200", namespace: null, trustedRootsPem: null },
    auth,
  });
  const hold = (path: string): void => {
    holds = ({ url }) => url.endsWith(path);
  };
  return {
    ...{ vault, clock, session, lines, hold },
    release: async (): Promise<void> => {
      release();
      await clock.advance(0);
    },
  };
}

async function said(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "answered",
    (error) => {
      const { code, blame, message } = asMeshError(error, "io", "local");
      return `${code} ${blame}: ${message.replace("Vault at https://vault.example:8200: ", "")}`;
    },
  );
}

test("a renewal, or a login, that ends after its token was lost does not take the place of the new one", async () => {
  for (const [isRenewable, path] of [
    [true, "/renew-self"],
    [false, "/login"],
  ] as const) {
    const { vault, clock, session, hold, release } = bench();
    vault.isRenewable = isRenewable;
    await session.request("GET", "x");
    hold(path);
    await clock.advance(59_000);
    vault.forgetTokens();
    await session.request("GET", "x");
    const { logins } = vault;
    await release();
    expect([clock.timers, vault.logins]).toEqual([1, logins]);
    await session.request("GET", "x");
    expect(vault.logins).toBe(logins);
    session.close();
  }
});

test("a lease of half the former is taken, and for a shorter one there is another login", async () => {
  for (const [leaseSeconds, logins] of [
    [30, 1],
    [29, 2],
  ] as const) {
    const { vault, clock, session } = bench();
    await session.request("GET", "x");
    vault.leaseSeconds = leaseSeconds;
    await clock.advance(41_000);
    expect([vault.renewals, vault.logins]).toEqual([1, logins]);
    session.close();
  }
});

test("a login that is refused while the old token is good is said, and tried again", async () => {
  const { vault, clock, session, lines } = bench();
  vault.isRenewable = false;
  await session.request("GET", "x");
  vault.fault = () => json(400, { errors: ["no"] });
  await clock.advance(41_000);
  expect(lines.slice(-1)).toEqual(["warn no new token"]);
  vault.fault = null;
  expect(vault.logins).toBe(1);
  await clock.advance(backoffMaxMs);
  expect([vault.logins, clock.timers]).toEqual([2, 1]);
  session.close();
});

test("a token of a file that ends, and is there again, is told as one that cannot be replaced", async () => {
  for (const [ttlMs, isTold] of [
    [backoffMaxMs, true],
    [backoffMaxMs + 1_000, false],
  ] as const) {
    let ttl = 60;
    const vault = new FakeVault();
    vault.fault = () => json(200, { data: { ttl, renewable: false } });
    const { clock, session, lines } = bench({ kind: "token", token: { kind: "value", value: "t" } }, vault);
    await session.request("GET", "x");
    ttl = ttlMs / 1_000;
    await clock.advance(40_000);
    expect([ttlMs, lines.includes("error Vault's token ends and cannot be replaced")]).toEqual([
      ttlMs,
      isTold,
    ]);
    session.close();
  }
});

test("a token without an end is not renewed at all", async () => {
  const { vault, clock, session } = bench();
  vault.leaseSeconds = 0;
  await session.request("GET", "x");
  expect(clock.timers).toBe(0);
  session.close();
});

test("what is refused is not asked for again, and what is away only for as long as it is waited for", async () => {
  const { vault, clock, session } = bench();
  await session.request("GET", "x");
  const asked = async (waitMs: number, fault: () => ReturnType<typeof json>): Promise<unknown> => {
    const before = vault.requests.length;
    vault.fault = fault;
    let answer: string | null = null;
    void said(session.request("GET", "x", null, waitMs)).then((words) => {
      answer = words;
    });
    await clock.advance(waitMs);
    return [answer, vault.requests.length - before];
  };
  expect(await asked(10_000, () => json(400, { errors: ["no"] }))).toEqual([
    "authority_unavailable local: GET x: status 400 (no)",
    1,
  ]);
  // The next try would begin at the end of the time, when no answer is waited for any more.
  const away = "authority_unavailable upstream: connection refused";
  expect(await asked(backoffStartMs, gone)).toEqual([away, 1]);
  expect(await asked(backoffStartMs + 1, gone)).toEqual([away, 2]);
  expect(await asked(10 * backoffStartMs, gone)).toEqual([away, 4]);
  session.close();
});
