/** IPv4 addresses in a text as IPv6 addresses, in the form that a text of RFC 5952 has. */

/** An address, in a regular expression too; then perhaps a prefix length, and perhaps the colon before a port. */
const addressPattern =
  /(?<![\w.\\])(\d{1,3})(\\?)\.(\d{1,3})\\?\.(\d{1,3})\\?\.(\d{1,3})(?!\w|\\?\.\w)(\/\d+)?(?=(:(?=[\d$P\\]))?)/g;

/**
 * Of 10.0.0.0/8 and of documentation, each address has one of its own: `10.88.0.2` is `fd10:88::2`.
 *
 * @param keepsLoopback 127.0.0.1 is where programs listen by themselves.
 */
export function rewriteToIpv6(text: string, keepsLoopback = false): string {
  return text.replace(
    addressPattern,
    (all, a: string, slash: string, b: string, c: string, d: string, prefix?: string, port?: string) => {
      if (keepsLoopback && a === "127") return all;
      const address = ipv6Of([a, b, c, d].map(Number));
      if (prefix !== undefined) return `${address}/${Number(prefix.slice(1)) + 96}`;
      return port === undefined ? address : `${slash}[${address}${slash}]`;
    },
  );
}

function ipv6Of([a = 0, b = 0, c = 0, d = 0]: readonly number[]): string {
  if (a === 127) return `::${d}`;
  if (a + b + c + d === 0) return "::";
  const network = a === 10 ? ["fd10"] : ["2001", "db8", String(a)];
  // A group that is zero between two that are not may be written as `::`, and there is one such place at most.
  const middle = c !== 0 ? [String(b), String(c)] : b !== 0 ? [String(b)] : [];
  return `${[...network, ...middle].join(":")}::${d === 0 ? "" : d}`;
}
