/** `exportTo` of documents about traffic (Istio `validateExportTo`). */
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { ExportTo } from "../../traffic_specs.ts";
import { isDnsLabel } from "../address.ts";

export function readExportTo(spec: ObjectReader, namespace: string, problems: Problems): ExportTo {
  const said = spec.strings("exportTo");
  const namespaces = new Set<string>();
  for (const { value, at } of said) {
    const meant = value === "." ? namespace : value;
    if (value !== "." && value !== "*" && !isDnsLabel(value))
      problems.add(at, `spec.exportTo: ${quote(value)} is neither ".", "*" nor a namespace`, value);
    else if (namespaces.has(meant)) problems.add(at, `spec.exportTo: ${quote(value)} is given twice`, value);
    else if (value === "*" && said.length > 1)
      problems.add(at, 'spec.exportTo: "*" cannot be given with others', value);
    namespaces.add(meant);
  }
  return namespaces.size === 0 || namespaces.has("*") ? null : [...namespaces];
}
