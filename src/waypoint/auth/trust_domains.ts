/** A trust domain under its names: the mesh's own, and those that it had before (Istio `pilot/pkg/security/trustdomain/bundle.go`). */

export class TrustDomains {
  readonly #names: readonly string[];

  /** @param own of the mesh. @param aliases of `MeshConfig.trustDomainAliases`. */
  constructor(own: string, aliases: readonly string[]) {
    this.#names = [own, ...aliases.filter((alias) => alias !== own)];
  }

  /** A principal of one of the names, or of `cluster.local`, by which Istio means the mesh's own, is meant under each of them. */
  expand(principal: string): readonly string[] {
    const [trustDomain = "", ns, namespace, sa, account, ...more] = principal.split("/");
    if (ns !== "ns" || sa !== "sa" || namespace === undefined || account === undefined || more.length > 0)
      return [principal];
    if (trustDomain !== "cluster.local" && !this.#names.includes(trustDomain)) return [principal];
    return this.#names.map((name) => `${name}/ns/${namespace}/sa/${account}`);
  }
}
