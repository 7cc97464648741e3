/** `loadBalancer` of a DestinationRule (Istio `validateLoadBalancer`, `ValidateLocalityLbSetting`). */
import { waypointLimits } from "../../../../base/limits/waypoint.ts";
import {
  defaultDestinationPolicy,
  type HashKey,
  type LoadBalancer,
  type LocalityPolicy,
  type LocalityShare,
  type Warmup,
} from "../../../traffic/destination_policy.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { PolicyParts } from "../../traffic_specs.ts";
import { isToken, readFlag, readHeaderName, readNumber, readTime } from "./scalars.ts";

const fields = {
  known: ["simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs"],
  unsupported: {
    backendUtilization: "endpoints do not report their utilization",
    zoneAwareLbSetting: "write localityLbSetting",
  },
};
const hashKeys = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"];
const simple = {
  UNSPECIFIED: { kind: "least-request" },
  LEAST_CONN: { kind: "least-request" },
  LEAST_REQUEST: { kind: "least-request" },
  ROUND_ROBIN: { kind: "round-robin" },
  RANDOM: { kind: "random" },
  PASSTHROUGH: { kind: "passthrough" },
} as const satisfies Readonly<Record<string, LoadBalancer>>;
const simpleWords = Object.keys(simple).filter((word): word is keyof typeof simple => word in simple);

export type LoadBalancerParts = Pick<PolicyParts, "loadBalancer" | "locality" | "warmup">;

/** Whatever is not said in it has its default: it takes the place of another one whole. */
export function readLoadBalancer(policy: ObjectReader, problems: Problems): LoadBalancerParts {
  const reader = policy.object("loadBalancer", fields);
  if (reader === null) return { loadBalancer: null, locality: null, warmup: null };
  if (reader.has("simple") && reader.has("consistentHash"))
    problems.add(
      reader.where("consistentHash"),
      `${reader.name} has both simple and consistentHash`,
      "consistentHash",
    );
  const word = reader.choice("simple", simpleWords)?.value ?? "LEAST_REQUEST";
  const warmup = readWarmup(reader, problems);
  return {
    loadBalancer: readConsistentHash(reader, problems) ?? simple[word],
    locality: readLocality(reader, problems),
    warmup,
  };
}

function readConsistentHash(balancer: ObjectReader, problems: Problems): LoadBalancer | null {
  const reader = balancer.object("consistentHash", {
    known: [...hashKeys, "ringHash", "maglev", "minimumRingSize"],
  });
  if (reader === null) return null;
  const said = hashKeys.filter((field) => reader.has(field));
  if (said.length !== 1) problems.add(reader.at, `${reader.name} must have one of ${hashKeys.join(", ")}`);
  const key = readHashKey(reader, problems);
  const algorithms = ["ringHash", "maglev", "minimumRingSize"].filter((field) => reader.has(field));
  const [, second] = algorithms;
  if (second !== undefined)
    problems.add(reader.where(second), `${reader.name} has both ${algorithms.join(" and ")}`, second);
  return key === null ? null : { kind: "consistent-hash", key, table: readTable(reader, problems) };
}

type HashTable = Extract<LoadBalancer, { readonly kind: "consistent-hash" }>["table"];

function readTable(reader: ObjectReader, problems: Problems): HashTable {
  const maglev = reader.object("maglev", { known: ["tableSize"] });
  if (maglev !== null) {
    // Envoy's default; Istio wants one to be said, and a prime.
    const size = maglev.integer("tableSize", 2, waypointLimits.maxMaglevTableSize);
    if (!maglev.has("tableSize")) problems.add(maglev.at, `${maglev.path("tableSize")} is missing`);
    if (size !== null && !isPrime(size.value))
      problems.add(size.at, `${maglev.path("tableSize")} must be a prime number`, String(size.value));
    return { kind: "maglev", tableSize: size?.value ?? waypointLimits.maglevTableSize };
  }
  const ring = reader.object("ringHash", { known: ["minimumRingSize"] });
  const older = reader.integer("minimumRingSize", 0, 8_388_608);
  const size = ring?.integer("minimumRingSize", 0, 8_388_608) ?? older;
  return { kind: "ring", minimumRingSize: size?.value ?? 1_024 };
}

function isPrime(value: number): boolean {
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return false;
  return value > 1;
}

function readHashKey(reader: ObjectReader, problems: Problems): HashKey | null {
  if (reader.has("httpHeaderName")) {
    const name = readHeaderName(
      reader.requiredString("httpHeaderName"),
      reader.path("httpHeaderName"),
      problems,
    );
    return name === null ? null : { kind: "header", name };
  }
  if (reader.has("httpQueryParameterName")) {
    const name = reader.requiredString("httpQueryParameterName");
    return name === null ? null : { kind: "query", name: name.value };
  }
  if (reader.has("useSourceIp")) {
    if (readFlag(reader, "useSourceIp", problems) === false)
      problems.add(
        reader.where("useSourceIp"),
        `${reader.path("useSourceIp")} is false, which leaves nothing to hash`,
      );
    return { kind: "source" };
  }
  return readCookie(reader, problems);
}

function readCookie(hash: ObjectReader, problems: Problems): HashKey | null {
  const reader = hash.object("httpCookie", { known: ["name", "path", "ttl", "attributes"] });
  const name = reader?.requiredString("name") ?? null;
  if (reader === null || name === null) return null;
  if (!isToken(name.value))
    problems.add(
      name.at,
      `${reader.path("name")}: ${quote(name.value)} is not the name of a cookie`,
      name.value,
    );
  const seen = new Set<string>();
  const attributes = reader.objects("attributes", { known: ["name", "value"] }).flatMap((attribute) => {
    const read = attribute.requiredString("name");
    const value = attribute.string("value")?.value ?? "";
    if (read === null) return [];
    if (seen.has(read.value)) problems.add(read.at, `${attribute.path("name")} is given twice`, read.value);
    seen.add(read.value);
    if (!isToken(read.value) || !isCookieText(value))
      problems.add(attribute.at, `${attribute.name} is not an attribute of a cookie`, read.value);
    return [{ name: read.value, value }];
  });
  const path = reader.string("path");
  if (path !== null && !isCookieText(path.value))
    problems.add(path.at, `${reader.path("path")}: ${quote(path.value)} is not a path`, path.value);
  return {
    kind: "cookie",
    name: name.value,
    path: path?.value ?? "",
    ttlMs: readTime(reader, "ttl", problems, true),
    attributes,
  };
}

/** RFC 6265 §4.1.1, `av-octet`. */
export function isCookieText(text: string): boolean {
  return text.length <= 1_024 && /^[\x20-\x3a\x3c-\x7e]*$/.test(text);
}

const none: LocalityPolicy = defaultDestinationPolicy.locality;

function readLocality(balancer: ObjectReader, problems: Problems): LocalityPolicy {
  const reader = balancer.object("localityLbSetting", {
    known: ["distribute", "failover", "failoverPriority", "enabled"],
  });
  if (reader === null) return none;
  if (reader.has("distribute") && (reader.has("failover") || reader.has("failoverPriority")))
    problems.add(
      reader.where("distribute"),
      `${reader.name} has distribute, and failover or failoverPriority`,
      "distribute",
    );
  const failover = reader.objects("failover", { known: ["from", "to"] }).flatMap((one) => {
    const from = one.requiredString("from");
    const to = one.requiredString("to");
    if (from === null || to === null) return [];
    for (const { value, at } of [from, to])
      if (/[/*]/.test(value)) problems.add(at, `${one.name}: ${quote(value)} is not a region`, value);
    if (from.value === to.value) problems.add(to.at, `${one.name} leads from a region to itself`, to.value);
    return [{ from: from.value, to: to.value }];
  });
  const failoverPriority = reader.strings("failoverPriority");
  for (const { value, at } of failoverPriority)
    if (
      failover.length > 0 &&
      /^topology\.(?:kubernetes\.io\/(?:region|zone)|istio\.io\/subzone)/.test(value)
    )
      problems.add(
        at,
        `${reader.path("failoverPriority")}: ${quote(value)} cannot be given with failover`,
        value,
      );
  const shares = reader
    .objects("distribute", { known: ["from", "to"] })
    .flatMap((one) => readShare(one, problems));
  return {
    enabled: readFlag(reader, "enabled", problems) ?? true,
    distribute: shares,
    failover,
    failoverPriority: failoverPriority.map(({ value }) => value),
  };
}

function readShare(reader: ObjectReader, problems: Problems): LocalityShare[] {
  const from = reader.requiredString("from");
  const to = new Map<string, number>();
  let total = 0;
  for (const { key, keyAt, value } of reader.map("to")) {
    const weight = value.kind === "scalar" && typeof value.value === "number" ? value.value : Number.NaN;
    if (!Number.isInteger(weight) || weight < 1 || weight > 100)
      problems.add(
        value.at,
        `${reader.path("to")}: a weight must be from 1 to 100`,
        value.kind === "scalar" ? value.source : key,
      );
    if (!isLocality(key))
      problems.add(keyAt, `${reader.path("to")}: ${quote(key)} is not region/zone/subzone`, key);
    to.set(key, weight);
    total += weight;
  }
  if (total !== 100 && !Number.isNaN(total))
    problems.add(
      reader.where("to"),
      `${reader.path("to")}: the weights add up to ${total}, not to 100`,
      "to",
    );
  if (from !== null && !isLocality(from.value))
    problems.add(
      from.at,
      `${reader.path("from")}: ${quote(from.value)} is not region/zone/subzone`,
      from.value,
    );
  return from === null ? [] : [{ from: from.value, to }];
}

/** A star is the last part, or the end of it. */
function isLocality(text: string): boolean {
  const parts = text.split("/");
  const star = text.indexOf("*");
  return parts.length <= 3 && parts.every((part) => part !== "") && (star === -1 || star === text.length - 1);
}

function readWarmup(balancer: ObjectReader, problems: Problems): Warmup | null {
  const older = readTime(balancer, "warmupDurationSecs", problems);
  const reader = balancer.object("warmup", { known: ["duration", "minimumPercent", "aggression"] });
  if (reader === null)
    return older === null ? null : { durationMs: older, minimumPercent: 10, aggression: 1 };
  if (!reader.has("duration")) problems.add(reader.at, `${reader.path("duration")} is missing`);
  const aggression = readNumber(reader, "aggression", 0, 1_000, problems);
  if (aggression === 0)
    problems.add(
      reader.where("aggression"),
      `${reader.path("aggression")} must be more than 0`,
      "aggression",
    );
  return {
    durationMs: readTime(reader, "duration", problems) ?? 1,
    minimumPercent: readNumber(reader, "minimumPercent", 0, 100, problems) ?? 10,
    aggression: aggression ?? 1,
  };
}
