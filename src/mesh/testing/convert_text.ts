/** Meshes for tests, from the text of documents. */
import { assert } from "../../base/assert.ts";
import type { ConversionContext } from "../convert/conversion_context.ts";
import { type Conversion, convertDocuments } from "../convert/convert_documents.ts";
import { parseDocuments } from "../documents/parse.ts";
import { formatLocation } from "../location.ts";

export const context: ConversionContext = {
  trustDomain: "cluster.local",
  clusterId: "c1",
  rootNamespace: "istio-system",
  network: "",
};

/** Documents in short form: `Kind namespace/name` over the rest of the document, without apiVersion, kind, name and namespace. */
export function document(kind: string, name: string, rest: string): string {
  const group = groups[kind] ?? "security.istio.io/v1";
  const [namespace, own] = name.includes("/") ? name.split("/") : ["", name];
  const metadata = `{name: ${own}${namespace === "" ? "" : `, namespace: ${namespace}`}`;
  const { meta, spec } = splitRest(rest);
  return `apiVersion: ${group}\nkind: ${kind}\nmetadata: ${metadata}${meta === "" ? "" : `, ${meta}`}}\n${spec === "" ? "" : `spec: ${spec}\n`}`;
}

const groups: Readonly<Record<string, string>> = {
  Namespace: "v1",
  WorkloadEntry: "networking.istio.io/v1",
  WorkloadGroup: "networking.istio.io/v1",
  ServiceEntry: "networking.istio.io/v1",
  Gateway: "gateway.networking.k8s.io/v1",
};

/** `metadata fields | spec`; either may be missing. */
function splitRest(rest: string): { readonly meta: string; readonly spec: string } {
  const bar = rest.indexOf("|");
  return bar === -1
    ? { meta: "", spec: rest.trim() }
    : { meta: rest.slice(0, bar).trim(), spec: rest.slice(bar + 1).trim() };
}

/** Parses what must parse. */
export function convert(texts: readonly string[], fields: Partial<ConversionContext> = {}): Conversion {
  const { documents, errors } = parseDocuments([{ path: "f", text: texts.join("---\n") }]);
  assert(
    errors.length === 0,
    errors.map((error) => `${formatLocation(error.location)} ${error.message}`).join("\n"),
  );
  return convertDocuments(documents, { ...context, ...fields });
}

/** `resource: message` of each warning, in the order of documents. */
export function warningsOf(conversion: Conversion): readonly string[] {
  return conversion.statuses.flatMap((status) =>
    status.warnings.map((warning) => `${status.resource}: ${warning.message}`),
  );
}

/** `line resource: message` of each refusal. */
export function refusalsOf(conversion: Conversion): readonly string[] {
  return conversion.errors.map((error) => `${error.location.line} ${error.resource}: ${error.message}`);
}
