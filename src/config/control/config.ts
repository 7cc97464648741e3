/** Everything `fairlead control` is told at its start, and what only holds together of it. */
import { formatSocketAddress, type HostPort, type SocketAddress } from "../../base/ip.ts";
import type { LogLevel } from "../../base/log.ts";
import type { LogFormat } from "../../base/log_format.ts";
import type { AuthorityPlace, KeySettings, VaultPlace } from "../../base/settings/key_places.ts";
import { type SettingName, type SettingValues, settings } from "../settings.ts";
import type { ConfigError, ConfigSources } from "../sources.ts";
import { defaultStateDirectory } from "../state_directory.ts";
import type { SyslogAddress } from "./audit_value.ts";

export interface ControlPlaneConfig extends KeySettings {
  readonly listen: SocketAddress;
  /** Names and addresses of its own certificate; empty: this host's. */
  readonly servingNames: readonly string[];
  /** For join lines; null: the first serving name at the port of `listen`. */
  readonly publicAddress: HostPort | null;
  /** Files and folders of mesh documents, besides those that are applied. */
  readonly meshPaths: readonly string[];
  readonly network: string;
  /** "" is none. */
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  /** Files of Administrator documents. */
  readonly administratorPaths: readonly string[];
  /** The file of token issuers; null: none is believed. */
  readonly issuersPath: string | null;
  readonly cryptoProvider: "runtime" | "peculiar";
  /** The longest that leaves are given. */
  readonly svidLifetimeMs: number;
  /** A host that was not seen for so long is removed. */
  readonly hostRetentionMs: number;
  readonly audit: AuditConfig;
  readonly metrics: SocketAddress | null;
  readonly readiness: SocketAddress | null;
  readonly log: { readonly format: LogFormat; readonly level: LogLevel };
  readonly drainDeadlineMs: number;
}

/** Where the audit log goes besides the state. */
export interface AuditConfig {
  readonly filePath: string | null;
  readonly syslog:
    | Exclude<SyslogAddress, { readonly transport: "tls" }>
    | { readonly transport: "tls"; readonly server: HostPort; readonly rootPath: string }
    | null;
  readonly otlp: {
    readonly url: string;
    readonly rootPath: string | null;
    readonly headersPath: string | null;
  } | null;
  /** A folder for what is removed from the state. */
  readonly archivePath: string | null;
}

export type LoadedControlPlane =
  | { readonly config: ControlPlaneConfig; readonly errors: readonly [] }
  | { readonly config: null; readonly errors: readonly ConfigError[] };

type Fail = (name: SettingName, message: string) => void;

export function assembleControlPlane(
  values: SettingValues,
  environment: ConfigSources["environment"],
): LoadedControlPlane {
  const errors: ConfigError[] = [];
  const fail: Fail = (name, message) => void errors.push({ where: settings[name].flag, message });
  const authority = assembleAuthority(values, fail);
  const audit = assembleAudit(values, fail);
  checkListeners(values, fail);
  if (authority === null || errors.length > 0) return { config: null, errors };
  const config: ControlPlaneConfig = {
    listen: values.controlListen,
    servingNames: values.servingNames,
    publicAddress: values.publicAddress,
    stateDirectory: values.stateDirectory ?? defaultStateDirectory(environment),
    meshPaths: values.mesh,
    network: values.network,
    clusterId: values.clusterId ?? "",
    trustDomain: values.trustDomain,
    rootNamespace: values.rootNamespace,
    authority,
    keyEncryptionKey: values.keyEncryptionKey,
    formerKeyEncryptionKeys: values.formerKeyEncryptionKeys,
    administratorPaths: values.administrators,
    issuersPath: values.issuers,
    cryptoProvider: values.cryptoProvider,
    svidLifetimeMs: values.svidLifetime,
    hostRetentionMs: values.hostRetention,
    audit,
    metrics: values.metrics,
    readiness: values.readiness,
    log: { format: values.logFormat, level: values.logLevel },
    drainDeadlineMs: values.drainDeadline,
  };
  return { config, errors: [] };
}

function assembleAuthority(values: SettingValues, fail: Fail): AuthorityPlace | null {
  const { caPlace, caCert, caKey, caChain, caRoot } = values;
  const given = (["caCert", "caKey", "caRoot", "caChain"] as const).filter((name) => values[name] !== null);
  const [first] = given;
  if (first !== undefined && caPlace !== "local") {
    fail(first, `cannot be given with --ca ${caPlace}: there is one CA`);
    return null;
  }
  if (first !== undefined) {
    if (caCert !== null && caKey !== null && caRoot !== null)
      return { kind: "files", certificatePath: caCert, keyPath: caKey, chainPath: caChain, rootPath: caRoot };
    for (const name of ["caCert", "caKey", "caRoot"] as const)
      if (values[name] === null)
        fail(name, "is missing: a CA in files needs --ca-cert, --ca-key and --ca-root");
    return null;
  }
  if (caPlace === "local") return { kind: "local" };
  const vault = assembleVault(values, fail);
  if (vault === null) return null;
  return caPlace === "vault-pki"
    ? { kind: "vault-pki", vault, mount: values.vaultMount ?? "pki", issuer: values.vaultIssuer }
    : { kind: "vault-transit", vault, mount: values.vaultMount ?? "transit", keyName: values.vaultKey };
}

function assembleVault(values: SettingValues, fail: Fail): VaultPlace | null {
  const { vault, vaultTokenFile, vaultRoleId, vaultSecretIdFile } = values;
  if (vault === null) fail("vault", `is missing: --ca ${values.caPlace} needs the address of Vault`);
  if (vaultTokenFile === null && vaultRoleId === null)
    fail(
      "vaultTokenFile",
      "is missing: give it or --vault-role-id, so that Vault accepts this control plane",
    );
  if (vaultTokenFile !== null && vaultRoleId !== null)
    fail("vaultTokenFile", "cannot be given with --vault-role-id");
  if (vaultSecretIdFile !== null && vaultRoleId === null) fail("vaultSecretIdFile", "needs --vault-role-id");
  if (vault === null || (vaultTokenFile === null) === (vaultRoleId === null)) return null;
  return {
    url: vault,
    namespace: values.vaultNamespace,
    root: values.vaultRoot,
    auth:
      vaultRoleId === null
        ? { kind: "token", path: vaultTokenFile ?? "" }
        : {
            kind: "approle",
            mount: values.vaultAppRoleMount,
            roleId: vaultRoleId,
            secretIdPath: vaultSecretIdFile,
          },
  };
}

function assembleAudit(values: SettingValues, fail: Fail): AuditConfig {
  const { auditFile, auditSyslog, auditSyslogRoot, auditOtlp, auditOtlpRoot, auditOtlpHeaders } = values;
  const isTls = auditSyslog?.transport === "tls";
  if (isTls && auditSyslogRoot === null)
    fail("auditSyslogRoot", "is missing: a syslog server over TLS is known by its roots");
  if (!isTls && auditSyslogRoot !== null)
    fail("auditSyslogRoot", "needs --audit-syslog tls://HOST:PORT: there is no certificate otherwise");
  for (const name of ["auditOtlpRoot", "auditOtlpHeaders"] as const)
    if (auditOtlp === null && values[name] !== null) fail(name, "needs --audit-otlp");
  return {
    filePath: auditFile,
    syslog:
      auditSyslog?.transport === "tls" ? { ...auditSyslog, rootPath: auditSyslogRoot ?? "" } : auditSyslog,
    otlp:
      auditOtlp === null ? null : { url: auditOtlp, rootPath: auditOtlpRoot, headersPath: auditOtlpHeaders },
    archivePath: values.auditArchive,
  };
}

/** Two listeners on one address would end in "address in use", naming neither. */
function checkListeners(values: SettingValues, fail: Fail): void {
  const taken = new Map<string, string>();
  for (const name of ["controlListen", "metrics", "readiness"] as const) {
    const address = values[name];
    if (address === null || address.port === 0) continue;
    const text = formatSocketAddress(address);
    const other = taken.get(text);
    if (other === undefined) taken.set(text, settings[name].flag);
    else fail(name, `${text} is already taken by ${other}`);
  }
}
