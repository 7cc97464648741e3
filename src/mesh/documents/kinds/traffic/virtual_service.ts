/** VirtualService (Istio `ValidateVirtualService` of `pkg/config/validation/validation.go`). */
import { IpAddress } from "../../../../base/ip.ts";
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { Metadata, VirtualServiceDocument } from "../../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { VirtualL4Route } from "../../traffic_specs.ts";
import { isServiceHost, normalHost } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { readExportTo } from "./export_to.ts";
import { readWeights } from "./virtual_destination.ts";
import { readVirtualHttpRoute, virtualHttpRouteFields } from "./virtual_http_route.ts";
import { checkGateways, readL4Match, tcpMatchFields, tlsMatchFields } from "./virtual_match.ts";

const fields = { known: ["hosts", "gateways", "exportTo", "http", "tls", "tcp"] };

export function readVirtualService(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): VirtualServiceDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const hosts = readHosts(spec, problems);
  const isDelegate = !spec.has("hosts");
  if (isDelegate) {
    for (const field of ["gateways", "tls", "tcp"])
      if (spec.has(field))
        problems.add(
          spec.where(field),
          `spec.${field} cannot be given with a VirtualService without spec.hosts, which is a delegate`,
          field,
        );
  }
  if (!["http", "tls", "tcp"].some((field) => spec.has(field)))
    problems.add(spec.at, "spec must have http, tls or tcp");
  const gateways = spec.strings("gateways");
  checkGateways(gateways, "spec.gateways", problems);
  const appliesToMesh = gateways.length === 0 || gateways.some(({ value }) => value === "mesh");
  if (!appliesToMesh)
    problems.warn(
      spec.where("gateways"),
      "Ignored",
      'spec.gateways does not have "mesh": it is for gateways, which this version does not have',
    );
  for (const field of ["http", "tls", "tcp"])
    checkCount(spec, field, spec.list(field).length, trafficLimits.maxRules, problems);
  return {
    kind: "VirtualService",
    metadata,
    location,
    warnings: [],
    spec: {
      hosts,
      appliesToMesh,
      exportTo: readExportTo(spec, metadata.namespace, problems),
      http: spec
        .objects("http", virtualHttpRouteFields)
        .map((reader) => readVirtualHttpRoute(reader, isDelegate, problems)),
      tls: spec
        .objects("tls", { known: ["match", "route"] })
        .map((reader) => readL4Route(reader, true, hosts, problems)),
      tcp: spec
        .objects("tcp", { known: ["match", "route"] })
        .map((reader) => readL4Route(reader, false, hosts, problems)),
    },
  };
}

function readHosts(spec: ObjectReader, problems: Problems): readonly Located<string>[] {
  if (!spec.has("hosts")) return [];
  const hosts = spec.strings("hosts").map(({ value, at }) => ({ value: normalHost(value), at }));
  if (hosts.length === 0)
    problems.add(spec.where("hosts"), "spec.hosts is empty; leave it out for a delegate");
  checkCount(spec, "hosts", hosts.length, trafficLimits.maxHosts, problems);
  for (const [index, { value, at }] of hosts.entries()) {
    if (value === "*") problems.add(at, 'spec.hosts: "*" is for gateways alone', value);
    else if (!isServiceHost(value) && IpAddress.parse(value) === null)
      problems.add(
        at,
        `spec.hosts: ${quote(value)} is not a host name, nor one that begins with "*."`,
        value,
      );
    const twice = hosts
      .slice(0, index)
      .find((other) => covers(other.value, value) || covers(value, other.value));
    if (twice !== undefined)
      problems.add(at, `spec.hosts: ${quote(value)} is in ${quote(twice.value)} already`, value);
  }
  return hosts;
}

/** `*.example.com` covers every name below it (Istio `host.Name.SubsetOf`). */
function covers(host: string, other: string): boolean {
  return host === other || (host.startsWith("*") && other.endsWith(host.slice(1)));
}

function readL4Route(
  reader: ObjectReader,
  isTls: boolean,
  hosts: readonly Located<string>[],
  problems: Problems,
): VirtualL4Route {
  const matches = reader
    .objects("match", isTls ? tlsMatchFields : tcpMatchFields)
    .map((match) => ({ match, read: readL4Match(match, problems) }));
  checkCount(reader, "match", matches.length, trafficLimits.maxMatches, problems);
  if (isTls) {
    if (matches.length === 0)
      problems.add(reader.at, `${reader.path("match")} is missing: a TLS route has to name its server names`);
    for (const { match, read } of matches) {
      if (read.sniHosts.length === 0)
        problems.add(match.at, `${match.path("sniHosts")} must name at least one host`);
      for (const sni of match.strings("sniHosts"))
        if (!hosts.some(({ value }) => covers(value, normalHost(sni.value))))
          problems.add(
            sni.at,
            `${match.path("sniHosts")}: ${quote(sni.value)} is in none of spec.hosts`,
            sni.value,
          );
    }
  }
  return {
    at: reader.at,
    matches: matches.map(({ read }) => read),
    route: readWeights(reader, false, problems),
  };
}
