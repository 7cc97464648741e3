/** Labels and selectors, as Istio checks them (`pkg/config/labels/instance.go`; `validateWorkloadSelector`). */
import { meshLimits } from "../../../base/limits/mesh.ts";
import type { Labels } from "../document.ts";
import { ObjectReader, type Problems, quote } from "../reader.ts";
import type { YamlNode } from "../yaml.ts";
import { checkCount } from "./bounds.ts";

const dnsLabel = "[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?";
const word = "(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const prefixPattern = new RegExp(`^${dnsLabel}(?:\\.${dnsLabel})*$`);
const namePattern = new RegExp(`^${word}$`);

/** Kubernetes and Istio: of a DNS name, of what follows its slash, and of a label's value. */
const maxPrefixLength = 253;
const maxWordLength = 63;

/** `app`, or `example.com/app`. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf("/");
  const prefix = slash === -1 ? null : key.slice(0, slash);
  const name = key.slice(slash + 1);
  // Lengths first: the patterns are for short texts.
  if (name.length > maxWordLength || !namePattern.test(name)) return false;
  return prefix === null || (prefix.length <= maxPrefixLength && prefixPattern.test(prefix));
}

export function isLabelValue(value: string): boolean {
  return value === "" || (value.length <= maxWordLength && namePattern.test(value));
}

/** Labels that something has. */
export function readLabels(reader: ObjectReader, field: string, problems: Problems): Labels {
  if (!reader.has(field)) return new Map();
  const labels = reader.stringMap(field);
  checkCount(reader, field, labels.size, meshLimits.maxLabels, problems);
  for (const { key, keyAt } of reader.map(field)) {
    if (!isLabelKey(key))
      problems.add(keyAt, `${reader.path(field)}: ${quote(key)} is not the name of a label`, key);
    const label = labels.get(key);
    if (label !== undefined && !isLabelValue(label.value))
      problems.add(
        label.at,
        `${reader.path(field)}.${key}: ${quote(label.value)} is not a valid value of a label: at most ${maxWordLength} letters, digits, -, _ and .`,
        label.value,
      );
  }
  return labels;
}

/** `selector.matchLabels`, or a workload selector's `labels`. Null when there is no selector at all. */
export function readSelector(
  reader: ObjectReader,
  field: string,
  labelsField: string,
  problems: Problems,
): Labels | null {
  if (!reader.has(field)) return null;
  const selector = reader.object(field, { known: [labelsField] });
  return selector === null ? new Map() : selectorLabels(selector, labelsField, problems);
}

/** The same of what may be anything, for a document that was refused. Null when it cannot be believed. */
export function salvageSelector(node: YamlNode, labelsField: string, problems: Problems): Labels | null {
  const selector = ObjectReader.of(node, "selector", { known: [labelsField] }, problems);
  return selector === null ? null : selectorLabels(selector, labelsField, problems);
}

function selectorLabels(selector: ObjectReader, labelsField: string, problems: Problems): Labels {
  const path = selector.path(labelsField);
  if (!selector.has(labelsField)) return new Map();
  const labels = selector.stringMap(labelsField);
  const most = labelsField === "labels" ? meshLimits.maxLabels : meshLimits.maxSelectorLabels;
  checkCount(selector, labelsField, labels.size, most, problems);
  for (const { key, keyAt } of selector.map(labelsField)) {
    if (key === "") problems.add(keyAt, `${path} has a label without a name`);
    else if (key.includes("*"))
      problems.add(keyAt, `${path}: ${quote(key)} has a wildcard, which a selector may not have`, key);
    else if (!isLabelKey(key))
      problems.warn(
        keyAt,
        "Ignored",
        `${path}: ${quote(key)} is not the name of a label, so nothing is selected`,
      );
    const label = labels.get(key);
    if (label === undefined) continue;
    const { value, at } = label;
    if (value.includes("*"))
      problems.add(
        at,
        `${path}.${key}: ${quote(value)} has a wildcard, which a selector may not have`,
        value,
      );
    else if (value.length > maxWordLength)
      problems.add(
        at,
        `${path}.${key} is longer than ${maxWordLength} characters, the most for a label`,
        value,
      );
    else if (!isLabelValue(value))
      problems.warn(
        at,
        "Ignored",
        `${path}.${key}: ${quote(value)} is not a valid value of a label, so nothing is selected`,
      );
  }
  return labels;
}
