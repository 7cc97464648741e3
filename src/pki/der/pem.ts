/** PEM (RFC 7468): base64 between lines that say what it is. */
import { MeshError } from "../../base/errors.ts";

export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`, … */
  readonly label: string;
  readonly der: Uint8Array;
}

// Text between blocks is allowed (RFC 7468 §5.2) and skipped.
const blockPattern = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END ([A-Z0-9 ]+)-----/g;

/** @throws MeshError `certificate_malformed`, blame local, when a block is damaged or cut short. */
export function decodePem(text: string): readonly PemBlock[] {
  const blocks: PemBlock[] = [];
  for (const [, label = "", body = "", end = ""] of text.matchAll(blockPattern)) {
    if (label !== end) throw damaged(`a PEM block begins as ${label} and ends as ${end}`);
    blocks.push({ label, der: decodeBase64(label, body) });
  }
  if (count(text, "-----BEGIN ") !== blocks.length || count(text, "-----END ") !== blocks.length) {
    throw damaged("a PEM block is cut short");
  }
  return blocks;
}

export function encodePem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

/** The DER of every block with this label. */
export function decodePemLabel(text: string, label: string): readonly Uint8Array[] {
  return decodePem(text)
    .filter((block) => block.label === label)
    .map((block) => block.der);
}

function decodeBase64(label: string, body: string): Uint8Array {
  const base64 = body.replace(/[ \t\r\n]/g, "");
  if (base64 === "" || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw damaged(`the ${label} block is not base64`);
  }
  return Uint8Array.fromBase64(base64);
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

function damaged(message: string): MeshError {
  return new MeshError("certificate_malformed", "local", message);
}
