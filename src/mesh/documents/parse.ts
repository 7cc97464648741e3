/** From the text of a file to documents, each parsed or refused alone. */

import { runSteps } from "../../base/turns/time_slice.ts";
import type { DocumentError, Location } from "../location.ts";
import type { MeshDocument } from "./document.ts";
import { readKind } from "./kind.ts";
import { kindOf } from "./kinds/kinds.ts";
import { readMetadata } from "./metadata.ts";
import { ObjectReader, Problems } from "./reader.ts";
import {
  isForWaypoints,
  type RefusedForWaypoint,
  type RefusedPolicy,
  salvageForWaypoint,
  salvagePolicy,
} from "./refused_policy.ts";
import {
  type DocumentText,
  type ParsedYaml,
  parseYamlInSteps,
  splitDocuments,
  type YamlNode,
} from "./yaml.ts";

/** What one document came to. */
export interface ParsedEntry {
  /** `AuthorizationPolicy shop/only-cart`; null when the text does not even say what it is. */
  readonly key: string | null;
  readonly location: Location;
  /** Null when it was refused. */
  readonly document: MeshDocument | null;
  readonly errors: readonly DocumentError[];
  /** Not null for a policy that was refused: what is known about whom it concerns. */
  readonly refusedPolicy: RefusedPolicy | null;
  /** The same for waypoints. */
  readonly refusedForWaypoint: RefusedForWaypoint | null;
}

const rootFields = { known: ["apiVersion", "kind", "metadata", "spec", "status"] };

/** Usually one entry; a `kind: List` has one for each item. */
export function parseDocument(text: DocumentText): readonly ParsedEntry[] {
  return runSteps(parseInSteps(text));
}

/** `parseDocument`, in steps of at most some 20 ms, whatever is in the text. */
export function* parseInSteps(text: DocumentText): Generator<void, readonly ParsedEntry[]> {
  return yield* readInSteps(text, yield* parseYamlInSteps(text));
}

/** The same of what `parseYamlInSteps` made of it. */
export function* readInSteps(text: DocumentText, yaml: ParsedYaml): Generator<void, readonly ParsedEntry[]> {
  if (!("root" in yaml)) {
    const location = yaml.errors[0]?.location ?? { file: text.file, line: text.firstLine, column: 1 };
    const nothing = { refusedPolicy: null, refusedForWaypoint: null };
    return [{ key: null, location, document: null, errors: yaml.errors, ...nothing }];
  }
  const items = listItems(yaml.root);
  if (items === null) return [readDocument(yaml.root)];
  const entries: ParsedEntry[] = [];
  for (const item of items) {
    yield;
    entries.push(readDocument(item));
  }
  return entries;
}

/** The items of a `v1 List`, which is what `kubectl get -o yaml` writes. */
export function listItems(root: YamlNode): readonly YamlNode[] | null {
  if (root.kind !== "map") return null;
  const kind = root.entries.find((entry) => entry.key === "kind")?.value;
  if (kind?.kind !== "scalar" || typeof kind.value !== "string" || !kind.value.endsWith("List")) return null;
  const items = root.entries.find((entry) => entry.key === "items")?.value;
  return items?.kind === "list" ? items.items : null;
}

function readDocument(node: YamlNode): ParsedEntry {
  const problems = new Problems();
  const refused = (
    key: string | null,
    refusedPolicy: RefusedPolicy | null = null,
    refusedForWaypoint: RefusedForWaypoint | null = null,
  ): ParsedEntry => {
    const { errors } = problems;
    return { key, location: node.at, document: null, errors, refusedPolicy, refusedForWaypoint };
  };
  const root = ObjectReader.open(node, "", problems);
  if (root === null) return refused(null);
  const kind = readKind(root, problems);
  if (kind === null) return refused(null);
  if (kind === "other") return refused(problems.resource);
  const isKindWrong = problems.any;
  if (!isKindWrong) root.checkFields(rootFields);
  const metadata = readMetadata(root, kind, problems);
  if (metadata === null) return refused(null);
  const { key } = metadata;
  const document = isKindWrong ? null : kindOf(kind).read(root, metadata, node.at, problems);
  if (!problems.any && document !== null)
    return {
      key,
      location: node.at,
      document: withWarnings(document, problems),
      errors: [],
      refusedPolicy: null,
      refusedForWaypoint: null,
    };
  const isPolicy = kind === "AuthorizationPolicy" || kind === "PeerAuthentication";
  return refused(
    key,
    isPolicy ? salvagePolicy(node, kind, metadata) : null,
    isForWaypoints(kind) ? salvageForWaypoint(node, kind, metadata) : null,
  );
}

function withWarnings(document: MeshDocument, { warnings }: Problems): MeshDocument {
  return warnings.length === 0 ? document : { ...document, warnings: [...document.warnings, ...warnings] };
}

/** What all documents of some files came to, in order; the errors are those of the refused ones. */
export function parseDocuments(files: readonly { readonly path: string; readonly text: string }[]): {
  readonly documents: readonly MeshDocument[];
  readonly errors: readonly DocumentError[];
  /** One for each document that is there, good or not. */
  readonly entries: readonly ParsedEntry[];
} {
  const entries: ParsedEntry[] = [];
  const errors: DocumentError[] = [];
  for (const { path, text } of files) {
    const parts = splitDocuments(path, text);
    if ("message" in parts) {
      errors.push(parts);
      continue;
    }
    for (const entry of parts.flatMap(parseDocument)) {
      entries.push(entry);
      errors.push(...entry.errors);
    }
  }
  return { documents: entries.flatMap(({ document }) => document ?? []), errors, entries };
}
