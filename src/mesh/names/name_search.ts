/** Under which names of the mesh a name is looked for, in which order: ztunnel's rules (`get_aliases` and `to_kube_fqdns` of `src/dns/server.rs`). */

export interface NameAlias {
  readonly name: string;
  /** Found without a search domain of the host's: the answer names it (CNAME). */
  readonly isStripped: boolean;
}

/**
 * @param name lower case, without the last dot. @param namespace of the client. @param clusterDomain `cluster.local`.
 * @param searchDomains of the host's resolver, which has put them behind what the application asked for.
 */
export function aliasesOf(
  name: string,
  namespace: string,
  clusterDomain: string,
  searchDomains: readonly string[],
): readonly NameAlias[] {
  const found = new Map<string, NameAlias>();
  const add = (alias: string, isStripped: boolean): void => {
    if (!found.has(alias)) found.set(alias, { name: alias, isStripped });
  };
  const addAll = (base: string, isStripped: boolean): void => {
    add(base, isStripped);
    for (const expanded of kubernetesNames(base, namespace, clusterDomain)) add(expanded, isStripped);
    // Hosts outside Kubernetes name their services as they like: `backend` of namespace shop is `backend.shop` too.
    if (!base.includes(".")) add(`${base}.${namespace}`, isStripped);
  };
  addAll(name, false);
  for (const domain of searchDomains) {
    const end = `.${domain}`;
    if (name.endsWith(end) && name.length > end.length) addAll(name.slice(0, -end.length), true);
  }
  return [...found.values()];
}

function kubernetesNames(name: string, namespace: string, domain: string): readonly string[] {
  const labels = name.split(".");
  const isService = labels.at(-1) === "svc";
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${domain}`];
    case 2:
      return [`${name}.svc.${domain}`, `${name}.${namespace}.svc.${domain}`];
    case 3:
      return isService ? [`${name}.${domain}`, `${name}.svc.${domain}`] : [`${name}.svc.${domain}`];
    case 4:
      return isService ? [`${name}.${domain}`] : [];
    default:
      return [];
  }
}
