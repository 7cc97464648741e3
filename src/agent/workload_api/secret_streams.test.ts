/** What the two variants of secret discovery answer, without a stream. */
import { describe, expect, test } from "bun:test";
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from "../../wire/messages/envoy_discovery.gen.ts";
import { type MessageInitShape, newMessage } from "../../wire/messages/message.ts";
import { DeltaSecrets } from "./sds_delta.ts";
import { SotwSecrets } from "./sds_sotw.ts";
import { type SecretLookup, secretType } from "./secret_resources.ts";

function secrets() {
  const found = new Map<string, SecretLookup>();
  const put = (name: string, version: string): void =>
    void found.set(name, { name, version, value: new Uint8Array(0) });
  return { found, put, lookUp: (name: string) => found.get(name) ?? "forbidden" };
}

describe("state of the world", () => {
  const request = (fields: MessageInitShape<typeof DiscoveryRequestSchema>) =>
    newMessage(DiscoveryRequestSchema, fields);

  test("a request for another type has no answer; one that names none is for secrets", () => {
    const { put, lookUp } = secrets();
    put("a", "1");
    for (const [typeUrl, isAnswered] of [
      ["other", false],
      ["", true],
      [secretType, true],
    ] as const) {
      const answer = new SotwSecrets(lookUp).receive(request({ typeUrl, resourceNames: ["a"] }));
      expect([typeUrl, answer !== null]).toEqual([typeUrl, isAnswered]);
    }
  });

  test("other names are another question: more, fewer, or as many others", () => {
    const { put, lookUp } = secrets();
    for (const name of ["a", "b", "c"]) put(name, "1");
    const stream = new SotwSecrets(lookUp);
    const asked = (...resourceNames: string[]) =>
      stream.receive(request({ resourceNames }))?.resources.length ?? 0;
    expect([asked("a", "b"), asked("b", "a"), asked("b", "b", "a"), asked("a", "c")]).toEqual([2, 0, 0, 2]);
    expect([asked("a"), asked("a", "b")]).toEqual([1, 2]);
  });

  test("the version of one secret is its own, and that of several is of all of them", () => {
    const { found, put, lookUp } = secrets();
    const stream = new SotwSecrets(lookUp);
    put("a", "v1");
    expect(stream.receive(request({ resourceNames: ["a", "b"] }))?.versionInfo).toBe("v1");
    expect(stream.refresh()).toBeNull();
    put("b", "v1");
    const both = stream.refresh()?.versionInfo ?? "";
    expect(both).toMatch(/^[0-9a-f]{64}$/);
    expect(stream.refresh()).toBeNull();
    put("b", "v2");
    expect(stream.refresh()?.versionInfo).not.toBe(both);
    found.clear();
    expect(stream.refresh()).toBeNull();
  });
});

describe("increments", () => {
  const request = (fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) =>
    newMessage(DeltaDiscoveryRequestSchema, fields);

  test("a request for another type has no answer; one that names none is for secrets", () => {
    const { put, lookUp } = secrets();
    put("a", "1");
    for (const [typeUrl, isAnswered] of [
      ["other", false],
      ["", true],
      [secretType, true],
    ] as const) {
      const stream = new DeltaSecrets(lookUp);
      const answer = stream.receive(request({ typeUrl, resourceNamesSubscribe: ["a"] }));
      expect([typeUrl, answer !== null, stream.names]).toEqual([
        typeUrl,
        isAnswered,
        isAnswered ? ["a"] : [],
      ]);
    }
  });

  test("what is not there yet is not told, what is forbidden is, once", () => {
    const { found, put, lookUp } = secrets();
    found.set("later", "pending");
    put("a", "1");
    const stream = new DeltaSecrets(lookUp);
    const answer = stream.receive(request({ resourceNamesSubscribe: ["later", "none", "a"] }));
    expect([answer?.resources.map(({ name }) => name), answer?.removedResources]).toEqual([["a"], ["none"]]);
    expect(stream.refresh()).toBeNull();
    put("later", "1");
    expect(stream.refresh()?.resources.map(({ name }) => name)).toEqual(["later"]);
    found.delete("a");
    expect(stream.refresh()?.removedResources).toEqual(["a"]);
  });
});
