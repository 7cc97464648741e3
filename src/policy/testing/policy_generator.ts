/**
 * Policies, workloads and connections drawn from a seed, out of small vocabularies so that they meet, nest and overlap. The
 * odd shapes are drawn on purpose: empty matches, empty clauses, empty values, prefixes of length 0, policies without rules.
 */
import type { IpAddress } from "../../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../../base/prefix.ts";
import type {
  Authorization,
  Match,
  Rule,
  ServiceAccountMatch,
  StringMatch,
} from "../../mesh/authorization.ts";
import { emptyMatch } from "../../mesh/authorization.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyConnection } from "../decision.ts";
import { ip, workload } from "./policy_fixtures.ts";

const trustDomains = ["td", "td2", "cluster.local"];
const namespaces = ["a", "ab", "abc", "b", "shop"];
const accounts = ["x", "xy", "y", "default"];
const policyNamespaces = ["shop", "shop", "shop", "b", "root", ""];
const addresses = [
  ...["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.1", "11.0.0.1", "127.0.0.1", "192.168.0.1", "0.0.0.0"],
  ...["255.255.255.255", "::", "::1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:8000::"],
  ...["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.0.0.1"],
].map(ip);
const prefixLengths = [0, 1, 7, 8, 9, 15, 16, 24, 30, 31, 32, 33, 47, 48, 63, 64, 65, 96, 127, 128];
const ports = [0, 1, 80, 81, 443, 8080, 15008, 65_535];

export class PolicyGenerator {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Mulberry32, uniform in [0, 1). */
  float(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.float() * bound);
  }

  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(from: readonly [T, ...T[]] | readonly T[]): T {
    const index = this.below(from.length);
    const found = from[index];
    if (found === undefined) throw new RangeError("nothing to pick from");
    return found;
  }

  /** Mostly short: none, one, two, … */
  list<T>(probability: number, make: () => T): T[] {
    const made: T[] = [];
    while (made.length < 5 && this.chance(probability)) made.push(make());
    return made;
  }

  policies(count: number): Authorization[] {
    return Array.from({ length: count }, (_, index) => this.policy(`p${this.below(2 * count)}-${index % 7}`));
  }

  policy(name: string): Authorization {
    return {
      name,
      namespace: this.pick(policyNamespaces),
      scope: this.pick(["GLOBAL", "NAMESPACE", "NAMESPACE", "WORKLOAD_SELECTOR"]),
      action: this.pick(["ALLOW", "DENY"]),
      dryRun: this.chance(0.2),
      rules: this.list(0.65, () => this.rule()),
      location: this.chance(0.5) ? null : { file: "mesh.yaml", line: 1 + this.below(999), column: 1 },
    };
  }

  rule(): Rule {
    return {
      clauses: this.list(0.6, () => ({ matches: this.list(0.7, () => this.match()) })),
      location: this.chance(0.5) ? null : { file: "mesh.yaml", line: 1 + this.below(999), column: 7 },
    };
  }

  /** One to three fields, now and then none. */
  match(): Match {
    const match: { -readonly [Field in keyof Match]: Match[Field] } = { ...emptyMatch };
    for (let fields = this.chance(0.05) ? 0 : 1 + this.below(3); fields > 0; fields--) {
      switch (this.below(12)) {
        case 0:
          match.namespaces = this.#values(() => this.#namespaceMatch());
          break;
        case 1:
          match.notNamespaces = this.#values(() => this.#namespaceMatch());
          break;
        case 2:
          match.principals = this.#values(() => this.#principalMatch());
          break;
        case 3:
          match.notPrincipals = this.#values(() => this.#principalMatch());
          break;
        case 4:
          match.sourceIps = this.#values(() => this.prefix());
          break;
        case 5:
          match.notSourceIps = this.#values(() => this.prefix());
          break;
        case 6:
          match.destinationIps = this.#values(() => this.prefix());
          break;
        case 7:
          match.notDestinationIps = this.#values(() => this.prefix());
          break;
        case 8:
          match.destinationPorts = this.#values(() => this.pick(ports));
          break;
        case 9:
          match.notDestinationPorts = this.#values(() => this.pick(ports));
          break;
        case 10:
          match.serviceAccounts = this.#values(() => this.#accountMatch());
          break;
        default:
          match.notServiceAccounts = this.#values(() => this.#accountMatch());
      }
    }
    return match;
  }

  prefix(): IpPrefix {
    const address = this.pick(addresses);
    const length = this.pick(prefixLengths.filter((each) => each <= address.bytes.length * 8));
    return parseIpPrefix(`${address.text}/${length}`) ?? { ip: address, length: 0 };
  }

  address(): IpAddress {
    if (this.chance(0.8)) return this.pick(addresses);
    const text = Array.from({ length: 4 }, () => this.below(256)).join(".");
    return this.chance(0.5) ? ip(text) : ip(`2001:db8:${this.below(65_536).toString(16)}::${this.below(3)}`);
  }

  identity(): SpiffeId {
    return new SpiffeId(this.pick(trustDomains), this.pick(namespaces), this.pick(accounts));
  }

  connection(): PolicyConnection {
    return {
      sourceIp: this.address(),
      sourceIdentity: this.chance(0.2) ? null : this.identity(),
      destinationIp: this.address(),
      destinationPort: this.pick(ports),
    };
  }

  /** In a namespace of the policies, naming some of them and, rarely, one that is not there. */
  workload(policies: readonly Authorization[]): Workload {
    const names = policies.length === 0 ? [] : this.list(0.5, () => this.pick(policies));
    const keys = names.map((policy) => `${policy.namespace}/${policy.name}`);
    return workload({
      namespace: this.pick(policyNamespaces),
      authorizationPolicies: this.chance(0.03) ? [...keys, "shop/gone"] : keys,
    });
  }

  #values<T>(make: () => T): T[] {
    return [make(), ...this.list(0.4, make)];
  }

  #accountMatch(): ServiceAccountMatch {
    return { namespace: this.pick(namespaces), serviceAccount: this.pick(accounts) };
  }

  #namespaceMatch(): StringMatch {
    return this.#stringMatch(this.chance(0.1) ? "" : this.pick(namespaces));
  }

  #principalMatch(): StringMatch {
    return this.#stringMatch(this.chance(0.05) ? "" : this.identity().principal);
  }

  /** Exact, or a piece of `text`, or anything at all. */
  #stringMatch(text: string): StringMatch {
    const cut = this.below(text.length + 1);
    switch (this.below(5)) {
      case 0:
        return { kind: "prefix", value: text.slice(0, cut) };
      case 1:
        return { kind: "suffix", value: text.slice(cut) };
      case 2:
        return { kind: "presence" };
      default:
        return { kind: "exact", value: text };
    }
  }
}
