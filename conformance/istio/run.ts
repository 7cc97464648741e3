/** `npm run conformance -- istio`: what Istio's validation takes and refuses, document by document. */
import { parseArgs } from "node:util";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { formatLocation } from "../../src/mesh/location.ts";
import { authorizationPolicyCases } from "./authorization_policy.ts";
import { type Case, unmark } from "./case.ts";
import { destinationRuleCases } from "./destination_rule.ts";
import { askIstio } from "./judge.ts";
import { kindCases } from "./kinds.ts";
import { metadataCases } from "./metadata.ts";
import { peerAuthenticationCases } from "./peer_authentication.ts";
import { policyValueCases } from "./policy_values.ts";
import { serviceEndpointCases } from "./service_endpoints.ts";
import { serviceEntryCases } from "./service_entry.ts";
import { virtualServiceCases } from "./virtual_service.ts";
import { workloadEntryCases } from "./workload_entry.ts";
import { workloadGroupCases } from "./workload_group.ts";

export const groups: Readonly<Record<string, readonly Case[]>> = {
  "AuthorizationPolicy: whom and what": authorizationPolicyCases,
  "AuthorizationPolicy: values": policyValueCases,
  PeerAuthentication: peerAuthenticationCases,
  ServiceEntry: serviceEntryCases,
  "ServiceEntry: endpoints and exports": serviceEndpointCases,
  WorkloadEntry: workloadEntryCases,
  WorkloadGroup: workloadGroupCases,
  VirtualService: virtualServiceCases,
  DestinationRule: destinationRuleCases,
  metadata: metadataCases,
  kinds: kindCases,
};

const usage = `usage: npm run conformance -- istio [--only TEXT] [--verbose]

Documents by kind: what Istio's validation takes and refuses, and the place and the word that a refusal names.

  --only TEXT   groups whose name contains TEXT: ${Object.keys(groups).join(", ")}
  --verbose     also name what passed

With ISTIO=path, a checkout of Istio, each case is put to Istio's own validators and schema, too (Go builds them).
`;

/** @returns the exit code. */
export function istioConformance(argv: readonly string[]): number {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", default: "" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const chosen = Object.entries(groups).filter(([name]) => name.includes(values.only));
  let passed = 0;
  let failed = 0;
  for (const [group, cases] of chosen) {
    let good = 0;
    for (const each of cases) {
      const wrong = judge(each);
      if (wrong === null) good++;
      else console.log(`FAIL ${group}: ${each.name}: ${wrong}`);
      if (wrong === null && values.verbose) console.log(`ok   ${group}: ${each.name}`);
    }
    console.log(`${group}: ${good} of ${cases.length} (${countVerdicts(cases)})`);
    passed += good;
    failed += cases.length - good;
  }
  const { ISTIO: istio } = process.env;
  if (istio !== undefined && istio !== "") {
    const cases = chosen.flatMap(([, each]) => each);
    const otherwise = askIstio(istio, cases);
    for (const line of otherwise ?? []) console.log(`FAIL at Istio: ${line}`);
    console.log(
      `Istio at ${istio}: ${otherwise === null ? "not asked" : `${otherwise.length} otherwise than said`}`,
    );
    failed += otherwise === null ? 1 : otherwise.length;
    passed += otherwise?.length === 0 ? 1 : 0;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function countVerdicts(cases: readonly Case[]): string {
  return (["taken", "refused", "stricter", "foreign"] as const)
    .map((kind) => ({ kind, count: cases.filter(({ verdict }) => verdict.kind === kind).length }))
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${count} ${kind}`)
    .join(", ");
}

const file = "case.yaml";
const context = { trustDomain: "cluster.local", clusterId: "c1", rootNamespace: "istio-system", network: "" };

/** @returns what is wrong; null when all is as it must be. */
function judge({ text: marked, verdict }: Case): string | null {
  const { text, place } = unmark(marked);
  const parsed = parseDocuments([{ path: file, text }]);
  const converted = convertDocuments(parsed.documents, context);
  const errors = [...parsed.errors, ...converted.errors];
  const told = errors.map(({ location, message }) => `${formatLocation(location)} ${message}`).join(" | ");
  if (verdict.kind === "taken") {
    if (errors.length > 0) return `refused: ${told}`;
    const warnings = converted.statuses.flatMap((status) => status.warnings.map(({ message }) => message));
    const { warning } = verdict;
    if (warning === null || warnings.some((message) => message.includes(warning))) return null;
    return `does not say ${JSON.stringify(warning)}, but ${JSON.stringify(warnings)}`;
  }
  const [error, ...others] = errors;
  if (error === undefined) return "taken";
  if (others.length > 0) return `told more than once: ${told}`;
  if (place === null) return "the case has no mark";
  const wanted = formatLocation({ file, line: place.line, column: place.column });
  if (formatLocation(error.location) !== wanted) return `told at another place than ${wanted}: ${told}`;
  if (place.word !== "" && error.word !== place.word)
    return `names the word ${JSON.stringify(error.word ?? null)} and not ${JSON.stringify(place.word)}: ${told}`;
  if (error.resource === null) return `does not name the document: ${told}`;
  return error.message.includes(verdict.says)
    ? null
    : `does not say ${JSON.stringify(verdict.says)}: ${told}`;
}
