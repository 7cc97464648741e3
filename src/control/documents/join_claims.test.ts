import { expect, test } from "bun:test";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import type { ClaimingHost } from "../records/join_claims.ts";
import { joinClaims } from "./join_claims.ts";
import { Ownership } from "./ownership.ts";

const remote = ip("192.0.2.7");
const host: ClaimingHost = {
  node: "edge-1",
  namespace: "shop",
  network: "",
  remote,
  addresses: ["192.0.2.7", "192.0.2.999", "10.9.9.9"],
};

test("a joining host gets the addresses that are its to have; each other one has its reason", async () => {
  let asked = 0;
  const claims = joinClaims(async () => {
    asked++;
    return await Ownership.of(view, slice());
  });
  const checked = await claims.check(host);
  expect(checked.addresses).toEqual(["192.0.2.7"]);
  expect(checked.refusals).toEqual(["192.0.2.999 is not an address", expect.stringContaining("10.9.9.9")]);
  expect(checked.nameRefusal).toBeNull();
  // Who owns what is looked up for each host, never kept.
  await claims.check(host);
  expect(asked).toBe(2);
});

test("a name that is granted to another tenant is refused, and says to whom", async () => {
  const text =
    "apiVersion: fairlead.dev/v1\nkind: Grant\nmetadata: {name: apes}\nspec: {namespaces: [apes], nodes: [edge-1]}\n";
  const { documents, errors } = parseDocuments([{ path: "grant.yaml", text }]);
  expect(errors).toEqual([]);
  const claims = joinClaims(() => Ownership.of({ ...view, documents }, slice()));
  expect((await claims.check(host)).nameRefusal).toBe("the name edge-1 is granted to namespace apes");
  expect((await claims.check({ ...host, namespace: "apes" })).nameRefusal).toBeNull();
});

const view = {
  documents: [],
  hosts: { byNode: () => null, within: () => [] },
  controlAddresses: [],
  network: "",
};

const slice = () => new TimeSlice({ now: () => 0, defer: (work) => void setTimeout(work) });
