/**
 * A namespace is a tenant in the data, too: who may have a host name, an address, a node. What a Grant gives is its namespaces' and
 * no other's, whoever writes it. Of the rest host names and addresses are whose documents came first; nodes are the mesh's, or the
 * tenant's by whose token they joined. Who administers the mesh, or both tenants, decides for them. Never the order of names, and
 * never a time that an author wrote.
 */
import type { IpAddress } from "../../base/ip.ts";
import { tenancyLimits } from "../../base/limits/control.ts";
import { type IpPrefix, isSingleAddress, prefixContains } from "../../base/prefix.ts";
import { specialAddress } from "../../base/special_addresses.ts";
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import type { GrantDocument, MeshDocument } from "../../mesh/documents/document.ts";
import { type DocumentError, formatLocation } from "../../mesh/location.ts";
import { type Claim, type Claimed, claimKey, claimsOf, describeClaimed } from "./claims_of.ts";
import { OverlapIndex } from "./overlap_index.ts";

/** A host that has joined. */
export interface JoinedHost {
  readonly node: string;
  /** Whose token it joined by; "" for the mesh's. */
  readonly namespace: string;
  readonly addresses: readonly IpAddress[];
  readonly network: string;
  /** It has a stream, or had one a moment ago. */
  readonly isPresent: boolean;
}

export interface HostDirectory {
  byNode(node: string): JoinedHost | null;
  /** Those that joined with an address of this range. */
  within(network: string, prefix: IpPrefix): readonly JoinedHost[];
}

export interface OwnershipView {
  /** Those that were derived among them. */
  readonly documents: readonly MeshDocument[];
  readonly hosts: HostDirectory;
  /** Where the control plane is reached. */
  readonly controlAddresses: readonly IpAddress[];
  /** Of addresses that name none. */
  readonly network: string;
}

/** What a host that joins by a tenant's token says, and where it comes from. */
export interface JoiningHost {
  readonly node: string;
  readonly namespace: string;
  readonly network: string;
  readonly remote: IpAddress;
}

/** Who changes something: for which namespaces, "" being the mesh. */
export interface Writer {
  readonly mayWrite: (namespace: string) => boolean;
  readonly mayRead: (namespace: string) => boolean;
}

/** Grants hold in every network. */
const anyNetwork = "";

export class Ownership {
  readonly #view: OwnershipView;
  readonly #held = new OverlapIndex<Claim>();
  readonly #granted = new OverlapIndex<GrantDocument>();
  readonly #grants: GrantDocument[] = [];
  readonly #networks = new Set<string>();

  private constructor(view: OwnershipView) {
    this.#view = view;
  }

  /** In slices: of a hundred thousand documents it takes a while. */
  static async of(view: OwnershipView, slice: TimeSlice): Promise<Ownership> {
    const ownership = new Ownership(view);
    for (const document of view.documents) {
      await slice.giveWay();
      ownership.#take(document);
    }
    return ownership;
  }

  /** @returns null where the document may claim it; else why not, with whose it is. */
  refuse(claim: Claim, writer: Writer): string | null {
    const { claimed } = claim;
    const { namespace } = claim.document.metadata;
    if (this.isGranted(claimed, namespace)) return this.#refuseSame(claim, writer);
    const others = this.#grantees(claimed);
    if (others.length > 0)
      return `${describeClaimed(claimed)} is granted to ${namespaces(others)}, not to ${namespace}`;
    if (writer.mayWrite("")) return null;
    switch (claimed.kind) {
      case "host":
        return this.#refuseHost(claimed, claim, writer);
      case "range":
        return this.#refuseRange(claimed, claim, writer);
      case "node":
        return this.#refuseNode(claimed.node, namespace);
      case "network":
        return `${describeClaimed(claimed)} belongs to the mesh: ${askForGrant}`;
    }
  }

  /** What others hold of that which a Grant gives away: they would lose it without a word. */
  conflictsOf(grant: GrantDocument): readonly DocumentError[] {
    const errors: DocumentError[] = [];
    const check = (location: DocumentError["location"], holders: Iterable<Claim>): void => {
      for (const { claimed, document, at } of holders) {
        const { namespace, key } = document.metadata;
        if (this.isGranted(claimed, namespace)) continue;
        const held = `${describeClaimed(claimed)} belongs to namespace ${namespace} (${key} at ${formatLocation(at)})`;
        const message = `${held}: remove it first, or grant it to ${namespace} as well`;
        errors.push({ location, resource: grant.metadata.key, message });
        return;
      }
    };
    for (const { value, at } of grant.hosts) check(at, this.#held.hosts(value));
    for (const { value, at } of grant.addressRanges)
      for (const network of this.#networks) check(at, this.#held.ranges(network, value));
    return errors;
  }

  isGranted(claimed: Claimed, namespace: string): boolean {
    for (const grant of this.#covering(claimed)) if (grant.namespaces.includes(namespace)) return true;
    return false;
  }

  /** Why a host may not be called so; null when it may. @param namespace whose token it joins by. */
  refuseNodeName(node: string, namespace: string): string | null {
    const others = this.#grantees({ kind: "node", node });
    if (others.length === 0 || others.includes(namespace)) return null;
    return `the name ${node} is granted to ${namespaces(others)}`;
  }

  /**
   * Why a host that joins for a namespace may not be at this address; null when it may. Where it connects from it is; what it only
   * says needs a grant.
   */
  refuseAddress(ip: IpAddress, { node, namespace, network, remote }: JoiningHost): string | null {
    const { controlAddresses, hosts } = this.#view;
    const prefix = wholePrefix(ip);
    const claimed = { kind: "range", network, prefix, isService: false } as const;
    const isOurs = controlAddresses.some((own) => own.equals(ip));
    // By loopback comes who is on this machine, or who is behind a proxy on it: that vouches for loopback addresses alone.
    const isThere = ip.equals(remote) || (remote.isLoopback && ip.isLoopback);
    if (isOurs && !isThere) return `${ip.text} belongs to the mesh: it is an address of the control plane`;
    const isGranted = this.isGranted(claimed, namespace);
    if (!isThere && !isGranted)
      return `${ip.text} is neither the address that the host connects from (${remote.text}) nor in a range that is granted to namespace ${namespace}`;
    const others = isGranted ? [] : this.#grantees(claimed);
    if (others.length > 0) return `${ip.text} is granted to ${namespaces(others)}`;
    for (const { claimed: held, document } of this.#held.ranges(network, prefix)) {
      const owner = document.metadata.namespace;
      if (held.kind !== "range" || isMember(document, node)) continue;
      if (held.isService && (owner === namespace || isGranted)) continue;
      return `${ip.text} belongs to namespace ${owner}`;
    }
    const other = hosts.within(network, prefix).find((host) => host.node !== node && host.isPresent);
    return other === undefined
      ? null
      : `${ip.text} belongs to ${ownerName(other.namespace)}: it is the address of a host`;
  }

  #take(document: MeshDocument): void {
    if (document.kind === "Grant") {
      this.#grants.push(document);
      for (const { value } of document.hosts) this.#granted.addHost(value, document);
      for (const { value } of document.addressRanges) this.#granted.addRange(anyNetwork, value, document);
      return;
    }
    for (const claim of claimsOf(document, this.#view.network)) {
      const { claimed } = claim;
      if (claimed.kind === "host") this.#held.addHost(claimed.host, claim);
      if (claimed.kind !== "range") continue;
      this.#networks.add(claimed.network);
      this.#held.addRange(claimed.network, claimed.prefix, claim);
    }
  }

  #covering(claimed: Claimed): Iterable<GrantDocument> {
    switch (claimed.kind) {
      case "host":
        return this.#granted.coveringHosts(claimed.host);
      case "range":
        return this.#granted.coveringRanges(anyNetwork, claimed.prefix);
      case "node":
        return this.#grants.filter(({ nodes }) => nodes.includes(claimed.node));
      case "network":
        return this.#grants.filter(({ networks }) => networks.includes(claimed.network));
    }
  }

  /** Namespaces that have a grant of it, or of a part of it. */
  #grantees(claimed: Claimed): readonly string[] {
    const grants =
      claimed.kind === "host"
        ? this.#granted.hosts(claimed.host)
        : claimed.kind === "range"
          ? this.#granted.ranges(anyNetwork, claimed.prefix)
          : this.#covering(claimed);
    return [...new Set([...grants].flatMap((grant) => grant.namespaces))].sort();
  }

  /** Two may be given one range; each address of it is whose document came first. */
  #refuseSame(claim: Claim, writer: Writer): string | null {
    const { claimed } = claim;
    if (claimed.kind !== "range" || !isSingleAddress(claimed.prefix)) return null;
    const held = [...this.#held.coveringRanges(claimed.network, claimed.prefix)];
    const same = held.filter((one) => one.claimed.kind === "range" && isSingleAddress(one.claimed.prefix));
    return this.#refuseHeld(same, claim, writer);
  }

  #refuseHost({ host }: Claimed & { kind: "host" }, claim: Claim, writer: Writer): string | null {
    const what = describeClaimed(claim.claimed);
    const named = namespaceInName(host);
    const { namespace } = claim.document.metadata;
    if (named !== null && named !== namespace && !writer.mayWrite(named))
      return `${what} belongs to namespace ${named} by its name: ${askForGrant}`;
    const labels = host.split(".").length - 1;
    if (host.startsWith("*.") && labels < tenancyLimits.minWildcardLabels)
      return `${what} covers too many names for one namespace: ${askForGrant}`;
    return this.#refuseHeld(this.#held.hosts(host), claim, writer);
  }

  #refuseRange(claimed: Claimed & { kind: "range" }, claim: Claim, writer: Writer): string | null {
    const { prefix, network } = claimed;
    const what = describeClaimed(claimed);
    const least = prefix.ip.isIpv4 ? tenancyLimits.minIpv4Length : tenancyLimits.minIpv6Length;
    if (prefix.length < least)
      return `${what} is wider than a /${least}, the most that a namespace may have without a grant: ${askForGrant}`;
    if (isOfEveryHost(prefix.ip))
      return `${what} is an address that every host has (${specialAddress(prefix.ip)}): ${askForGrant}`;
    const control = this.#view.controlAddresses.find((ip) => prefixContains(prefix, ip));
    if (control !== undefined) return `${what} belongs to the mesh: it is an address of the control plane`;
    const held = this.#refuseHeld(this.#held.ranges(network, prefix), claim, writer);
    return held ?? this.#refuseAtHost(claimed, claim, writer);
  }

  #refuseAtHost(
    { prefix, network }: Claimed & { kind: "range" },
    claim: Claim,
    writer: Writer,
  ): string | null {
    const { namespace } = claim.document.metadata;
    const host = this.#view.hosts.within(network, prefix).find(
      (one) =>
        one.namespace !== namespace &&
        !writer.mayWrite(one.namespace) &&
        // Whoever may place a workload on a host may say where the host is.
        !this.isGranted({ kind: "node", node: one.node }, namespace),
    );
    if (host === undefined) return null;
    const seen = writer.mayRead(host.namespace) ? `host ${host.node}` : "a host";
    return `${describeClaimed(claim.claimed)} belongs to ${ownerName(host.namespace)}: it is the address of ${seen}`;
  }

  #refuseNode(node: string, namespace: string): string | null {
    const host = this.#view.hosts.byNode(node);
    if (host !== null && host.namespace === namespace) return null;
    const owner = host === null || host.namespace === "" ? "the mesh" : ownerName(host.namespace);
    return `node ${node} belongs to ${owner}, so namespace ${namespace} may not place a workload on it: ${askForGrant}`;
  }

  #refuseHeld(holders: Iterable<Claim>, claim: Claim, writer: Writer): string | null {
    const { namespace } = claim.document.metadata;
    for (const other of holders) {
      const owner = other.document.metadata.namespace;
      if (owner === namespace || writer.mayWrite(owner)) continue;
      const isSame = claimKey(other.claimed) === claimKey(claim.claimed);
      const { key } = other.document.metadata;
      const seen = writer.mayRead(owner) ? ` (${key} at ${formatLocation(other.at)})` : "";
      const of = isSame
        ? "belongs"
        : `overlaps with ${seen === "" ? "what" : `${describeClaimed(other.claimed)}, which`} belongs`;
      return `${describeClaimed(claim.claimed)} ${of} to namespace ${owner}${seen}`;
    }
    return null;
  }
}

const askForGrant = "an administrator of the mesh can grant it";

function ownerName(namespace: string): string {
  return namespace === "" ? "the mesh" : `namespace ${namespace}`;
}

function namespaces(names: readonly string[]): string {
  return `${names.length === 1 ? "namespace" : "namespaces"} ${names.join(", ")}`;
}

/** The namespace in a name of Kubernetes' form: `db.shop.svc.cluster.local`, `*.shop.svc.cluster.local`. */
function namespaceInName(host: string): string | null {
  return /(?:^|\.)([a-z0-9-]+)\.svc(?:\.|$)/.exec(host)?.[1] ?? null;
}

/** Loopback, link-local, unspecified and multicast addresses are the same at every host. */
function isOfEveryHost(ip: IpAddress): boolean {
  return /loopback|link-local|unspecified|this network|multicast \(/.test(specialAddress(ip) ?? "");
}

function wholePrefix(ip: IpAddress): IpPrefix {
  return { ip, length: ip.bytes.length * 8 };
}

/** Whether the document was derived of this host. */
function isMember(document: MeshDocument, node: string): boolean {
  return (
    document.kind === "WorkloadEntry" &&
    document.metadata.createdMs === null &&
    document.metadata.annotations.get("fairlead.dev/node")?.value === node
  );
}
