/** `fairlead validate`: the same reading and conversion a node does, without a node. */

import { runSteps } from "../base/turns/time_slice.ts";
import type { Config } from "../config/node/config.ts";
import { convertDocuments } from "../mesh/convert/convert_documents.ts";
import type { MeshDocument, TelemetrySettings } from "../mesh/documents/document.ts";
import { type ParsedEntry, parseDocument } from "../mesh/documents/parse.ts";
import type { Located } from "../mesh/documents/reader.ts";
import { splitDocuments } from "../mesh/documents/yaml.ts";
import { type DocumentError, formatLocation, type Location } from "../mesh/location.ts";
import { runPolicyTests } from "../policy/explain/policy_tests.ts";
import type { CliBindings, ExitCode } from "./bindings.ts";
import { explainedDocuments } from "./explain/mesh_of_files.ts";
import { type Finding, formatFinding } from "./located.ts";
import type { Style } from "./style.ts";

type MeshFile = Awaited<ReturnType<CliBindings["readMeshFiles"]>>[number];

export async function validate(
  bindings: CliBindings,
  style: Style,
  config: Config,
  json: boolean,
): Promise<ExitCode> {
  const files = await bindings.readMeshFiles(config.meshPaths);
  const { resources, findings } = await check(files, config, bindings);
  const documents = resources.length;
  const errors = findings.filter((finding) => finding.severity === "error").length;
  const warnings = findings.length - errors;
  // A folder without a document is more likely a wrong path than a mesh without members.
  const nothing = documents === 0 && errors === 0;
  if (json) {
    const report = {
      valid: errors === 0 && !nothing,
      files: files.length,
      documents,
      errors,
      warnings,
      resources,
      findings,
    };
    bindings.terminal.out(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    for (const finding of findings)
      bindings.terminal.out(formatFinding(finding, sourceLine(files, finding), style));
    const verdict = errors > 0 || nothing ? style.red("not valid") : style.green("valid");
    bindings.terminal.out(
      `${verdict}: ${many(documents, "document")} in ${many(files.length, "file")}, ${many(errors, "error")}, ${many(warnings, "warning")}\n`,
    );
  }
  return errors > 0 || nothing ? 1 : 0;
}

type Entry = Pick<ParsedEntry, "key" | "location" | "document" | "errors">;

/** One document, as `--json` names it. */
interface Resource {
  /** `AuthorizationPolicy shop/only-cart`; null when the text does not say what it is. */
  readonly resource: string | null;
  readonly location: Location;
  readonly accepted: boolean;
}

async function check(
  files: readonly MeshFile[],
  config: Config,
  bindings: Pick<CliBindings, "readControlDocument" | "expressionFlaw">,
): Promise<{ readonly resources: readonly Resource[]; readonly findings: readonly Finding[] }> {
  const entries: Entry[] = [];
  const unread: DocumentError[] = [];
  for (const { path, text } of files) {
    const parts = splitDocuments(path, text);
    if ("message" in parts) unread.push(parts);
    else
      for (const part of parts) {
        const own = await bindings.readControlDocument(part, config.rootNamespace);
        entries.push(...(own === null ? parseDocument(part) : [{ ...own, document: null }]));
      }
  }
  const documents = entries.flatMap(({ document }) => document ?? []);
  const converted = convertDocuments(documents, {
    trustDomain: config.trustDomain,
    clusterId: config.clusterId,
    rootNamespace: config.rootNamespace,
    network: config.network,
  });
  const errors = [...unread, ...entries.flatMap((entry) => entry.errors), ...converted.errors].map(
    (error): Finding => ({ severity: "error", ...error }),
  );
  const warnings = converted.statuses.flatMap((status) =>
    status.warnings.map(
      ({ location, message }): Finding => ({
        severity: "warning",
        location,
        resource: status.resource,
        message,
      }),
    ),
  );
  const accepted = new Set(
    converted.statuses.filter((status) => status.accepted).map(({ location }) => formatLocation(location)),
  );
  const resources = entries.map(
    ({ key, location, document, errors: own }): Resource => ({
      resource: key,
      location,
      // A good document of the mesh may still be refused beside the others.
      accepted: document === null ? own.length === 0 : accepted.has(formatLocation(location)),
    }),
  );
  const tests = documents.some(({ kind }) => kind === "PolicyTest")
    ? runSteps(runPolicyTests(explainedDocuments(documents, converted, config)))
    : [];
  const broken = tests.flatMap(({ passed, location, document, message }): readonly Finding[] =>
    passed ? [] : [{ severity: "error", location, resource: document, message }],
  );
  const unreadable = await expressionFindings(documents, bindings);
  return { resources, findings: inOrder([...errors, ...unreadable, ...warnings, ...broken], files) };
}

/** Of expressions in CEL, which waypoints make ready and nodes do not look at: those that cannot be read, or are past a bound. */
async function expressionFindings(
  documents: readonly MeshDocument[],
  { expressionFlaw }: Pick<CliBindings, "expressionFlaw">,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const document of documents)
    for (const { value, at } of expressionsOf(document)) {
      const message = await expressionFlaw(value);
      if (message !== null)
        findings.push({ severity: "error", location: at, resource: document.metadata.key, message });
    }
  return findings;
}

function expressionsOf(document: MeshDocument): readonly Located<string>[] {
  switch (document.kind) {
    case "AccessCondition":
      return document.conditions.map(({ expression }) => expression);
    case "Telemetry":
      return [...settingsExpressions(document), ...settingsExpressions(document.client)];
    default:
      return [];
  }
}

function settingsExpressions({ accessLog, metrics }: TelemetrySettings): readonly Located<string>[] {
  const filters = [accessLog?.log?.filter, accessLog?.collector?.filter];
  const tags = [...(metrics?.values() ?? [])].flatMap((metric) => [...metric.tags.values()]);
  return [...filters, ...tags].flatMap((expression) => expression ?? []);
}

/** By file as given, then by line: the order in which they are mended. */
function inOrder(findings: readonly Finding[], files: readonly MeshFile[]): readonly Finding[] {
  const position = new Map(files.map((file, index) => [file.path, index]));
  const at = ({ location }: Finding): number => position.get(location.file) ?? files.length;
  return [...findings].sort(
    (left, right) =>
      at(left) - at(right) ||
      left.location.line - right.location.line ||
      left.location.column - right.location.column,
  );
}

function sourceLine(files: readonly MeshFile[], { location }: Finding): string | null {
  const text = files.find((file) => file.path === location.file)?.text;
  return text?.split("\n", location.line)[location.line - 1] ?? null;
}

function many(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
