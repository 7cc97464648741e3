/** A route that delegates, with the routes of its delegate in its place (Istio `mergeVirtualServicesIfNeeded`, `MergeHTTPRoutes`). */
import type { VirtualServiceDocument } from "../documents/document.ts";
import type { VirtualHttpMatch, VirtualHttpRoute } from "../documents/traffic_specs.ts";
import { formatLocation } from "../location.ts";
import type { PathMatch, TextMatch } from "./route_plan.ts";
import type { TrafficReport } from "./traffic_scope.ts";

/** A route and the document that names in it are to be read by. */
export interface OwnedRoute {
  readonly route: VirtualHttpRoute;
  readonly document: VirtualServiceDocument;
}

export function withDelegates(
  root: VirtualServiceDocument,
  all: readonly VirtualServiceDocument[],
  report: TrafficReport,
): readonly OwnedRoute[] {
  return root.spec.http.flatMap((route): readonly OwnedRoute[] => {
    if (route.delegate === null) return [{ route, document: root }];
    const { name, at } = route.delegate;
    const namespace = route.delegate.namespace ?? root.metadata.namespace;
    const delegate = all.find(
      ({ metadata, spec }) =>
        metadata.name === name && metadata.namespace === namespace && spec.hosts.length === 0,
    );
    const mayUse =
      delegate?.spec.exportTo == null || delegate.spec.exportTo.includes(root.metadata.namespace);
    if (delegate === undefined || !mayUse) {
      const why = delegate === undefined ? "is not there" : "is not exported to this namespace";
      report.warn(
        root,
        "Unresolved",
        `the delegate ${namespace}/${name} ${why}, so this route has no effect`,
        at,
      );
      return [];
    }
    return delegate.spec.http.flatMap((leaf): readonly OwnedRoute[] => {
      const matches = mergeMatches(route.matches, leaf.matches);
      if (matches !== null) return [{ route: merged(route, leaf, matches), document: delegate }];
      report.warn(
        delegate,
        "Ignored",
        `it asks for what ${root.metadata.key} (${formatLocation(route.at)}) does not delegate, so this route has no effect`,
        leaf.at,
      );
      return [];
    });
  });
}

function merged(
  root: VirtualHttpRoute,
  leaf: VirtualHttpRoute,
  matches: readonly VirtualHttpMatch[],
): VirtualHttpRoute {
  return {
    ...leaf,
    name: joined(root.name, leaf.name),
    matches,
    rewrite: leaf.rewrite ?? root.rewrite,
    timeoutMs: leaf.timeoutMs ?? root.timeoutMs,
    retries: leaf.retries === "unset" ? root.retries : leaf.retries,
    fault: leaf.fault ?? root.fault,
    mirrors: leaf.mirrors ?? root.mirrors,
    cors: leaf.cors ?? root.cors,
    headers: leaf.headers ?? root.headers,
  };
}

function joined(root: string | null, leaf: string | null): string | null {
  if (leaf === null || root === null) return leaf ?? root;
  return `${root}-${leaf}`;
}

/** @returns null when one of the leaf's goes beyond all of the root's. */
function mergeMatches(
  root: readonly VirtualHttpMatch[],
  leaf: readonly VirtualHttpMatch[],
): readonly VirtualHttpMatch[] | null {
  if (root.length === 0) return leaf;
  if (leaf.length === 0) return root;
  const all: VirtualHttpMatch[] = [];
  for (const one of leaf) {
    const within = root.filter((outer) => !conflicts(outer, one));
    if (within.length === 0) return null;
    all.push(...within.map((outer) => mergeMatch(outer, one)));
  }
  return all;
}

function mergeMatch(root: VirtualHttpMatch, leaf: VirtualHttpMatch): VirtualHttpMatch {
  const [a, b] = [root.match, leaf.match];
  return {
    name: joined(root.name, leaf.name),
    match: {
      ...b,
      path: b.path ?? a.path,
      method: b.method ?? a.method,
      scheme: b.scheme ?? a.scheme,
      authority: b.authority ?? a.authority,
      headers: mergeNamed(a.headers, b.headers),
      withoutHeaders: mergeNamed(a.withoutHeaders, b.withoutHeaders),
      query: mergeNamed(a.query, b.query),
    },
    scope: {
      port: leaf.scope.port ?? root.scope.port,
      appliesToMesh: leaf.scope.appliesToMesh ?? root.scope.appliesToMesh,
      sourceLabels: new Map([...root.scope.sourceLabels, ...leaf.scope.sourceLabels]),
      sourceNamespace: leaf.scope.sourceNamespace ?? root.scope.sourceNamespace,
    },
  };
}

type Named = readonly { readonly name: string; readonly match: TextMatch }[];

function mergeNamed(root: Named, leaf: Named): Named {
  const own = new Set(leaf.map(({ name }) => name));
  return [...root.filter(({ name }) => !own.has(name)), ...leaf];
}

/** Istio `hasConflict`: what the leaf takes must be within what the root takes. */
function conflicts(
  { match: root, scope: outer }: VirtualHttpMatch,
  { match: leaf, scope: inner }: VirtualHttpMatch,
): boolean {
  const pairs: readonly (readonly [PathMatch | TextMatch | null, PathMatch | TextMatch | null])[] = [
    [root.path, leaf.path],
    [root.scheme, leaf.scheme],
    [root.method, leaf.method],
    [root.authority, leaf.authority],
  ];
  if (pairs.some(([a, b]) => textConflict(a, b))) return true;
  for (const field of ["headers", "withoutHeaders", "query"] as const)
    for (const { name, match } of leaf[field])
      if (textConflict(root[field].find((one) => one.name === name)?.match ?? null, match)) return true;
  if (root.ignorePathCase !== leaf.ignorePathCase) return true;
  if (outer.port !== null && inner.port !== null && outer.port !== inner.port) return true;
  if (outer.sourceNamespace !== null && inner.sourceNamespace !== outer.sourceNamespace) return true;
  for (const [name, value] of inner.sourceLabels)
    if ((outer.sourceLabels.get(name) ?? value) !== value) return true;
  return outer.appliesToMesh === false && inner.appliesToMesh === true;
}

/** Istio `stringMatchConflict`. */
function textConflict(root: PathMatch | TextMatch | null, leaf: PathMatch | TextMatch | null): boolean {
  if (root === null || leaf === null || root.kind === "present" || leaf.kind === "present") return false;
  if (root.kind === "regex" || leaf.kind === "regex") return true;
  if (root.kind === "exact") return leaf.kind !== "exact" || root.value !== leaf.value;
  return !leaf.value.startsWith(root.value);
}
