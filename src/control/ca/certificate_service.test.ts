import { beforeEach, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { createSelfSignedRoot } from "../../pki/issue/authority.ts";
import { createCertificateRequest } from "../../pki/x509/csr.ts";
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from "../../pki/x509/peculiar.ts";
import {
  ControlBench,
  certificates,
  hour,
  id,
  provider,
  type Shown,
  shownBy,
  startMs,
} from "./testing/control_bench.ts";

const { subtle } = provider.crypto;
const unauthenticated = "UNAUTHENTICATED: request authenticate failure";
const notEntitled = "UNAUTHENTICATED: request impersonation authentication failure";
const day = 24 * hour;

let bench: ControlBench;

beforeEach(async () => {
  bench = await ControlBench.start();
});

async function refusal(shown: Shown, call: Parameters<ControlBench["create"]>[1]): Promise<string> {
  const { answer, refused } = await bench.create(shown, call);
  return refused ?? `answered with ${answer.certChain.length} items`;
}

describe("CreateCertificate answers as istiod does (security/pkg/server/ca/server.go)", () => {
  test("with the leaf, then one certificate an item, then the roots, at least two items", async () => {
    const { csr, keys } = await bench.csr();
    const { answer } = await bench.create({ token: await bench.token() }, { csr });
    const chain = answer?.certChain ?? [];
    expect(chain.length).toBe(2);
    expect(chain.at(-1)).toBe(bench.authority.ca.rootsPem);
    for (const item of chain.slice(0, -1)) expect(certificates([item]).length).toBe(1);
    const [leaf] = certificates(chain);
    expect(leaf?.extensions.subjectAltNames).toEqual([{ kind: "uri", value: id("shop/cart").uri }]);
    expect(leaf?.hasSubject).toBe(false);
    expect(leaf?.extensions.basicConstraints?.isCa).toBe(false);
    expect(leaf?.extensions.extendedKeyUsage?.length).toBe(2);
    expect(leaf?.publicKeyInfo).toEqual(new Uint8Array(await subtle.exportKey("spki", keys.publicKey)));
    expect(leaf?.notBeforeMs).toBe(startMs - pkiLimits.backdateMs);
    expect(leaf?.notAfterMs).toBe(startMs + day);
    expect(bench.authority.issued.map((one) => one.requestedBy)).toEqual([id("shop/cart").uri]);
  });

  test("with the caller's identity, whatever the request says, and nothing else of the request", async () => {
    const keys = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign", "verify"]);
    const request = await Pkcs10CertificateRequestGenerator.create(
      {
        name: "CN=admin",
        keys,
        signingAlgorithm: { name: "ECDSA", hash: "SHA-384" },
        extensions: [
          new BasicConstraintsExtension(true, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
          new SubjectAlternativeNameExtension(
            [
              { type: "url", value: id("shop/admin").uri },
              { type: "dns", value: "control.example" },
            ],
            true,
          ),
        ],
      },
      provider.crypto,
    );
    const { answer } = await bench.create({ token: await bench.token() }, { csr: request.toString("pem") });
    const [leaf] = certificates(answer?.certChain ?? []);
    expect(leaf?.extensions.subjectAltNames).toEqual([{ kind: "uri", value: id("shop/cart").uri }]);
    expect(leaf?.extensions.basicConstraints?.isCa).toBe(false);
    expect((leaf?.extensions.keyUsage ?? 0) & (1 << 5)).toBe(0);
    expect(leaf?.subjectText).not.toContain("admin");
  });

  test("CertSigner is ignored, as istiod's own CA ignores it", async () => {
    const { csr } = await bench.csr();
    expect(await refusal({ token: await bench.token() }, { csr, certSigner: "kubernetes.io/x" })).toBe(
      "answered with 2 items",
    );
  });

  test("lifetimes are cut to the bounds", async () => {
    const { csr } = await bench.csr();
    for (const [seconds, expected] of [
      [0, day],
      [-5, day],
      [1, identityLimits.minCertificateMs],
      [3600, hour],
      [86_400, day],
      [48 * 3600, 48 * hour],
      [48 * 3600 + 1, 48 * hour],
      [Number.MAX_SAFE_INTEGER, 48 * hour],
    ] as const) {
      const { answer } = await bench.create({ token: await bench.token() }, { csr, seconds });
      const [leaf] = certificates(answer?.certChain ?? []);
      expect(`${seconds}: ${(leaf?.notAfterMs ?? 0) - startMs}`).toBe(`${seconds}: ${expected}`);
    }
  });

  test("a certificate renews itself: the caller's SVID is enough", async () => {
    const { csr } = await bench.csr();
    const first = await bench.create({ token: await bench.token() }, { csr });
    const shown = shownBy(first.answer?.certChain ?? []);
    expect(await refusal(shown, { csr })).toBe("answered with 2 items");
    expect(await refusal(shown, { csr, impersonate: id("shop/cart").uri })).toBe("answered with 2 items");
    expect(await refusal(shown, { csr, impersonate: id("shop/db").uri })).toBe(notEntitled);
    await bench.clock.advance(day + 1000);
    expect(await refusal(shown, { csr })).toBe(unauthenticated);
  });

  describe("what a node was given for a workload", () => {
    async function ofNode(): Promise<Shown> {
      bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
      bench.version++;
      const node = await bench.joined("edge-1");
      const { csr } = await bench.csr();
      const { answer } = await bench.create(node, { csr, impersonate: id("shop/cart").uri });
      return shownBy(answer?.certChain ?? []);
    }

    test("is the node's, however often it renews itself, and ends with the node", async () => {
      const { csr } = await bench.csr();
      const taken = await ofNode();
      const { answer } = await bench.create(taken, { csr });
      const renewed = shownBy(answer?.certChain ?? []);
      expect(bench.authority.issued.map(({ requestedBy }) => requestedBy)).toEqual([
        "edge-1",
        "edge-1",
        "edge-1",
      ]);
      await bench.authority.revoke({ kind: "node", node: "edge-1" });
      expect(await refusal(taken, { csr })).toBe(unauthenticated);
      expect(await refusal(renewed, { csr })).toBe(unauthenticated);
    });

    test("is not renewed once the node is not registered, or revoked, or the workload is elsewhere", async () => {
      const { csr } = await bench.csr();
      const taken = await ofNode();
      const registration = bench.state.registrations.byNode("edge-1");
      if (registration === null) throw new Error("no registration");
      bench.state.registrations.put({ ...registration, revokedAtMs: 1, revokeReason: "stolen" });
      expect(await refusal(taken, { csr })).toBe(notEntitled);
      bench.state.registrationRows.delete("edge-1");
      expect(await refusal(taken, { csr })).toBe(notEntitled);
      bench.state.registrations.put(registration);
      expect(await refusal(taken, { csr })).toBe("answered with 2 items");
      bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-2" });
      bench.version++;
      expect(await refusal(taken, { csr })).toBe(notEntitled);
      const issued = `certificate.create not_entitled: serial of ${id("shop/cart")} was issued to node edge-1`;
      expect(bench.refusals.map((row) => row.replace(/serial [0-9a-f]+/, "serial"))).toEqual([
        `${issued}, which is revoked`,
        `${issued}, which is no longer registered`,
        `certificate.create not_entitled: no document places ${id("shop/cart")} on node edge-1`,
      ]);
    });
  });
});

describe("requests that are bad", () => {
  async function pemOf(
    algorithm: RsaHashedKeyGenParams | EcKeyGenParams | Algorithm,
    hash = "SHA-256",
  ): Promise<string> {
    const keys = (await subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
    const signingAlgorithm = { name: algorithm.name, hash };
    return (
      await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm }, provider.crypto)
    ).toString("pem");
  }
  const rsa = (modulusLength: number) => ({
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength,
    publicExponent: Uint8Array.of(1, 0, 1),
  });
  async function tampered(): Promise<string> {
    const { csrPem } = await createCertificateRequest(provider, id("shop/cart"));
    const der = Uint8Array.fromBase64(csrPem.replace(/-----[^-]+-----|\n/g, ""));
    der[der.length - 5] = (der[der.length - 5] ?? 0) ^ 1;
    return encodePem("CERTIFICATE REQUEST", der);
  }
  const bad: readonly (readonly [name: string, make: () => Promise<string>])[] = [
    ["empty", async () => ""],
    ["no PEM", async () => "hello"],
    ["two in one", async () => (await bench.csr()).csr.repeat(2)],
    ["a certificate", async () => bench.authority.ca.rootsPem],
    ["not signed by its key", tampered],
    ["damaged", async () => encodePem("CERTIFICATE REQUEST", new Uint8Array(100))],
    ["a megabyte of PEM", async () => encodePem("CERTIFICATE REQUEST", new Uint8Array(750_000))],
    ["a megabyte of nothing", async () => "-".repeat(1024 * 1024)],
    ["of a 1024 bit RSA key", () => pemOf(rsa(1024))],
    ["signed with SHA-1", () => pemOf({ name: "ECDSA", namedCurve: "P-256" } as EcKeyGenParams, "SHA-1")],
    ["of curve P-521", () => pemOf({ name: "ECDSA", namedCurve: "P-521" } as EcKeyGenParams)],
    ["of an Ed25519 key", () => pemOf({ name: "Ed25519" })],
  ];
  for (const [name, make] of bad)
    test(`${name}: INVALID_ARGUMENT, and nothing is signed`, async () => {
      const answer = await refusal({ token: await bench.token() }, { csr: await make() });
      expect(answer).toStartWith("INVALID_ARGUMENT: certificate request: ");
      expect(bench.authority.issued).toEqual([]);
      expect(bench.refusals.length).toBe(1);
    });

  test("keys that are good enough: P-384 and RSA of 2048 bits", async () => {
    for (const csr of [
      await pemOf({ name: "ECDSA", namedCurve: "P-384" } as EcKeyGenParams),
      await pemOf(rsa(2048)),
    ])
      expect(await refusal({ token: await bench.token() }, { csr })).toBe("answered with 2 items");
  });
});

describe("who may ask for whom", () => {
  test("a node for the workloads that documents place on it, at once when they change", async () => {
    const node = await bench.joined("edge-1");
    const { csr } = await bench.csr();
    const impersonate = id("shop/cart").uri;
    expect(await refusal(node, { csr, impersonate })).toBe(notEntitled);
    bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
    bench.version++;
    expect(await refusal(node, { csr, impersonate })).toBe("answered with 2 items");
    expect(bench.authority.issued.at(-1)).toMatchObject({ uri: impersonate, requestedBy: "edge-1" });
    expect(await refusal(node, { csr, impersonate: id("shop/db").uri })).toBe(notEntitled);
    bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-2" });
    bench.version++;
    expect(await refusal(node, { csr, impersonate })).toBe(notEntitled);
  });

  test("no caller for a node, the control plane, another trust domain, or what is no identity; only the audit log has the reason", async () => {
    const node = await bench.joined("edge-1");
    const { csr } = await bench.csr();
    const wanted = [
      [undefined, "an identity of a node"],
      [id("fairlead-nodes/edge-2").uri, "an identity of a node"],
      [id("istio-system/fairlead-control").uri, "control plane"],
      ["spiffe://other.local/ns/shop/sa/cart", "trust domain"],
      ["spiffe://cluster.local/ns/shop/sa/../cart", "not a SPIFFE identity"],
      ["shop/cart", "not a SPIFFE identity"],
      [17, "not a SPIFFE identity"],
      [{ uri: "x" }, "not a SPIFFE identity"],
    ] as const;
    for (const [impersonate, reason] of wanted) {
      expect(await refusal(node, { csr, impersonate })).toBe(notEntitled);
      expect(bench.refusals.at(-1)).toContain(reason);
      expect(bench.state.auditRows.at(-1)?.actor).toBe(id("fairlead-nodes/edge-1").uri);
    }
    expect(bench.authority.issued.length).toBe(1);
  });

  test("no caller by a token that claims to be the control plane or its first administrator", async () => {
    const { csr } = await bench.csr();
    for (const name of ["fairlead-control", "fairlead-admin"]) {
      const token = await bench.token({ sub: `system:serviceaccount:istio-system:${name}` });
      expect(await refusal({ token }, { csr })).toBe(unauthenticated);
    }
  });

  test("an operator's token is for no workload, and a workload's for no other", async () => {
    const { csr } = await bench.csr();
    const operator = await bench.token({ iss: "https://people.example", sub: "ada" });
    expect(await refusal({ token: operator }, { csr })).toBe(notEntitled);
    expect(await refusal({ token: operator }, { csr, impersonate: id("shop/cart").uri })).toBe(notEntitled);
    expect(await refusal({ token: await bench.token() }, { csr, impersonate: id("shop/db").uri })).toBe(
      notEntitled,
    );
    const control = await bench.token({ sub: "system:serviceaccount:istio-system:fairlead-control" });
    expect(await refusal({ token: control }, { csr })).toBe(unauthenticated);
  });
});

describe("who is not believed", () => {
  test("gets one answer for every reason", async () => {
    const { csr } = await bench.csr();
    const good = await bench.token();
    const shows: readonly (readonly [Shown, string])[] = [
      [{}, "no_credentials"],
      [{ token: "x" }, "token_malformed"],
      [{ token: good.slice(0, -4) }, "token_signature"],
      [{ token: await bench.token({ aud: "else" }) }, "token_audience"],
      [{ token: await bench.token({ exp: Math.floor(startMs / 1000) - 3600 }) }, "token_expired"],
      [{ authorization: [good] }, "malformed"],
      [{ authorization: [`Basic ${good}`] }, "malformed"],
      [{ authorization: [`Bearer ${good}`, `Bearer ${good}`] }, "token_malformed"],
      [{ chain: [new Uint8Array([1])] }, "certificate_malformed"],
    ];
    for (const [shown, reason] of shows) {
      expect(await refusal(shown, { csr })).toBe(unauthenticated);
      expect(bench.refusals.at(-1)).toStartWith(`caller.authenticate ${reason}: `);
    }
    expect(await refusal({ authorization: [`bearer ${good}`] }, { csr })).toBe("answered with 2 items");
    expect(JSON.stringify(bench.state.auditRows)).not.toContain(good.split(".")[2] ?? "");
  });

  test("includes everybody who is revoked, from the moment of it", async () => {
    const { csr } = await bench.csr();
    const token = await bench.token();
    const { answer } = await bench.create({ token }, { csr });
    const shown = shownBy(answer?.certChain ?? []);
    await bench.authority.revoke({ kind: "serial", serialNumber: shown.leaf.serialNumber });
    expect(await refusal(shown, { csr })).toBe(unauthenticated);
    expect(await refusal({ token }, { csr })).toBe("answered with 2 items");
    await bench.authority.revoke({ kind: "identity", uri: id("shop/cart").uri });
    expect(await refusal({ token }, { csr })).toBe(unauthenticated);
  });

  test("whoever is revoked while the signer is at work does not get what it made", async () => {
    bench.workloads.set("shop/cart", { identity: id("shop/cart"), node: "edge-1" });
    bench.version++;
    const node = await bench.joined("edge-1");
    const { csr } = await bench.csr();
    const { sign } = bench.authority;
    bench.authority.sign = async (request) => {
      const answer = await sign.call(bench.authority, request);
      await bench.authority.revoke({ kind: "node", node: "edge-1" });
      return answer;
    };
    expect(await refusal(node, { csr, impersonate: id("shop/cart").uri })).toBe(notEntitled);
  });

  test("a certificate that does not hold leaves the token to decide, as in istiod", async () => {
    const { csr } = await bench.csr();
    const token = await bench.token();
    expect(await refusal({ chain: [new Uint8Array([1])], token }, { csr })).toBe("answered with 2 items");
    expect(await refusal({ chain: [new Uint8Array([1])], token: "x" }, { csr })).toBe(unauthenticated);
  });
});

describe("when nothing can be signed", () => {
  const faults: readonly (readonly [MeshError, string])[] = [
    [
      new MeshError("authority_unavailable", "local", "vault at 10.0.0.7"),
      "UNAVAILABLE: the certificate authority cannot sign now",
    ],
    [
      new MeshError("disk_full", "local", "control.db"),
      "UNAVAILABLE: the certificate authority cannot sign now",
    ],
    [new MeshError("certificate_expired", "local", "the CA"), "INTERNAL: the certificate could not be made"],
    [new MeshError("certificate_revoked", "policy", "shop/cart is revoked"), unauthenticated],
  ];
  for (const [fault, answer] of faults)
    test(`${fault.code}: ${answer.split(":")[0]}, without a word of why`, async () => {
      bench.authority.before = async () => {
        throw fault;
      };
      const { csr } = await bench.csr();
      expect(await refusal({ token: await bench.token() }, { csr })).toBe(answer);
      expect(bench.state.auditRows.at(-1)).toMatchObject({
        outcome: fault.blame === "policy" ? "refused" : "failed",
        detail: `${fault.code}: ${fault.message}`,
      });
    });

  test("an answer that is not what was asked for does not leave", async () => {
    const { csr } = await bench.csr();
    const other = await bench.authority.ca.sign({
      csrPem: (await bench.csr()).csr,
      id: id("shop/cart"),
      lifetimeMs: hour,
    });
    const foreign = await bench.authority.ca.sign({ csrPem: csr, id: id("shop/db"), lifetimeMs: hour });
    const { rootsPem: strange } = (await ControlBench.start()).authority.ca;
    for (const tamper of [
      () => other,
      () => foreign,
      () => ({ ...other, chainPem: [] }),
      (good: typeof other) => ({ ...good, rootsPem: strange }),
    ]) {
      bench.authority.tamper = tamper;
      expect(await refusal({ token: await bench.token() }, { csr })).toBe(
        "INTERNAL: the certificate could not be made",
      );
    }
    const why = "certificate.create identity_unavailable: the signer's answer cannot be used: ";
    const said = bench.refusals.slice(-4);
    expect(said.slice(0, 3)).toEqual([
      `${why}it is a certificate for another key`,
      `${why}it is a certificate for ${id("shop/db")} instead of ${id("shop/cart")}`,
      `${why}there is no certificate in it`,
    ]);
    expect(said[3]).toStartWith(why);
  });
});

describe("rates", () => {
  const rates = {
    addressRate: { burst: 20, perSecond: 1 },
    callerRate: { burst: 3, perSecond: 1 },
    namespaceRate: { burst: 5, perSecond: 1 },
    signingRate: { burst: 7, perSecond: 1 },
    renewalRate: { burst: 2, perSecond: 1 },
    maxRateKeys: 100,
  };

  test("of a caller, of all, and of an address each end in RESOURCE_EXHAUSTED and come back with time", async () => {
    bench = await ControlBench.start({ rates });
    const { csr } = await bench.csr();
    const token = await bench.token();
    const other = await bench.token({ sub: "system:serviceaccount:shop:db" });
    const exhausted = "RESOURCE_EXHAUSTED: too many requests";
    for (let round = 0; round < 3; round++)
      expect(await refusal({ token }, { csr })).toBe("answered with 2 items");
    expect(await refusal({ token }, { csr })).toBe(exhausted);
    expect(bench.refusals.at(-1)).toContain("caller_rate");
    for (let round = 0; round < 2; round++)
      expect(await refusal({ token: other }, { csr })).toBe("answered with 2 items");
    expect(await refusal({ token: other }, { csr })).toBe(exhausted);
    expect(bench.refusals.at(-1)).toContain("namespace_rate");
    // Another namespace has its own, and all together have theirs.
    const elsewhere = await bench.token({ sub: "system:serviceaccount:zoo:ape" });
    for (let round = 0; round < 2; round++)
      expect(await refusal({ token: elsewhere }, { csr })).toBe("answered with 2 items");
    expect(await refusal({ token: elsewhere }, { csr })).toBe(exhausted);
    expect(bench.refusals.at(-1)).toContain("all_rate");
    await bench.clock.advance(1000);
    expect(await refusal({ token }, { csr })).toBe("answered with 2 items");
    for (let round = 0; round < 20; round++) expect(await refusal({}, { csr })).toBe(unauthenticated);
    expect(await refusal({}, { csr })).toBe(exhausted);
    expect(bench.refusals.at(-1)).toContain("address_rate");
    expect(await refusal({ address: "192.0.2.2" }, { csr })).toBe(unauthenticated);
  });

  test("strangers behind one address use up nothing of those whose credentials hold", async () => {
    bench = await ControlBench.start({ rates: { ...rates, callerRate: { burst: 100, perSecond: 10 } } });
    const { csr } = await bench.csr();
    const node = await bench.joined("edge-1");
    const known = await bench.token();
    expect(await refusal({ token: known }, { csr })).toBe("answered with 2 items");
    const { certificate } = await createSelfSignedRoot(provider, "cluster.local", startMs);
    const worthless = [{}, { token: "no.token.atAll" }, { chain: [certificate.der] }];
    for (let round = 0; round < 60; round++) await refusal(worthless[round % 3] ?? {}, { csr });
    for (let round = 0; round < 30; round++) await bench.join("fjt_no", csr);
    expect(await refusal({}, { csr })).toBe("RESOURCE_EXHAUSTED: too many requests");
    // Not a second later: now.
    const renewed = await bench.renew(node, csr);
    expect(renewed.refused).toBeNull();
    expect(await refusal({ token: known }, { csr })).toBe("answered with 2 items");
    await bench.joined("edge-2");
    // A token that has never held waits until the address has room again; its bearer gets in then.
    const fresh = await bench.token({ sub: "system:serviceaccount:zoo:ape" });
    expect(await refusal({ token: fresh }, { csr })).toBe("RESOURCE_EXHAUSTED: too many requests");
    await bench.clock.advance(1500);
    expect(await refusal({ token: fresh }, { csr })).toBe("answered with 2 items");
  });

  test("renewals have room of their own when everything else is used up", async () => {
    bench = await ControlBench.start({ rates: { ...rates, callerRate: { burst: 100, perSecond: 10 } } });
    const { csr } = await bench.csr();
    const node = await bench.joined("edge-1");
    for (const sub of ["shop:cart", "zoo:ape"]) {
      const token = await bench.token({ sub: `system:serviceaccount:${sub}` });
      for (let round = 0; round < 5; round++) await refusal({ token }, { csr });
    }
    expect((await bench.renew(node, csr)).refused).toBeNull();
    expect((await bench.renew(node, csr)).refused).toBeNull();
    expect((await bench.renew(node, csr)).refused).toBe("RESOURCE_EXHAUSTED: too many requests");
    expect(bench.refusals.at(-1)).toBe("node.renew all_rate: too many requests");
  });

  test("an address is charged for join tokens that are not good", async () => {
    bench = await ControlBench.start({ rates: { ...rates, addressRate: { burst: 2, perSecond: 1 } } });
    const { csr } = await bench.csr();
    const join = async (): Promise<string> => (await bench.join("fjt_no", csr)).refused ?? "joined";
    const notAccepted = "UNAUTHENTICATED: the join token is not accepted";
    expect([await join(), await join()]).toEqual([notAccepted, notAccepted]);
    expect(await join()).toBe("RESOURCE_EXHAUSTED: too many requests");
    expect(bench.refusals.at(-1)).toBe("node.join address_rate: too many requests");
    await bench.clock.advance(1_000);
    expect(await join()).toBe(notAccepted);
  });

  test("refusals fill no disk: past a rate they are counted, and the next one tells how many", async () => {
    const { csr } = await bench.csr();
    for (let round = 0; round < identityLimits.auditRate.burst + 50; round++) await refusal({}, { csr });
    expect(bench.state.auditRows.length).toBe(identityLimits.auditRate.burst);
    await bench.clock.advance(1000);
    await refusal({}, { csr });
    expect(bench.refusals.at(-1)).toContain("50 refusals before it");
  });

  test("a refusal that cannot be written is a refusal all the same", async () => {
    bench.state.fault = new MeshError("disk_full", "local", "no space");
    expect(await refusal({}, { csr: (await bench.csr()).csr })).toBe(unauthenticated);
  });
});
