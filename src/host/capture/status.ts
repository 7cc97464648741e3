/** The capture rules of this host as another process sees them: which there are, whose, and whether a node is behind them. */
import { MeshError } from "../../base/errors.ts";
import type { Host } from "../host.ts";
import { backends, redirectedPorts } from "./backends.ts";
import { type Finding, inspectHost } from "./findings.ts";
import { readHostFacts } from "./host_facts.ts";
import type { BackendName } from "./options.ts";

export interface CaptureStatus {
  /** `left behind`: the rules lead to ports on which no program listens, as after `kill -9`. */
  readonly state: "none" | "in force" | "incomplete" | "left behind";
  /** Who has rules loaded; more than one only where something went wrong. */
  readonly backends: readonly { readonly name: BackendName; readonly version: string }[];
  /** Where captured connections go. */
  readonly ports: readonly number[];
  readonly findings: readonly Finding[];
}

/** @param hbonePort where peers reach this host. @throws MeshError `permission_denied` where no program may show its rules. */
export async function captureStatus(host: Host, hbonePort: number): Promise<CaptureStatus> {
  const loaded: { readonly name: BackendName; readonly version: string; readonly listing: string }[] = [];
  let readable = false;
  for (const backend of backends) {
    const listing = await backend.listing(host);
    readable ||= listing !== null;
    if (listing === null || listing === "") continue;
    loaded.push({ name: backend.name, version: (await backend.version(host)) ?? "", listing });
  }
  if (!readable)
    throw new MeshError(
      "permission_denied",
      "local",
      "the capture rules can be read by root alone, with nft or iptables",
    );
  const listings = loaded.map(({ listing }) => listing);
  const ports = redirectedPorts(listings.join("\n"));
  const { listenedPorts } = await readHostFacts(host, []);
  const isAnswered = ports.length > 0 && ports.every((port) => listenedPorts.includes(port));
  // By TPROXY the same chain has the port of outbound connections, before that of inbound ones.
  const inboundPort = [
    ...listings
      .join("\n")
      .matchAll(
        /prerouting[^}]*(?:redirect|tproxy) to :(\d+)|FAIRLEAD_PREROUTING .*(?:--to-ports|--on-port) (\d+)/gi,
      ),
  ].at(-1);
  const method = /tproxy/i.test(listings.join("\n")) ? "tproxy" : "redirect";
  const findings =
    loaded.length === 0
      ? []
      : await inspectHost(host, {
          inboundPort: Number(inboundPort?.[1] ?? inboundPort?.[2] ?? ports.at(-1) ?? 0),
          hbonePort,
          method,
        });
  return {
    state:
      loaded.length === 0
        ? "none"
        : !listings.every(isComplete)
          ? "incomplete"
          : isAnswered
            ? "in force"
            : "left behind",
    backends: loaded.map(({ name, version }) => ({ name, version })),
    ports,
    findings,
  };
}

/** The redirects of both directions and the filter, by either language. */
function isComplete(listing: string): boolean {
  const nft = ["chain output", "chain prerouting", "chain guard"];
  const iptables = ["-A OUTPUT", "-A PREROUTING", "-A INPUT"];
  return [nft, iptables].some((parts) => parts.every((part) => listing.includes(part)));
}
