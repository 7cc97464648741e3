/**
 * What takes the place of a policy document that was refused and of which no good version is known. Leaving it out would allow what it
 * may have meant to deny, so traffic that it may concern is denied, by a rule that points at the broken document.
 */
import { type Authorization, emptyMatch } from "../authorization.ts";
import type { RefusedPolicy } from "../documents/refused_policy.ts";
import type { ConversionContext } from "./conversion_context.ts";

/** AuthorizationPolicy: everything is denied. PeerAuthentication: plaintext is, as if it said STRICT. */
export function convertRefusedPolicy(refused: RefusedPolicy, context: ConversionContext): Authorization {
  const { kind, location, namespace } = refused;
  const clauses =
    kind === "PeerAuthentication"
      ? [{ matches: [{ ...emptyMatch, notPrincipals: [{ kind: "presence" } as const] }] }]
      : [];
  const everywhere = namespace === context.rootNamespace ? "GLOBAL" : "NAMESPACE";
  return {
    // `_` is in no Kubernetes name, so no written policy can have this one.
    name: `fairlead_refused_${kind.toLowerCase()}_${refused.name}`,
    namespace,
    scope: refused.selector === null ? everywhere : "WORKLOAD_SELECTOR",
    action: "DENY",
    dryRun: false,
    rules: [{ clauses, location }],
    location,
  };
}
