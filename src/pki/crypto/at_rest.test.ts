import { describe, expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { providers } from "../testing/providers.ts";
import { importKeyEncryptionKey, KeyVault } from "./at_rest.ts";

const secret = new TextEncoder().encode("a secret sentence");

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => asMeshError(error, "io", "local").message,
  );
}

for (const provider of providers) {
  const keyOf = (byte: number) => importKeyEncryptionKey(new Uint8Array(32).fill(byte), "a test", provider);

  describe(`keys at rest on ${provider.name}`, () => {
    test("come back whole, and no two envelopes are alike", async () => {
      const vault = new KeyVault(provider, await keyOf(1));
      const [one, two] = [await vault.seal("ca-1", secret), await vault.seal("ca-1", secret)];
      expect(one).not.toEqual(two);
      expect(await vault.open("ca-1", one)).toEqual(secret);
      expect(new TextDecoder("latin1").decode(one)).not.toContain("secret");
    });

    test("do not open with another key, for another owner, or after any change of a byte", async () => {
      const vault = new KeyVault(provider, await keyOf(1));
      const envelope = await vault.seal("ca-1", secret);
      const other = new KeyVault(provider, await keyOf(2));
      expect(await failure(other.open("ca-1", envelope))).toMatch(
        /the sealed key of ca-1 cannot be opened: it is sealed with key-encryption key [0-9a-f]{16}, and the given are [0-9a-f]{16}/,
      );
      expect(await failure(vault.open("ca-2", envelope))).toContain("belongs to another authority");
      for (let at = 0; at < envelope.length; at++) {
        const bent = envelope.slice();
        bent[at] = (bent[at] ?? 0) ^ 0x80;
        expect(await failure(vault.open("ca-1", bent))).toContain("cannot be opened");
      }
      for (const [length, why] of [
        [0, "it is of version ?, not 1"],
        [1, "it is cut short"],
        [36, "it is cut short"],
        [37, "it is damaged"],
        [envelope.length - 1, "it is damaged"],
      ] as const)
        expect(await failure(vault.open("ca-1", envelope.slice(0, length)))).toContain(why);
      expect(await failure(vault.open("ca-1", Uint8Array.of(2, ...envelope.slice(1))))).toContain(
        "it is of version 2, not 1",
      );
      expect(await vault.open("ca-1", await vault.seal("ca-1", new Uint8Array()))).toEqual(new Uint8Array());
    });

    test("move to a new key-encryption key while the old one is still given", async () => {
      const before = await new KeyVault(provider, await keyOf(1)).seal("ca-1", secret);
      const both = new KeyVault(provider, await keyOf(2), [await keyOf(1)]);
      expect(both.isFormer(before)).toBe(true);
      const after = await both.seal("ca-1", await both.open("ca-1", before));
      expect(both.isFormer(after)).toBe(false);
      expect(await new KeyVault(provider, await keyOf(2)).open("ca-1", after)).toEqual(secret);
    });

    test("a key-encryption key is 32 bytes in one of three forms, and no pass phrase", async () => {
      const bytes = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
      const hexadecimal = bytes.reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "");
      const forms = [
        bytes,
        hexadecimal,
        `${hexadecimal.toUpperCase()}\n`,
        `${btoa(String.fromCharCode(...bytes))}\n`,
      ];
      const ids = await Promise.all(
        forms.map(async (form) => {
          const material = typeof form === "string" ? new TextEncoder().encode(form) : form;
          return (await importKeyEncryptionKey(material, "a test", provider)).id;
        }),
      );
      expect(new Set(ids).size).toBe(1);
      for (const bad of ["", "correct horse battery staple", "ab".repeat(31), "A".repeat(42)]) {
        const work = importKeyEncryptionKey(new TextEncoder().encode(bad), "FILE", provider);
        const message = await failure(work);
        expect(message).toStartWith("the key-encryption key in FILE is not 32 random bytes");
        if (bad !== "") expect(message).not.toContain(bad);
      }
    });
  });
}
