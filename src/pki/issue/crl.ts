/**
 * Revocation lists (RFC 5280 §5), written here rather than by the library: that one looks through all entries for each, and
 * a list of twenty thousand would hold up the process for seconds.
 */

import { type SliceClock, TimeSlice } from "../../base/turns/time_slice.ts";
import type { SigningKey } from "../crypto/private_key.ts";
import { contextTag, derTag } from "../der/der.ts";
import { encodeDer, encodeTime, encodeUnsigned, fromHex } from "../der/encode.ts";
import type { Certificate } from "../x509/certificate.ts";
import { encodeAuthorityKeyId, encodeExtension, encodeSigned } from "../x509/signed_der.ts";

export interface Revocation {
  /** Lower case hexadecimal, as in `VerifiedPeer.serialNumber`. */
  readonly serialNumber: string;
  readonly revokedAtMs: number;
  readonly reason: "keyCompromise" | "superseded" | "cessationOfOperation" | "privilegeWithdrawn";
}

const oidBytes = { crlNumber: "551d14", crlReason: "551d15" } as const;

/** A complete list. @returns DER. */
export async function issueRevocationList(
  issuer: { readonly certificate: Certificate; readonly key: SigningKey },
  list: {
    readonly revoked: readonly Revocation[];
    /** Must grow with each list (RFC 5280 §5.2.3). */
    readonly number: bigint;
    readonly thisUpdateMs: number;
    readonly nextUpdateMs: number;
  },
  clock: SliceClock,
): Promise<Uint8Array> {
  const { certificate, key } = issuer;
  const entries: Uint8Array[] = [];
  // The longest list takes many times what one turn may.
  const slice = new TimeSlice(clock);
  for (const [index, one] of list.revoked.entries()) {
    entries.push(encodeEntry(one));
    if (index % entriesPerLook === 0) await slice.giveWay();
  }
  return await encodeSigned(key, (algorithm) =>
    encodeDer(
      derTag.sequence,
      encodeUnsigned(1n),
      algorithm,
      fromHex(certificate.subject),
      encodeTime(list.thisUpdateMs),
      encodeTime(list.nextUpdateMs),
      // RFC 5280 §5.1.2.6: absent, not empty, when nothing is revoked.
      entries.length === 0 ? new Uint8Array(0) : encodeDer(derTag.sequence, ...entries),
      encodeDer(
        contextTag(0, true),
        encodeDer(
          derTag.sequence,
          encodeExtension(oidBytes.crlNumber, encodeUnsigned(list.number), "optional"),
          encodeAuthorityKeyId(certificate),
        ),
      ),
    ),
  );
}

/** Entries between two looks at the clock, some 30 µs each before the code is warm. */
const entriesPerLook = 64;

/** One of four, and the same in thousands of entries: made once. CRLReason, RFC 5280 §5.3.1. */
const reasonExtensions: Readonly<Record<Revocation["reason"], Uint8Array>> = {
  keyCompromise: reasonExtension(1),
  superseded: reasonExtension(4),
  cessationOfOperation: reasonExtension(5),
  privilegeWithdrawn: reasonExtension(9),
};

function reasonExtension(code: number): Uint8Array {
  const reason = encodeDer(derTag.enumerated, Uint8Array.of(code));
  return encodeDer(derTag.sequence, encodeExtension(oidBytes.crlReason, reason, "optional"));
}

function encodeEntry(one: Revocation): Uint8Array {
  return encodeDer(
    derTag.sequence,
    encodeUnsigned(BigInt(`0x${one.serialNumber}`)),
    encodeTime(one.revokedAtMs),
    reasonExtensions[one.reason],
  );
}
