/** Where the control plane's keys live, as it was told: sealed in state, certified by Vault, or never outside of Vault. */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { KeySettings, VaultPlace } from "../../base/settings/key_places.ts";
import type { Watch } from "../../base/watch.ts";
import type { Host } from "../../host/host.ts";
import type { KeyVault } from "../../pki/crypto/at_rest.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { bytesEqual } from "../../pki/der/values.ts";
import type { AuthorityOptions } from "../../pki/issue/ca.ts";
import { authorityFile, loadOwnAuthority } from "../../pki/issue/ca_files.ts";
import type { AuthorityRecords } from "../records/keys.ts";
import { type AuthorityCertifier, OwnCertifier } from "./authority_certificate.ts";
import { type AuthorityView, readRowCertificates } from "./authority_view.ts";
import { FileAuthorities } from "./file_authorities.ts";
import {
  type KeyEncryptionSource,
  makeKeyFile,
  openKeyVault,
  parseKeyEncryptionSource,
} from "./key_encryption.ts";
import { type KeyPlace, SealedKeys } from "./key_place.ts";
import type { OutsideAuthority } from "./outside_lists.ts";
import { RootKeyCustody } from "./root_key_custody.ts";
import { RootKeyFile, rootKeyFileName } from "./root_key_file.ts";
import { StateAuthorities } from "./state_authorities.ts";
import { VaultPkiCertifier } from "./vault_pki.ts";
import { VaultSession } from "./vault_session.ts";
import type { VaultAuth } from "./vault_token.ts";
import { TransitKeys } from "./vault_transit.ts";

export interface OpenedKeys {
  readonly view: Watch<AuthorityView>;
  /** Null where the CA is an operator's own, in files: then it is theirs to replace. */
  readonly own: StateAuthorities | null;
  /** The same, and where the root is not ours. */
  readonly rootKey: RootKeyCustody | null;
  /**
   * Seals what a start without Vault needs. Null where the CA's key is here and nothing else has to be kept: the control plane's own key is
   * then in memory alone.
   */
  readonly sealed: SealedKeys | null;
  /** Who signs our intermediates, where that is another CA. */
  readonly outside: OutsideAuthority | null;
  close(): void;
}

const keyFile = "key-encryption.key";

/** @throws MeshError `configuration`, `io`, `authority_unavailable`. */
export async function openKeys(
  host: Host,
  records: AuthorityRecords,
  settings: KeySettings,
  options: AuthorityOptions,
  logger: Logger,
): Promise<OpenedKeys> {
  const { authority } = settings;
  if (authority.kind === "files") {
    const { certificatePath: certificate, keyPath: privateKey, chainPath: chain, rootPath: root } = authority;
    const paths = { certificate, privateKey, chain, root };
    const given = await FileAuthorities.open({ ...options, files: host.files, logger, paths, records });
    return {
      view: given.view,
      own: null,
      rootKey: null,
      sealed: null,
      outside: null,
      close: () => given.close(),
    };
  }
  const { provider, trustDomain } = options;
  const sealed = new SealedKeys(await openVaultOfKeys(host, records, settings, provider, logger), provider);
  const session = authority.kind === "local" ? null : await openSession(host, authority.vault, logger);
  let certifier: AuthorityCertifier = new OwnCertifier(options);
  let outside: OutsideAuthority | null = null;
  const rootKeyFile = new RootKeyFile(host.files, `${settings.stateDirectory}/${rootKeyFileName}`, provider);
  let places: [KeyPlace, ...KeyPlace[]] = [sealed, rootKeyFile];
  if (authority.kind === "vault-pki" && session !== null)
    certifier = outside = new VaultPkiCertifier({
      session,
      provider,
      trustDomain,
      mount: authority.mount,
      issuer: authority.issuer,
      rootsPem: null,
    });
  // What was sealed before the move to Vault can be opened until a rotation has replaced it.
  if (authority.kind === "vault-transit" && session !== null)
    places = [
      new TransitKeys({ session, provider, mount: authority.mount, keyName: authority.keyName }),
      sealed,
      rootKeyFile,
    ];
  if (authority.kind === "local")
    await adoptOwn(host, settings.stateDirectory, records, sealed, options, logger);
  const firstKind = authority.kind === "vault-pki" ? "intermediate" : "root";
  const own = await StateAuthorities.open({ ...options, logger, records, places, certifier, firstKind });
  const endWatch = rootKeyFile.watch(() => {
    own.reopenKeptAway().catch((thrown: unknown) => {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "keys", "the root's key file cannot be looked at", { error: message });
    });
  });
  return {
    view: own.view,
    own,
    sealed: authority.kind === "vault-transit" ? sealed : null,
    outside,
    rootKey: firstKind === "root" ? new RootKeyCustody(own, sealed, rootKeyFile) : null,
    close: () => {
      endWatch();
      own.close();
      session?.close();
    },
  };
}

/** A mesh that began on one host (`fairlead up`) goes on with its CA when its state directory becomes the control plane's. */
async function adoptOwn(
  host: Host,
  directory: string,
  records: AuthorityRecords,
  sealed: SealedKeys,
  options: AuthorityOptions,
  logger: Logger,
): Promise<void> {
  const path = `${directory}/${authorityFile}`;
  if (!(await host.files.exists(path))) return;
  const rows = records.list();
  const authority = await loadOwnAuthority(host.files, path, options);
  if (rows.length === 0) {
    await StateAuthorities.adopt({ ...options, records }, authority, (id, key) => sealed.seal(id, key));
    logger.log("info", "keys", "took over the CA of this state directory", { path });
  } else if (
    !rows.some((row) => bytesEqual(readRowCertificates(row).certificate.der, authority.certificate.der))
  ) {
    // Not ours to take away: another CA's only key.
    logger.log("warn", "keys", "a file beside the state has the key of another CA; that CA is not used", {
      path,
    });
    return;
  }
  // The key is sealed in state, durably: a copy in plain beside it would be what an intruder takes.
  await host.files.remove(path);
  logger.log("info", "keys", "removed the file of the CA that was taken over: its key is sealed in state", {
    path,
  });
}

async function openVaultOfKeys(
  host: Host,
  records: AuthorityRecords,
  settings: KeySettings,
  provider: CryptoProvider,
  logger: Logger,
): Promise<KeyVault> {
  const { keyEncryptionKey, formerKeyEncryptionKeys, stateDirectory } = settings;
  const source =
    keyEncryptionKey === null
      ? await ownKeyFile(host, records, stateDirectory, logger)
      : parseKeyEncryptionSource(keyEncryptionKey);
  return await openKeyVault(host, provider, source, formerKeyEncryptionKeys.map(parseKeyEncryptionSource));
}

async function openSession(host: Host, vault: VaultPlace, logger: Logger): Promise<VaultSession> {
  const { url, namespace, root, auth } = vault;
  const trustedRootsPem =
    root === null ? null : root.kind === "pem" ? root.pem : await host.files.readText(root.path);
  return new VaultSession({
    ...hostParts(host),
    logger,
    address: { url, namespace, trustedRootsPem },
    auth: vaultAuth(auth),
  });
}

function hostParts({ http, files, clock, random }: Host): Pick<Host, "http" | "files" | "clock" | "random"> {
  return { http, files, clock, random };
}

function vaultAuth(auth: VaultPlace["auth"]): VaultAuth {
  if (auth.kind === "token") return { kind: "token", token: { kind: "file", path: auth.path } };
  const { mount, roleId, secretIdPath } = auth;
  const secretId = secretIdPath === null ? null : { kind: "file" as const, path: secretIdPath };
  return { kind: "approle", mount, roleId, secretId };
}

/** Beside the database: a copy of the database alone does not give the key, and that is all it is good for. */
async function ownKeyFile(
  host: Host,
  records: AuthorityRecords,
  stateDirectory: string,
  logger: Logger,
): Promise<KeyEncryptionSource> {
  const path = `${stateDirectory}/${keyFile}`;
  const isFirst = records.list().length === 0;
  if (isFirst && (await makeKeyFile(host, path)))
    logger.log(
      "warn",
      "keys",
      "made a key-encryption key beside the state that it protects; in production, keep it elsewhere (--key-encryption-key)",
      { path },
    );
  return { kind: "file", path };
}
