/**
 * Which releases work together: a control plane and its nodes may be one minor version apart, of the same major version, so that the one
 * can be updated before the others (as Kubernetes and Istio state theirs).
 */
const maxMinorVersions = 1;

/** How `other` is apart from `own`; null when they work together, or one of them says no version. */
export function versionSkew(own: string, other: string): "older" | "newer" | null {
  const [a, b] = [parseVersion(own), parseVersion(other)];
  if (a === null || b === null) return null;
  if (a.major !== b.major) return b.major < a.major ? "older" : "newer";
  if (Math.abs(a.minor - b.minor) <= maxMinorVersions) return null;
  return b.minor < a.minor ? "older" : "newer";
}

/** For people, of either end. @param apart which of the two the node is. */
export function describeVersionSkew(node: string, control: string, apart: "older" | "newer"): string {
  const first = apart === "older" ? "the host" : "the control plane";
  return `this host runs fairlead ${node} and the control plane ${control}; they may be one minor version apart: update ${first}`;
}

function parseVersion(text: string): { readonly major: number; readonly minor: number } | null {
  const found = /^v?(\d{1,6})\.(\d{1,6})(?:[.+-]|$)/.exec(text);
  return found === null ? null : { major: Number(found[1]), minor: Number(found[2]) };
}
