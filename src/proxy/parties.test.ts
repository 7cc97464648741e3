/** No two values are the same here: a label of the wrong end shows. */
import { expect, test } from "bun:test";
import { assert } from "../base/assert.ts";
import { IpAddress } from "../base/ip.ts";
import { SpiffeId } from "../mesh/identity.ts";
import { workload } from "../mesh/testing/fixture.ts";
import { labelNames, makeLabels, type Parties } from "./parties.ts";

function at(text: string, port: number): { readonly ip: IpAddress; readonly port: number } {
  const ip = IpAddress.parse(text);
  assert(ip !== null, "it is an address");
  return { ip, port };
}

function end(name: "cart" | "db") {
  const described = workload(`${name}-pod`, {
    namespace: `${name}-space`,
    workloadName: `${name}-workload`,
    canonicalName: `${name}-app`,
    canonicalRevision: `${name}-v1`,
    clusterId: `${name}-cluster`,
    locality: { region: `${name}-region`, zone: `${name}-zone`, subzone: "" },
  });
  return { workload: described, baggage: null, identity: new SpiffeId("td", `${name}-space`, `${name}-sa`) };
}

function between(direction: Parties["direction"], isHbone: boolean): Parties {
  const source = { ...end("cart"), address: at("10.0.0.1", 4711) };
  const destination = {
    ...end("db"),
    address: at("10.0.0.2", 15008),
    hboneAddress: isHbone ? "10.0.0.2:80" : null,
    service: null,
  };
  return isHbone
    ? { direction, source, destination }
    : { direction, source: { ...source, identity: null }, destination: { ...destination, identity: null } };
}

const described = (name: "cart" | "db", side: "source" | "destination") => ({
  [`${side}_workload`]: `${name}-workload`,
  [`${side}_canonical_service`]: `${name}-app`,
  [`${side}_canonical_revision`]: `${name}-v1`,
  [`${side}_workload_namespace`]: `${name}-space`,
  [`${side}_app`]: `${name}-app`,
  [`${side}_version`]: `${name}-v1`,
  [`${side}_cluster`]: `${name}-cluster`,
  [`${side}_region`]: `${name}-region`,
  [`${side}_zone`]: `${name}-zone`,
});

test.each([
  ["outbound HBONE", "outbound", true, "source"],
  ["inbound HBONE", "inbound", true, "destination"],
  ["outbound plain text", "outbound", false, "source"],
  ["passthrough", "inbound", false, "destination"],
] as const)(
  "%s: each label is of its own end, and only what is in a tunnel is mutual_tls",
  (_, direction, isHbone, reporter) => {
    const labels: Readonly<Record<string, string>> = makeLabels(between(direction, isHbone));
    const principal = (name: string) => (isHbone ? `spiffe://td/ns/${name}-space/sa/${name}-sa` : "unknown");
    expect(labels).toEqual({
      ...described("cart", "source"),
      ...described("db", "destination"),
      reporter,
      source_principal: principal("cart"),
      destination_principal: principal("db"),
      destination_service: "unknown",
      destination_service_namespace: "unknown",
      destination_service_name: "unknown",
      request_protocol: "tcp",
      response_flags: "-",
      connection_security_policy: isHbone ? "mutual_tls" : "unknown",
    });
    expect(Object.keys(labels).sort()).toEqual([...labelNames].sort());
  },
);
