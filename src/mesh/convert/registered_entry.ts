/**
 * A host that has joined a WorkloadGroup → the WorkloadEntry that is its own while it is there (istiod `autoregistration`). The
 * entry then goes through conversion like any other, so that everything which holds for written ones holds for it: who may have an
 * address, which policies and services select it.
 */
import { IpAddress } from "../../base/ip.ts";
import {
  type Labels,
  resourceName,
  type WorkloadEntryDocument,
  type WorkloadGroupDocument,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";
import type { Location } from "../location.ts";
import { sameValue } from "../store/change.ts";
import type { Locality } from "../workload.ts";

/** What a host said of itself when it joined, and what it is called. */
export interface RegisteredHost {
  readonly node: string;
  /** The first one counts: a WorkloadEntry has one address. */
  readonly addresses: readonly string[];
  /** "" when it does not say. */
  readonly network: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Null when it does not say. */
  readonly locality: Locality | null;
}

export type RegisteredEntry =
  | { readonly ok: true; readonly entry: WorkloadEntryDocument }
  | { readonly ok: false; readonly reason: string };

/**
 * On a group: which labels of a host are taken, separated by commas. By default none, unlike in Istio: labels decide which services a
 * workload is an endpoint of and which policies select it, and a host may not choose that for itself.
 */
const hostLabelsAnnotation = "fairlead.dev/host-labels";
const nodeAnnotation = "fairlead.dev/node";
const redirection = "ambient.istio.io/redirection";

/** Entries by group and host; for the same two the same object, so that conversion sees that nothing changed. */
export class RegisteredEntries {
  readonly #known = new WeakMap<
    WorkloadGroupDocument,
    Map<string, { readonly host: RegisteredHost; readonly entry: RegisteredEntry }>
  >();

  of(group: WorkloadGroupDocument, host: RegisteredHost): RegisteredEntry {
    const hosts = this.#known.get(group) ?? new Map();
    this.#known.set(group, hosts);
    const known = hosts.get(host.node);
    if (known !== undefined && sameValue(known.host, host)) return known.entry;
    const entry = registeredEntry(group, host);
    hosts.set(host.node, { host, entry });
    return entry;
  }

  /** The host is gone. */
  forget(group: WorkloadGroupDocument, node: string): void {
    this.#known.get(group)?.delete(node);
  }
}

export function registeredEntry(group: WorkloadGroupDocument, host: RegisteredHost): RegisteredEntry {
  const { template, location } = group;
  const address = host.addresses[0];
  const ip = address === undefined ? null : IpAddress.parse(address);
  if (ip === null) return { ok: false, reason: `host ${host.node} gives no IP address` };
  const { namespace } = group.metadata;
  const name = `${group.metadata.name}-${host.node}`;
  if (name.length > maxNameLength)
    return { ok: false, reason: `the name ${name} is longer than ${maxNameLength}` };
  const labels: Labels = new Map([...hostLabels(group, host), ...group.entryLabels]);
  const annotations: Labels = new Map([
    ...group.entryAnnotations,
    // The host is ours and has a tunnel; which node it is the registration alone says.
    [redirection, { value: "enabled", at: location }],
    [nodeAnnotation, { value: host.node, at: location }],
  ]);
  const key = resourceName("WorkloadEntry", namespace, name);
  const entry: WorkloadEntryDocument = {
    kind: "WorkloadEntry",
    metadata: { key, name, namespace, labels, annotations, createdMs: null },
    location,
    warnings: [],
    spec: {
      ...template,
      address: { value: { kind: "ip", ip }, at: template.at },
      // Where the group says it, the host cannot say otherwise: addresses are told apart by network.
      network: template.network ?? (host.network === "" ? null : host.network),
      locality: template.locality.region === "" ? (host.locality ?? template.locality) : template.locality,
    },
  };
  return { ok: true, entry };
}

/** Names of Kubernetes objects. */
const maxNameLength = 253;

function hostLabels(group: WorkloadGroupDocument, host: RegisteredHost): [string, Located<string>][] {
  const allowed = group.metadata.annotations.get(hostLabelsAnnotation);
  if (allowed === undefined) return [];
  const at: Location = allowed.at;
  const own = (name: string) => !group.template.labels.has(name) && !group.entryLabels.has(name);
  return allowed.value
    .split(",")
    .map((name) => name.trim())
    .flatMap((name): [string, Located<string>][] => {
      const value = Object.hasOwn(host.labels, name) ? host.labels[name] : undefined;
      return value === undefined || !own(name) ? [] : [[name, { value, at }]];
    });
}
