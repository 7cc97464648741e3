/** Names of X.509 for people to read. For decisions names are compared as DER bytes, never as this text. */
import { derTag, readSingle } from "./der.ts";
import { latin1, readOid } from "./values.ts";

const attributes: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.5": "SERIALNUMBER",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "0.9.2342.19200300.100.1.25": "DC",
};

/** Characters of a name that a log line shows. */
const shown = 120;

/** `O=cluster.local, CN=root`, or `(empty name)`. @throws MeshError `certificate_malformed`. */
export function formatName(name: Uint8Array): string {
  const parts: string[] = [];
  const sequence = readSingle(name, derTag.sequence);
  while (!sequence.atEnd) {
    const set = sequence.enter(derTag.set);
    do {
      const attribute = set.enter(derTag.sequence);
      const type = readOid(attribute.content(derTag.oid));
      const value = attribute.element();
      attribute.end();
      parts.push(`${attributes[type] ?? type}=${printable(decodeText(value.tag, value.content))}`);
    } while (!set.atEnd);
  }
  return parts.length === 0 ? "(empty name)" : parts.join(", ").slice(0, shown);
}

/** What a stranger wrote, made fit for a log: printable ASCII, the rest escaped, cut. */
export function printable(text: string): string {
  const escaped = text.replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
  return escaped.length <= shown ? escaped : `${escaped.slice(0, shown)}…`;
}

function decodeText(tag: number, content: Uint8Array): string {
  // 12 is UTF8String; PrintableString, IA5String and T61String are shown byte by byte.
  return tag === 0x0c ? new TextDecoder().decode(content) : latin1(content);
}
