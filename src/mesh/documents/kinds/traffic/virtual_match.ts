/** Matches of a VirtualService (Istio `validateHTTPRouteMatchRequest`, `validateTLSMatch`, `validateTCPMatch`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { PathMatch, TextMatch } from "../../../traffic/route_plan.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { VirtualHttpMatch, VirtualL4Match, VirtualScope } from "../../traffic_specs.ts";
import { isDnsLabel, isServiceHost, normalHost, readPrefixes } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { readLabels } from "../labels.ts";
import { isToken, readFlag } from "./scalars.ts";
import { readNamedMatches, readTextMatch } from "./text_match.ts";

const scopes = ["port", "gateways", "sourceLabels", "sourceNamespace"];
export const httpMatchFields = {
  known: [
    ...["name", "uri", "scheme", "method", "authority", "headers", "withoutHeaders", "queryParams"],
    ...["ignoreUriCase", ...scopes],
  ],
  unsupported: { statPrefix: "metrics are told apart by the route's name" },
};
export const tcpMatchFields = {
  known: ["destinationSubnets", ...scopes],
  unsupported: { sourceSubnet: "Istio does not support it either; an AuthorizationPolicy can match sources" },
};
export const tlsMatchFields = { known: ["sniHosts", "destinationSubnets", ...scopes] };

const pseudoHeaders = [":method", ":scheme", ":authority", ":path"];

export function readHttpMatch(reader: ObjectReader, problems: Problems): VirtualHttpMatch {
  const text = (field: string): TextMatch | null => {
    const node = reader.node(field);
    return node === null ? null : readTextMatch(node, reader.path(field), problems);
  };
  const headerName = (name: string, at: Location) => readMatchedName(name, at, reader, problems);
  const name = reader.string("name");
  if (name !== null && name.value !== "")
    problems.warn(
      name.at,
      "Ignored",
      `${reader.path("name")} has no effect: records have the route's name, and not the match's behind it`,
    );
  return {
    name: name?.value ?? null,
    match: {
      path: readUri(reader, problems),
      ignorePathCase: readFlag(reader, "ignoreUriCase", problems) ?? false,
      method: text("method"),
      scheme: text("scheme"),
      authority: text("authority"),
      headers: readNamedMatches(reader, "headers", headerName, problems),
      withoutHeaders: readNamedMatches(reader, "withoutHeaders", headerName, problems, { star: true }),
      query: readNamedMatches(reader, "queryParams", (name) => name, problems),
      location: reader.at,
    },
    scope: readScope(reader, problems),
  };
}

/** Of a path the empty prefix is every path. */
function readUri(reader: ObjectReader, problems: Problems): PathMatch | null {
  const node = reader.node("uri");
  const match =
    node === null ? null : readTextMatch(node, reader.path("uri"), problems, { emptyPrefix: true });
  return match === null || match.kind === "present" ? null : match;
}

function readMatchedName(
  name: string,
  at: Location,
  reader: ObjectReader,
  problems: Problems,
): string | null {
  if (name.startsWith("@request.auth.claims")) {
    problems.add(
      at,
      `${reader.name}: only gateways route by claims, as in Istio; an AuthorizationPolicy can match claims`,
      name,
    );
    return null;
  }
  if (pseudoHeaders.includes(name)) return name;
  if (isToken(name)) return name.toLowerCase() === "host" ? ":authority" : name.toLowerCase();
  problems.add(at, `${reader.name}: ${quote(name)} is not the name of a header`, name, pseudoHeaders);
  return null;
}

export function readL4Match(reader: ObjectReader, problems: Problems): VirtualL4Match {
  const subnets = reader.strings("destinationSubnets");
  const sniHosts = reader.strings("sniHosts");
  for (const field of ["destinationSubnets", "sniHosts"])
    checkCount(reader, field, reader.list(field).length, trafficLimits.maxHosts, problems);
  for (const { value, at } of sniHosts)
    if (!isServiceHost(value) && value !== "*")
      problems.add(at, `${reader.path("sniHosts")}: ${quote(value)} is not a host name`, value);
  return {
    at: reader.at,
    sniHosts: sniHosts.map(({ value }) => normalHost(value)),
    destinationSubnets: readPrefixes(subnets, reader.path("destinationSubnets"), problems).map(
      ({ value }) => value,
    ),
    scope: readScope(reader, problems),
  };
}

function readScope(reader: ObjectReader, problems: Problems): VirtualScope {
  const namespace = reader.string("sourceNamespace");
  if (namespace !== null && namespace.value !== "" && !isDnsLabel(namespace.value))
    problems.add(
      namespace.at,
      `${reader.path("sourceNamespace")}: ${quote(namespace.value)} is not a namespace`,
      namespace.value,
    );
  const labels = readLabels(reader, "sourceLabels", problems);
  const gateways = reader.strings("gateways");
  checkGateways(gateways, reader.path("gateways"), problems);
  return {
    port: reader.integer("port", 1, 65535)?.value ?? null,
    appliesToMesh: gateways.length === 0 ? null : gateways.some(({ value }) => value === "mesh"),
    sourceLabels: new Map([...labels].map(([name, { value }]) => [name, value])),
    sourceNamespace: namespace === null || namespace.value === "" ? null : namespace.value,
  };
}

/** `mesh`, a name, or `namespace/name` (Istio `validateGatewayNames`). */
export function checkGateways(gateways: readonly Located<string>[], path: string, problems: Problems): void {
  for (const { value, at } of gateways) {
    const parts = value.split("/");
    const isName = parts.length <= 2 && parts.every((part) => part.split(".").every(isDnsLabel));
    if (!isName)
      problems.add(at, `${path}: ${quote(value)} is neither "mesh" nor the name of a Gateway`, value, [
        "mesh",
      ]);
  }
}
