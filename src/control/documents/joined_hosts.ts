/** The hosts that have joined, by name and by address: whose a node is, and who is in a range. */
import { IpAddress } from "../../base/ip.ts";
import { formatNetwork, type IpPrefix, parseIpPrefix, prefixContains } from "../../base/prefix.ts";
import type { Registration } from "../records/registrations.ts";
import type { Registrations } from "../state/registrations.ts";
import { bindingName } from "../state/tokens.ts";
import type { HostDirectory, JoinedHost } from "./ownership.ts";

/** The part of `Registrations` that is read here. */
export interface RegistrationSource {
  byNode(node: string): Registration | null;
  list(): readonly Registration[];
  subscribe(listener: (node: string) => void): () => void;
}

/** Kept up with each host that changes: with a hundred thousand of them nothing reads them all again. */
export class JoinedHosts implements HostDirectory {
  readonly #source: RegistrationSource;
  readonly #isPresent: (node: string) => boolean;
  /** Where each node is listed. */
  readonly #places = new Map<string, readonly string[]>();
  /** Nodes by network and subnet. */
  readonly #bySubnet = new Map<string, Set<string>>();
  /** Changed, maybe in a transaction that is not over: looked at when it is asked for. */
  readonly #due = new Set<string>();
  readonly #unsubscribe: () => void;

  constructor(source: RegistrationSource, isPresent: (node: string) => boolean) {
    this.#source = source;
    this.#isPresent = isPresent;
    for (const registration of source.list()) this.#place(registration.node, registration);
    this.#unsubscribe = source.subscribe((node) => void this.#due.add(node));
  }

  byNode(node: string): JoinedHost | null {
    const registration = this.#source.byNode(node);
    if (registration === null || registration.revokedAtMs !== null) return null;
    const { binding, addresses, network } = registration;
    return {
      node,
      namespace: binding.kind === "node" ? "" : (bindingName(binding).split("/")[0] ?? ""),
      addresses: addresses.flatMap((text) => IpAddress.parse(text) ?? []),
      network,
      isPresent: this.#isPresent(node),
    };
  }

  within(network: string, prefix: IpPrefix): readonly JoinedHost[] {
    for (const node of this.#due) this.#place(node, this.#source.byNode(node));
    this.#due.clear();
    const found: JoinedHost[] = [];
    for (const node of this.#candidates(network, prefix)) {
      const host = this.byNode(node);
      if (host?.network !== network) continue;
      if (host.addresses.some((ip) => prefixContains(prefix, ip))) found.push(host);
    }
    return found;
  }

  close(): void {
    this.#unsubscribe();
  }

  /** A range that is wider than a subnet is not asked about without a grant; it looks at them all. */
  #candidates(network: string, prefix: IpPrefix): Iterable<string> {
    return prefix.length < subnetLength(prefix)
      ? this.#places.keys()
      : (this.#bySubnet.get(subnetKey(network, prefix)) ?? []);
  }

  #place(node: string, registration: Registration | null): void {
    for (const key of this.#places.get(node) ?? []) {
      const nodes = this.#bySubnet.get(key);
      nodes?.delete(node);
      if (nodes?.size === 0) this.#bySubnet.delete(key);
    }
    this.#places.delete(node);
    if (registration === null || registration.revokedAtMs !== null) return;
    const prefixes = registration.addresses.flatMap((text) => parseIpPrefix(text) ?? []);
    const keys = [...new Set(prefixes.map((prefix) => subnetKey(registration.network, prefix)))];
    this.#places.set(node, keys);
    for (const key of keys) {
      const nodes = this.#bySubnet.get(key);
      if (nodes === undefined) this.#bySubnet.set(key, new Set([node]));
      else nodes.add(node);
    }
  }
}

/** From where hosts come that have joined, each address once. */
export function* joinedAddresses(
  registrations: Pick<Registrations, "page">,
): Generator<void, readonly IpAddress[]> {
  const found = new Map<string, IpAddress>();
  for (let after = ""; ; ) {
    const page = registrations.page(after);
    for (const { addresses } of page)
      for (const text of addresses) {
        const ip = IpAddress.parse(text);
        if (ip !== null) found.set(ip.text, ip);
      }
    const last = page.at(-1);
    if (last === undefined) return [...found.values()];
    after = last.node;
    yield;
  }
}

function subnetLength({ ip }: IpPrefix): number {
  return ip.isIpv4 ? 24 : 64;
}

function subnetKey(network: string, prefix: IpPrefix): string {
  return `${network}/${formatNetwork({ ip: prefix.ip, length: subnetLength(prefix) })}`;
}
