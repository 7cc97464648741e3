import { describe, expect, test } from "bun:test";
import { adsLimits } from "../../base/limits/rpc.ts";
import { type NewResource, ResourceSet } from "./resource_set.ts";

const resource = (name: string, version: string): NewResource =>
  ({ name, version, value: new Uint8Array() }) as unknown as NewResource;

describe("what is remembered of changes", () => {
  test("so many, and then who is behind those begins again", () => {
    const set = new ResourceSet("t");
    const { maxRememberedChanges } = adsLimits;
    set.apply([resource("first", "1")], []);
    const seen = set.revision;
    const many = Array.from({ length: maxRememberedChanges }, (_, index) => resource(`r${index}`, "1"));
    set.apply(many, []);
    expect(set.changedSince(seen)?.size).toBe(maxRememberedChanges);
    set.apply([resource("last", "1")], []);
    expect(set.changedSince(seen)).toBeNull();
    expect([...(set.changedSince(set.revision - 1) ?? [])]).toEqual(["last"]);
  });
});
