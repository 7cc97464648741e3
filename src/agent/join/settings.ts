/** What a host is told about the control plane it takes its mesh from; `config/` makes it. */
import type { HostPort } from "../../base/ip.ts";
import type { NodeDescription } from "../xds/xds_node.ts";

/** A word that no dump and no log line shows. */
export interface Hidden {
  reveal(): string;
}

export type RootSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "pem"; readonly pem: string };

export type BearerSource =
  /** Read for each call. */
  { readonly kind: "file"; readonly path: string } | { readonly kind: "literal"; readonly token: Hidden };

export interface ServerSettings {
  readonly address: HostPort;
  /** A name its certificate may have besides the address's. */
  readonly name: string | null;
  readonly root: RootSource | null;
  /** Metadata of every call. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface ControlSettings {
  readonly xds: ServerSettings;
  readonly ca: ServerSettings;
  /** SHA-256 of the root's SubjectPublicKeyInfo, 64 hexadecimal digits. */
  readonly pin: string | null;
  readonly joinToken: Hidden | null;
  readonly token: BearerSource | null;
  readonly stateDirectory: string;
  /** Empty: those of the interfaces. */
  readonly joinAddresses: readonly { readonly text: string }[];
  readonly joinLabels: Readonly<Record<string, string>>;
  readonly node: NodeDescription;
}

/** What holds where the control plane says nothing, or is a real istiod. */
export interface LocalFacts {
  readonly nodeName: string;
  readonly network: string;
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
}
