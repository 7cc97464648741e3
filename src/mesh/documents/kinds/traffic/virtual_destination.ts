/** Where a VirtualService sends traffic. */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { VirtualDestination, VirtualWeight } from "../../traffic_specs.ts";
import { isDnsLabel, isServiceHost, normalHost } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { noRouteHeaders, readRouteHeaders } from "./header_changes.ts";
import { readWeight } from "./scalars.ts";

const routeFields = { known: ["destination", "weight"] };

/** Destinations with their weights, of HTTP with their changes of headers. */
export function readWeights(
  route: ObjectReader,
  isHttp: boolean,
  problems: Problems,
): readonly VirtualWeight[] {
  const known = isHttp ? [...routeFields.known, "headers"] : routeFields.known;
  const readers = route.objects("route", { known });
  checkCount(route, "route", readers.length, trafficLimits.maxDestinations, problems);
  if (readers.length === 0 && !isHttp)
    problems.add(route.where("route"), `${route.path("route")} must have at least one destination`);
  const weights = readers.flatMap((reader): VirtualWeight[] => {
    const destination = readDestination(reader, "destination", problems);
    const weight = readWeight(reader, readers.length === 1 ? 1 : 0);
    const headers = isHttp ? readRouteHeaders(reader, "headers", problems) : null;
    if (destination === null) {
      if (!reader.has("destination")) problems.add(reader.at, `${reader.path("destination")} is missing`);
      return [];
    }
    return [{ destination, weight, headers: headers ?? noRouteHeaders }];
  });
  if (weights.length > 1 && weights.every(({ weight }) => weight === 0))
    problems.add(
      route.where("route"),
      `${route.path("route")}: the weights of its destinations add up to 0`,
      "route",
    );
  // Where there is no other, the weight has nothing to say (Istio `applyHTTPRouteDestination`).
  return weights.length === 1 ? weights.map((only) => ({ ...only, weight: 1 })) : weights;
}

/** Istio `validateDestination`. */
export function readDestination(
  reader: ObjectReader,
  field: string,
  problems: Problems,
): VirtualDestination | null {
  const destination = reader.object(field, { known: ["host", "subset", "port"] });
  if (destination === null) return null;
  const host = destination.requiredString("host");
  const subset = destination.string("subset");
  const port = destination.object("port", { known: ["number"] });
  if (port !== null && !port.has("number")) problems.add(port.at, `${port.path("number")} is missing`);
  const number = port?.integer("number", 1, 65535)?.value ?? null;
  if (subset !== null && subset.value !== "" && !isDnsLabel(subset.value))
    problems.add(
      subset.at,
      `${destination.path("subset")}: ${quote(subset.value)} is not a name`,
      subset.value,
    );
  if (host === null) return null;
  if (!isServiceHost(host.value))
    problems.add(host.at, `${destination.path("host")}: ${quote(host.value)} is not a host name`, host.value);
  return {
    at: host.at,
    host: normalHost(host.value),
    subset: subset === null || subset.value === "" ? null : subset.value,
    port: number,
  };
}
