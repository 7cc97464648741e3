/** Random policies and requests of few words, so that they meet. Seeded: what failed once can be made again. */
import { IpAddress } from "../../../base/ip.ts";
import { parseIpPrefix } from "../../../base/prefix.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import type { Layer7Policy, Layer7Rule, Test, TextSubject } from "../layer7_policy.ts";
import type { RequestFacts } from "../request_facts.ts";

export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Mulberry32: uniform in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  pick<T>(list: readonly T[]): T {
    const picked = list[this.below(list.length)];
    if (picked === undefined) throw new Error("nothing to pick from");
    return picked;
  }

  some<T>(list: readonly T[], most: number): readonly T[] {
    return Array.from({ length: 1 + this.below(most) }, () => this.pick(list));
  }
}

const names = ["a", "b", "ab", "aa", "c"];
const wildcards = ["*", "a*", "*a", "*a*", "b*", "*b"];
const words: Readonly<Record<TextSubject, readonly string[]>> = {
  principal: [
    ...["td/ns/a/sa/a", "td/ns/a/sa/b", "td/ns/b/sa/a", "other/ns/a/sa/a", "*", "td/*", "*/a", "*/ns/a/*"],
  ],
  namespace: ["a", "b", "ab", "*", "a*", "*b", "*a*"],
  service_account: ["a/a", "a/b", "b/a", "ab/c"],
  trust_domain: ["td", "other", "*", "t*", "*r"],
  request_principal: [
    ...[
      "i/a",
      "i/b",
      "j/a",
      "*",
      "i/*",
      "*/a",
      "*",
      "j*",
      "*b",
      "i/a*",
      "*i/a*",
      "i*/a",
      "https://i/x/a",
      "i",
      "/",
    ],
  ],
  audience: [...names, ...wildcards],
  presenter: [...names, ...wildcards],
  host: ["a.example", "B.example:80", "*.example", "a*", "*", "*:80"],
  method: ["GET", "POST", "P*", "*T", "*"],
  path: [
    ...[
      "/",
      "/a",
      "/a/b",
      "/a*",
      "/a/*",
      "*b",
      "*",
      "/{**}",
      "/a/{*}",
      "/a/{**}",
      "/a/{*}/c",
      "/{*}/b",
      "/a/{**}/c",
    ],
    ...["/a/b/c", "/b", "/x/{*}/{**}"],
  ],
  sni: ["a.example", "*.example", "*"],
};
const ips = ["10.0.0.1", "10.0.0.0/8", "10.1.0.0/16", "::1", "2001:db8::/32", "0.0.0.0/0"];
const claimPaths = [["group"], ["sub"], ["org", "team"], ["list"], ["toString"], ["a.b"]];
const subjects = Object.keys(words).filter((name): name is TextSubject => name in words);

function randomTest(dice: Dice): Test {
  const negated = dice.next() < 0.25;
  switch (dice.below(8)) {
    case 0: {
      const about = dice.pick(["source_ip", "remote_ip", "destination_ip"] as const);
      return { about, negated, prefixes: dice.some(ips, 2).map(prefix) };
    }
    case 1:
      return { about: "port", negated, ports: dice.some([80, 81, 443], 2) };
    case 2:
      return {
        about: "header",
        negated,
        name: dice.pick(["x-a", "x-b"]),
        texts: dice.some([...names, ...wildcards, "a,b"], 2),
      };
    case 3:
      return {
        about: "claim",
        negated,
        path: dice.pick(claimPaths),
        texts: dice.some([...names, ...wildcards], 2),
      };
    default: {
      const about = dice.pick(subjects);
      return { about, negated, texts: dice.some(words[about], 3) };
    }
  }
}

function randomRule(dice: Dice, index: number): Layer7Rule {
  const clauses = Array.from({ length: dice.below(4) }, () =>
    Array.from({ length: 1 + dice.below(3) }, () =>
      Array.from({ length: 1 + dice.below(3) }, () => randomTest(dice)),
    ),
  );
  return { clauses, index, location: { file: "f", line: index + 1, column: 1 } };
}

export function randomPolicies(dice: Dice): readonly Layer7Policy[] {
  return Array.from({ length: dice.below(5) }, (_, policy) => ({
    key: `shop/p${policy}`,
    action: "ALLOW" as const,
    dryRun: false,
    provider: null,
    rules: Array.from({ length: dice.below(6) }, (_, rule) => randomRule(dice, rule)),
    location: { file: "f", line: policy, column: 1 },
  }));
}

const claimSets: readonly Readonly<Record<string, unknown>>[] = [
  { iss: "i", sub: "a", aud: ["a", "b"], azp: "ab", group: "a", org: { team: "a" } },
  { iss: "j", sub: "b", aud: "c", list: ["a", 7, "c"], org: "a", "a.b": "b" },
  { iss: "https://i/x", sub: "a", group: 5, list: [], org: { team: ["b", "c"] } },
  { iss: "i", sub: "" },
  { sub: "a", group: ["aa"], toString: "a" },
];

export function randomFacts(dice: Dice): RequestFacts {
  const fields: string[] = [];
  for (let count = dice.below(4); count > 0; count--)
    fields.push(dice.pick(["x-a", "x-b", "x-c"]), dice.pick([...names, ""]));
  const claims = dice.next() < 0.3 ? null : dice.pick(claimSets);
  const http = {
    method: dice.pick(["GET", "POST", "PUT", ""]),
    host: dice.pick(["a.example", "b.example:80", "", "ab"]),
    path: dice.pick([
      "/",
      "/a",
      "/a/",
      "/a/b",
      "/a/b/c",
      "/b",
      "/aa",
      "*",
      '/a/"/c',
      "/a//c",
      "/x/y/",
      "/a*b",
    ]),
    query: "",
    scheme: "http",
    fields,
    user: claims === null ? null : { issuer: "", subject: "", audiences: [], claims, expiresAtMs: null },
  };
  return {
    peer: new SpiffeId(dice.pick(["td", "other"]), dice.pick(["a", "b", "ab"]), dice.pick(["a", "b", "c"])),
    sourceIp: address(dice),
    remoteIp: address(dice),
    destinationIp: dice.next() < 0.2 ? null : address(dice),
    destinationPort: dice.pick([80, 81, 443]),
    sni: dice.pick(["", "a.example", "b.example"]),
    http: dice.next() < 0.1 ? null : http,
  };
}

function address(dice: Dice): IpAddress {
  const ip = IpAddress.parse(dice.pick(["10.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "2001:db8::5"]));
  if (ip === null) throw new Error("no address");
  return ip;
}

function prefix(text: string): NonNullable<ReturnType<typeof parseIpPrefix>> {
  const parsed = parseIpPrefix(text);
  if (parsed === null) throw new Error(`no prefix: ${text}`);
  return parsed;
}
