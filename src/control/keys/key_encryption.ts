/** Where an operator keeps the key-encryption key: a file, a variable of the environment, or a credential of systemd. */
import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { Host } from "../../host/host.ts";
import { importKeyEncryptionKey, type KeyEncryptionKey, KeyVault } from "../../pki/crypto/at_rest.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";

/** As it is written in settings: `file:PATH`, `env:NAME`, `credential:NAME`. */
export type KeyEncryptionSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "credential"; readonly name: string };

/** @throws MeshError `configuration`, blame local. Never repeats the text: it may be a key in the wrong place. */
export function parseKeyEncryptionSource(text: string): KeyEncryptionSource {
  const colon = text.indexOf(":");
  const value = text.slice(colon + 1);
  if (colon > 0 && value !== "") {
    const kind = text.slice(0, colon);
    if (kind === "file") return { kind, path: value };
    if (kind === "env" && /^[A-Za-z_]\w*$/.test(value)) return { kind: "environment", name: value };
    // systemd.exec(5): names of credentials are file names.
    if (kind === "credential" && /^[\w.@-]+$/.test(value) && !/^\.+$/.test(value))
      return { kind, name: value };
  }
  throw bad("the place of the key-encryption key has to be file:PATH, env:NAME or credential:NAME");
}

/**
 * Reads the key that seals, and those that it replaces.
 *
 * @throws MeshError `configuration` or `io`, blame local.
 */
export async function openKeyVault(
  host: Pick<Host, "files" | "process">,
  provider: CryptoProvider,
  current: KeyEncryptionSource,
  former: readonly KeyEncryptionSource[] = [],
): Promise<KeyVault> {
  const read = (source: KeyEncryptionSource): Promise<KeyEncryptionKey> => readKey(host, provider, source);
  return new KeyVault(provider, await read(current), await Promise.all(former.map(read)));
}

/**
 * Makes the file of a key-encryption key when there is none. Only for a control plane that has sealed nothing yet: otherwise
 * a key that is missing is a mistake, and a new one would open nothing.
 *
 * @returns whether it was made.
 */
export async function makeKeyFile(host: Pick<Host, "files" | "random">, path: string): Promise<boolean> {
  if (await host.files.exists(path)) return false;
  const key = new Uint8Array(32);
  host.random.fill(key);
  const text = `${btoa(String.fromCharCode(...key))}\n`;
  await host.files.writeAtomic(path, new TextEncoder().encode(text), 0o600);
  return true;
}

async function readKey(
  host: Pick<Host, "files" | "process">,
  provider: CryptoProvider,
  source: KeyEncryptionSource,
): Promise<KeyEncryptionKey> {
  if (source.kind === "environment") {
    const value = host.process.environment[source.name];
    if (value === undefined)
      throw bad(`the environment variable ${source.name} for the key-encryption key is not set`);
    return await importKeyEncryptionKey(new TextEncoder().encode(value), `$${source.name}`, provider);
  }
  const path = source.kind === "file" ? source.path : credentialPath(host, source.name);
  const material = await host.files.readBytes(path);
  if (material.length > keysLimits.maxKeyFileBytes)
    throw bad(`${path} is too large for a key-encryption key`);
  return await importKeyEncryptionKey(material, path, provider);
}

/** systemd.exec(5), LoadCredential=: a directory that this service alone can read, in memory. */
function credentialPath(host: Pick<Host, "process">, name: string): string {
  const directory = host.process.environment.CREDENTIALS_DIRECTORY;
  if (directory === undefined || directory === "") {
    throw bad(
      `$CREDENTIALS_DIRECTORY is not set, so there is no credential ${name} (LoadCredential= of systemd)`,
    );
  }
  return `${directory}/${name}`;
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
