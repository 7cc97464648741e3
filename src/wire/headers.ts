/**
 * The headers HBONE carries beside CONNECT: `baggage`, `forwarded` and `traceparent`, as ztunnel writes and reads them.
 * All of them describe; none of them is trusted for a decision.
 */

/** What a tunnel says of a workload (ztunnel `baggage.rs`). "" means not known. */
export interface Baggage {
  readonly cluster: string;
  readonly namespace: string;
  readonly workloadType: string;
  readonly workloadName: string;
  readonly serviceName: string;
  readonly serviceVersion: string;
  readonly region: string;
  readonly zone: string;
}

const emptyBaggage: Baggage = {
  cluster: "",
  namespace: "",
  workloadType: "",
  workloadName: "",
  serviceName: "",
  serviceVersion: "",
  region: "",
  zone: "",
};

const workloadTypes = ["deployment", "cronjob", "pod", "job"];

/** Comma-joined `key=value` in ztunnel's order, without spaces or escapes; what is not known is left out. */
export function formatBaggage(baggage: Baggage): string {
  const parts: string[] = [];
  const add = (key: string, value: string) => {
    if (value !== "" && isBaggageValue(value)) parts.push(`${key}=${value}`);
  };
  add("k8s.cluster.name", baggage.cluster);
  add("k8s.namespace.name", baggage.namespace);
  add(`k8s.${baggage.workloadType === "" ? "pod" : baggage.workloadType}.name`, baggage.workloadName);
  add("service.name", baggage.serviceName);
  add("service.version", baggage.serviceVersion);
  add("cloud.region", baggage.region);
  add("cloud.availability_zone", baggage.zone);
  return parts.join(",");
}

/** A comma would start another member, and a control character another header: such a value is left out instead. */
function isBaggageValue(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f || code === 0x2c) return false;
  }
  return true;
}

/** Reads what `formatBaggage` writes. Unknown keys are ignored, a value is cut at a second `=`, as ztunnel does; several lines may be joined by commas before. */
export function parseBaggage(text: string): Baggage {
  const found: { -readonly [key in keyof Baggage]: string } = { ...emptyBaggage };
  for (const member of text.split(",")) {
    const [key = "", value = ""] = member.trim().split("=");
    switch (key) {
      case "k8s.cluster.name":
        found.cluster = value;
        break;
      case "k8s.namespace.name":
        found.namespace = value;
        break;
      case "service.name":
        found.serviceName = value;
        break;
      case "service.version":
        found.serviceVersion = value;
        break;
      case "cloud.region":
        found.region = value;
        break;
      case "cloud.availability_zone":
        found.zone = value;
        break;
      default: {
        const type = workloadTypes.find((name) => key === `k8s.${name}.name`);
        if (type === undefined) break;
        found.workloadType = type;
        found.workloadName = value;
      }
    }
  }
  return found;
}

/** `for="10.0.0.1:4711"`, and `;host=` when the service is known (ztunnel `outbound.rs`; RFC 7239 §4). */
export function formatForwarded(source: string, serviceHostname: string | null): string {
  return serviceHostname === null ? `for="${source}"` : `for="${source}";host=${serviceHostname}`;
}

/** The `host` of a `forwarded` header: which service the caller says it called; null when it does not say. */
export function parseForwardedHost(text: string): string | null {
  const match = /(?:^|[;,\s])host="?([^";,\s]+)"?/i.exec(text);
  return match?.[1] ?? null;
}

/** A new trace (W3C Trace Context §3.2), `00-<32 hex>-<16 hex>-00`: not sampled, as ztunnel starts one. `random` holds 24 bytes. */
export function formatTraceparent(random: Uint8Array): string {
  let hex = "";
  for (let index = 0; index < 24; index++) hex += hexBytes[random[index] ?? 0];
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-00`;
}

const hexBytes = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));
