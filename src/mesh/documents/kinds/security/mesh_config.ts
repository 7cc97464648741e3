/**
 * MeshConfig (`fairlead.dev/v1`): the fields of Istio's MeshConfig (`mesh/v1alpha1/config.proto`) that a waypoint acts on, under the
 * names that they have there. It is of the whole mesh, so only its administrators write it.
 */
import { authLimits } from "../../../../base/limits/auth.ts";
import type { Location } from "../../../location.ts";
import type { MeshConfigDocument, Metadata } from "../../document.ts";
import { ObjectReader, type Problems, quote } from "../../reader.ts";
import type { ExternalAuthorizer } from "../../security.ts";
import { checkCount } from "../bounds.ts";
import { readDuration } from "../duration.ts";
import { isHeaderName } from "./header_name.ts";
import { readBoolean } from "./request_authentication.ts";

const fields = {
  known: [
    ...["extensionProviders", "pathNormalization", "trustDomainAliases", "defaultConfig"],
    "privateKeySetHosts",
  ],
  unsupported: { trustDomain: "it is a setting of the control plane (trustDomain)" },
};
const normalizations = ["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] as const;
const trustDomain = /^[a-z0-9._-]{1,255}$/;
const hostPattern = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/;

export function readMeshConfig(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): MeshConfigDocument | null {
  if (metadata.name !== "default")
    problems.add(
      location,
      `a mesh has one MeshConfig, called "default", not ${quote(metadata.name)}`,
      metadata.name,
    );
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const said = spec
    .object("pathNormalization", { known: ["normalization"] })
    ?.choice("normalization", normalizations)?.value;
  return {
    kind: "MeshConfig",
    metadata,
    location,
    warnings: [],
    authorizers: readProviders(spec, problems),
    pathNormalization: said === undefined || said === "DEFAULT" ? "BASE" : said,
    trustDomainAliases: words(spec, "trustDomainAliases", trustDomain, "a trust domain", problems),
    trustedProxies: readTrustedProxies(spec),
    privateKeySetHosts: words(
      spec,
      "privateKeySetHosts",
      hostPattern,
      "a host, or a host and a port",
      problems,
    ),
  };
}

function readTrustedProxies(spec: ObjectReader): number {
  const config = spec.object("defaultConfig", { known: ["gatewayTopology"] });
  const topology = config?.object("gatewayTopology", {
    known: ["numTrustedProxies"],
    unsupported: {
      forwardClientCertDetails:
        "the annotation ambient.istio.io/xfcc-include-client-identity of a waypoint says it",
      proxyProtocol: "a waypoint is reached by HBONE",
    },
  });
  return topology?.integer("numTrustedProxies", 0, authLimits.maxTrustedProxies)?.value ?? 0;
}

function words(
  spec: ObjectReader,
  field: string,
  pattern: RegExp,
  what: string,
  problems: Problems,
): readonly string[] {
  const list = spec.strings(field);
  checkCount(spec, field, list.length, authLimits.maxRuleItems, problems);
  for (const { value, at } of list)
    if (!pattern.test(value)) problems.add(at, `${spec.path(field)}: ${quote(value)} is not ${what}`, value);
  return list.map(({ value }) => value);
}

const kinds = ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"] as const;
const providerFields = {
  known: ["name", ...kinds],
  unsupported: Object.fromEntries(
    [
      ...["zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "opentelemetry"],
      ...["prometheus", "envoyFileAccessLog", "envoyHttpAls", "envoyTcpAls", "envoyOtelAls", "sds"],
    ].map((name) => [name, "only external authorizers are read by this version"]),
  ),
};
const common = [
  "service",
  "port",
  "timeout",
  "failOpen",
  "clearRouteCache",
  "statusOnError",
  "includeRequestBodyInCheck",
];
const httpFields = {
  known: [
    ...common,
    ...["pathPrefix", "includeRequestHeadersInCheck", "includeAdditionalHeadersInCheck"],
    // The older name of the first (Istio 1.9).
    "includeHeadersInCheck",
    ...["headersToUpstreamOnAllow", "headersToDownstreamOnAllow", "headersToDownstreamOnDeny"],
  ],
};

function readProviders(spec: ObjectReader, problems: Problems): readonly ExternalAuthorizer[] {
  const nodes = spec.list("extensionProviders");
  checkCount(spec, "extensionProviders", nodes.length, authLimits.maxAuthorizers, problems);
  const names = new Set<string>();
  return nodes.flatMap((node, index) => {
    const path = `spec.extensionProviders[${index}]`;
    const provider = ObjectReader.of(node, path, providerFields, problems);
    const name = provider?.requiredString("name") ?? null;
    if (provider === null || name === null) return [];
    if (names.has(name.value))
      problems.add(name.at, `${path}.name: ${quote(name.value)} is given twice`, name.value);
    names.add(name.value);
    const said = kinds.filter((kind) => provider.has(kind));
    if (said.length !== 1) {
      problems.add(provider.at, `${path} must have one of ${kinds.join(", ")}`);
      return [];
    }
    return readAuthorizer(provider, name.value, problems) ?? [];
  });
}

function readAuthorizer(provider: ObjectReader, name: string, problems: Problems): ExternalAuthorizer | null {
  const http = provider.object("envoyExtAuthzHttp", httpFields);
  const reader = http ?? provider.object("envoyExtAuthzGrpc", { known: common });
  if (reader === null) return null;
  const service = reader.requiredString("service");
  const port = reader.integer("port", 1, 65_535);
  if (!reader.has("port")) problems.add(reader.at, `${reader.path("port")} is missing`);
  const timeoutMs = reader.has("timeout") ? readDuration(reader, "timeout", 1, problems) : null;
  const clears = readBoolean(reader, "clearRouteCache", problems);
  if (reader.has("clearRouteCache") && !clears)
    problems.add(
      reader.where("clearRouteCache"),
      `${reader.path("clearRouteCache")} must be true: routes are chosen after the authorizer has set its headers`,
      "false",
    );
  if (service === null || port === null) return null;
  const base = {
    at: reader.at,
    name,
    service: service.value,
    port: port.value,
    timeoutMs: timeoutMs ?? authLimits.authorizerTimeoutMs,
    failOpen: readBoolean(reader, "failOpen", problems),
    statusOnError: readStatus(reader, problems),
    body: readBody(reader, problems),
  };
  if (http === null) return { ...base, kind: "grpc" };
  const prefix = http.string("pathPrefix");
  if (prefix !== null && !/^\/[\x21-\x7e]*$/.test(prefix.value))
    problems.add(prefix.at, `${http.path("pathPrefix")} must begin with / and have no spaces`, prefix.value);
  return {
    ...base,
    kind: "http",
    pathPrefix: prefix?.value ?? "",
    includeRequestHeadersInCheck: [
      ...headers(http, "includeRequestHeadersInCheck", problems),
      ...headers(http, "includeHeadersInCheck", problems),
    ],
    includeAdditionalHeadersInCheck: readAdditional(http, problems),
    headersToUpstreamOnAllow: headers(http, "headersToUpstreamOnAllow", problems),
    headersToDownstreamOnAllow: headers(http, "headersToDownstreamOnAllow", problems),
    headersToDownstreamOnDeny: headers(http, "headersToDownstreamOnDeny", problems),
  };
}

function readStatus(reader: ObjectReader, problems: Problems): number {
  const read = reader.string("statusOnError");
  if (read === null) return 403;
  const status = /^[1-5][0-9][0-9]$/.test(read.value) ? Number(read.value) : 0;
  if (status < 200)
    problems.add(read.at, `${reader.path("statusOnError")} must be a status from 200 to 599`, read.value);
  return status;
}

function readBody(reader: ObjectReader, problems: Problems): ExternalAuthorizer["body"] {
  const body = reader.object("includeRequestBodyInCheck", {
    known: ["maxRequestBytes", "allowPartialMessage", "packAsBytes"],
  });
  if (body === null) return null;
  const maxBytes = body.integer("maxRequestBytes", 1, authLimits.maxCheckedBodyBytes);
  if (!body.has("maxRequestBytes")) problems.add(body.at, `${body.path("maxRequestBytes")} is missing`);
  return {
    maxBytes: maxBytes?.value ?? 0,
    allowPartial: readBoolean(body, "allowPartialMessage", problems),
    packAsBytes: readBoolean(body, "packAsBytes", problems),
  };
}

/** Names, where a star at the beginning or the end stands for the rest. */
function headers(reader: ObjectReader, field: string, problems: Problems): readonly string[] {
  const list = reader.strings(field);
  checkCount(reader, field, list.length, authLimits.maxRuleItems, problems);
  for (const { value, at } of list)
    if (value !== "*" && !isHeaderName(value.replace(/^\*|\*$/, "")))
      problems.add(at, `${reader.path(field)}: ${quote(value)} is not the name of a header`, value);
  return list.map(({ value }) => value.toLowerCase());
}

function readAdditional(http: ObjectReader, problems: Problems): ReadonlyMap<string, string> {
  const map = http.stringMap("includeAdditionalHeadersInCheck");
  const found = new Map<string, string>();
  for (const [name, { value, at }] of map) {
    if (!isHeaderName(name) || !/^[\t\x20-\x7e]*$/.test(value))
      problems.add(
        at,
        `${http.path("includeAdditionalHeadersInCheck")}.${name} is not a header that can be sent`,
        name,
      );
    found.set(name.toLowerCase(), value);
  }
  return found;
}
