/** ztunnel's access log in its text form, which ours has too. */
import type { AccessRecord } from "./subject.ts";

/** `…\taccess\tconnection complete\tsrc.addr=… src.identity="…" … direction="inbound" … error="…"` */
export function accessRecord(line: string): AccessRecord[] {
  if (!/\taccess\tconnection (complete|failed)/.test(line)) return [];
  const field = (name: string): string | null => {
    const match = new RegExp(`${name.replace(".", "\\.")}=(?:"((?:[^"\\\\]|\\\\.)*)"|(\\S+))`).exec(line);
    return match?.[1] ?? match?.[2] ?? null;
  };
  const direction = field("direction");
  if (direction !== "inbound" && direction !== "outbound") return [];
  return [
    {
      direction,
      sourceIdentity: field("src.identity"),
      destinationIdentity: field("dst.identity"),
      target: field("dst.hbone_addr"),
      error: field("error"),
      line,
    },
  ];
}
