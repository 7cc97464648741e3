/** The settings of `fairlead control` alone. Those that it shares with nodes are in `settings.ts`. */
import { controlLimits } from "../../base/limits/control.ts";
import { ports } from "../../base/limits/ports.ts";
import { readControlAddress, readHostName, readPemSource } from "../control_value.ts";
import { many, one, optional } from "../setting.ts";
import { readAddress, readDuration, readNonEmpty, readWord } from "../value.ts";

const group = "Control plane";
const keys = "Keys";

export const controlPlaneSettings = {
  controlListen: one(readAddress, `0.0.0.0:${ports.control}`, {
    flag: "--control-listen",
    hint: "IP:PORT",
    group,
    help: "where nodes and administrators come to: xDS, CA, joining and administration at one port",
  }),
  servingNames: many(readHostName, {
    flag: "--serving-name",
    hint: "NAME|IP",
    group,
    help: "a name or address by which it is reached, for its own certificate; this host's own without it",
  }),
  publicAddress: optional(readControlAddress, {
    flag: "--public-address",
    hint: "HOST:PORT",
    group,
    help: "what join lines tell hosts to come to; the first serving name without it",
  }),
  administrators: many(readNonEmpty, {
    flag: "--administrators",
    hint: "PATH",
    group,
    help: "Administrator documents that are in force whatever is applied",
  }),
  issuers: optional(readNonEmpty, {
    flag: "--issuers",
    hint: "PATH",
    group,
    help: "a YAML file of the issuers whose tokens are believed (OIDC, Kubernetes)",
  }),
  hostRetention: one(
    readDuration(controlLimits.minHostRetentionMs, controlLimits.maxHostRetentionMs),
    "180d",
    {
      flag: "--host-retention",
      hint: "DURATION",
      group,
      help: "a host that was not seen for so long is removed, and what it holds is revoked",
    },
  ),

  keyEncryptionKey: optional(readNonEmpty, {
    flag: "--key-encryption-key",
    hint: "SOURCE",
    group: keys,
    environment: ["FAIRLEAD_KEY_ENCRYPTION_KEY"],
    help: "what seals the CA's keys: file:PATH, env:NAME or credential:NAME; a file in the state directory without it",
  }),
  formerKeyEncryptionKeys: many(readNonEmpty, {
    flag: "--former-key-encryption-key",
    hint: "SOURCE",
    group: keys,
    help: "one that was in use before; what it sealed is sealed with the new one",
  }),
  caPlace: one(readWord("local", "vault-pki", "vault-transit"), "local", {
    flag: "--ca",
    hint: "WHERE",
    group: keys,
    help: "a root made here; an intermediate that Vault's PKI signs; or a key that never leaves Vault's Transit",
  }),
  vault: optional(readNonEmpty, {
    flag: "--vault",
    hint: "URL",
    group: keys,
    environment: ["VAULT_ADDR"],
    help: "Vault or OpenBao",
  }),
  vaultNamespace: optional(readNonEmpty, {
    flag: "--vault-namespace",
    hint: "NAME",
    group: keys,
    environment: ["VAULT_NAMESPACE"],
    help: "its namespace",
  }),
  vaultRoot: optional(readPemSource, {
    flag: "--vault-root",
    hint: "PATH",
    group: keys,
    environment: ["VAULT_CACERT"],
    help: "the roots by which Vault's certificate is known",
  }),
  vaultTokenFile: optional(readNonEmpty, {
    flag: "--vault-token-file",
    hint: "PATH",
    group: keys,
    help: "a file with a token for Vault",
  }),
  vaultRoleId: optional(readNonEmpty, {
    flag: "--vault-role-id",
    hint: "ID",
    group: keys,
    help: "or an AppRole",
  }),
  vaultSecretIdFile: optional(readNonEmpty, {
    flag: "--vault-secret-id-file",
    hint: "PATH",
    group: keys,
    help: "and a file with its secret",
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
    help: "where the engine is mounted; pki or transit without it",
  }),
  vaultIssuer: optional(readNonEmpty, {
    flag: "--vault-issuer",
    hint: "NAME",
    group: keys,
    help: "which issuer of PKI signs; its default without it",
  }),
  vaultKey: one(readNonEmpty, "fairlead", {
    flag: "--vault-key",
    hint: "NAME",
    group: keys,
    help: "which key of Transit signs",
  }),
} as const;
