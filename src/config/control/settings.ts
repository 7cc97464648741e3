/** The settings of `fairlead control` alone. Those that it shares with nodes are in `settings.ts`. */
import { controlLimits } from "../../base/limits/control.ts";
import { ports } from "../../base/limits/ports.ts";
import { readControlAddress, readHostName, readPemSource } from "../control_value.ts";
import { many, one, optional } from "../setting.ts";
import { readAddress, readDuration, readNonEmpty, readWord } from "../value.ts";
import { auditSettings } from "./audit_settings.ts";

const group = "Control plane";
const keys = "Keys";

export const controlPlaneSettings = {
  controlListen: one(readAddress, `0.0.0.0:${ports.control}`, {
    flag: "--control-listen",
    hint: "IP:PORT",
    group,
    help: "the address and port for nodes and administrators: xDS, CA, joining and administration",
  }),
  servingNames: many(readHostName, {
    flag: "--serving-name",
    hint: "NAME|IP",
    group,
    help: "a name or address in the control plane's certificate, by which nodes reach it; by default this host's addresses",
  }),
  publicAddress: optional(readControlAddress, {
    flag: "--public-address",
    hint: "HOST:PORT",
    group,
    help: "the address that join lines give to hosts; by default the first serving name",
  }),
  administrators: many(readNonEmpty, {
    flag: "--administrators",
    hint: "PATH",
    group,
    help: "a file of Administrator documents, in force in addition to those that are applied",
  }),
  issuers: optional(readNonEmpty, {
    flag: "--issuers",
    hint: "PATH",
    group,
    help: "a YAML file of trusted token issuers (OIDC, Kubernetes)",
  }),
  hostRetention: one(
    readDuration(controlLimits.minHostRetentionMs, controlLimits.maxHostRetentionMs),
    "180d",
    {
      flag: "--host-retention",
      hint: "DURATION",
      group,
      help: "how long a host may be away before it is removed and its certificates are revoked",
    },
  ),
  ...auditSettings,

  keyEncryptionKey: optional(readNonEmpty, {
    flag: "--key-encryption-key",
    hint: "SOURCE",
    group: keys,
    environment: ["FAIRLEAD_KEY_ENCRYPTION_KEY"],
    help: "the key that seals the CA's keys: file:PATH, env:NAME or credential:NAME; by default a file in the state directory",
  }),
  formerKeyEncryptionKeys: many(readNonEmpty, {
    flag: "--former-key-encryption-key",
    hint: "SOURCE",
    group: keys,
    help: "the key-encryption key before this one; what it sealed is sealed again with the new one",
  }),
  caPlace: one(readWord("local", "vault-pki", "vault-transit"), "local", {
    flag: "--ca",
    hint: "WHERE",
    group: keys,
    help: "local: a root made here; vault-pki: an intermediate signed by Vault; vault-transit: a key that stays in Vault",
  }),
  vault: optional(readNonEmpty, {
    flag: "--vault",
    hint: "URL",
    group: keys,
    environment: ["VAULT_ADDR"],
    help: "the address of Vault or OpenBao",
  }),
  vaultNamespace: optional(readNonEmpty, {
    flag: "--vault-namespace",
    hint: "NAME",
    group: keys,
    environment: ["VAULT_NAMESPACE"],
    help: "the namespace in Vault",
  }),
  vaultRoot: optional(readPemSource, {
    flag: "--vault-root",
    hint: "PATH",
    group: keys,
    environment: ["VAULT_CACERT"],
    help: "the root certificates that verify Vault",
  }),
  vaultTokenFile: optional(readNonEmpty, {
    flag: "--vault-token-file",
    hint: "PATH",
    group: keys,
    help: "a file with a Vault token",
  }),
  vaultRoleId: optional(readNonEmpty, {
    flag: "--vault-role-id",
    hint: "ID",
    group: keys,
    help: "the role ID of an AppRole, in place of a token",
  }),
  vaultSecretIdFile: optional(readNonEmpty, {
    flag: "--vault-secret-id-file",
    hint: "PATH",
    group: keys,
    help: "a file with the secret ID of that AppRole",
  }),
  vaultAppRoleMount: one(readNonEmpty, "approle", {
    flag: "--vault-approle-mount",
    hint: "NAME",
    group: keys,
    help: "where AppRole is mounted",
  }),
  vaultMount: optional(readNonEmpty, {
    flag: "--vault-mount",
    hint: "NAME",
    group: keys,
    help: "where the engine is mounted; by default pki or transit",
  }),
  vaultIssuer: optional(readNonEmpty, {
    flag: "--vault-issuer",
    hint: "NAME",
    group: keys,
    help: "the PKI issuer that signs; by default the engine's own default",
  }),
  vaultKey: one(readNonEmpty, "fairlead", {
    flag: "--vault-key",
    hint: "NAME",
    group: keys,
    help: "the Transit key that signs",
  }),
} as const;
