/** What conversion is told about the mesh. */

export interface ConversionContext {
  readonly trustDomain: string;
  /** "" in a mesh without clusters. */
  readonly clusterId: string;
  /** Policies here apply to the whole mesh; `istio-system` unless configured. */
  readonly rootNamespace: string;
  /** The network of addresses that name none; "" is the default network. */
  readonly network: string;
}
