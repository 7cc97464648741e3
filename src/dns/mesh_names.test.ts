import { expect, test } from "bun:test";
import { VirtualAddresses } from "../mesh/names/virtual_addresses.ts";
import type { Service } from "../mesh/service.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { ip, member, service, workload } from "../mesh/testing/fixture.ts";
import { MeshNames } from "./mesh_names.ts";

const client = workload("client", { addresses: [ip("10.0.0.1")], network: "here" });

function namesOf(services: readonly Service[], draws: readonly number[] = []) {
  const store = new MeshStore();
  store.apply({ services: { upsert: services } });
  const left = [...draws];
  const names = new MeshNames({
    store,
    virtual: new VirtualAddresses(),
    clusterDomain: "cluster.local",
    searchDomains: () => [],
    random: () => left.shift() ?? 0.999,
  });
  const find = (name: string, from = client) =>
    names.find(name, from)?.addresses.map(({ text }) => text) ?? null;
  return { store, find };
}

const at = (text: string, network = "here") => ({ network, ip: ip(text) });

test("addresses come in an order that chance decides, so that clients which take the first are spread", () => {
  const addresses = ["10.9.0.1", "10.9.0.2", "10.9.0.3"].map((text) => at(text));
  const many = service("db", { 80: 80 }, { addresses });
  expect(namesOf([many]).find("db.shop")).toEqual(["10.9.0.1", "10.9.0.2", "10.9.0.3"]);
  expect(namesOf([many], [0, 0]).find("db.shop")).toEqual(["10.9.0.2", "10.9.0.3", "10.9.0.1"]);
  expect(namesOf([many], [0.5, 0]).find("db.shop")).toEqual(["10.9.0.3", "10.9.0.1", "10.9.0.2"]);
});

test("endpoints of a headless service are those of the client's network", () => {
  const hostname = "db.shop.svc.cluster.local";
  const { store, find } = namesOf([service("db", { 80: 80 }, { hostname })]);
  const services = member(`shop/${hostname}`);
  const near = workload("near", { addresses: [ip("10.0.0.7")], services, network: "here" });
  const far = workload("far", { addresses: [ip("10.0.0.8")], services, network: "there" });
  store.apply({ workloads: { upsert: [near, far] } });
  expect(find(hostname)).toEqual(["10.0.0.7"]);
  expect(find(hostname, { ...client, network: "there" })).toEqual(["10.0.0.8"]);
});

test("of services of one name the client's own namespace has the first word, and what is its own is told to it", () => {
  const of = (namespace: string, text: string, visibility: Service["visibility"] = "PUBLIC") =>
    service("db", { 80: 80 }, { namespace, hostname: "db.example", visibility, addresses: [at(text)] });
  const { find } = namesOf([
    of("bank", "10.9.0.1", "NAMESPACE"),
    of("shop", "10.9.0.2"),
    of("a", "10.9.0.3"),
  ]);
  expect(find("db.example")).toEqual(["10.9.0.2"]);
  expect(find("db.example", { ...client, namespace: "bank" })).toEqual(["10.9.0.1"]);
  expect(find("db.example", { ...client, namespace: "other" })).toEqual(["10.9.0.3"]);
});
