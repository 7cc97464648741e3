import { beforeEach, describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { createSelfSignedRoot } from "../../pki/issue/authority.ts";
import {
  ControlBench,
  hour,
  id,
  provider,
  type Shown,
  shownBy,
  startMs,
} from "../ca/testing/control_bench.ts";
import type { CallCredentials, Caller } from "./caller.ts";

let bench: ControlBench;

beforeEach(async () => {
  bench = await ControlBench.start();
});

function credentials({ chain = [], token }: Shown): CallCredentials {
  const ip = IpAddress.parse("192.0.2.1");
  if (ip === null) throw new Error("no address");
  return { chain, authorization: token === undefined ? null : `Bearer ${token}`, remote: { ip, port: 1 } };
}

async function workload(): Promise<Shown & { readonly caller: Caller; readonly serialNumber: string }> {
  const { csr } = await bench.csr();
  const { answer } = await bench.create({ token: await bench.token() }, { csr });
  const shown = shownBy(answer?.certChain ?? []);
  const caller = await bench.identity.authenticator.authenticate(credentials(shown));
  return { ...shown, caller, serialNumber: shown.leaf.serialNumber };
}

async function node(name: string): Promise<Caller> {
  return await bench.identity.authenticator.authenticate(credentials(await bench.joined(name)));
}

describe("callers", () => {
  test("are a workload, a node or an operator, by what they show", async () => {
    const { authenticator } = bench.identity;
    expect((await workload()).caller).toEqual({
      kind: "workload",
      id: id("shop/cart"),
      via: "certificate",
      serialNumber: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    const byToken = await authenticator.authenticate(credentials({ token: await bench.token() }));
    const expiresAtMs = expect.any(Number);
    const token = { issuer: expect.any(String), id: null };
    expect(byToken).toEqual({ kind: "workload", id: id("shop/cart"), via: "token", expiresAtMs, token });
    expect(await node("edge-1")).toMatchObject({ kind: "node", node: "edge-1", credential: "valid" });
    const people = await bench.token({ iss: "https://people.example", sub: "ada", groups: ["admins"] });
    expect(await authenticator.authenticate(credentials({ token: people }))).toMatchObject({
      kind: "operator",
      name: "https://people.example#ada",
      claims: { groups: ["admins"] },
    });
  });
});

describe("a token", () => {
  const people = "https://people.example";
  const call = (token: string): Promise<Caller> =>
    bench.identity.authenticator.authenticate(credentials({ token }));

  test("of an operator is refused by its subject or its id, and no other operator's is", async () => {
    const { revoked } = bench.state;
    const ada = await bench.token({ iss: people, sub: "ada", jti: "one" });
    const again = await bench.token({ iss: people, sub: "ada", jti: "two" });
    const bob = await bench.token({ iss: people, sub: "bob" });
    await bench.authority.revoke({ kind: "token", id: `${people}#one` });
    expect(await outcomeOf(call(ada))).toThrow("authenticate failure");
    expect((await call(again)).kind).toBe("operator");
    revoked.operators.add(`${people}#ada`);
    expect(await outcomeOf(call(again))).toThrow("authenticate failure");
    expect((await call(bob)).kind).toBe("operator");
  });

  test("of a workload that is refused by its id ends the streams that it opened", async () => {
    const caller = await call(await bench.token({ jti: "one" }));
    const other = await call(await bench.token({ jti: "two" }));
    expect(bench.identity.authenticator.recheck(caller)).toBeNull();
    const issuer = caller.kind === "workload" ? caller.token?.issuer : "";
    await bench.authority.revoke({ kind: "token", id: `${issuer}#one` });
    expect(bench.identity.authenticator.recheck(caller)).toContain("is revoked");
    expect(bench.identity.authenticator.recheck(other)).toBeNull();
  });

  test("of an issuer that is bound to others now, or gone, ends its streams", async () => {
    const caller = await call(await bench.token());
    bench.identity.tokens.setIssuers([]);
    expect(bench.identity.authenticator.recheck(caller)).toContain("is no longer trusted for");
  });
});

describe("a stream that stays open is as good as what opened it", () => {
  test("also when its certificate or its token has ended meanwhile", async () => {
    const { authenticator } = bench.identity;
    const callers = [(await workload()).caller, await node("edge-1")];
    callers.push(await authenticator.authenticate(credentials({ token: await bench.token() })));
    await bench.clock.advance(48 * hour);
    expect(callers.map((caller) => authenticator.recheck(caller))).toEqual([null, null, null]);
  });

  test("but not when its certificate, its identity or its node is revoked", async () => {
    const { authenticator } = bench.identity;
    const { caller, serialNumber } = await workload();
    await bench.authority.revoke({ kind: "serial", serialNumber });
    expect(authenticator.recheck(caller)).toContain("is revoked");
    const again = (await workload()).caller;
    expect(authenticator.recheck(again)).toBeNull();
    await bench.authority.revoke({ kind: "identity", uri: id("shop/cart").uri });
    expect(authenticator.recheck(again)).toContain("is revoked");

    const edge = await node("edge-1");
    const row = bench.state.registrationRows.get("edge-1");
    if (row !== undefined)
      bench.state.registrationRows.set("edge-1", { ...row, revokedAtMs: startMs, revokeReason: "lost" });
    expect(authenticator.recheck(edge)).toContain("was revoked: lost");
    bench.state.registrationRows.delete("edge-1");
    expect(authenticator.recheck(edge)).toContain("is not registered");
  });

  test("nor when a list names it, its root is gone, or another host has its name", async () => {
    const { authenticator } = bench.identity;
    const { caller, serialNumber } = await workload();
    const edge = await node("edge-1");
    const revoked = [{ serialNumber, revokedAtMs: startMs, reason: "keyCompromise" as const }];
    const bytes = await bench.authority.ca.revocationList(revoked, 1n, startMs + hour);
    await bench.trust.setCrls([{ name: "list", bytes }]);
    expect(authenticator.recheck(caller)).toContain("is revoked");
    expect(authenticator.recheck(edge)).toBeNull();

    await bench.clock.advance(5_000);
    const other = await node("edge-2");
    await bench.joined("edge-1", true);
    expect(authenticator.recheck(edge)).not.toBeNull();

    const { certificate } = await createSelfSignedRoot(provider, "cluster.local", startMs);
    bench.trust.setRoots(encodePem("CERTIFICATE", certificate.der));
    expect(authenticator.recheck(other)).toContain("trust root");
  });
});
