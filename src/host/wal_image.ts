/**
 * A SQLite database and its write-ahead log as one image, without writing to either: what SQLite does at its next opening, for a file system
 * that cannot be written (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). Pure.
 */

const walHeaderBytes = 32;
const frameHeaderBytes = 24;
const magics = [0x377f0682, 0x377f0683];

/** @param wal empty for none. @returns a database without a log; the same bytes where nothing was committed in it. */
export function imageWithLog(database: Uint8Array, wal: Uint8Array): Uint8Array {
  const pages = committedPages(wal);
  const image = pages === null ? database.slice() : applied(database, pages);
  // "Journal mode WAL" would want a log beside it; an image in memory has none.
  if (image.length > 20 && image[18] === 2) image.fill(1, 18, 20);
  return image;
}

interface Committed {
  readonly pageBytes: number;
  /** Of the whole database. */
  readonly pageCount: number;
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

/** The newest of each page, up to the last commit that is whole. */
function committedPages(wal: Uint8Array): Committed | null {
  if (wal.length < walHeaderBytes) return null;
  const view = new DataView(wal.buffer, wal.byteOffset, wal.byteLength);
  const magic = view.getUint32(0);
  if (!magics.includes(magic)) return null;
  const isLittle = magic === magics[0];
  const pageBytes = view.getUint32(8);
  const sum = { a: 0, b: 0 };
  checksum(sum, view, 0, 24, isLittle);
  if (sum.a !== view.getUint32(24) || sum.b !== view.getUint32(28)) return null;
  const salts = [view.getUint32(16), view.getUint32(20)];
  const pending = new Map<number, Uint8Array>();
  const pages = new Map<number, Uint8Array>();
  let committedCount = 0;
  const frameBytes = frameHeaderBytes + pageBytes;
  for (let at = walHeaderBytes; at + frameBytes <= wal.length; at += frameBytes) {
    if (view.getUint32(at + 8) !== salts[0] || view.getUint32(at + 12) !== salts[1]) break;
    checksum(sum, view, at, 8, isLittle);
    checksum(sum, view, at + frameHeaderBytes, pageBytes, isLittle);
    // A frame that was being written when the process or the disk ended.
    if (sum.a !== view.getUint32(at + 16) || sum.b !== view.getUint32(at + 20)) break;
    pending.set(view.getUint32(at), wal.subarray(at + frameHeaderBytes, at + frameBytes));
    const pageCount = view.getUint32(at + 4);
    if (pageCount === 0) continue;
    for (const [page, bytes] of pending) pages.set(page, bytes);
    pending.clear();
    committedCount = pageCount;
  }
  return committedCount === 0 ? null : { pageBytes, pageCount: committedCount, pages };
}

function applied(database: Uint8Array, { pageBytes, pageCount, pages }: Committed): Uint8Array {
  const image = new Uint8Array(pageBytes * pageCount);
  image.set(database.subarray(0, image.length));
  for (const [page, bytes] of pages)
    if (page >= 1 && page <= pageCount) image.set(bytes, (page - 1) * pageBytes);
  return image;
}

/** Cumulative over 32-bit words, in the byte order that the log's first word says. */
function checksum(
  sum: { a: number; b: number },
  view: DataView,
  from: number,
  length: number,
  isLittle: boolean,
): void {
  let { a, b } = sum;
  for (let at = from; at < from + length; at += 8) {
    a = (a + view.getUint32(at, isLittle) + b) >>> 0;
    b = (b + view.getUint32(at + 4, isLittle) + a) >>> 0;
  }
  sum.a = a;
  sum.b = b;
}
