/** The hosts that have joined, by name and by address: whose a node is, and who is at an address. */
import { IpAddress } from "../../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../../base/prefix.ts";
import type { Registration } from "../state/registrations.ts";
import { bindingName } from "../state/tokens.ts";
import { OverlapIndex } from "./overlap_index.ts";
import type { HostDirectory, JoinedHost } from "./ownership.ts";

/** The part of `Registrations` that is read here. */
export interface RegistrationSource {
  /** Another one with every change. */
  readonly version: number;
  byNode(node: string): Registration | null;
  list(): readonly Registration[];
}

export class JoinedHosts implements HostDirectory {
  readonly #source: RegistrationSource;
  readonly #isPresent: (node: string) => boolean;
  #index: { readonly version: number; readonly byAddress: OverlapIndex<string> } | null = null;

  constructor(source: RegistrationSource, isPresent: (node: string) => boolean) {
    this.#source = source;
    this.#isPresent = isPresent;
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
    if (this.#index?.version !== this.#source.version) this.#index = this.#read();
    return [...this.#index.byAddress.ranges(network, prefix)].flatMap((node) => this.byNode(node) ?? []);
  }

  #read() {
    const { version } = this.#source;
    const byAddress = new OverlapIndex<string>();
    for (const { node, network, addresses, revokedAtMs } of this.#source.list()) {
      if (revokedAtMs !== null) continue;
      for (const text of addresses) {
        const address = parseIpPrefix(text);
        if (address !== null) byAddress.addRange(network, address, node);
      }
    }
    return { version, byAddress };
  }
}
