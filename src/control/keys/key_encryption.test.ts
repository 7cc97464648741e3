import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import {
  type KeyEncryptionSource,
  makeKeyFile,
  openKeyVault,
  parseKeyEncryptionSource,
} from "./key_encryption.ts";
import { provider } from "./testing/fixture.ts";

const hexKey = "0123456789abcdef".repeat(4);

function hostOf(files: MemoryFiles, environment: Record<string, string>) {
  return {
    files,
    process: { environment } as never,
    random: { fill: (bytes: Uint8Array) => void bytes.fill(7), float: () => 0 },
  };
}

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => asMeshError(error, "io", "local").message,
  );
}

test("the key-encryption key comes from a file, the environment or a credential, and is the same key each time", async () => {
  const files = new MemoryFiles();
  files.put("kek", `${hexKey}\n`);
  files.put("credentials/kek", hexKey);
  const host = hostOf(files, { KEK: hexKey, CREDENTIALS_DIRECTORY: "credentials" });
  const sealed = await (await openKeyVault(host, provider, parseKeyEncryptionSource("file:kek"))).seal(
    "a",
    Uint8Array.of(1),
  );
  for (const source of ["env:KEK", "credential:kek"]) {
    const vault = await openKeyVault(host, provider, parseKeyEncryptionSource(source));
    expect(await vault.open("a", sealed)).toEqual(Uint8Array.of(1));
  }
});

test("a key file of just the bound is read, one byte more is not", async () => {
  const files = new MemoryFiles();
  const host = hostOf(files, {});
  const { maxKeyFileBytes } = keysLimits;
  files.put("most", hexKey.padEnd(maxKeyFileBytes));
  files.put("more", hexKey.padEnd(maxKeyFileBytes + 1));
  expect(await failure(openKeyVault(host, provider, { kind: "file", path: "most" }))).toBe("done");
  expect(await failure(openKeyVault(host, provider, { kind: "file", path: "more" }))).toContain("too large");
});

test("what is missing or wrong is said without a part of the key", async () => {
  const files = new MemoryFiles();
  files.put("long", "x".repeat(2_000));
  const host = hostOf(files, {});
  const open = (source: KeyEncryptionSource): Promise<string> =>
    failure(openKeyVault(host, provider, source));
  expect(await open({ kind: "environment", name: "KEK" })).toBe(
    "the environment variable KEK for the key-encryption key is not set",
  );
  expect(await open({ kind: "credential", name: "kek" })).toStartWith("$CREDENTIALS_DIRECTORY is not set");
  expect(await open({ kind: "file", path: "kek" })).toContain("kek: no such file");
  expect(await open({ kind: "file", path: "long" })).toBe("long is too large for a key-encryption key");
  for (const bad of [hexKey, "file:", "env:A B", "credential:../x", "credential:..", "vault:x", ""]) {
    let message = "";
    try {
      parseKeyEncryptionSource(bad);
    } catch (error) {
      message = asMeshError(error, "io", "local").message;
    }
    expect(message).toBe(
      "the place of the key-encryption key has to be file:PATH, env:NAME or credential:NAME",
    );
  }
});

test("a key file is made once, readable by its owner alone", async () => {
  const files = new MemoryFiles();
  const host = hostOf(files, {});
  expect(await makeKeyFile(host, "kek")).toBe(true);
  expect(await makeKeyFile(host, "kek")).toBe(false);
  expect(files.modes.get("kek")).toBe(0o600);
  await openKeyVault(host, provider, { kind: "file", path: "kek" });
});
