/** Where a connection goes that is not read as HTTP: by the TLS rules of its service's port if it has a server name, then by the TCP rules (istiod puts them in this order). */
import { type IpPrefix, prefixContains } from "../../base/prefix.ts";
import { serviceKey } from "../../mesh/service.ts";
import type { Destination, TcpRule, TlsRule } from "../../mesh/traffic/route_plan.ts";
import { routeKey, type TrafficPlan } from "../../mesh/traffic/traffic_plan.ts";
import type { Downstream } from "../exchange.ts";
import { chooseDestination } from "./chance.ts";

/** @returns what was called where no rule takes it; null where one does and leads nowhere. */
export function streamDestination(
  plan: TrafficPlan,
  downstream: Downstream,
  random: () => number,
): Destination | null {
  const { service, destination: called } = downstream;
  if (service === null) return null;
  const key = serviceKey(service);
  const route = plan.routes.get(routeKey(key, called.port));
  const rule =
    route === undefined ? null : (tlsRule(route.tls, downstream) ?? tcpRule(route.tcp, downstream));
  if (rule === null) return { service: key, port: called.port, subset: null, missing: null };
  const chosen = chooseDestination(rule.destinations, random);
  return chosen === null || chosen.missing !== null ? null : chosen;
}

function tlsRule(rules: readonly TlsRule[], { sni, destination }: Downstream): TlsRule | null {
  if (sni === "") return null;
  const name = sni.toLowerCase();
  return (
    rules.find(
      ({ matches }) =>
        matches.length === 0 ||
        matches.some(
          ({ sniHosts, destinationSubnets }) =>
            (sniHosts.length === 0 || sniHosts.some((host) => covers(host, name))) &&
            isWithin(destinationSubnets, destination.ip),
        ),
    ) ?? null
  );
}

function tcpRule(rules: readonly TcpRule[], { destination }: Downstream): TcpRule | null {
  return (
    rules.find(
      ({ matches }) =>
        matches.length === 0 ||
        matches.some(({ destinationSubnets }) => isWithin(destinationSubnets, destination.ip)),
    ) ?? null
  );
}

/** `*.example.com` covers every name below it, and not itself; `*` alone covers all. */
function covers(pattern: string, name: string): boolean {
  if (pattern === "*") return true;
  return pattern.startsWith("*.")
    ? name.endsWith(pattern.slice(1)) && name.length > pattern.length - 1
    : pattern === name;
}

function isWithin(subnets: readonly IpPrefix[], ip: Downstream["destination"]["ip"]): boolean {
  return subnets.length === 0 || (ip !== null && subnets.some((subnet) => prefixContains(subnet, ip)));
}
