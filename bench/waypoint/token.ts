/** An end user's token, and what a waypoint is told of it. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";

export interface BenchToken {
  readonly issuer: string;
  readonly subject: string;
  /** A JSON Web Key Set. */
  readonly keys: string;
  /** RS256, the algorithm most issuers use; good for an hour. */
  readonly text: string;
}

export async function makeToken(): Promise<BenchToken> {
  const issuer = "https://issuer.bench.example";
  const subject = "ada";
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "bench", alg: "RS256" }] });
  const text = await new SignJWT({ scope: "read write", groups: ["one", "two"] })
    .setProtectedHeader({ alg: "RS256", kid: "bench" })
    .setIssuer(issuer)
    .setSubject(subject)
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(privateKey);
  return { issuer, subject, keys, text };
}

/** The caller's host by its certificate, and the user by the token. @param name of the ServiceEntry. */
export function authentication({ issuer, subject, keys }: BenchToken, name: string): string {
  const target = `targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ${name}}]`;
  return `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}-token, namespace: shop}
spec:
  ${target}
  jwtRules: [{issuer: "${issuer}", jwks: '${keys}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}-user, namespace: shop}
spec:
  ${target}
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/shop/sa/caller]
            requestPrincipals: ["${issuer}/${subject}"]
---
`;
}
