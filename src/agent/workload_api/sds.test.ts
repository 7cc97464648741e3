/** Secret discovery in both variants, by its own service and over ADS. */
import { describe, expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { aggregatedDiscovery, secretDiscovery } from "../../wire/grpc/services.ts";
import { grpcCode } from "../../wire/grpc/status.ts";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { SecretSchema } from "../../wire/messages/envoy_tls.gen.ts";
import { decodeMessage, type MessageInitShape, newMessage } from "../../wire/messages/message.ts";
import { secretType } from "./secret_resources.ts";
import { bundleOf, cart, IdentityLab, web } from "./testing/lab.ts";

const sotw = (fields: MessageInitShape<typeof DiscoveryRequestSchema>) =>
  newMessage(DiscoveryRequestSchema, { typeUrl: secretType, ...fields });
const delta = (fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) =>
  newMessage(DeltaDiscoveryRequestSchema, { typeUrl: secretType, ...fields });

/** `default: leaf…, key…` or `ROOTCA: root…, list…`, with the content of PEM blocks decoded. */
function describeSecret(value: Uint8Array | undefined): string {
  const { name, type } = decodeMessage(SecretSchema, value ?? new Uint8Array());
  const read = (source: { specifier: { value?: unknown } } | undefined) => {
    const bytes = source?.specifier.value;
    const pem = bytes instanceof Uint8Array ? new TextDecoder().decode(bytes) : "nothing";
    return [...pem.matchAll(/-----BEGIN ([^-]+)-----([^-]+)-----END/g)]
      .map(([, label, base64]) => `${label} ${atob((base64 ?? "").trim())}`)
      .join("+");
  };
  if (type.case === "tlsCertificate")
    return `${name}: ${read(type.value.certificateChain)}, ${read(type.value.privateKey)}`;
  if (type.case === "validationContext")
    return `${name}: ${read(type.value.trustedCa)}, ${read(type.value.crl)}`;
  return `${name}: nothing`;
}

const secretsOf = (response: DiscoveryResponse | undefined) =>
  response?.resources.map(({ value }) => describeSecret(value));
const changesOf = (response: DeltaDiscoveryResponse | undefined) =>
  response?.resources.map(({ resource }) => describeSecret(resource?.value));
const cartSecret = (serial: string) =>
  `default: CERTIFICATE leaf ${cart.uri} ${serial}, PRIVATE KEY key ${cart.uri} ${serial}`;
const rootSecret = (...roots: string[]) =>
  `ROOTCA: ${roots.map((root) => `CERTIFICATE ${root}`).join("+")}, X509 CRL list of ${roots.join()}`;

async function newLab() {
  const lab = new IdentityLab(["uid=1001=shop/cart", "uid=1001=shop/web", "uid=1002=shop/web"]);
  lab.secrets.put(cart, "1");
  return { lab, client: await lab.connect(1001) };
}

for (const [name, method] of [
  ["StreamSecrets", secretDiscovery.stream],
  ["StreamAggregatedResources", aggregatedDiscovery.stream],
] as const)
  describe(name, () => {
    test("a secret, its acknowledgement, its rotation; an acknowledgement is not answered", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: ["default"] }), []);
      await lab.pass(50);
      expect(secretsOf(call.answers[0])).toEqual([cartSecret("1")]);
      const [first] = call.answers;
      expect(first?.typeUrl).toBe(secretType);
      call.stream.send(
        sotw({
          resourceNames: ["default"],
          versionInfo: first?.versionInfo ?? "",
          responseNonce: first?.nonce ?? "",
        }),
      );
      await lab.pass(50);
      expect(call.answers).toHaveLength(1);
      expect(lab.api.status().secrets).toMatchObject([
        { caller: "uid=1001,gid=1001", names: ["default"], acknowledged: first?.versionInfo, refused: null },
      ]);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      expect(secretsOf(call.answers[1])).toEqual([cartSecret("2")]);
      expect(call.answers[1]?.versionInfo).not.toBe(first?.versionInfo);
    });

    test("roots, pushed when trust changes, and not when only an SVID does", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: ["ROOTCA"] }), []);
      await lab.pass(50);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      lab.bundle.set(bundleOf("root 1", "root 2"));
      await lab.pass(50);
      expect(call.answers.map(secretsOf)).toEqual([[rootSecret("root 1")], [rootSecret("root 1", "root 2")]]);
    });

    test("a refusal is kept and shown, and the same is not sent again", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: ["default"] }), []);
      await lab.pass(50);
      const message = "x".repeat(workloadApiLimits.maxNackChars + 1);
      const nonce = call.answers[0]?.nonce ?? "";
      call.stream.send(
        sotw({ resourceNames: ["default"], responseNonce: nonce, errorDetail: { code: 3, message } }),
      );
      await lab.pass(50);
      expect(call.answers).toHaveLength(1);
      const [status] = lab.api.status().secrets;
      expect([status?.acknowledged, status?.refused?.reason.length]).toEqual([
        null,
        workloadApiLimits.maxNackChars,
      ]);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      call.stream.send(sotw({ resourceNames: ["default"], responseNonce: call.answers[1]?.nonce ?? "" }));
      await lab.pass(50);
      expect(lab.api.status().secrets[0]).toMatchObject({
        acknowledged: call.answers[1]?.versionInfo,
        refused: null,
      });
    });

    test("a request that answers an older response is not believed", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: ["default"] }), []);
      await lab.pass(50);
      const stale = call.answers[0]?.nonce ?? "";
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      call.stream.send(sotw({ resourceNames: ["ROOTCA"], responseNonce: stale }));
      await lab.pass(50);
      expect(lab.api.status().secrets[0]).toMatchObject({ names: ["default"], acknowledged: null });
    });

    test("other names make another answer; what is not the caller's is left out, and audited", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: ["default"] }), []);
      await lab.pass(50);
      const names = [
        "default",
        "ROOTCA",
        cart.uri,
        "spiffe://cluster.local",
        "spiffe://cluster.local/ns/shop/sa/other",
        "\n",
      ];
      call.stream.send(sotw({ resourceNames: names, responseNonce: call.answers[0]?.nonce ?? "" }));
      await lab.pass(50);
      expect(secretsOf(call.answers[1])?.map((text) => text.split(": ")[0])).toEqual(names.slice(0, 4));
      expect(lab.audit.filter(({ outcome }) => outcome === "refused").map(({ target }) => target)).toEqual([
        '"spiffe://cluster.local/ns/shop/sa/other"',
        '"\\n"',
      ]);
    });

    test("what is not there yet is waited for", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, sotw({ resourceNames: [web.uri] }), []);
      await lab.pass(50);
      lab.secrets.fail(web);
      await lab.pass(50);
      expect([call.answers.length, call.end]).toEqual([0, undefined]);
      lab.secrets.put(web, "1");
      await lab.pass(50);
      expect(secretsOf(call.answers[0])?.[0]).toStartWith(web.uri);
    });

    test("another type is not answered", async () => {
      const { lab, client } = await newLab();
      const typeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
      const call = lab.open(client, method, sotw({ typeUrl }), []);
      await lab.pass(50);
      expect([call.answers.length, call.end]).toEqual([0, undefined]);
    });

    test("more names than the limit are RESOURCE_EXHAUSTED", async () => {
      const { lab, client } = await newLab();
      const resourceNames = Array.from(
        { length: workloadApiLimits.maxSecretNames + 1 },
        (_, index) => `name ${index}`,
      );
      const fits = lab.open(client, method, sotw({ resourceNames: resourceNames.slice(1) }), []);
      const call = lab.open(client, method, sotw({ resourceNames }), []);
      await lab.pass(50);
      expect([fits.end, call.end?.code]).toEqual([undefined, grpcCode.resourceExhausted]);
    });
  });

for (const [name, method] of [
  ["DeltaSecrets", secretDiscovery.delta],
  ["DeltaAggregatedResources", aggregatedDiscovery.delta],
] as const)
  describe(name, () => {
    test("only what changed is sent", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, delta({ resourceNamesSubscribe: ["default", "ROOTCA"] }), []);
      await lab.pass(50);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      lab.bundle.set(bundleOf("root 2"));
      await lab.pass(50);
      expect(call.answers.map(changesOf)).toEqual([
        [cartSecret("1"), rootSecret("root 1")],
        [cartSecret("2")],
        [rootSecret("root 2")],
      ]);
    });

    test("a name that is not the caller's is removed, once", async () => {
      const { lab } = await newLab();
      const client = await lab.connect(1002);
      const call = lab.open(client, method, delta({ resourceNamesSubscribe: [cart.uri, "*"] }), []);
      await lab.pass(50);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      expect(call.answers.map(({ resources, removedResources }) => [resources, removedResources])).toEqual([
        [[], [cart.uri, "*"]],
      ]);
    });

    test("who comes back is sent only what is new; who subscribes again is answered again", async () => {
      const { lab, client } = await newLab();
      const subscribe = { resourceNamesSubscribe: ["default"] };
      const first = lab.open(client, method, delta(subscribe), []);
      await lab.pass(50);
      const version = first.answers[0]?.resources[0]?.version ?? "";
      const second = lab.open(
        client,
        method,
        delta({ ...subscribe, initialResourceVersions: { default: version } }),
        [],
      );
      await lab.pass(50);
      expect(second.answers).toEqual([]);
      second.stream.send(delta(subscribe));
      await lab.pass(50);
      expect(second.answers.map(changesOf)).toEqual([[cartSecret("1")]]);
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      expect(second.answers.map(changesOf)).toEqual([[cartSecret("1")], [cartSecret("2")]]);
    });

    test("acknowledged and refused; what was unsubscribed is not sent any more", async () => {
      const { lab, client } = await newLab();
      const call = lab.open(client, method, delta({ resourceNamesSubscribe: ["default"] }), []);
      await lab.pass(50);
      const responseNonce = call.answers[0]?.nonce ?? "";
      call.stream.send(delta({ responseNonce, errorDetail: { code: 3, message: "no" } }));
      await lab.pass(50);
      expect([call.answers.length, lab.api.status().secrets[0]?.refused?.reason]).toEqual([1, "no"]);
      call.stream.send(delta({ responseNonce, resourceNamesUnsubscribe: ["default"] }));
      await lab.pass(50);
      expect(lab.api.status().secrets[0]).toMatchObject({ names: [], refused: null });
      lab.secrets.put(cart, "2");
      await lab.pass(50);
      expect(call.answers).toHaveLength(1);
    });
  });

describe("FetchSecrets", () => {
  test("answers once, also when the identity is made first", async () => {
    const { lab, client } = await newLab();
    const asking = client.unary(secretDiscovery.fetch, sotw({ resourceNames: ["default", "ROOTCA"] }));
    expect(secretsOf(await lab.world.settle(asking))).toEqual([cartSecret("1"), rootSecret("root 1")]);
    const waiting = client.unary(secretDiscovery.fetch, sotw({ resourceNames: [web.uri] }));
    await lab.pass(50);
    lab.secrets.put(web, "1");
    expect(secretsOf(await lab.world.settle(waiting))).toHaveLength(1);
    expect(lab.api.status().openStreams).toBe(0);
  });

  test("NOT_FOUND for what is not the caller's, UNAVAILABLE for what cannot be had", async () => {
    const { lab, client } = await newLab();
    const fetch = (name: string) => client.unary(secretDiscovery.fetch, sotw({ resourceNames: [name] }));
    expect(await rejectionOf(lab.world.settle(fetch("other")))).toMatchObject({ code: grpcCode.notFound });
    const waiting = fetch(web.uri);
    await lab.pass(50);
    lab.secrets.fail(web);
    expect(await rejectionOf(lab.world.settle(waiting))).toMatchObject({ code: grpcCode.unavailable });
  });
});

test("a user without a rule gets no stream", async () => {
  const { lab } = await newLab();
  const client = await lab.connect(7);
  for (const method of [secretDiscovery.stream, aggregatedDiscovery.stream]) {
    const call = lab.open(client, method, sotw({ resourceNames: ["ROOTCA"] }), []);
    await lab.pass(50);
    expect([call.end?.code, call.answers.length]).toEqual([grpcCode.permissionDenied, 0]);
  }
  expect(lab.audit).toMatchObject([{ actor: "uid=7,gid=7", outcome: "refused" }]);
});

test("one who does not read is sent the latest when he does, not everything in between", async () => {
  const { lab, client } = await newLab();
  const call = lab.open(client, secretDiscovery.stream, sotw({ resourceNames: ["ROOTCA"] }), []);
  await lab.pass(50);
  call.stream.pause();
  const big = "r".repeat(200_000);
  for (let round = 0; round < 40; round++) {
    lab.bundle.set(bundleOf(`${round} ${big}`));
    await lab.pass(20);
  }
  call.stream.resume();
  await lab.pass(2_000);
  expect(call.answers.length).toBeLessThan(30);
  expect(secretsOf(call.answers.at(-1))?.[0]).toStartWith("ROOTCA: CERTIFICATE 39 r");
});
