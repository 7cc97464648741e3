/** ServiceEntry (Istio `ValidateServiceEntry` of `pkg/config/validation/validation.go`). */

import { meshLimits } from "../../../base/limits/mesh.ts";
import { SpiffeId } from "../../identity.ts";
import type { DocumentWarning, Location } from "../../location.ts";
import type { AppProtocol } from "../../service.ts";
import type { Metadata, ServiceEntryDocument, ServiceEntryPort } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import {
  isDnsLabel,
  isHostname,
  isPartialWildcard,
  isServiceHost,
  normalHost,
  readPrefixes,
} from "./address.ts";
import { checkCount } from "./bounds.ts";
import { readSelector } from "./labels.ts";
import { endpointFields, readEndpoint } from "./workload_entry.ts";

const fields = {
  known: [
    ...["hosts", "addresses", "ports", "location", "resolution", "endpoints", "workloadSelector"],
    ...["exportTo", "subjectAltNames"],
  ],
};
const portFields = { known: ["number", "name", "protocol", "targetPort"] };
const resolutions = ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] as const;

/** Istio's words for protocols, and what a tunnel makes of them. */
const protocols: Readonly<Record<string, AppProtocol>> = {
  TCP: "TCP",
  HTTP: "HTTP11",
  HTTP_PROXY: "UNKNOWN",
  HTTP2: "HTTP2",
  GRPC: "GRPC",
  "GRPC-WEB": "HTTP11",
  HTTPS: "TLS",
  TLS: "TLS",
  MONGO: "TCP",
  MYSQL: "TCP",
  REDIS: "TCP",
};

export function readServiceEntry(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): ServiceEntryDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  spec.choice("location", ["MESH_EXTERNAL", "MESH_INTERNAL"]);
  const subjectAltNames = spec.strings("subjectAltNames");
  const document: ServiceEntryDocument = {
    kind: "ServiceEntry",
    metadata,
    location,
    warnings: subjectAltNames.flatMap(identityWarning),
    hosts: readHosts(spec, problems),
    addresses: readPrefixes(spec.strings("addresses"), spec.path("addresses"), problems),
    ports: readPorts(spec, problems),
    resolution:
      spec.choice("resolution", resolutions, {
        DYNAMIC_DNS: "it needs an egress waypoint, which this version does not have",
      })?.value ?? "NONE",
    endpoints: spec
      .objects("endpoints", endpointFields)
      .flatMap((reader) => readEndpoint(reader, problems) ?? []),
    workloadSelector: readSelector(spec, "workloadSelector", "labels", problems),
    subjectAltNames,
    visibility: readVisibility(spec, metadata.namespace, problems),
  };
  for (const field of ["hosts", "addresses", "ports"])
    checkCount(spec, field, spec.list(field).length, meshLimits.maxServiceItems, problems);
  checkCount(spec, "endpoints", document.endpoints.length, meshLimits.maxEndpoints, problems);
  checkTogether(document, spec, problems);
  return document;
}

function readHosts(spec: ObjectReader, problems: Problems): readonly Located<string>[] {
  const hosts = spec.strings("hosts");
  if (hosts.length === 0) problems.add(spec.where("hosts"), "spec.hosts must name at least one host");
  const seen = new Set<string>();
  return hosts.flatMap(({ value, at }) => {
    const host = normalHost(value);
    if (isPartialWildcard(value) && isServiceHost(value))
      problems.warn(
        at,
        "Ignored",
        `spec.hosts: ${quote(value)} matches no name: a wildcard has to be "*." and a name`,
      );
    if (!isServiceHost(value))
      problems.add(
        at,
        `spec.hosts: ${quote(value)} is not a host name, nor one that begins with "*."`,
        value,
      );
    else if (seen.has(host)) problems.add(at, `spec.hosts: ${quote(value)} is given twice`, value);
    seen.add(host);
    return [{ value: host, at }];
  });
}

function readPorts(spec: ObjectReader, problems: Problems): readonly ServiceEntryPort[] {
  const numbers = new Set<number>();
  const names = new Set<string>();
  return spec.objects("ports", portFields).flatMap((reader): ServiceEntryPort[] => {
    if (!reader.has("number")) problems.add(reader.at, `${reader.path("number")} is missing`);
    const number = reader.integer("number", 1, 65535);
    const name = reader.requiredString("name");
    const targetPort = reader.integer("targetPort", 1, 65535);
    const protocol = readProtocol(reader, problems);
    if (number === null || name === null) return [];
    if (!isDnsLabel(name.value))
      problems.add(
        name.at,
        `${reader.path("name")}: ${quote(name.value)} is not the name of a port: at most 63 letters, digits and -`,
        name.value,
      );
    if (numbers.has(number.value))
      problems.add(number.at, `spec.ports: ${number.value} is given twice`, String(number.value));
    if (names.has(name.value))
      problems.add(name.at, `spec.ports: the name ${quote(name.value)} is given twice`, name.value);
    numbers.add(number.value);
    names.add(name.value);
    return [{ number: number.value, name: name.value, protocol, targetPort: targetPort?.value ?? null }];
  });
}

/** Case does not matter to Istio. Without a word, nothing is assumed. */
function readProtocol(reader: ObjectReader, problems: Problems): AppProtocol {
  const read = reader.string("protocol");
  // Istio finds out by itself what "" carries.
  if (read === null || read.value === "") return "UNKNOWN";
  const word = read.value.toUpperCase();
  const protocol = protocols[word];
  if (protocol !== undefined) return protocol;
  if (word === "UDP")
    problems.add(read.at, `${reader.path("protocol")} UDP is not supported: HBONE carries TCP`, read.value);
  else {
    const words = Object.keys(protocols);
    problems.add(
      read.at,
      `${reader.path("protocol")} must be one of ${words.join(", ")}, not ${quote(read.value)}`,
      read.value,
      words,
    );
  }
  return "UNKNOWN";
}

/** Istio `validateExportTo`. */
function readVisibility(spec: ObjectReader, namespace: string, problems: Problems): "PUBLIC" | "NAMESPACE" {
  const exportTo = spec.strings("exportTo");
  const seen = new Set<string>();
  for (const { value, at } of exportTo) {
    const meant = value === "." ? namespace : value;
    const isFor = value === "." || value === namespace || value === "*";
    if (value !== "." && value !== "*" && value !== "~" && !isDnsLabel(value))
      problems.add(at, `spec.exportTo: ${quote(value)} is neither ".", "*", "~" nor a namespace`, value);
    else if (seen.has(meant)) problems.add(at, `spec.exportTo: ${quote(value)} is given twice`, value);
    else if (exportTo.length > 1 && (value === "*" || value === "~"))
      problems.add(at, `spec.exportTo: ${quote(value)} cannot be given with others`, value);
    else if (!isFor)
      problems.add(
        at,
        `spec.exportTo ${quote(value)} is not supported: only "." (this namespace) and "*" (every namespace)`,
        value,
      );
    seen.add(meant);
  }
  return exportTo.length > 0 && exportTo.every(({ value }) => value !== "*") ? "NAMESPACE" : "PUBLIC";
}

/** What Istio says about fields that do not go together (`ValidateServiceEntry`, and the schema's own rules). */
function checkTogether(document: ServiceEntryDocument, spec: ObjectReader, problems: Problems): void {
  const { resolution, workloadSelector } = document;
  if (workloadSelector !== null && spec.has("endpoints")) {
    problems.add(
      spec.where("workloadSelector"),
      "spec.workloadSelector and spec.endpoints exclude each other",
      "workloadSelector",
    );
  }
  if (workloadSelector !== null && resolution === "NONE") {
    problems.warn(
      spec.where("workloadSelector"),
      "Ignored",
      "spec.workloadSelector goes with spec.resolution STATIC or DNS; without it the called address itself is dialled",
    );
  }
  if (spec.has("endpoints") && resolution === "NONE") {
    problems.add(
      spec.where("endpoints"),
      "spec.endpoints need spec.resolution STATIC or DNS; without it the called address itself is dialled",
      "endpoints",
    );
  }
  if (resolution === "DNS" || resolution === "DNS_ROUND_ROBIN") checkDns(document, spec, problems);
  if (resolution !== "NONE" && document.hosts.length > 1) checkManyHosts(spec, problems);
  checkEndpoints(document, problems);
}

function checkDns(document: ServiceEntryDocument, spec: ObjectReader, problems: Problems): void {
  const { addresses, endpoints, hosts, resolution } = document;
  for (const text of spec.strings("addresses").filter(({ value }) => value.includes("/")))
    problems.add(
      text.at,
      `spec.addresses: ${quote(text.value)} is a block, which spec.resolution ${resolution} does not take`,
      text.value,
    );
  if (endpoints.length === 0) {
    const wild = hosts.find(({ value }) => !isHostname(value));
    if (wild !== undefined && isServiceHost(wild.value))
      problems.add(
        wild.at,
        `spec.hosts: ${quote(wild.value)} has a wildcard, and spec.resolution ${resolution} without endpoints looks its hosts up`,
        wild.value,
      );
  }
  const second = endpoints[1];
  if (resolution === "DNS_ROUND_ROBIN" && second !== undefined)
    problems.add(
      second.at,
      "spec.endpoints has more than one, and spec.resolution DNS_ROUND_ROBIN takes one",
    );
  if (addresses.length > 0 && hosts.length > 1 && document.ports.some(({ protocol }) => isTcp(protocol)))
    problems.warn(
      spec.where("hosts"),
      "Ignored",
      "spec.hosts are several for one set of addresses and a port that is TCP: they cannot be told apart",
    );
}

function isTcp(protocol: AppProtocol): boolean {
  return protocol === "TCP" || protocol === "TLS";
}

/** Without a host's name in what is sent, several hosts of one service cannot be told apart. */
function checkManyHosts(spec: ObjectReader, problems: Problems): void {
  const raw = spec
    .objects("ports", portFields)
    .map((reader) => ({ reader, protocol: reader.string("protocol") }));
  const bad = raw.find(({ protocol }) => !namedProtocols.includes(protocol?.value.toUpperCase() ?? ""));
  if (bad === undefined) return;
  const said = bad.protocol === null || bad.protocol.value === "" ? "says none" : `is ${bad.protocol.value}`;
  problems.add(
    bad.protocol?.at ?? bad.reader.at,
    `${bad.reader.path("protocol")} ${said}: several spec.hosts need HTTP or TLS on every port, which tell them apart`,
    bad.protocol?.value,
  );
}

/** Those whose bytes say which host is called (Istio `IsHTTP`, `IsTLS`). */
const namedProtocols: readonly string[] = ["HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "HTTPS", "TLS"];

function checkEndpoints(document: ServiceEntryDocument, problems: Problems): void {
  const portNames = document.ports.map((port) => port.name);
  const seen = new Set<string>();
  for (const endpoint of document.endpoints) {
    const { value, at } = endpoint.address;
    const text = value.kind === "ip" ? value.ip.text : value.hostname;
    if (seen.has(text)) problems.add(at, `spec.endpoints: the address ${text} is given twice`, text);
    seen.add(text);
    if (document.resolution === "STATIC" && value.kind === "hostname")
      problems.add(at, `${quote(text)} is a name, and spec.resolution STATIC takes addresses`, text);
    for (const [name, { at: portAt }] of endpoint.ports) {
      if (isDnsLabel(name) && !portNames.includes(name))
        problems.add(portAt, `spec.ports has no port called ${quote(name)}`, name, portNames);
    }
  }
}

/** ztunnel leaves such a name out with a warning; so do we, where the operator sees it. */
function identityWarning({ value, at }: Located<string>): DocumentWarning[] {
  if (SpiffeId.parse(value) !== null) return [];
  const message = `${quote(value)} is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT and matches no server`;
  return [{ location: at, reason: "Ignored", message }];
}
