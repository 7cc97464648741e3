/** What a joining host says of itself, parsed. It is untrusted: it describes, and decides nothing but where the host can be reached. */
import { IpAddress } from "../../base/ip.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { isNodeName } from "../../mesh/identity.ts";
import type { JoinRequest } from "../../wire/messages/fairlead.gen.ts";
import { type JoinToken, parseJoinToken } from "../identity/join_token.ts";

export interface ParsedJoin {
  /** Null for what has not even the form of a token. */
  readonly token: JoinToken | null;
  readonly csrPem: string;
  /** Null: the server chooses. */
  readonly nodeName: string | null;
  /** Canonical text; those of the request, else the one it came from. */
  readonly addresses: readonly string[];
  /** Null: the mesh's. */
  readonly network: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** Of its program; "" when it does not say. */
  readonly version: string;
}

/** @returns what is wrong, in words for the caller, or the request. */
export function parseJoin(request: JoinRequest, remote: IpAddress): ParsedJoin | string {
  const { csr, nodeName, version, network } = request;
  if (csr.length > pkiLimits.maxCsrBytes * 1.5) return "the certificate request is larger than the limit";
  if (nodeName !== "" && !isNodeName(nodeName))
    return "the node's name is not a DNS label in lower case of at most 63 characters";
  if (version.length > identityLimits.maxVersionChars) return "the version is too long";
  if (!networkPattern.test(network) || network.length > identityLimits.maxNetworkChars)
    return "the network is not a valid name";
  const addresses = parseAddresses(request.addresses);
  if (typeof addresses === "string") return addresses;
  const labels = parseLabels(request.labels);
  if (typeof labels === "string") return labels;
  return {
    token: parseJoinToken(request.token),
    csrPem: csr,
    nodeName: nodeName === "" ? null : nodeName,
    addresses: addresses.length === 0 ? [remote.text] : addresses,
    network: network === "" ? null : network,
    labels,
    version,
  };
}

const networkPattern = /^[A-Za-z0-9._-]*$/;
const labelName = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?$/;

function parseAddresses(texts: readonly string[]): readonly string[] | string {
  if (texts.length > identityLimits.maxJoinAddresses) return "there are too many addresses";
  const addresses = new Set<string>();
  for (const text of texts) {
    const ip = IpAddress.parse(text);
    if (ip === null || ip.bytes.every((byte) => byte === 0))
      return "one of the addresses is not an IP address of a host";
    addresses.add(ip.text);
  }
  return [...addresses];
}

/** Kubernetes' syntax of labels. */
function parseLabels(labels: JoinRequest["labels"]): Readonly<Record<string, string>> | string {
  const entries = Object.entries(labels);
  if (entries.length > identityLimits.maxJoinLabels) return "there are too many labels";
  for (const [name, value] of entries) {
    if (name.length > identityLimits.maxLabelNameChars || !labelName.test(name))
      return "one of the labels has an invalid name";
    if (value.length > identityLimits.maxLabelValueChars || !labelValue.test(value))
      return "one of the labels has an invalid value";
  }
  return Object.fromEntries(entries);
}
