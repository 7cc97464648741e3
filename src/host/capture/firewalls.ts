/** Which filters of other programs keep a TCP port of this host closed, judged from their rules: nftables as JSON, iptables as text. */
import type { Host } from "../host.ts";
import { attempt } from "./backends.ts";

export interface ClosedBy {
  /** `the chain input of nftables' table inet filter`, as an operator would look for it. */
  readonly where: string;
  /** A command that opens it. */
  readonly example: string;
}

/** @param isRedirected whether the port is reached by our redirect (a firewall may accept by that) or dialled itself. */
export async function firewallsThatDrop(
  host: Host,
  port: number,
  isRedirected: boolean,
): Promise<readonly ClosedBy[]> {
  const asked = { port, isRedirected };
  const nft = await attempt(host, "nft", ["-j", "list", "ruleset"]);
  const closed = nft?.exitCode === 0 ? readNft(nft.output, asked) : [];
  for (const program of ["iptables", "iptables-legacy", "ip6tables", "ip6tables-legacy"]) {
    const saved = await attempt(host, `${program}-save`, ["-t", "filter"]);
    if (saved?.exitCode !== 0 || !readIptables(saved.output, asked)) continue;
    const isUfw = /^:ufw6?-before-input /m.test(saved.output);
    closed.push({
      where: `the chain INPUT of ${program}${isUfw ? " (ufw)" : ""}`,
      example: isRedirected
        ? `${program} -A INPUT -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 -j ACCEPT`
        : isUfw
          ? `ufw allow ${port}/tcp`
          : `${program} -A INPUT -p tcp --dport ${port} -j ACCEPT`,
    });
  }
  return closed;
}

interface Asked {
  readonly port: number;
  readonly isRedirected: boolean;
}

/** What becomes of a new connection; `next` goes on to the next rule, `return` leaves the chain, or may. */
type Verdict = "accept" | "drop" | "next" | "return";

/** Of a chain's own policy, or the end of a chain that was jumped to. */
type Chain = readonly (() => Verdict)[];

function walk(chain: Chain): Verdict {
  for (const rule of chain) {
    const verdict = rule();
    if (verdict === "return") return "next";
    if (verdict !== "next") return verdict;
  }
  return "next";
}

const maxDepth = 16;

// ── iptables ──

/** @param text of `iptables-save -t filter`. @returns whether INPUT drops it. */
export function readIptables(text: string, asked: Asked): boolean {
  const policies = new Map<string, string>();
  const rules = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const declared = /^:(\S+) (\S+)/.exec(line);
    if (declared?.[1] !== undefined) policies.set(declared[1], declared[2] ?? "");
    const rule = /^-A (\S+) ?(.*)$/.exec(line);
    if (rule?.[1] !== undefined) rules.set(rule[1], [...(rules.get(rule[1]) ?? []), rule[2] ?? ""]);
  }
  const chain = (name: string, depth: number): Chain =>
    (rules.get(name) ?? []).map((rule) => () => iptablesVerdict(rule, asked, depth, chain));
  const verdict = walk(chain("INPUT", 0));
  return verdict === "drop" || (verdict === "next" && policies.get("INPUT") === "DROP");
}

function iptablesVerdict(
  rule: string,
  asked: Asked,
  depth: number,
  chain: (name: string, depth: number) => Chain,
): Verdict {
  const target = /-[jg] (\S+)/.exec(rule)?.[1] ?? "";
  if (target.startsWith("FAIRLEAD_")) return "next";
  if (/-i lo\b/.test(rule) || /-p (?!tcp)\S/.test(rule)) return "next";
  const ports = /--dports? (\S+)/.exec(rule)?.[1];
  if (ports !== undefined && !holdsPort(ports.split(","), asked.port)) return "next";
  const state = /--(?:ct)?state (\S+)/.exec(rule)?.[1];
  if (state !== undefined && !/NEW/.test(state) && !(asked.isRedirected && /DNAT/.test(state))) return "next";
  const narrowed = /-[sdi] |--|-m /.test(
    rule.replace(/-[jg] .*$/, "").replace(/-m tcp |--dports? \S+|-m multiport/g, ""),
  );
  if (target === "ACCEPT") return "accept";
  if (target === "DROP" || target === "REJECT") return narrowed ? "next" : "drop";
  if (target === "RETURN") return "return";
  if (target === "" || depth >= maxDepth) return "next";
  const verdict = walk(chain(target, depth + 1));
  return verdict === "drop" && narrowed ? "next" : verdict;
}

/** @param ports `80`, `8000:8080`. */
function holdsPort(ports: readonly string[], port: number): boolean {
  return ports.some((text) => {
    const [from = "", to = from] = text.split(/[:-]/);
    return Number(from) <= port && port <= Number(to);
  });
}

// ── nftables ──

type Json = { readonly [key: string]: unknown };

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param text of `nft -j list ruleset`. */
function readNft(text: string, asked: Asked): ClosedBy[] {
  let entries: unknown;
  try {
    const parsed: unknown = JSON.parse(text);
    entries = isObject(parsed) ? parsed.nftables : [];
  } catch {
    return [];
  }
  const rules = new Map<string, Json[]>();
  const inputs: Json[] = [];
  for (const entry of Array.isArray(entries) ? entries : []) {
    if (!isObject(entry)) continue;
    const { chain, rule } = entry;
    if (isObject(chain) && chain.hook === "input" && chain.type === "filter" && isForeign(chain))
      inputs.push(chain);
    if (isObject(rule)) {
      const key = `${rule.family} ${rule.table} ${rule.chain}`;
      rules.set(key, [...(rules.get(key) ?? []), rule]);
    }
  }
  const chain = (key: string, name: unknown, depth: number): Chain =>
    (rules.get(`${key} ${name}`) ?? []).map(
      ({ expr }) =>
        () =>
          nftVerdict(Array.isArray(expr) ? expr : [], asked, (next) =>
            depth < maxDepth ? walk(chain(key, next, depth + 1)) : "next",
          ),
    );
  return inputs.flatMap((input) => {
    const key = `${input.family} ${input.table}`;
    const verdict = walk(chain(key, input.name, 0));
    if (verdict === "accept" || (verdict === "next" && input.policy !== "drop")) return [];
    const where = `${key} ${input.name}`;
    const isFirewalld = input.table === "firewalld";
    return [
      {
        where: `the chain ${input.name} of nftables' table ${key}`,
        example: asked.isRedirected
          ? `nft insert rule ${where} meta l4proto tcp ct status dnat ct original proto-dst { 80, 443 } accept`
          : isFirewalld
            ? `firewall-cmd --permanent --add-port=${asked.port}/tcp && firewall-cmd --reload`
            : `nft insert rule ${where} tcp dport ${asked.port} accept`,
      },
    ];
  });
}

/** What iptables keeps in nf_tables is read from iptables itself, which alone can show its matches. */
function isForeign({ family, table, name }: Json): boolean {
  return (
    table !== "fairlead" && !(name === "INPUT" && table === "filter" && (family === "ip" || family === "ip6"))
  );
}

function nftVerdict(
  expressions: readonly unknown[],
  asked: Asked,
  follow: (chain: unknown) => Verdict,
): Verdict {
  let narrowed = false;
  for (const expression of expressions) {
    if (!isObject(expression)) continue;
    if (isObject(expression.match)) {
      const matched = mayMatch(expression.match, asked);
      if (matched === false) return "next";
      narrowed ||= matched === "perhaps";
    }
    if ("xt" in expression) narrowed = true;
    if ("accept" in expression) return "accept";
    if ("return" in expression) return "return";
    if ("drop" in expression || "reject" in expression) return narrowed ? "next" : "drop";
    const called = isObject(expression.jump) ? expression.jump : expression.goto;
    const verdict = isObject(called)
      ? follow(called.target)
      : isObject(expression.vmap)
        ? mapVerdict(expression.vmap, asked, follow)
        : "next";
    if (verdict === "accept" || (verdict === "drop" && !narrowed)) return verdict;
  }
  return "next";
}

/** `true` always, `false` never, `perhaps` for a connection of one kind or another. */
function mayMatch({ left, right, op }: Json, { port, isRedirected }: Asked): boolean | "perhaps" {
  if (!isObject(left)) return "perhaps";
  const words = values(right);
  const isNegated = op === "!=";
  if (isObject(left.payload)) {
    const { protocol, field } = left.payload;
    if (protocol === "udp" || protocol === "icmp" || protocol === "icmpv6") return false;
    if (field !== "dport") return "perhaps";
    if (words.some((word) => word.startsWith("@"))) return "perhaps";
    return holdsPort(words, port) !== isNegated;
  }
  if (isObject(left.meta)) {
    const { key } = left.meta;
    if (key === "l4proto") return words.some((word) => word === "tcp" || word === "6") !== isNegated;
    if (key === "iifname" || key === "iif")
      return words.every((word) => word === "lo") && !isNegated ? false : "perhaps";
    return "perhaps";
  }
  if (isObject(left.ct)) {
    if (left.ct.key === "state") return words.includes("new") !== isNegated;
    if (left.ct.key === "status") return (isRedirected && words.includes("dnat")) !== isNegated;
  }
  return "perhaps";
}

/** `ct state vmap { established : accept, invalid : drop }`; of another key any entry may be the one. */
function mapVerdict({ key, data }: Json, asked: Asked, follow: (chain: unknown) => Verdict): Verdict {
  const pairs = isObject(data) && Array.isArray(data.set) ? data.set : [];
  for (const pair of pairs) {
    if (!Array.isArray(pair) || !isObject(pair[1])) continue;
    const right = pair[0];
    if (mayMatch({ left: key, right, op: "==" }, asked) === false) continue;
    const verdict = nftVerdict([pair[1]], asked, follow);
    if (verdict === "accept") return verdict;
  }
  return "next";
}

/** A value, a list, a set or a range as words; a range as `80-90`. */
function values(right: unknown): readonly string[] {
  if (Array.isArray(right)) return right.flatMap(values);
  if (!isObject(right)) return [String(right)];
  if (Array.isArray(right.range)) return [right.range.join("-")];
  if ("set" in right) return values(right.set);
  return "prefix" in right ? ["@prefix"] : [];
}
