/** SPIFFE identities as Istio writes them: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`. */

/**
 * The namespace of the hosts themselves: `spiffe://TRUST-DOMAIN/ns/fairlead-nodes/sa/NODE` is the agent of a joined host, no
 * workload. It is reserved: no document may be in it, and the CA gives out no identity of it by name.
 */
export const nodeNamespace = "fairlead-nodes";

/** A host's name is one DNS label (RFC 1123 §2.1), in lower case. */
export function isNodeName(name: string): boolean {
  return nodeName.test(name);
}

const nodeName = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export class SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The whole URI, usable as a map key. */
  readonly uri: string;

  constructor(trustDomain: string, namespace: string, serviceAccount: string) {
    this.trustDomain = trustDomain;
    this.namespace = namespace;
    this.serviceAccount = serviceAccount;
    this.uri = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  }

  /** What policies call a principal: the URI without its scheme. */
  get principal(): string {
    return this.uri.slice("spiffe://".length);
  }

  equals(other: SpiffeId): boolean {
    return this.uri === other.uri;
  }

  toString(): string {
    return this.uri;
  }

  /**
   * Exactly five segments, as ztunnel takes them (`identity/manager.rs`), and stricter: no part is empty, the trust domain is
   * lower case (SPIFFE-ID §2.1), and no part holds a character that RFC 3986 would need to escape, so that a look-alike never parses.
   *
   * @returns null for anything else.
   */
  static parse(uri: string): SpiffeId | null {
    const match = spiffeUri.exec(uri);
    if (match === null) return null;
    const [, trustDomain = "", namespace = "", serviceAccount = ""] = match;
    if (dotSegment.test(namespace) || dotSegment.test(serviceAccount)) return null;
    return new SpiffeId(trustDomain, namespace, serviceAccount);
  }
}

/** SPIFFE-ID §2.2: a path holds no relative segment. */
const dotSegment = /^\.{1,2}$/;

const spiffeUri =
  /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([A-Za-z0-9._-]{1,253})\/sa\/([A-Za-z0-9._-]{1,253})$/;
