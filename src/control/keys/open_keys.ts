/** Where the control plane's keys live, as it was told: sealed in state, certified by Vault, or never outside of Vault. */
import { keysLimits } from "../../base/limits/control.ts";
import type { Watch } from "../../base/watch.ts";
import type { ControlPlaneConfig, VaultConfig } from "../../config/control/config.ts";
import { type AuthorityCertifier, OwnCertifier } from "../../control/keys/authority_certificate.ts";
import { type AuthorityDescription, describeAuthorities } from "../../control/keys/authority_description.ts";
import type { AuthorityView } from "../../control/keys/authority_view.ts";
import { FileAuthorities } from "../../control/keys/file_authorities.ts";
import {
  type KeyEncryptionSource,
  makeKeyFile,
  openKeyVault,
  parseKeyEncryptionSource,
} from "../../control/keys/key_encryption.ts";
import { type KeyPlace, SealedKeys } from "../../control/keys/key_place.ts";
import { StateAuthorities } from "../../control/keys/state_authorities.ts";
import { VaultPkiCertifier } from "../../control/keys/vault_pki.ts";
import { VaultSession } from "../../control/keys/vault_session.ts";
import type { VaultAuth } from "../../control/keys/vault_token.ts";
import { TransitKeys } from "../../control/keys/vault_transit.ts";
import type { ControlState } from "../../control/state/control_state.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { KeyVault } from "../../pki/crypto/at_rest.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { AuthorityOptions } from "../../pki/issue/ca.ts";
import { authorityFile, openAuthority } from "../../pki/issue/ca_files.ts";

export interface OpenedKeys {
  readonly view: Watch<AuthorityView>;
  /** Null where the CA is an operator's own, in files: then it is theirs to replace. */
  readonly own: StateAuthorities | null;
  close(): void;
}

const keyFile = "key-encryption.key";

/** @throws MeshError `configuration`, `io`, `authority_unavailable`. */
export async function openKeys(
  host: Host,
  state: ControlState,
  config: ControlPlaneConfig,
  options: AuthorityOptions,
  logger: LogWriter,
): Promise<OpenedKeys> {
  const { authority } = config;
  const records = state.authorities;
  if (authority.kind === "files") {
    const { certificatePath: certificate, keyPath: privateKey, chainPath: chain, rootPath: root } = authority;
    const paths = { certificate, privateKey, chain, root };
    const given = await FileAuthorities.open({ ...options, files: host.files, logger, paths, records });
    return { view: given.view, own: null, close: () => given.close() };
  }
  const { provider, trustDomain } = options;
  const sealed = new SealedKeys(await openVaultOfKeys(host, state, config, provider, logger), provider);
  const session = authority.kind === "local" ? null : await openSession(host, authority.vault, logger);
  let certifier: AuthorityCertifier = new OwnCertifier(options);
  let places: [KeyPlace, ...KeyPlace[]] = [sealed];
  if (authority.kind === "vault-pki" && session !== null)
    certifier = new VaultPkiCertifier({
      session,
      provider,
      trustDomain,
      mount: authority.mount,
      issuer: authority.issuer,
      lifetimeMs: keysLimits.intermediateLifetimeMs,
      rootsPem: null,
    });
  // What was sealed before the move to Vault can be opened until a rotation has replaced it.
  if (authority.kind === "vault-transit" && session !== null)
    places = [
      new TransitKeys({ session, provider, mount: authority.mount, keyName: authority.keyName }),
      sealed,
    ];
  if (authority.kind === "local") await adoptOwn(host, config.stateDirectory, state, sealed, options, logger);
  const firstKind = authority.kind === "vault-pki" ? "intermediate" : "root";
  const own = await StateAuthorities.open({ ...options, logger, records, places, certifier, firstKind });
  return {
    view: own.view,
    own,
    close: () => {
      own.close();
      session?.close();
    },
  };
}

/** A mesh that began on one host (`fairlead up`) goes on with its CA when its state directory becomes the control plane's. */
async function adoptOwn(
  host: Host,
  directory: string,
  state: ControlState,
  sealed: SealedKeys,
  options: AuthorityOptions,
  logger: LogWriter,
): Promise<void> {
  const path = `${directory}/${authorityFile}`;
  if (state.authorities.list().length > 0 || !(await host.files.exists(path))) return;
  const { authority } = await openAuthority(host.files, directory, options);
  await StateAuthorities.adopt({ ...options, records: state.authorities }, authority, (id, key) =>
    sealed.seal(id, key),
  );
  logger.log("info", "keys", "took over the CA that was here; its file is needed no more", { path });
}

async function openVaultOfKeys(
  host: Host,
  state: ControlState,
  config: ControlPlaneConfig,
  provider: CryptoProvider,
  logger: LogWriter,
): Promise<KeyVault> {
  const { keyEncryptionKey, formerKeyEncryptionKeys, stateDirectory } = config;
  const source =
    keyEncryptionKey === null
      ? await ownKeyFile(host, state, stateDirectory, logger)
      : parseKeyEncryptionSource(keyEncryptionKey);
  return await openKeyVault(host, provider, source, formerKeyEncryptionKeys.map(parseKeyEncryptionSource));
}

async function openSession(host: Host, vault: VaultConfig, logger: LogWriter): Promise<VaultSession> {
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

function vaultAuth(auth: VaultConfig["auth"]): VaultAuth {
  if (auth.kind === "token") return { kind: "token", token: { kind: "file", path: auth.path } };
  const { mount, roleId, secretIdPath } = auth;
  const secretId = secretIdPath === null ? null : { kind: "file" as const, path: secretIdPath };
  return { kind: "approle", mount, roleId, secretId };
}

/** Beside the database: a copy of the database alone gives nobody the key, and that is all it is good for. */
async function ownKeyFile(
  host: Host,
  state: ControlState,
  stateDirectory: string,
  logger: LogWriter,
): Promise<KeyEncryptionSource> {
  const path = `${stateDirectory}/${keyFile}`;
  const isFirst = state.authorities.list().length === 0;
  if (isFirst && (await makeKeyFile(host, path)))
    logger.log(
      "warn",
      "keys",
      "made a key-encryption key beside the state it protects; in production keep it elsewhere",
      { path },
    );
  return { kind: "file", path };
}

/** The authorities for people; digests take a moment, so the list is made when they change. */
export class AuthorityList {
  #entries: readonly AuthorityDescription[] = [];

  static async follow(
    view: Watch<AuthorityView>,
    provider: CryptoProvider,
    undo: (() => void)[],
  ): Promise<AuthorityList> {
    const list = new AuthorityList();
    const read = async (now: AuthorityView): Promise<void> => {
      const entries = await describeAuthorities(now, provider);
      if (view.value === now) list.#entries = entries;
    };
    undo.push(view.subscribe((now) => void read(now)));
    await read(view.value);
    return list;
  }

  get entries(): readonly AuthorityDescription[] {
    return this.#entries;
  }
}
