/** The mesh that documents in files come to, made ready for questions. */
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Config } from "../../config/node/config.ts";
import { type Conversion, convertDocuments } from "../../mesh/convert/convert_documents.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import type { DocumentError } from "../../mesh/location.ts";
import type { ExplainedMesh } from "../../policy/explain/explain.ts";
import { explainedState } from "../../policy/explain/explained_mesh.ts";
import type { CliBindings } from "../bindings.ts";

export interface MeshOfFiles {
  readonly mesh: ExplainedMesh;
  /** What is wrong with the documents; a policy that is refused denies what it may have meant, as on a node. */
  readonly errors: readonly DocumentError[];
}

/** @throws MeshError `io` when a file cannot be read. */
export async function meshOfFiles(bindings: CliBindings, config: Config): Promise<MeshOfFiles> {
  const { documents, errors, entries } = parseDocuments(await bindings.readMeshFiles(config.meshPaths));
  const refused = entries.flatMap(({ refusedPolicy }) => refusedPolicy ?? []);
  const conversion = convertDocuments(documents, config, refused);
  const mesh = explainedDocuments(documents, conversion, config);
  return { mesh, errors: [...errors, ...conversion.errors] };
}

export function explainedDocuments(
  documents: readonly MeshDocument[],
  conversion: Conversion,
  { missingPolicy, rootNamespace, layer7 }: Pick<Config, "missingPolicy" | "rootNamespace" | "layer7">,
): ExplainedMesh {
  return runSteps(explainedState(conversion, { missingPolicy, rootNamespace, documents, layer7 }));
}
