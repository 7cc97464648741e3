/** One route of a VirtualService for HTTP (Istio `validateHTTPRoute`, `validateHTTPRouteConflict`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { VirtualHttpRoute } from "../../traffic_specs.ts";
import { isDnsLabel } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { readCorsPolicy } from "./cors_policy.ts";
import { readRouteHeaders } from "./header_changes.ts";
import { readAnswer, readFault, readRedirect, readRewrite } from "./http_actions.ts";
import { readRetries } from "./retries.ts";
import { readNumber, readPercent, readTime } from "./scalars.ts";
import { readDestination, readWeights } from "./virtual_destination.ts";
import { httpMatchFields, readHttpMatch } from "./virtual_match.ts";

export const virtualHttpRouteFields = {
  known: [
    ...["name", "match", "route", "redirect", "directResponse", "delegate", "rewrite", "timeout", "retries"],
    ...["fault", "mirror", "mirrorPercentage", "mirrorPercent", "mirrors", "corsPolicy", "headers"],
  ],
};

export function readVirtualHttpRoute(
  reader: ObjectReader,
  isDelegate: boolean,
  problems: Problems,
): VirtualHttpRoute {
  checkConflicts(reader, isDelegate, problems);
  const matches = reader.objects("match", httpMatchFields).map((match) => readHttpMatch(match, problems));
  checkCount(reader, "match", reader.list("match").length, trafficLimits.maxMatches, problems);
  const headers = readRouteHeaders(reader, "headers", problems);
  const rewrite = readRewrite(reader, problems);
  if (headers?.authority != null && rewrite?.authority != null)
    problems.add(reader.where("rewrite"), `${reader.name} sets the authority a second time`, "rewrite");
  const retries = readRetries(reader, problems);
  return {
    at: reader.at,
    name: reader.string("name")?.value ?? null,
    matches,
    route: readWeights(reader, true, problems),
    redirect: readRedirect(
      reader,
      matches.map(({ match }) => match),
      problems,
    ),
    answer: readAnswer(reader, problems),
    delegate: readDelegate(reader, problems),
    rewrite,
    timeoutMs: readTime(reader, "timeout", problems),
    retries: retries.policy,
    saysAvoidTried: retries.saysAvoidTried,
    fault: readFault(reader, problems),
    mirrors: readMirrors(reader, problems),
    cors: readCorsPolicy(reader, problems),
    headers,
  };
}

/** Each with what it does not go with. */
const exclusive: Readonly<Record<string, readonly string[]>> = {
  delegate: ["route", "redirect", "directResponse"],
  redirect: ["route", "fault", "rewrite", "directResponse"],
  directResponse: ["route", "fault", "rewrite"],
  mirror: ["mirrors"],
};

function checkConflicts(reader: ObjectReader, isDelegate: boolean, problems: Problems): void {
  if (isDelegate && reader.has("delegate"))
    problems.add(
      reader.where("delegate"),
      `${reader.path("delegate")}: a delegate does not delegate on`,
      "delegate",
    );
  for (const [field, others] of Object.entries(exclusive))
    for (const other of others)
      if (reader.has(field) && reader.has(other))
        problems.add(reader.where(other), `${reader.name} has both ${field} and ${other}`, other);
  const acts = ["route", "redirect", "directResponse", "delegate"].some((field) => reader.has(field));
  if (!acts || (reader.has("route") && reader.list("route").length === 0))
    problems.add(reader.at, `${reader.name} must have a route, a redirect, a directResponse or a delegate`);
}

function readDelegate(reader: ObjectReader, problems: Problems): VirtualHttpRoute["delegate"] {
  const delegate = reader.object("delegate", { known: ["name", "namespace"] });
  if (delegate === null) return null;
  const name = delegate.requiredString("name");
  const namespace = delegate.string("namespace");
  if (namespace !== null && namespace.value !== "" && !isDnsLabel(namespace.value))
    problems.add(
      namespace.at,
      `${delegate.path("namespace")}: ${quote(namespace.value)} is not a namespace`,
      namespace.value,
    );
  if (name === null) return null;
  return { at: delegate.at, name: name.value, namespace: namespace?.value || null };
}

function readMirrors(reader: ObjectReader, problems: Problems): VirtualHttpRoute["mirrors"] {
  if (reader.has("mirror")) {
    const destination = readDestination(reader, "mirror", problems);
    const older = readNumber(reader, "mirrorPercent", 0, 100, problems);
    const percent = readPercent(reader, "mirrorPercentage", problems) ?? older ?? 100;
    return destination === null ? null : [{ destination, percent }];
  }
  for (const field of ["mirrorPercentage", "mirrorPercent"])
    if (reader.has(field))
      problems.add(reader.where(field), `${reader.path(field)} has no effect without mirror`, field);
  if (!reader.has("mirrors")) return null;
  const mirrors = reader.objects("mirrors", { known: ["destination", "percentage"] });
  checkCount(reader, "mirrors", mirrors.length, trafficLimits.maxMirrors, problems);
  return mirrors.flatMap((mirror) => {
    const destination = readDestination(mirror, "destination", problems);
    if (!mirror.has("destination")) problems.add(mirror.at, `${mirror.path("destination")} is missing`);
    const percent = readPercent(mirror, "percentage", problems) ?? 100;
    return destination === null ? [] : [{ destination, percent }];
  });
}
