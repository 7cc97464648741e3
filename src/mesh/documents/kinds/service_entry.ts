/** ServiceEntry (Istio `ValidateServiceEntry` of `pkg/config/validation/validation.go`). */

import { SpiffeId } from "../../identity.ts";
import type { Location } from "../../location.ts";
import type { AppProtocol } from "../../service.ts";
import type { DocumentWarning, Metadata, ServiceEntryDocument, ServiceEntryPort } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import { isServiceHost, readPrefixes, readSelector } from "./address.ts";
import { ENDPOINT_FIELDS, readEndpoint } from "./workload_entry.ts";

const FIELDS = {
  known: [
    ...["hosts", "addresses", "ports", "location", "resolution", "endpoints", "workloadSelector"],
    ...["exportTo", "subjectAltNames"],
  ],
};
const PORT_FIELDS = { known: ["number", "name", "protocol", "targetPort"] };
const RESOLUTIONS = ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] as const;

/** Istio's words for protocols, and what a tunnel makes of them. */
const PROTOCOLS: Readonly<Record<string, AppProtocol>> = {
  TCP: "TCP",
  HTTP: "HTTP11",
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
  const spec = root.object("spec", FIELDS);
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
      spec.choice("resolution", RESOLUTIONS, {
        DYNAMIC_DNS: "it needs an egress waypoint, which this version does not have",
      })?.value ?? "NONE",
    endpoints: spec
      .objects("endpoints", ENDPOINT_FIELDS)
      .flatMap((reader) => readEndpoint(reader, problems) ?? []),
    workloadSelector: readSelector(spec, "workloadSelector", "labels"),
    subjectAltNames,
    visibility: readVisibility(spec, problems),
  };
  checkTogether(document, spec, problems);
  return document;
}

function readHosts(spec: ObjectReader, problems: Problems): readonly Located<string>[] {
  const hosts = spec.strings("hosts");
  if (hosts.length === 0) problems.add(spec.where("hosts"), "spec.hosts must name at least one host");
  const seen = new Set<string>();
  return hosts.flatMap(({ value, at }) => {
    const host = value.toLowerCase();
    if (!isServiceHost(value))
      problems.add(
        at,
        `spec.hosts: ${quote(value)} is not a host name, nor one that begins with "*."`,
        value,
      );
    else if (seen.has(host)) problems.add(at, `spec.hosts: ${quote(value)} stands here a second time`, value);
    seen.add(host);
    return [{ value: host, at }];
  });
}

function readPorts(spec: ObjectReader, problems: Problems): readonly ServiceEntryPort[] {
  const numbers = new Set<number>();
  const names = new Set<string>();
  return spec.objects("ports", PORT_FIELDS).flatMap((reader): ServiceEntryPort[] => {
    if (!reader.has("number")) problems.add(reader.at, `${reader.path("number")} is missing`);
    const number = reader.integer("number", 1, 65535);
    const name = reader.requiredString("name");
    const targetPort = reader.integer("targetPort", 1, 65535);
    const protocol = readProtocol(reader, problems);
    if (number === null || name === null) return [];
    if (numbers.has(number.value))
      problems.add(number.at, `spec.ports: ${number.value} stands here a second time`, String(number.value));
    if (names.has(name.value))
      problems.add(
        name.at,
        `spec.ports: the name ${quote(name.value)} stands here a second time`,
        name.value,
      );
    numbers.add(number.value);
    names.add(name.value);
    return [{ number: number.value, name: name.value, protocol, targetPort: targetPort?.value ?? null }];
  });
}

/** Case does not matter to Istio. Without a word, nothing is assumed. */
function readProtocol(reader: ObjectReader, problems: Problems): AppProtocol {
  const read = reader.string("protocol");
  if (read === null) return "UNKNOWN";
  const word = read.value.toUpperCase();
  const protocol = PROTOCOLS[word];
  if (protocol !== undefined) return protocol;
  if (word === "UDP")
    problems.add(read.at, `${reader.path("protocol")} UDP is not supported: HBONE carries TCP`, read.value);
  else {
    const words = Object.keys(PROTOCOLS);
    problems.add(
      read.at,
      `${reader.path("protocol")} must be one of ${words.join(", ")}, not ${quote(read.value)}`,
      read.value,
      words,
    );
  }
  return "UNKNOWN";
}

function readVisibility(spec: ObjectReader, problems: Problems): "PUBLIC" | "NAMESPACE" {
  const exportTo = spec.strings("exportTo");
  for (const { value, at } of exportTo) {
    if (value !== "." && value !== "*") {
      problems.add(
        at,
        `spec.exportTo ${quote(value)} is not supported: only "." (this namespace) and "*" (every namespace)`,
        value,
      );
    }
  }
  return exportTo.length > 0 && exportTo.every(({ value }) => value === ".") ? "NAMESPACE" : "PUBLIC";
}

/** What Istio's validation says about fields that do not go together. */
function checkTogether(document: ServiceEntryDocument, spec: ObjectReader, problems: Problems): void {
  const { endpoints, resolution, workloadSelector } = document;
  if (workloadSelector !== null && spec.has("endpoints")) {
    problems.add(
      spec.where("workloadSelector"),
      "spec.workloadSelector and spec.endpoints exclude each other",
    );
  }
  if (workloadSelector !== null && resolution === "NONE") {
    problems.add(spec.where("workloadSelector"), "spec.workloadSelector needs spec.resolution STATIC or DNS");
  }
  if (endpoints.length > 0 && resolution === "NONE") {
    problems.add(
      spec.where("endpoints"),
      "spec.endpoints need spec.resolution STATIC or DNS; without it the called address itself is dialled",
    );
  }
  const portNames = document.ports.map((port) => port.name);
  const seen = new Set<string>();
  for (const endpoint of endpoints) {
    const { value, at } = endpoint.address;
    const text = value.kind === "ip" ? value.ip.text : value.hostname;
    if (seen.has(text))
      problems.add(at, `spec.endpoints: the address ${text} stands here a second time`, text);
    seen.add(text);
    if (resolution === "STATIC" && endpoint.address.value.kind === "hostname") {
      const name = endpoint.address.value.hostname;
      problems.add(
        endpoint.address.at,
        `${quote(name)} is a name, and spec.resolution STATIC takes addresses`,
        name,
      );
    }
    for (const [name, { at }] of endpoint.ports) {
      if (!portNames.includes(name))
        problems.add(at, `spec.ports has no port called ${quote(name)}`, name, portNames);
    }
  }
}

/** ztunnel leaves such a name out with a warning; so do we, where the operator sees it. */
function identityWarning({ value, at }: Located<string>): DocumentWarning[] {
  if (SpiffeId.parse(value) !== null) return [];
  const message = `${quote(value)} is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT and matches no server`;
  return [{ location: at, reason: "Ignored", message }];
}
