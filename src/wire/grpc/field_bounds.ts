/**
 * How often a field may be in a message, looked at before the message is decoded: a decoder makes an object of each, all in one turn of
 * the event loop, and 16 MiB of names are half a million of them.
 */

/** Field number → how often it may be there, at the top of the message, and what is said when it is there more often. */
export type FieldBounds = Readonly<Record<number, { readonly most: number; readonly refusal: string }>>;

/** @returns the number of the first field that is there more often than it may be, or null. Bytes that are no message are the decoder's to refuse. */
export function fieldBeyondBounds(bytes: Uint8Array, bounds: FieldBounds): number | null {
  const counts = new Map<number, number>();
  let at = 0;
  while (at < bytes.length) {
    // Tags of more than four bytes are numbers that no field of ours has.
    let tag = 0;
    let byte = 0x80;
    for (let shift = 0; (byte & 0x80) !== 0 && shift < 28; shift += 7) {
      byte = bytes[at++] ?? 0;
      tag |= (byte & 0x7f) << shift;
    }
    const field = tag >>> 3;
    const most = bounds[field]?.most;
    if (most !== undefined) {
      const count = (counts.get(field) ?? 0) + 1;
      if (count > most) return field;
      counts.set(field, count);
    }
    const next = endOfValue(bytes, at, tag & 7);
    if (next === null) return null;
    at = next;
  }
  return null;
}

function endOfValue(bytes: Uint8Array, at: number, wireType: number): number | null {
  switch (wireType) {
    case 0:
      while (((bytes[at++] ?? 0) & 0x80) !== 0);
      return at;
    case 1:
      return at + 8;
    case 2: {
      let length = 0;
      let byte = 0x80;
      for (let shift = 0; (byte & 0x80) !== 0 && shift < 35; shift += 7) {
        byte = bytes[at++] ?? 0;
        length += (byte & 0x7f) * 2 ** shift;
      }
      return at + length;
    }
    case 5:
      return at + 4;
    default:
      return null;
  }
}
