/** What a host is told about the control plane it takes its mesh from. `config/` writes it, `agent/` reads it. */
import type { HostPort, IpAddress } from "../ip.ts";
import type { Secret } from "./secret.ts";

/** Trusted certificates: a file, or PEM itself, as ztunnel takes either from one variable. */
export type PemSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "pem"; readonly pem: string };

/** A token that is read for every call, or one that is given once. */
export type TokenSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "literal"; readonly token: Secret };

/** A server of the control plane, and how it is known. */
export interface ServerSettings {
  readonly address: HostPort;
  /** The name in its certificate; the address's host when null. */
  readonly name: string | null;
  /** The roots of its certificate; null: the pin's, and then those that came with the join. */
  readonly root: PemSource | null;
  /** Sent with every call (`XDS_HEADER_*`, `CA_HEADER_*`). */
  readonly headers: Readonly<Record<string, string>>;
}

export interface ControlSettings {
  readonly xds: ServerSettings;
  readonly ca: ServerSettings;
  /** SHA-256 of the root's SubjectPublicKeyInfo, 64 hexadecimal digits. */
  readonly pin: string | null;
  readonly joinToken: Secret | null;
  readonly token: TokenSource | null;
  /** Where what came with the join, and the last known mesh, are kept. */
  readonly stateDirectory: string;
  /** Empty: those of the interfaces. */
  readonly joinAddresses: readonly IpAddress[];
  readonly joinLabels: Readonly<Record<string, string>>;
  readonly node: NodeDescription;
}

/** How this host introduces itself in xDS, as ztunnel does (`xds/client.rs`); "" is unknown. */
export interface NodeDescription {
  readonly podName: string;
  readonly podNamespace: string;
  readonly instanceIp: string;
  /** `ISTIO_META_*` without the prefix, and `ISTIO_METAJSON_*` read as JSON. */
  readonly metadata: Readonly<Record<string, unknown>>;
}
