/** The SPIFFE Workload API, called by programs of several users. */
import { describe, expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { spiffeWorkload } from "../../wire/grpc/services.ts";
import { grpcCode } from "../../wire/grpc/status.ts";
import { newMessage } from "../../wire/messages/message.ts";
import {
  JWTSVIDRequestSchema,
  X509BundlesRequestSchema,
  X509SVIDRequestSchema,
  type X509SVIDResponse,
} from "../../wire/messages/spiffe_workload.gen.ts";
import { bundleOf, cart, IdentityLab, trustDomain, web } from "./testing/lab.ts";

const svidRequest = newMessage(X509SVIDRequestSchema);
const bundlesRequest = newMessage(X509BundlesRequestSchema);
const { fetchX509Svid, fetchX509Bundles, fetchJwtSvid } = spiffeWorkload;

function describeAnswer(answer: X509SVIDResponse | undefined) {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return answer?.svids.map(({ spiffeId, x509Svid, x509SvidKey, bundle }) => [
    spiffeId,
    text(x509Svid),
    text(x509SvidKey),
    text(bundle),
  ]);
}

describe("FetchX509SVID", () => {
  test("gives the identities of the caller's user, the first rule's first, with chain, key and bundle in DER", async () => {
    const lab = new IdentityLab(["uid=1001=shop/web", "gid=50=shop/cart", "uid=2=shop/other"]);
    lab.secrets.put(web, "1");
    lab.secrets.put(cart, "1");
    const call = lab.open(await lab.connect(1001, 50), fetchX509Svid, svidRequest);
    await lab.pass(50);
    expect(describeAnswer(call.answers[0])).toEqual([
      [web.uri, `leaf ${web.uri} 1intermediate`, `key ${web.uri} 1`, "root 1"],
      [cart.uri, `leaf ${cart.uri} 1intermediate`, `key ${cart.uri} 1`, "root 1"],
    ]);
    expect(call.answers[0]?.crl.map((der) => new TextDecoder().decode(der))).toEqual(["list of root 1"]);
    expect(call.end).toBeUndefined();
  });

  test("pushes a rotation and a change of trust, and nothing for what is not the caller's", async () => {
    const lab = new IdentityLab(["uid=1001=shop/cart"]);
    lab.secrets.put(cart, "1");
    const call = lab.open(await lab.connect(1001), fetchX509Svid, svidRequest);
    await lab.pass(50);
    lab.secrets.put(web, "1");
    await lab.pass(50);
    expect(call.answers).toHaveLength(1);
    lab.secrets.put(cart, "2");
    await lab.pass(50);
    lab.bundle.set(bundleOf("root 1", "root 2"));
    await lab.pass(50);
    expect(call.answers.map(describeAnswer).map((svids) => svids?.[0]?.slice(1))).toEqual([
      [`leaf ${cart.uri} 1intermediate`, `key ${cart.uri} 1`, "root 1"],
      [`leaf ${cart.uri} 2intermediate`, `key ${cart.uri} 2`, "root 1"],
      [`leaf ${cart.uri} 2intermediate`, `key ${cart.uri} 2`, "root 1root 2"],
    ]);
    // The same content again is no news.
    lab.bundle.set(bundleOf("root 1", "root 2"));
    await lab.pass(50);
    expect(call.answers).toHaveLength(3);
  });

  test("waits while the identity is being made, and leaves out what cannot be had", async () => {
    const lab = new IdentityLab(["uid=1001=shop/web", "uid=1001=shop/cart"]);
    const call = lab.open(await lab.connect(1001), fetchX509Svid, svidRequest);
    await lab.pass(50);
    lab.secrets.put(cart, "1");
    await lab.pass(50);
    expect(call.answers).toEqual([]);
    lab.secrets.fail(web);
    await lab.pass(50);
    expect(call.answers[0]?.svids.map(({ spiffeId }) => spiffeId)).toEqual([cart.uri]);
    lab.secrets.put(web, "1");
    await lab.pass(50);
    expect(call.answers[1]?.svids.map(({ spiffeId }) => spiffeId)).toEqual([web.uri, cart.uri]);
  });

  test("is UNAVAILABLE when there is nothing to give, so that the client comes again; what was given is not taken back", async () => {
    const lab = new IdentityLab(["uid=1001=shop/cart"]);
    const client = await lab.connect(1001);
    const call = lab.open(client, fetchX509Svid, svidRequest);
    await lab.pass(50);
    lab.secrets.fail(cart);
    await lab.pass(50);
    expect([call.end?.code, call.end?.message]).toEqual([
      grpcCode.unavailable,
      "the identity is not available now",
    ]);
    // No busy loop on a signer that is away.
    expect(lab.secrets.asked).toBe(1);
  });

  test("an identity that could not be had is asked for again after a while", async () => {
    const lab = new IdentityLab(["uid=1001=shop/web", "uid=1001=shop/cart"]);
    lab.secrets.put(cart, "1");
    const call = lab.open(await lab.connect(1001), fetchX509Svid, svidRequest);
    await lab.pass(50);
    lab.secrets.fail(web);
    await lab.pass(50);
    expect([call.answers.length, lab.secrets.asked]).toEqual([1, 1]);
    await lab.pass(workloadApiLimits.askAgainMs);
    expect([call.answers.length, lab.secrets.asked]).toEqual([1, 2]);
  });
});

describe("who may call", () => {
  for (const [uid, gid] of [
    [1002, 1001],
    [0, 0],
    [1001, 7],
  ] as const)
    test(`uid ${uid}, gid ${gid} has no rule: PERMISSION_DENIED, and the audit log says so`, async () => {
      const lab = new IdentityLab(["uid=1001,gid=1001=shop/cart"]);
      lab.secrets.put(cart, "1");
      const client = await lab.connect(uid, gid);
      for (const [method, request] of [
        [fetchX509Svid, svidRequest],
        [fetchX509Bundles, bundlesRequest],
      ] as const) {
        const call = lab.open<never, unknown>(client, method as never, request as never);
        await lab.pass(50);
        expect([call.end?.code, call.answers.length]).toEqual([grpcCode.permissionDenied, 0]);
      }
      expect(lab.audit.map(({ actor, action, outcome }) => [actor, action, outcome])).toEqual([
        [`uid=${uid},gid=${gid}`, "svid.x509", "refused"],
        [`uid=${uid},gid=${gid}`, "bundles.x509", "refused"],
      ]);
    });

  test("a caller in a loop is audited once a minute, with a count", async () => {
    const lab = new IdentityLab([]);
    const client = await lab.connect(1001);
    for (let round = 0; round < 20; round++) lab.open(client, fetchX509Svid, svidRequest);
    await lab.pass(50);
    expect(lab.audit).toHaveLength(1);
    await lab.pass(workloadApiLimits.auditIntervalMs);
    lab.open(client, fetchX509Svid, svidRequest);
    await lab.pass(50);
    expect(lab.audit[1]?.detail).toEndWith("19 more before this");
  });

  test("without the security header it is INVALID_ARGUMENT before anything else (SPIFFE Workload Endpoint §6.1)", async () => {
    const lab = new IdentityLab(["uid=1001=shop/cart"]);
    lab.secrets.put(cart, "1");
    for (const metadata of [[], ["workload.spiffe.io", "false"], ["workload.spiffe.io", "True"]]) {
      const call = lab.open(await lab.connect(1001), fetchX509Svid, svidRequest, metadata);
      await lab.pass(50);
      expect([call.end?.code, call.answers.length]).toEqual([grpcCode.invalidArgument, 0]);
    }
    expect(lab.audit).toEqual([]);
  });

  test("a user has so many streams, and when one is over there is room again", async () => {
    const lab = new IdentityLab(["uid=1001=shop/cart", "uid=1002=shop/cart"]);
    lab.secrets.put(cart, "1");
    const client = await lab.connect(1001);
    const calls = Array.from({ length: workloadApiLimits.maxStreamsPerUser + 1 }, () =>
      lab.open(client, fetchX509Svid, svidRequest),
    );
    await lab.pass(100);
    expect(calls.filter((call) => call.end === undefined)).toHaveLength(workloadApiLimits.maxStreamsPerUser);
    expect(calls.at(-1)?.end?.code).toBe(grpcCode.resourceExhausted);
    const neighbour = lab.open(await lab.connect(1002), fetchX509Svid, svidRequest);
    calls[0]?.stream.cancel();
    await lab.pass(100);
    const next = lab.open(client, fetchX509Svid, svidRequest);
    await lab.pass(100);
    expect([neighbour.end, next.end]).toEqual([undefined, undefined]);
    for (const call of [...calls, neighbour, next]) call.stream.cancel();
    await lab.pass(100);
    expect([lab.api.status().openStreams, lab.secrets.subscriptions]).toEqual([0, 0]);
  });
});

test("FetchX509Bundles gives the trust domain's roots, and again when they change", async () => {
  const lab = new IdentityLab(["uid=1001=shop/cart"]);
  const call = lab.open(await lab.connect(1001), fetchX509Bundles, bundlesRequest);
  await lab.pass(50);
  lab.bundle.set(bundleOf("root 2"));
  await lab.pass(50);
  const decoded = call.answers.map(({ bundles }) =>
    Object.entries(bundles).map(([name, der]) => [name, new TextDecoder().decode(der)]),
  );
  expect(decoded).toEqual([[[`spiffe://${trustDomain}`, "root 1"]], [[`spiffe://${trustDomain}`, "root 2"]]]);
  // No key was made for it.
  expect(lab.secrets.asked).toBe(0);
});

test("JWT-SVIDs are UNIMPLEMENTED, in as many words", async () => {
  const lab = new IdentityLab(["uid=1001=shop/cart"]);
  const call = lab.open(
    await lab.connect(1001),
    fetchJwtSvid,
    newMessage(JWTSVIDRequestSchema, { audience: ["a"] }),
  );
  call.stream.end();
  await lab.pass(50);
  expect([call.end?.code, call.end?.message]).toEqual([
    grpcCode.unimplemented,
    "JWT-SVIDs are not issued here",
  ]);
});

test("no key is in the audit log", async () => {
  const lab = new IdentityLab(["uid=1001=shop/cart"]);
  lab.secrets.put(cart, "1");
  lab.open(await lab.connect(1001), fetchX509Svid, svidRequest);
  await lab.pass(50);
  expect(lab.audit).toMatchObject([
    { actor: "uid=1001,gid=1001", action: "svid.x509", target: cart.uri, outcome: "ok" },
  ]);
  expect(JSON.stringify(lab.audit)).not.toContain("key");
});

describe("an answer", () => {
  test("is not given before it is asked for, nor before there are roots", async () => {
    const lab = new IdentityLab(["uid=1001=shop/cart"]);
    lab.secrets.put(cart, "1");
    lab.bundle.set({ rootsPem: "", crls: [] });
    const client = await lab.connect(1001);
    const svids = lab.open(client, fetchX509Svid, null);
    const bundles = lab.open(client, fetchX509Bundles, bundlesRequest);
    await lab.pass(50);
    expect([svids.answers, bundles.answers]).toEqual([[], []]);
    lab.bundle.set(bundleOf("root 1"));
    lab.secrets.put(cart, "2");
    await lab.pass(50);
    expect([svids.answers.length, bundles.answers.length]).toEqual([0, 1]);
    svids.stream.send(svidRequest);
    await lab.pass(50);
    expect(svids.answers.map(describeAnswer).map((one) => one?.[0]?.[2])).toEqual([`key ${cart.uri} 2`]);
  });
});

test("there are as many rules as the configuration bounds, and a program error past them", () => {
  const rules = (count: number) => Array.from({ length: count }, (_none, uid) => `uid=${uid}=shop/cart`);
  expect(new IdentityLab(rules(workloadApiLimits.maxIdentityRules)).audit).toEqual([]);
  expect(() => new IdentityLab(rules(workloadApiLimits.maxIdentityRules + 1))).toThrow("bounds the rules");
});
