/** What documents say of end users' tokens, external authorizers and conditions: the values inside of them. */
import type { Location } from "../location.ts";
import type { Located } from "./reader.ts";

/** One issuer of tokens, and where its tokens are (Istio `JWTRule`). */
export interface JwtRule {
  readonly at: Location;
  readonly issuer: string;
  /** Empty: tokens for any audience. */
  readonly audiences: readonly string[];
  readonly keys: JwtKeys;
  /** Names in lower case; `prefix` is taken off the value, and a value without it holds no token. */
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  readonly forwardOriginalToken: boolean;
  /** Lower case; null for none. */
  readonly outputPayloadToHeader: string | null;
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: readonly string[] }[];
  /** Claims that hold a list as one text with spaces. */
  readonly spaceDelimitedClaims: readonly string[];
  /** For reading the keys. */
  readonly timeoutMs: number;
}

export type JwtKeys =
  | { readonly kind: "inline"; readonly text: string }
  | { readonly kind: "uri"; readonly uri: string }
  /** OpenID Connect Discovery at the issuer. */
  | { readonly kind: "discovery" };

export interface AccessCondition {
  readonly at: Location;
  /** In Common Expression Language; must come to `true`. */
  readonly expression: Located<string>;
  /** For the log; null for none. */
  readonly message: string | null;
}

interface AuthorizerBase {
  readonly at: Location;
  readonly name: string;
  /** A host name, or `NAMESPACE/HOST`. */
  readonly service: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Lets requests through when the authorizer cannot be asked; only where it is said. */
  readonly failOpen: boolean;
  /** What the client gets when the authorizer cannot be asked. */
  readonly statusOnError: number;
  readonly body: {
    readonly maxBytes: number;
    readonly allowPartial: boolean;
    readonly packAsBytes: boolean;
  } | null;
}

/** Who decides on requests that a CUSTOM policy matches (Istio `ExtensionProvider`). */
export type ExternalAuthorizer =
  | (AuthorizerBase & {
      readonly kind: "http";
      readonly pathPrefix: string;
      /** All in lower case. `x*` is a prefix, `*x` a suffix. */
      readonly includeRequestHeadersInCheck: readonly string[];
      readonly includeAdditionalHeadersInCheck: ReadonlyMap<string, string>;
      readonly headersToUpstreamOnAllow: readonly string[];
      readonly headersToDownstreamOnAllow: readonly string[];
      readonly headersToDownstreamOnDeny: readonly string[];
    })
  | (AuthorizerBase & { readonly kind: "grpc" });

/** What is done to a path before anything matches it, and to what is sent on (Istio `ProxyPathNormalization`). */
export type PathNormalization = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";
