import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { createSelfSignedRoot } from "../../pki/issue/authority.ts";
import { keySet } from "../../pki/testing/token_issuer.ts";
import { parseJwtIssuer } from "../../pki/token/token_issuer.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import {
  ControlBench,
  hour,
  id,
  provider,
  type Shown,
  shownBy,
  startMs,
} from "../ca/testing/control_bench.ts";
import type { Registration } from "../records/registrations.ts";
import { type AuthenticatorOptions, MeshCallerAuthenticator } from "./authenticator.ts";
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

  test("of a workload that is revoked, by its id or by its identity, is refused", async () => {
    const [one, two] = [await bench.token({ jti: "one" }), await bench.token({ jti: "two" })];
    await bench.authority.revoke({ kind: "token", id: "https://issuer.example#one" });
    await rejectionOf(call(one));
    expect(bench.refusals.at(-1)).toBe(
      "caller.authenticate revoked: token https://issuer.example#one is revoked",
    );
    expect(await call(two)).toMatchObject({ kind: "workload", via: "token" });
    await bench.authority.revoke({ kind: "identity", uri: id("shop/cart").uri });
    await rejectionOf(call(two));
    expect(bench.refusals.at(-1)).toBe(`caller.authenticate revoked: ${id("shop/cart")} is revoked`);
  });

  test("of a reserved identity is refused, also where its issuer is believed for that namespace", async () => {
    const namespaces = ["istio-system"];
    const bound = { issuer: "https://issuer.example", jwks: keySet(bench.key), namespaces };
    bench.identity.tokens.setIssuers([parseJwtIssuer(bound)]);
    const tokenOf = (name: string) => bench.token({ sub: `system:serviceaccount:istio-system:${name}` });
    for (const name of ["fairlead-control", "fairlead-admin"]) {
      await rejectionOf(call(await tokenOf(name)));
      expect(bench.refusals.at(-1)).toStartWith(
        `caller.authenticate reserved: a token claims to be ${id(`istio-system/${name}`)}`,
      );
    }
    expect(await call(await tokenOf("other"))).toMatchObject({ id: id("istio-system/other") });
  });

  test("of an operator that is revoked ends its streams, and no other operator's", async () => {
    const ada = await call(await bench.token({ iss: people, sub: "ada" }));
    const bob = await call(await bench.token({ iss: people, sub: "bob" }));
    await bench.authority.revoke({ kind: "operator", name: `${people}#ada` });
    expect(bench.identity.authenticator.recheck(ada)).toBe(`operator ${people}#ada is revoked`);
    expect(bench.identity.authenticator.recheck(bob)).toBeNull();
  });

  test("of an issuer that is bound to others now, or gone, ends its streams", async () => {
    const caller = await call(await bench.token());
    bench.identity.tokens.setIssuers([]);
    expect(bench.identity.authenticator.recheck(caller)).toContain("is no longer trusted for");
  });
});

test("a node that was revoked, or is not registered, is not believed, for renewal neither", async () => {
  const edge = await bench.joined("edge-1");
  const { authenticator } = bench.identity;
  const refused = async (): Promise<readonly string[]> => {
    await rejectionOf(authenticator.authenticate(credentials(edge)));
    await rejectionOf(authenticator.authenticateForRenewal(credentials(edge)));
    return bench.refusals.slice(-2);
  };
  const row = bench.state.registrationRows.get("edge-1");
  if (row === undefined) throw new Error("it has joined");
  bench.state.registrationRows.set("edge-1", { ...row, revokedAtMs: startMs, revokeReason: null });
  expect(await refused()).toEqual([
    "caller.authenticate revoked: node edge-1 was revoked: no reason given",
    "node.renew revoked: node edge-1 was revoked: no reason given",
  ]);
  bench.state.registrationRows.delete("edge-1");
  expect(await refused()).toEqual([
    "caller.authenticate not_registered: node edge-1 is not registered",
    "node.renew not_registered: node edge-1 is not registered",
  ]);
  bench.state.registrationRows.set("edge-1", row);
  expect(await authenticator.authenticate(credentials(edge))).toMatchObject({ node: "edge-1" });
});

test("what the tables say is revoked is so before a list says it: an identity, a node", async () => {
  const { authenticator } = bench.identity;
  const { chain = [], caller } = await workload();
  const edge = await bench.joined("edge-1");
  const host = await authenticator.authenticate(credentials(edge));
  const { revoked } = bench.state;
  const refusedBy = async (shown: Shown): Promise<string | undefined> => {
    await rejectionOf(authenticator.authenticate(credentials(shown)));
    return bench.refusals.at(-1);
  };
  revoked.identities.add(id("shop/cart").uri);
  expect(authenticator.recheck(caller)).toBe(`${id("shop/cart")} is revoked`);
  expect(await refusedBy({ chain })).toBe(`caller.authenticate revoked: ${id("shop/cart")} is revoked`);
  expect(authenticator.recheck(host)).toBeNull();
  revoked.nodes.add("edge-1");
  expect(authenticator.recheck(host)).toBe("node edge-1 is revoked");
  expect(await refusedBy(edge)).toBe("caller.authenticate revoked: node edge-1 is revoked");
});

test("the control plane's own certificate is no caller's", async () => {
  const controlId = id("istio-system/fairlead-control");
  const { csrPem } = await createCertificateRequest(provider, controlId);
  const { chainPem } = await bench.authority.sign({ id: controlId, csrPem, lifetimeMs: hour });
  const chain = chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
  await rejectionOf(bench.identity.authenticator.authenticate(credentials({ chain })));
  expect(bench.refusals.at(-1)).toBe("caller.authenticate control: the control plane does not call itself");
});

describe("a node's certificate", () => {
  const set = (change: Partial<Registration>): void => {
    const row = bench.state.registrationRows.get("edge-1");
    if (row === undefined) throw new Error("it has joined");
    bench.state.registrationRows.set("edge-1", { ...row, ...change });
  };

  test("that a renewal has given is confirmed when it is shown; on a full disk later, and a bug of ours believes no caller", async () => {
    const edge = await bench.joined("edge-1");
    const { authenticator } = bench.identity;
    const pendingSerial = edge.leaf.serialNumber;
    set({ currentSerial: "0a", pendingSerial });
    bench.state.fault = new MeshError("disk_full", "local", "no space");
    expect(await authenticator.authenticate(credentials(edge))).toMatchObject({ node: "edge-1" });
    expect(bench.state.registrationRows.get("edge-1")).toMatchObject({ currentSerial: "0a", pendingSerial });
    bench.state.fault = null;
    const setSerials = bench.state.registrations.setSerials;
    bench.state.registrations.setSerials = () => {
      throw new TypeError("a bug");
    };
    expect(await outcomeOf(authenticator.authenticate(credentials(edge)))).toThrow("authenticate failure");
    bench.state.registrations.setSerials = setSerials;
    expect(await authenticator.authenticate(credentials(edge))).toMatchObject({ node: "edge-1" });
    expect(bench.state.registrationRows.get("edge-1")).toMatchObject({
      currentSerial: pendingSerial,
      pendingSerial: null,
    });
  });

  test("that has expired is believed for its renewal, until its number is revoked", async () => {
    const edge = await bench.joined("edge-1");
    const { authenticator } = bench.identity;
    await bench.clock.advance(25 * hour);
    const caller = await authenticator.authenticateForRenewal(credentials(edge));
    expect(caller).toMatchObject({ node: "edge-1", credential: "expired" });
    expect(authenticator.recheck(caller)).toBeNull();
    bench.state.revoked.serials.add(edge.leaf.serialNumber);
    expect(authenticator.recheck(caller)).toBe(`serial ${edge.leaf.serialNumber} of ${caller.id} is revoked`);
  });

  test("is of an earlier host from a second before the host joined that has its name now", async () => {
    const edge = await bench.joined("edge-1");
    const issuedAtMs = edge.leaf.notBeforeMs + pkiLimits.backdateMs;
    const joinedAtMs = issuedAtMs + identityLimits.registrationSlackMs;
    set({ currentSerial: "0a", joinedAtMs });
    const { authenticator } = bench.identity;
    expect(await authenticator.authenticate(credentials(edge))).toMatchObject({ node: "edge-1" });
    set({ joinedAtMs: joinedAtMs + 1 });
    await rejectionOf(authenticator.authenticate(credentials(edge)));
    expect(bench.refusals.at(-1)).toStartWith("caller.authenticate replaced: ");
    set({ currentSerial: edge.leaf.serialNumber });
    expect(await authenticator.authenticate(credentials(edge))).toMatchObject({ node: "edge-1" });
  });
});

describe("an address that has used up its rate", () => {
  const rates = { ...identityLimits, addressRate: { burst: 2, perSecond: 1 / 3600 } };

  test("costs one look at a chain that was refused, and another one after a while; other chains are looked at", async () => {
    const flooded = await ControlBench.start({ rates });
    const [other, another] = [
      (await createSelfSignedRoot(provider, "cluster.local", startMs)).certificate.der,
      (await createSelfSignedRoot(provider, "cluster.local", startMs)).certificate.der,
    ];
    let looks = 0;
    const verify = flooded.trust.verify.bind(flooded.trust);
    flooded.trust.verify = (...args) => {
      looks++;
      return verify(...args);
    };
    const call = async (der: Uint8Array): Promise<number> => {
      await rejectionOf(flooded.identity.authenticator.authenticate(credentials({ chain: [der] })));
      return looks;
    };
    // Within the rate each is looked at; past it the first look is remembered.
    expect([await call(other), await call(other)]).toEqual([1, 2]);
    expect([await call(other), await call(other), await call(another), await call(another)]).toEqual([
      3, 3, 4, 4,
    ]);
    await flooded.clock.advance(identityLimits.refusedChainMs - 1);
    expect(await call(other)).toBe(4);
    await flooded.clock.advance(1);
    expect(await call(other)).toBe(5);
  });

  test("is remembered of so many chains and tokens, and one more makes the oldest a stranger", async () => {
    const rate = { isFlooded: true };
    const looks: number[] = [];
    const counted = new MeshCallerAuthenticator({
      ...{ clock: bench.clock, provider, reserved: [], refusals: bench.identity.refusals },
      revocations: bench.state.revocations,
      certificates: {
        caller: async ([leaf = new Uint8Array()]: readonly Uint8Array[]) => {
          looks.push(new DataView(leaf.buffer).getUint32(0));
          return { kind: "refused", reason: "certificate_malformed", detail: "" };
        },
      } as unknown as AuthenticatorOptions["certificates"],
      tokens: {
        verify: async (subject: string) => ({ kind: "operator", issuer: "people", subject, claims: {} }),
      } as unknown as AuthenticatorOptions["tokens"],
      rates: {
        isFlooded: () => rate.isFlooded,
        admitKnown: () => true,
        chargeAddress: () => false,
      } as unknown as AuthenticatorOptions["rates"],
    });
    const showChain = async (index: number): Promise<void> => {
      const leaf = new Uint8Array(4);
      new DataView(leaf.buffer).setUint32(0, index);
      await rejectionOf(counted.authenticate(credentials({ chain: [leaf] })));
    };
    for (let index = 0; index < identityLimits.maxRefusedChains; index++) await showChain(index);
    looks.length = 0;
    await showChain(0);
    expect(looks).toEqual([]);
    await showChain(identityLimits.maxRefusedChains);
    await showChain(1);
    await showChain(0);
    expect(looks).toEqual([identityLimits.maxRefusedChains, 0]);

    const isBelieved = async (index: number): Promise<boolean> =>
      await counted.authenticate(credentials({ token: `t${index}` })).then(
        () => true,
        () => false,
      );
    rate.isFlooded = false;
    for (let index = 0; index < identityLimits.maxKnownTokens; index++) await isBelieved(index);
    rate.isFlooded = true;
    // Believed again, it is the youngest.
    expect([await isBelieved(0), await isBelieved(identityLimits.maxKnownTokens)]).toEqual([true, false]);
    rate.isFlooded = false;
    await isBelieved(identityLimits.maxKnownTokens);
    rate.isFlooded = true;
    expect([await isBelieved(1), await isBelieved(0), await isBelieved(2)]).toEqual([false, true, true]);
  });

  test("is not what a known caller has used up: that one is told by its own name, and another goes on", async () => {
    const known = await ControlBench.start({ rates });
    const call = (token: string) => known.identity.authenticator.authenticate(credentials({ token }));
    const [ada, bob] = [
      await known.token({ iss: "https://people.example", sub: "ada" }),
      await known.token({ iss: "https://people.example", sub: "bob" }),
    ];
    let proofs = 0;
    for (let times = 0; times < 2; times++) expect(await call(ada)).toMatchObject({ subject: "ada" });
    expect(String(await rejectionOf(call(ada)))).toContain("too many requests");
    expect(known.state.auditRows.at(-1)).toMatchObject({
      action: "caller.authenticate",
      actor: "https://people.example#ada",
      outcome: "refused",
      detail: "known_rate: too many calls of this caller from 192.0.2.1",
    });
    const shown = { ...credentials({ token: bob }), proven: () => void proofs++ };
    expect(await known.identity.authenticator.authenticate(shown)).toMatchObject({ subject: "bob" });
    expect(proofs).toBe(1);
  });
});

test("who shows nothing is refused by what was asked for, and so is a workload that wants a node's renewal", async () => {
  const { authenticator } = bench.identity;
  await rejectionOf(authenticator.authenticate(credentials({})));
  await rejectionOf(authenticator.authenticateForRenewal(credentials({ token: await bench.token() })));
  await rejectionOf(authenticator.authenticateForRenewal(credentials(await workload())));
  expect(bench.refusals.slice(-3)).toEqual([
    "caller.authenticate no_credentials: neither a client certificate nor a token",
    "node.renew no_credentials: neither a client certificate nor a token",
    `node.renew not_a_node: ${id("shop/cart")} is not a node`,
  ]);
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
