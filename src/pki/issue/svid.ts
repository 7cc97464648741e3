/**
 * SVIDs in istiod's profile (`security/pkg/pki/util`): no subject, critical SAN, both usages. Written here rather than by the library,
 * which takes 5 ms of CPU for each; the library is the tests' judge of it.
 */
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { buffer } from "../crypto/signature.ts";
import { contextTag, derTag, readSingle } from "../der/der.ts";
import { encodeDer, encodeTime, fromHex } from "../der/encode.ts";
import { encodePem } from "../der/pem.ts";
import { readOctetAlignedBits } from "../der/values.ts";
import { encodeAuthorityKeyId, encodeExtension, encodeSigned } from "../x509/signed_der.ts";
import { type Issuer, randomSerialNumber } from "./issuer.ts";

export interface SvidRequest {
  readonly id: SpiffeId;
  /** SubjectPublicKeyInfo, whole. */
  readonly publicKeyInfo: Uint8Array;
  /** Milliseconds since the Unix epoch; certificates have whole seconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Beside the identity, for a server that is dialled by them. */
  readonly serverNames?: readonly { readonly type: "dns" | "ip"; readonly value: string }[];
}

/** What is the same in every one, in DER. */
const constant = {
  /** `[0] { INTEGER 2 }`: version 3. */
  version: fromHex("a003020102"),
  /** RFC 5280 §4.1.2.6: the identity is in the SAN alone. */
  subject: fromHex("3000"),
  /** `SEQUENCE {}`: no CA. */
  basicConstraints: encodeExtension("551d13", fromHex("3000"), "critical"),
  /** digitalSignature and keyEncipherment. */
  keyUsage: encodeExtension("551d0f", fromHex("030205a0"), "critical"),
  /** serverAuth, clientAuth. */
  extendedKeyUsage: encodeExtension(
    "551d25",
    fromHex("301406082b0601050507030106082b06010505070302"),
    "optional",
  ),
} as const;

/** @returns PEM. @throws MeshError `configuration`, blame local, for a server's name that is not ASCII. */
export async function issueSvidCertificate(issuer: Issuer, request: SvidRequest): Promise<string> {
  const { crypto } = issuer.provider;
  const { publicKeyInfo } = request;
  const keyId = new Uint8Array(await crypto.subtle.digest("SHA-1", buffer(keyBits(publicKeyInfo))));
  const serialNumber = encodeDer(derTag.integer, randomSerialNumber(crypto));
  const der = await encodeSigned(issuer.key, (algorithm) =>
    encodeDer(
      derTag.sequence,
      constant.version,
      serialNumber,
      algorithm,
      // Byte by byte the issuer's own: chains are followed by it.
      fromHex(issuer.certificate.subject),
      encodeDer(derTag.sequence, encodeTime(request.notBeforeMs), encodeTime(request.notAfterMs)),
      constant.subject,
      publicKeyInfo,
      encodeDer(
        contextTag(3, true),
        encodeDer(
          derTag.sequence,
          constant.basicConstraints,
          constant.keyUsage,
          constant.extendedKeyUsage,
          // With an empty subject the name is here alone, and so is critical (RFC 5280 §4.1.2.6).
          encodeExtension("551d11", encodeNames(request), "critical"),
          encodeExtension("551d0e", encodeDer(derTag.octetString, keyId), "optional"),
          encodeAuthorityKeyId(issuer.certificate),
        ),
      ),
    ),
  );
  return encodePem("CERTIFICATE", der);
}

/** What RFC 5280 §4.2.1.2 (1) hashes: the key without its algorithm. */
function keyBits(publicKeyInfo: Uint8Array): Uint8Array {
  const fields = readSingle(publicKeyInfo, derTag.sequence);
  fields.expect(derTag.sequence);
  const bits = readOctetAlignedBits(fields.content(derTag.bitString));
  fields.end();
  return bits;
}

/** GeneralNames (RFC 5280 §4.2.1.6). */
function encodeNames({ id, serverNames = [] }: SvidRequest): Uint8Array {
  return encodeDer(
    derTag.sequence,
    encodeDer(contextTag(6, false), ia5(id.uri)),
    ...serverNames.map(({ type, value }) =>
      type === "dns"
        ? encodeDer(contextTag(2, false), ia5(value))
        : encodeDer(contextTag(7, false), addressBytes(value)),
    ),
  );
}

function ia5(text: string): Uint8Array {
  if (/[^ -~]/.test(text)) throw unnameable(text);
  return new TextEncoder().encode(text);
}

function addressBytes(text: string): Uint8Array {
  const ip = IpAddress.parse(text);
  if (ip === null) throw unnameable(text);
  return ip.bytes;
}

function unnameable(name: string): MeshError {
  return new MeshError("configuration", "local", `"${name}" cannot be named in a certificate`);
}
