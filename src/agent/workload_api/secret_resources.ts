/**
 * SDS resources (envoy `extensions/transport_sockets/tls/v3/secret.proto`) under Istio's names: `default` is the caller's own SVID,
 * `ROOTCA` the roots (istio `security/pkg/nodeagent/cache`). Besides, an SVID by its SPIFFE ID, and the roots by that of the trust domain, as SPIRE has them.
 */
import { sha256Hex } from "../../base/sha256.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { encodePem } from "../../pki/der/pem.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { type Secret, SecretSchema } from "../../wire/messages/envoy_tls.gen.ts";
import { encodeMessage, newMessage, typeUrl } from "../../wire/messages/message.ts";
import type { IdentityFeed } from "./identity_feed.ts";
import type { LocalCaller } from "./local_callers.ts";

export const secretType = typeUrl(SecretSchema);

export interface SecretResource {
  readonly name: string;
  /** A hash over what it says. That of a certificate leaves the key out: the certificate is bound to it. */
  readonly version: string;
  /** Encoded `Secret`. Holds a private key: for the caller's socket alone. */
  readonly value: Uint8Array;
}

/** `pending`: the caller may have it, and it is not there yet. `forbidden`: not for this caller, or no such thing. */
export type SecretLookup = SecretResource | "pending" | "forbidden";

export interface SecretNaming {
  readonly trustDomain: string;
  /** Give revocation lists along with the roots. Envoy then refuses leaves whose issuer has no list that is fresh. */
  readonly withRevocationLists: boolean;
}

export function lookUpSecret(
  name: string,
  caller: LocalCaller,
  feed: IdentityFeed,
  naming: SecretNaming,
): SecretLookup {
  if (isRootsName(name, naming.trustDomain)) {
    if (feed.bundle.rootsPem === "") return "pending";
    return rootsResource(name, feed.bundle, naming.withRevocationLists);
  }
  const id = identityNamed(name, caller);
  if (id === null) return "forbidden";
  const svid = feed.svid(id);
  return svid === null ? "pending" : certificateResource(name, svid);
}

function isRootsName(name: string, trustDomain: string): boolean {
  return name === "ROOTCA" || name === `spiffe://${trustDomain}`;
}

function identityNamed(name: string, caller: LocalCaller): SpiffeId | null {
  if (name === "default") return caller.ids[0];
  return caller.ids.find((id) => id.uri === name) ?? null;
}

function certificateResource(name: string, svid: Svid): SecretResource {
  const chain = new TextEncoder().encode(svid.certificateChainPem);
  const secret = newMessage(SecretSchema, {
    name,
    type: {
      case: "tlsCertificate",
      value: {
        certificateChain: inline(chain),
        privateKey: inline(new TextEncoder().encode(svid.privateKeyPem)),
      },
    },
  });
  return resource(secret, sha256Hex(chain));
}

function rootsResource(name: string, bundle: TrustBundle, withLists: boolean): SecretResource {
  const roots = new TextEncoder().encode(bundle.rootsPem);
  const listsPem = withLists ? bundle.crls.map((der) => encodePem("X509 CRL", der)).join("") : "";
  const lists = new TextEncoder().encode(listsPem);
  const secret = newMessage(SecretSchema, {
    name,
    type: {
      case: "validationContext",
      value: {
        trustedCa: inline(roots),
        // There is a list for each CA that issues leaves; roots that only sign intermediates may have none.
        ...(lists.length === 0 ? {} : { crl: inline(lists), onlyVerifyLeafCertCrl: true }),
      },
    },
  });
  return resource(secret, sha256Hex(roots, new Uint8Array(1), lists));
}

function inline(value: Uint8Array) {
  return { specifier: { case: "inlineBytes", value } } as const;
}

function resource(secret: Secret, version: string): SecretResource {
  return { name: secret.name, version, value: encodeMessage(SecretSchema, secret) };
}
