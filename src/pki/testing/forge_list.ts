/** Makes revocation lists, good and bad, for tests. */
import type { CryptoProvider } from "../crypto/provider.ts";
import { buffer } from "../crypto/signature.ts";
import {
  AuthorityKeyIdentifierExtension,
  Extension,
  X509Certificate,
  X509CrlGenerator,
  type X509CrlReason,
} from "../x509/peculiar.ts";
import type { Forged } from "./forge.ts";

const hour = 3_600_000;

export interface ListOptions {
  readonly number?: number | null;
  readonly thisUpdateMs?: number;
  readonly nextUpdateMs?: number | null;
  readonly signWith?: CryptoKeyPair;
  readonly extra?: readonly Extension[];
  readonly reason?: X509CrlReason;
  readonly keyId?: boolean;
}

/** A revocation list of `issuer`, as good or bad as the options say. @param nowMs since the Unix epoch. @returns DER. */
export async function forgeList(
  nowMs: number,
  provider: CryptoProvider,
  issuer: Forged,
  serialNumbers: readonly string[],
  options: ListOptions = {},
): Promise<Uint8Array> {
  const {
    number = 1,
    nextUpdateMs = nowMs + hour,
    thisUpdateMs = nowMs - 1000,
    signWith = issuer.keys,
  } = options;
  const keyId = issuer.parsed.extensions.subjectKeyId ?? "";
  const list = await X509CrlGenerator.create(
    {
      issuer: new X509Certificate(buffer(issuer.der)).subjectName,
      thisUpdate: new Date(thisUpdateMs),
      ...(nextUpdateMs === null ? {} : { nextUpdate: new Date(nextUpdateMs) }),
      signingKey: signWith.privateKey,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
      entries: serialNumbers.map((serialNumber) => ({
        serialNumber,
        revocationDate: new Date(nowMs - hour),
        ...(options.reason === undefined ? {} : { reason: options.reason }),
      })),
      extensions: [
        ...(number === null ? [] : [new Extension("2.5.29.20", false, Uint8Array.of(2, 1, number))]),
        ...(options.keyId === false ? [] : [new AuthorityKeyIdentifierExtension(keyId)]),
        ...(options.extra ?? []),
      ],
    },
    provider.crypto,
  );
  return new Uint8Array(list.rawData);
}
