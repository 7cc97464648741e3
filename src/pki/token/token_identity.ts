/** From the claims of a token to an identity of the mesh. A claim fills a whole segment, and only with characters a name has. */
import { SpiffeId } from "../../mesh/identity.ts";
import { isRecord } from "./jwks_keys.ts";

export type Claims = Readonly<Record<string, unknown>>;

/** `system:serviceaccount:NAMESPACE:NAME`, exactly four parts. @returns null for anything else. */
export function serviceAccountIdentity(claims: Claims, trustDomain: string): SpiffeId | null {
  if (typeof claims.sub !== "string") return null;
  const [system, kind, namespace = "", name = "", ...more] = claims.sub.split(":");
  if (system !== "system" || kind !== "serviceaccount" || more.length > 0) return null;
  return SpiffeId.parse(`spiffe://${trustDomain}/ns/${namespace}/sa/${name}`);
}

type Segment = { readonly literal: string } | { readonly claim: readonly string[] };

/** `ns/SEGMENT/sa/SEGMENT`, where a segment is a name or `{claim}`; `{a.b}` is member `b` of claim `a`. */
export class IdentityTemplate {
  readonly text: string;
  readonly #namespace: Segment;
  readonly #serviceAccount: Segment;

  private constructor(text: string, namespace: Segment, serviceAccount: Segment) {
    this.text = text;
    this.#namespace = namespace;
    this.#serviceAccount = serviceAccount;
  }

  /** @returns null for what is no template, or one without any claim: every bearer would be the same. */
  static parse(text: string): IdentityTemplate | null {
    const match = /^ns\/([^/]+)\/sa\/([^/]+)$/.exec(text);
    const namespace = parseSegment(match?.[1] ?? "");
    const serviceAccount = parseSegment(match?.[2] ?? "");
    if (namespace === null || serviceAccount === null) return null;
    if ("literal" in namespace && "literal" in serviceAccount) return null;
    return new IdentityTemplate(text, namespace, serviceAccount);
  }

  /** @returns null when a claim is missing, is no text, or holds a character that no name has. */
  identity(claims: Claims, trustDomain: string): SpiffeId | null {
    const namespace = fill(this.#namespace, claims);
    const serviceAccount = fill(this.#serviceAccount, claims);
    if (namespace === null || serviceAccount === null) return null;
    return SpiffeId.parse(`spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`);
  }
}

const namePattern = /^[A-Za-z0-9._-]{1,253}$/;
const claimPattern = /^\{([A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*)\}$/;

function parseSegment(text: string): Segment | null {
  const claim = claimPattern.exec(text)?.[1];
  if (claim !== undefined) return { claim: claim.split(".") };
  return namePattern.test(text) ? { literal: text } : null;
}

function fill(segment: Segment, claims: Claims): string | null {
  if ("literal" in segment) return segment.literal;
  let value: unknown = claims;
  for (const name of segment.claim) {
    if (!isRecord(value) || !Object.hasOwn(value, name)) return null;
    value = value[name];
  }
  return typeof value === "string" && namePattern.test(value) ? value : null;
}
