import { describe, expect, test } from "bun:test";
import { adsLimits } from "../../base/limits/rpc.ts";
import { DeltaClient } from "./client.ts";
import { addressType, authorizationType, type DeltaResponse, trustBundleType } from "./delta.ts";

function wildcards(): DeltaClient {
  return new DeltaClient([
    { typeUrl: authorizationType, mode: "wildcard" },
    { typeUrl: addressType, mode: "wildcard" },
  ]);
}

function response(
  nonce: string,
  versions: Readonly<Record<string, string>>,
  removedResources: string[] = [],
  typeUrl: string = addressType,
): DeltaResponse {
  const resources = Object.entries(versions).map(([name, version]) => ({ name, version }));
  return { typeUrl, nonce, resources, removedResources };
}

function take(client: DeltaClient, from: DeltaResponse, refused: Readonly<Record<string, string>> = {}) {
  const delivery = client.onResponse(from);
  if (delivery === null) throw new Error("not delivered");
  const rejected = Object.entries(refused).map(([name, reason]) => ({ name, reason }));
  return { delivery, answer: client.acknowledge(delivery, rejected) };
}

describe("what a client asks for", () => {
  test("wildcard types begin with no names, in the order they were given", () => {
    const requests = wildcards().connect();
    expect(requests.map((request) => request.typeUrl)).toEqual([authorizationType, addressType]);
    for (const request of requests) {
      expect(request.resourceNamesSubscribe).toEqual([]);
      expect(request.resourceNamesUnsubscribe).toEqual([]);
      expect(request.responseNonce).toBe("");
    }
  });

  test("an on-demand type begins with * taken and given back, as ztunnel's does", () => {
    const client = new DeltaClient([{ typeUrl: addressType, mode: "on-demand" }]);
    expect(client.subscribe(addressType, ["/10.0.0.1"])).toBeNull();
    expect(client.connect()[0]).toMatchObject({
      resourceNamesSubscribe: ["*", "/10.0.0.1"],
      resourceNamesUnsubscribe: ["*"],
    });
    expect(client.subscribe(addressType, ["/10.0.0.1", "shop/db.shop"])).toMatchObject({
      resourceNamesSubscribe: ["shop/db.shop"],
      responseNonce: "",
    });
    expect(client.subscribe(addressType, ["shop/db.shop"])).toBeNull();
    expect(client.pending(addressType)).toEqual(["/10.0.0.1", "shop/db.shop"]);
    take(client, response("1", { uid: "v1" }, ["/10.0.0.1"]));
    expect(client.pending(addressType)).toEqual(["shop/db.shop"]);
    expect(client.unsubscribe(addressType, ["shop/db.shop", "never"])).toMatchObject({
      resourceNamesUnsubscribe: ["shop/db.shop"],
    });
    expect(client.pending(addressType)).toEqual([]);
  });

  test("after a reconnect the server is told what is held, and nothing of the last stream's nonces", () => {
    const client = wildcards();
    client.connect();
    take(client, response("7", { a: "1", b: "2", c: "3" }));
    take(client, response("8", { b: "2b" }, ["a"]));
    client.disconnect();
    const [, address] = client.connect();
    // Exactly these: what was removed is not told.
    expect(address?.initialResourceVersions).toEqual({ b: "2b", c: "3" });
    expect(address?.responseNonce).toBe("");
  });
});

describe("what was refused", () => {
  const refused = (client: DeltaClient) => Object.fromEntries(client.rejected(addressType));

  test("and is gone when the server is there again, is refused no more: no removal is told of what was never held", () => {
    const client = wildcards();
    client.connect();
    take(client, response("1", { a: "1", b: "1", c: "1" }), { b: "bad", c: "bad too" });
    client.disconnect();
    expect(refused(client)).toEqual({ b: "bad", c: "bad too" });
    client.connect();
    expect(refused(client)).toEqual({ b: "bad", c: "bad too" });
    take(client, response("1", { c: "2" }), { c: "worse" });
    expect(refused(client)).toEqual({ c: "worse" });
    // Later answers of the same stream say nothing of it.
    take(client, response("2", { d: "1" }));
    expect(refused(client)).toEqual({ c: "worse" });
    client.disconnect();
    client.connect();
    take(client, response("1", {}));
    expect(refused(client)).toEqual({});
  });
});

describe("what a client answers", () => {
  test("an accepted response is acknowledged by its nonce alone", () => {
    const client = wildcards();
    client.connect();
    const { answer } = take(client, response("n1", { a: "1" }));
    expect(answer).toEqual({
      typeUrl: addressType,
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: {},
      responseNonce: "n1",
    });
  });

  test("a bad resource is refused alone: the good ones are held, the bad one keeps its last good version", () => {
    const client = wildcards();
    client.connect();
    take(client, response("1", { a: "1", b: "1" }));
    const { answer } = take(client, response("2", { a: "2", b: "2" }), { b: "unknown action 9" });
    expect(answer.errorDetail).toEqual({ code: 0, message: "b: unknown action 9" });
    expect(answer.responseNonce).toBe("2");
    expect(Object.fromEntries(client.held(addressType))).toEqual({ a: "2", b: "1" });
    expect([...client.rejected(addressType)]).toEqual([["b", "unknown action 9"]]);
    take(client, response("3", { b: "3" }));
    expect(client.rejected(addressType).size).toBe(0);
  });

  test("a refusal of very many resources is cut", () => {
    const client = wildcards();
    client.connect();
    const refused = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`name-${i}`, "bad address"]));
    const { answer } = take(client, response("1", refused), refused);
    expect(answer.errorDetail?.message).toHaveLength(adsLimits.maxErrorChars);
  });

  test("a type never asked for is acknowledged and not applied", () => {
    const client = wildcards();
    client.connect();
    const odd = response("9", { a: "1" }, [], "type.googleapis.com/other");
    expect(client.onResponse(odd)).toBeNull();
    expect(client.acknowledgeUnknown(odd)).toMatchObject({ typeUrl: odd.typeUrl, responseNonce: "9" });
  });

  test("a name both sent and removed is sent; of a name sent twice the last counts", () => {
    const client = wildcards();
    client.connect();
    const twice = { name: "a", version: "1" };
    const delivery = client.onResponse({
      ...response("1", {}, ["a", "b", "b"]),
      resources: [twice, { ...twice, version: "2" }],
    });
    expect(delivery?.resources).toEqual([{ name: "a", version: "2" }]);
    expect(delivery?.removed).toEqual(["b"]);
  });
});

describe("when a client is ready", () => {
  test("once each wildcard type had an accepted response, empty ones included; a refusal does not count", () => {
    const client = wildcards();
    client.connect();
    take(client, response("1", {}, [], authorizationType));
    expect(client.ready).toBe(false);
    take(client, response("1", { a: "1" }), { a: "bad" });
    expect(client.ready).toBe(false);
    take(client, response("2", { a: "2" }));
    expect(client.ready).toBe(true);
  });

  test("it stays ready while the server is away, and says that it is not current", () => {
    const client = wildcards();
    client.connect();
    for (const typeUrl of [authorizationType, addressType]) take(client, response("1", {}, [], typeUrl));
    expect(client.current).toBe(true);
    client.disconnect();
    expect(client.ready).toBe(true);
    expect(client.current).toBe(false);
    client.connect();
    expect(client.current).toBe(false);
  });

  test("a type added later is asked for at once and holds up no other type", () => {
    const client = wildcards();
    client.connect();
    for (const typeUrl of [authorizationType, addressType]) take(client, response("1", {}, [], typeUrl));
    const options = { typeUrl: trustBundleType, mode: "wildcard" } as const;
    expect(client.addType(options)).toMatchObject({ typeUrl: trustBundleType, resourceNamesSubscribe: [] });
    expect(client.addType(options)).toBeNull();
    expect(client.ready).toBe(true);
    expect(client.connect()).toHaveLength(3);
    client.removeType(trustBundleType);
    expect(client.connect()).toHaveLength(2);
  });
});
