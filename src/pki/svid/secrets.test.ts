import { beforeAll, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { LogFields } from "../../base/log.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import {
  CertificateAuthority,
  type CertificateSigner,
  type SigningRequest,
  type SigningResponse,
} from "../issue/ca.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { observed, providers } from "../testing/providers.ts";
import { TrustVerifier } from "../trust/verifier.ts";
import { createCertificateRequest } from "../x509/csr.ts";
import { SecretManager } from "./secrets.ts";
import { type Svid, svidIssuerKeyId } from "./svid.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const cart = new SpiffeId("cluster.local", "shop", "cart");
const random = { fill: () => {}, float: () => 0.5 };

/** A signer that can be made to fail, to hang, to lie, and that counts. */
class TestSigner implements CertificateSigner {
  calls = 0;
  atOnce = 0;
  mostAtOnce = 0;
  behave: ((request: SigningRequest) => Promise<SigningResponse>) | null = null;
  readonly #authority: CertificateAuthority;

  constructor(authority: CertificateAuthority) {
    this.#authority = authority;
  }

  async sign(request: SigningRequest): Promise<SigningResponse> {
    this.calls++;
    this.atOnce++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.atOnce);
    try {
      return await (this.behave ?? ((one) => this.#authority.sign(one)))(request);
    } finally {
      this.atOnce--;
    }
  }
}

interface Bench {
  readonly clock: FakeClock;
  readonly authority: CertificateAuthority;
  readonly signer: TestSigner;
  readonly trust: TrustVerifier;
  readonly secrets: SecretManager;
  readonly lines: { message: string; fields: LogFields | undefined }[];
}

async function makeBench(unobserved: CryptoProvider, lifetimeMs = 24 * hour): Promise<Bench> {
  const { provider, isBusy } = observed(unobserved);
  const clock = new FakeClock(nowMs, isBusy);
  const authority = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
  const signer = new TestSigner(authority);
  const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
  const lines: Bench["lines"] = [];
  const logger = {
    log: (_level: unknown, _target: unknown, message: string, fields?: LogFields) =>
      void lines.push({ message, fields }),
  };
  const secrets = new SecretManager({ clock, random, provider, signer, lifetimeMs, trust, logger });
  return { clock, authority, signer, trust, secrets, lines };
}

const failing = async (): Promise<never> => {
  throw new MeshError("connect_refused", "upstream", "the CA is away");
};

async function reason(work: Promise<Svid>): Promise<string> {
  return await work.then(
    () => "available",
    (error) => (error instanceof MeshError ? `${error.code}: ${error.message}` : String(error)),
  );
}

test("a signer's late answer brings no root back once somebody else says which there are", async () => {
  const [provider] = providers;
  const { secrets, trust, authority, clock } = await makeBench(provider ?? { name: "runtime", crypto });
  await secrets.svid(cart);
  expect(trust.rootsPem).toContain(authority.rootsPem.trim());
  const next = await CertificateAuthority.create({
    clock,
    provider: provider ?? { name: "runtime", crypto },
    trustDomain: "cluster.local",
  });
  secrets.ignoreSignerRoots();
  for (const source of ["control", "signer"]) trust.setRoots(next.rootsPem, source);
  secrets.renewAll("a test");
  await clock.advance(pkiLimits.backoffStartMs + 1);
  expect(secrets.current(cart)?.serialNumber).not.toBe("");
  expect(trust.rootsPem.trim()).toBe(next.rootsPem.trim());
  secrets.close();
});

for (const provider of providers) {
  describe(`secrets on ${provider.name}`, () => {
    let bench: Bench;
    beforeAll(async () => {
      bench = await makeBench(provider);
    });

    test("an SVID is made on first need, once for all who ask, and verifies both ways", async () => {
      const { secrets, signer, trust } = bench;
      expect(secrets.current(cart)).toBeNull();
      const asked = [
        secrets.svid(cart),
        secrets.svid(cart),
        secrets.svid(new SpiffeId("cluster.local", "shop", "cart")),
      ];
      expect(secrets.entries()).toMatchObject([{ id: cart, state: "initializing", svid: null, error: null }]);
      const [svid, second, third] = await Promise.all(asked);
      expect(second).toBe(svid as Svid);
      expect(third).toBe(svid as Svid);
      expect(signer.calls).toBe(1);
      expect(secrets.current(cart)).toBe(svid as Svid);
      expect(await secrets.svid(cart)).toBe(svid as Svid);
      for (const usage of ["clientAuth", "serverAuth"] as const) {
        expect((await trust.verify(svid?.chain ?? [], { usage, identities: [cart] })).id.uri).toBe(cart.uri);
      }
      expect(svid?.privateKeyPem).toStartWith("-----BEGIN PRIVATE KEY-----\n");
      expect(svid?.certificateChainPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
      expect(secrets.entries()).toMatchObject([{ id: cart, state: "available", error: null }]);
    });

    test("the key is never in a log line", async () => {
      const { lines, secrets } = bench;
      const key = (await secrets.svid(cart)).privateKeyPem.split("\n")[1] ?? "none";
      expect(lines.length).toBeGreaterThan(0);
      expect(JSON.stringify(lines)).not.toContain(key);
      expect(JSON.stringify(lines)).not.toContain("PRIVATE");
    });

    test("renewed at half of life with a new key, and told to who listens", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      const told: Svid[] = [];
      const end = secrets.subscribe((svid) => told.push(svid));
      const first = await secrets.svid(cart);
      await clock.advance(11 * hour);
      expect(signer.calls).toBe(1);
      await clock.advance(hour);
      expect(signer.calls).toBe(2);
      const second = secrets.current(cart);
      expect(told).toEqual([first, second as Svid]);
      expect(second?.serialNumber).not.toBe(first.serialNumber);
      expect(second?.privateKeyPem).not.toBe(first.privateKeyPem);
      expect(second?.notAfterMs).toBeGreaterThan(first.notAfterMs);
      end();
      await clock.advance(12 * hour);
      expect(signer.calls).toBe(3);
      expect(told).toHaveLength(2);
      secrets.close();
    });

    test("when the signer fails the old SVID stays in use while it is valid, and back-off grows", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      const first = await secrets.svid(cart);
      signer.behave = failing;
      await clock.advance(12 * hour);
      expect(secrets.current(cart)).toBe(first);
      expect(await secrets.svid(cart)).toBe(first);
      const [entry] = secrets.entries();
      expect(entry?.state).toBe("available");
      expect(entry?.error?.message).toBe("the CA is away");
      const calls = signer.calls;
      // After nine failures the back-off has come to its end: 150 s, so 24 an hour.
      await clock.advance(hour);
      expect(signer.calls - calls).toBeGreaterThanOrEqual(23);
      expect(signer.calls - calls).toBeLessThanOrEqual(25);

      await clock.advance(11 * hour + 60_000);
      expect(secrets.current(cart)).toBeNull();
      expect(secrets.entries()).toMatchObject([{ state: "unavailable", svid: null }]);
      expect(await reason(secrets.svid(cart))).toBe(
        `identity_unavailable: no SVID for ${cart.uri}: the CA is away`,
      );
      signer.behave = null;
      await clock.advance(151_000);
      expect(secrets.entries()).toMatchObject([{ state: "available", error: null }]);
      secrets.close();
    });

    test("a first failure is told at once, the next attempt comes by itself", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      signer.behave = failing;
      expect(await reason(secrets.svid(cart))).toContain("the CA is away");
      expect(await reason(secrets.svid(cart))).toContain("the CA is away");
      expect(signer.calls).toBe(1);
      expect(secrets.entries()).toMatchObject([{ state: "unavailable" }]);
      signer.behave = null;
      await clock.advance(pkiLimits.backoffStartMs * 1.3);
      expect(signer.calls).toBe(2);
      expect(await reason(secrets.svid(cart))).toBe("available");
      secrets.close();
    });

    test("each is renewed when it is due, whichever was made first, and none while it is being signed", async () => {
      const { clock, secrets, signer } = await makeBench(provider, 8 * hour);
      const web = new SpiffeId("cluster.local", "shop", "web");
      await secrets.svid(cart);
      await clock.advance(hour);
      await secrets.svid(web);
      await clock.advance(3 * hour);
      expect(signer.calls).toBe(3);
      expect(
        [secrets.current(cart)?.notBeforeMs, secrets.current(web)?.notBeforeMs].map(
          (ms) => (ms ?? 0) > nowMs + 2 * hour,
        ),
      ).toEqual([true, false]);
      const asked: string[] = [];
      signer.behave = ({ id }) => {
        asked.push(id.uri);
        return new Promise(() => {});
      };
      secrets.renewAll("a test");
      await clock.advance(pkiLimits.backoffStartMs + pkiLimits.signTimeoutMs - 1_000);
      expect(asked.sort()).toEqual([cart.uri, web.uri]);
      secrets.close();
    });

    test("what failed is tried at once when the signer is there again; what is there, or under way, is left alone", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      const [web, db] = ["web", "db"].map((name) => new SpiffeId("cluster.local", "shop", name));
      if (web === undefined || db === undefined) throw new Error("both");
      await secrets.svid(web);
      signer.behave = failing;
      for (let times = 0; times < 3; times++) {
        await reason(secrets.svid(cart));
        await clock.advance(2 ** times * pkiLimits.backoffStartMs);
      }
      const calls = signer.calls;
      signer.behave = null;
      secrets.retry();
      await clock.advance(1);
      expect(signer.calls).toBe(calls + 1);
      expect(secrets.entries().map(({ state }) => state)).toEqual(["available", "available"]);
      signer.behave = () => new Promise(() => {});
      void reason(secrets.svid(db));
      await clock.advance(1);
      secrets.retry();
      await clock.advance(1);
      expect(signer.calls).toBe(calls + 2);
      secrets.close();
    });

    test("a signer that hangs is given up, and does not hold its place", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      signer.behave = () => new Promise(() => {});
      const asked = Array.from({ length: pkiLimits.maxConcurrentSignings + 1 }, (_, index) =>
        reason(secrets.svid(new SpiffeId("cluster.local", "shop", `a${index}`))),
      );
      await clock.advance(pkiLimits.svidWaitMs - 1);
      expect(signer.calls).toBe(pkiLimits.maxConcurrentSignings);
      signer.behave = null;
      await clock.advance(1);
      const reasons = await Promise.all(asked);
      expect(
        reasons
          .slice(0, 8)
          .every((one) => one.includes("did not answer in time") || one.includes("has not answered yet")),
      ).toBe(true);
      await clock.advance(2 * pkiLimits.backoffStartMs);
      expect(secrets.entries().every((entry) => entry.state === "available")).toBe(true);
      secrets.close();
    });

    test("no more signings at once than the limit", async () => {
      const { authority, secrets, signer } = await makeBench(provider);
      // As keys are made on other threads, some requests are early: each waits for as many as there may be.
      signer.behave = async (request) => {
        while (signer.mostAtOnce < pkiLimits.maxConcurrentSignings) await new Promise((go) => setTimeout(go));
        return await authority.sign(request);
      };
      const ids = Array.from(
        { length: 40 },
        (_, index) => new SpiffeId("cluster.local", "shop", `w${index}`),
      );
      await Promise.all(ids.map((id) => secrets.svid(id)));
      expect(signer.calls).toBe(40);
      expect(signer.mostAtOnce).toBe(pkiLimits.maxConcurrentSignings);
      secrets.close();
    });

    test("a jump of the wall clock is noticed within its bound, forward and back", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      await secrets.svid(cart);
      clock.jumpWall(13 * hour);
      await clock.advance(pkiLimits.clockCheckMs + 1);
      expect(signer.calls).toBe(2);
      clock.jumpWall(-13 * hour);
      // The CA's own certificate now begins in the future of neither clock; the SVID of now does.
      await clock.advance(pkiLimits.clockCheckMs + 1);
      expect(signer.calls).toBe(3);
      expect(secrets.current(cart)?.notBeforeMs).toBeLessThanOrEqual(clock.wallMs());
      clock.jumpWall(30 * hour);
      expect(secrets.current(cart)).toBeNull();
      expect(await reason(secrets.svid(cart))).toBe("available");
      secrets.close();
    });

    test("an SVID that is short, or due when it arrives, does not make a busy loop", async () => {
      const { clock, secrets, signer } = await makeBench(provider, 1000);
      await secrets.svid(cart);
      await clock.advance(10_000);
      expect(signer.calls).toBeGreaterThan(10);
      expect(signer.calls).toBeLessThanOrEqual(21);
      expect(secrets.current(cart)).not.toBeNull();
      secrets.close();
    });

    test("what a signer returns is checked", async () => {
      const { clock, authority, secrets, signer } = await makeBench(provider);
      const other = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
      const admin = new SpiffeId("cluster.local", "shop", "admin");
      const lies: [(request: SigningRequest) => Promise<SigningResponse>, string][] = [
        [(request) => authority.sign({ ...request, id: admin }), `a certificate for ${admin.uri}`],
        [
          async (request) =>
            authority.sign({ ...request, csrPem: (await createCertificateRequest(provider, cart)).csrPem }),
          "a certificate for another key",
        ],
        [
          async (request) => ({ ...(await authority.sign(request)), rootsPem: other.rootsPem }),
          "which is no trust root",
        ],
        [async (request) => ({ ...(await authority.sign(request)), rootsPem: "" }), "holds no certificate"],
        [async (request) => ({ ...(await authority.sign(request)), chainPem: [] }), "no certificate"],
        [
          async (request) => ({ ...(await authority.sign(request)), chainPem: ["rubbish"] }),
          "no certificate",
        ],
        [
          async (request) => {
            clock.jumpWall(-48 * hour);
            const answer = await authority.sign(request).finally(() => clock.jumpWall(48 * hour));
            return answer;
          },
          "not valid now",
        ],
        [
          async (request) => {
            const answer = await authority.sign(request);
            clock.jumpWall(48 * hour);
            return answer;
          },
          "expired at",
        ],
      ];
      for (const [lie, message] of lies) {
        signer.behave = lie;
        const result = await reason(secrets.svid(cart));
        expect(result).toStartWith("identity_unavailable");
        expect(result).toContain(message);
        expect(secrets.current(cart)).toBeNull();
        secrets.release(cart);
      }
      secrets.close();
    });

    test("roots that come with an SVID are believed beside the configured ones; rotation loses no peer", async () => {
      const { clock, authority, secrets, signer, trust } = await makeBench(provider);
      const next = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
      const expectation = { usage: "clientAuth", identities: null } as const;
      const old = await secrets.svid(cart);
      const both = authority.rootsPem + next.rootsPem;
      signer.behave = async (request) => ({ ...(await next.sign(request)), rootsPem: both });
      const oldPeer = await trust.verify(old.chain, expectation);
      await clock.advance(12 * hour);
      const renewed = secrets.current(cart);
      expect(renewed?.serialNumber).not.toBe(old.serialNumber);
      expect(trust.recheck(oldPeer)).toBeNull();
      await trust.verify(renewed?.chain ?? [], expectation);
      signer.behave = (request) => next.sign(request);
      await clock.advance(12 * hour);
      expect(trust.recheck(oldPeer, "ignore")?.code).toBe("certificate_untrusted");
      await trust.verify(secrets.current(cart)?.chain ?? [], expectation);
      secrets.close();
    });

    test("released and closed: nothing is renewed, nothing is given out, no timer is left", async () => {
      const { clock, secrets, signer } = await makeBench(provider);
      await secrets.svid(cart);
      secrets.release(cart);
      expect(secrets.current(cart)).toBeNull();
      await clock.advance(24 * hour);
      expect(signer.calls).toBe(1);
      expect(await reason(secrets.svid(cart))).toBe("available");
      const underWay = reason(secrets.svid(new SpiffeId("cluster.local", "shop", "late")));
      secrets.close();
      expect(await underWay).toContain("it was released or the process stops");
      expect(await reason(secrets.svid(cart))).toContain("it was released or the process stops");
      expect(secrets.entries()).toEqual([]);
      await clock.advance(48 * hour);
      expect(clock.timers).toBe(0);
    });
  });
}

describe("one timer for all", () => {
  const [provider] = providers;
  if (provider === undefined) throw new Error("there is a provider");
  const web = new SpiffeId("cluster.local", "shop", "web");

  /** Cart fails, web is signed; how often each was asked for. */
  async function failingFor(id: SpiffeId) {
    const made = await makeBench(provider as CryptoProvider);
    const asked = new Map<string, number>();
    const authority = made.authority;
    made.signer.behave = async (request) => {
      asked.set(request.id.uri, (asked.get(request.id.uri) ?? 0) + 1);
      return request.id.equals(id) ? await failing() : await authority.sign(request);
    };
    return { ...made, asked: (one: SpiffeId) => asked.get(one.uri) ?? 0 };
  }

  test("what is due first is not put off by what is due later", async () => {
    const { clock, secrets, asked } = await failingFor(cart);
    await reason(secrets.svid(cart));
    await secrets.svid(web);
    await clock.advance(pkiLimits.backoffStartMs);
    expect([asked(cart), asked(web)]).toEqual([2, 1]);
    secrets.close();
  });

  test("a caller is served from the instant on that the back-off ends", async () => {
    const { clock, secrets, asked } = await failingFor(cart);
    const late: Promise<string>[] = [];
    clock.setTimer(pkiLimits.backoffStartMs - 1, () => late.push(reason(secrets.svid(cart))));
    // In the same instant, before the timer of the secrets.
    clock.setTimer(pkiLimits.backoffStartMs, () => late.push(reason(secrets.svid(cart))));
    clock.setTimer(pkiLimits.backoffStartMs, () => expect(asked(cart)).toBe(2));
    await reason(secrets.svid(cart));
    await clock.advance(pkiLimits.backoffStartMs - 1);
    expect([late.length, asked(cart)]).toEqual([1, 1]);
    await clock.advance(1);
    expect([late.length, asked(cart)]).toEqual([2, 2]);
    expect(secrets.entries()[0]?.error).not.toBeNull();
    secrets.close();
  });

  test("one that is being signed is not asked for again when another is due", async () => {
    const { clock, secrets, signer, asked } = await failingFor(web);
    const behave = signer.behave;
    let hanging = 0;
    signer.behave = (request) => {
      if (!request.id.equals(cart)) return behave?.(request) ?? failing();
      hanging++;
      return new Promise(() => {});
    };
    void reason(secrets.svid(cart));
    await reason(secrets.svid(web));
    await clock.advance(pkiLimits.backoffStartMs);
    expect([asked(web), hanging]).toEqual([2, 1]);
    secrets.close();
  });

  test("a signer that is there again is not asked for what it has just given", async () => {
    const { clock, secrets, signer } = await makeBench(provider as CryptoProvider, 1000);
    await secrets.svid(cart);
    // It is due, and was signed just now.
    clock.jumpWall(700);
    for (let again = 0; again < 5; again++) {
      secrets.retry();
      await clock.advance(1);
    }
    expect(signer.calls).toBe(1);
    secrets.close();
  });
});

test("it is said of each whether it was never there, is not there yet, or is", async () => {
  const [provider] = providers;
  if (provider === undefined) throw new Error("there is a provider");
  const { clock, authority, secrets, signer } = await makeBench(provider);
  const state = () => secrets.entries().map((one) => one.state);
  signer.behave = () => new Promise(() => {});
  const first = reason(secrets.svid(cart));
  expect(state()).toEqual(["initializing"]);
  await clock.advance(pkiLimits.svidWaitMs);
  expect((await first).split(cart.uri)).toEqual([
    "identity_unavailable: no SVID for ",
    expect.stringMatching(/^: the signer (?:did not answer in time|has not answered yet)$/),
  ]);
  expect(state()).toEqual(["unavailable"]);
  // It is being tried again, and has failed before.
  await clock.advance(2 * pkiLimits.backoffStartMs);
  expect([signer.calls, ...state()]).toEqual([2, "unavailable"]);
  await clock.advance(pkiLimits.signTimeoutMs);
  signer.behave = null;
  await clock.advance(8 * pkiLimits.backoffStartMs);
  expect(state()).toEqual(["available"]);
  const svid = secrets.current(cart);
  if (svid === null) throw new Error("it is available");
  expect(svidIssuerKeyId(svid)).toBe(authority.certificate.extensions.subjectKeyId);
  // Its certificate ends while its successor is being signed.
  signer.behave = () => new Promise(() => {});
  clock.jumpWall(25 * hour);
  const late = reason(secrets.svid(cart));
  expect(state()).toEqual(["unavailable"]);
  secrets.release(cart);
  signer.behave = null;
  const released = new SpiffeId("cluster.local", "shop", "gone");
  const gone = reason(secrets.svid(released));
  secrets.release(released);
  expect(await gone).toBe(
    `identity_unavailable: no SVID for ${released.uri}: it was released or the process stops`,
  );
  secrets.close();
  await clock.advance(pkiLimits.svidWaitMs);
  await late;
});

test("no more identities than the limit", async () => {
  const [provider] = providers;
  if (provider === undefined) throw new Error("no provider");
  const { secrets, signer } = await makeBench(provider);
  signer.behave = () => new Promise(() => {});
  const id = (index: number): SpiffeId => new SpiffeId("cluster.local", "shop", `w${index}`);
  for (let index = 0; index < pkiLimits.maxIdentities; index++) secrets.svid(id(index)).catch(() => {});
  let over = "it waits for its turn";
  void reason(secrets.svid(id(pkiLimits.maxIdentities))).then((words) => {
    over = words;
  });
  for (let turns = 0; turns < 10; turns++) await Promise.resolve();
  expect(over).toContain("too many identities");
  expect(secrets.entries()).toHaveLength(pkiLimits.maxIdentities);
  secrets.close();
});

test("all SVIDs, or those that are meant, are renewed on demand; one that is being signed just now is too", async () => {
  const [provider] = providers;
  if (provider === undefined) throw new Error("there is a provider");
  const { secrets, signer, clock, lines } = await makeBench(provider);
  const web = new SpiffeId("cluster.local", "shop", "web");
  const [old, other] = [await secrets.svid(cart), await secrets.svid(web)];
  await clock.advance(hour);
  expect(secrets.renewAll("the CA is being replaced", (svid) => svid.id.equals(cart), 10_000)).toBe(1);
  expect(secrets.current(cart)).toBe(old);
  await clock.advance(10_000);
  expect(secrets.current(cart)?.serialNumber).not.toBe(old.serialNumber);
  expect(secrets.current(web)).toBe(other);
  expect(signer.calls).toBe(3);
  expect(lines.some((line) => line.fields?.reason === "the CA is being replaced")).toBe(true);

  // It has the old issuer's leaf in its hands when the word comes.
  const { promise, resolve } = Promise.withResolvers<void>();
  const release = new SpiffeId("cluster.local", "shop", "late");
  signer.behave = async (request) => {
    signer.behave = null;
    await promise;
    return await signer.sign(request);
  };
  const late = secrets.svid(release);
  secrets.renewAll("again", (svid) => svid.id.equals(release));
  resolve();
  const first = await late;
  await clock.advance(pkiLimits.backoffStartMs + 1_000);
  expect(secrets.current(release)?.serialNumber).not.toBe(first.serialNumber);
  // A signer that fails is not asked in a busy loop.
  signer.behave = failing;
  const before = signer.calls;
  for (let again = 0; again < 50; again++) {
    secrets.renewAll("again");
    await clock.advance(10);
  }
  expect(signer.calls - before).toBeLessThan(10);
  expect(secrets.current(cart)).not.toBeNull();
  secrets.close();
});

test("of two wishes to renew the earlier one counts", async () => {
  const [provider] = providers;
  const { clock, secrets, signer } = await makeBench(provider ?? { name: "runtime", crypto });
  await secrets.svid(cart);
  // Half of it is waited for, as this randomness has it, or less.
  secrets.renewAll("the CA is being replaced", () => true, 1_000);
  secrets.renewAll("again, and later", () => true, hour);
  await clock.advance(1_000);
  expect(signer.calls).toBe(2);
  secrets.close();
});

test("an SVID that has just come is not asked for again when another one is", async () => {
  const [provider] = providers;
  const { clock, secrets, signer } = await makeBench(provider ?? { name: "runtime", crypto });
  await secrets.svid(cart);
  await clock.advance(pkiLimits.backoffStartMs / 2);
  await secrets.svid(new SpiffeId("cluster.local", "shop", "web"));
  secrets.renewAll("the CA is being replaced");
  await clock.advance(pkiLimits.backoffStartMs / 2);
  expect(signer.calls).toBe(3);
  await clock.advance(pkiLimits.backoffStartMs / 2);
  expect(signer.calls).toBe(4);
  secrets.close();
});

// Of a seed of the simulator: the CA's root was replaced while a host was days ahead, and all it had was of the old one for half a day.
test("what is to be renewed now is renewed now, however far ahead the clock was and is set back", async () => {
  const [provider] = providers;
  const { clock, secrets, signer } = await makeBench(provider ?? { name: "runtime", crypto });
  const old = await secrets.svid(cart);
  clock.jumpWall(100 * hour);
  // What the signer gives has expired by this clock, as its own is right.
  signer.behave = async () => {
    throw new MeshError("certificate_expired", "peer", "it has expired");
  };
  expect(secrets.renewAll("the CA is being replaced", () => true, 10_000)).toBe(1);
  await clock.advance(10_000);
  const calls = signer.calls;
  expect(calls).toBeGreaterThan(1);
  clock.jumpWall(-100 * hour);
  signer.behave = null;
  await clock.advance(pkiLimits.backoffMaxMs);
  const renewed = secrets.current(cart);
  expect([signer.calls, renewed?.serialNumber === old.serialNumber]).toEqual([calls + 1, false]);
  // Once is enough.
  await clock.advance(hour);
  expect(secrets.current(cart)).toBe(renewed);
  secrets.close();
});

// Of a seed of the simulator: a host that was hours ahead for seconds had no certificate for minutes after that.
test("what failed by a clock that was wrong is tried again within a minute of its being set right", async () => {
  const [provider] = providers;
  for (const [setByMs, calls] of [
    [-pkiLimits.clockSetMs, 1],
    [1 - pkiLimits.clockSetMs, 0],
    [pkiLimits.clockSetMs, 1],
    [pkiLimits.clockSetMs - 1, 0],
  ] as const) {
    const { clock, secrets, signer } = await makeBench(provider ?? { name: "runtime", crypto });
    signer.behave = async () => {
      throw new MeshError("certificate_expired", "peer", "it has expired");
    };
    const asked = secrets.svid(cart).catch((error: MeshError) => error.code);
    // Until an attempt is further away than the next look at the clock.
    for (let failed = 0; failed < 10; failed++) await clock.advance(pkiLimits.backoffMaxMs * 2);
    expect(await asked).toBe("identity_unavailable");
    const before = signer.calls;
    clock.jumpWall(setByMs);
    signer.behave = null;
    await clock.advance(pkiLimits.clockCheckMs);
    expect(signer.calls - before).toBe(calls);
    secrets.close();
  }
});
