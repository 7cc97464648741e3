/**
 * An endpoint that speaks HTTP/2 byte by byte and breaks where it is told to: what a library would keep right can be wrong here. It reads as
 * much of requests as it takes to know that one is there.
 */
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { bytes } from "./waypoint_lab.ts";

export const frameTypes = { data: 0, headers: 1, rstStream: 3, settings: 4, goAway: 7 } as const;
const flags = { endStream: 1, ack: 1, endHeaders: 4 } as const;
const prefaceBytes = 24;

export function frame(type: number, flag: number, id: number, payload: Uint8Array): Uint8Array {
  const head = new Uint8Array(9);
  const view = new DataView(head.buffer);
  view.setUint32(0, payload.length << 8);
  view.setUint8(3, type);
  view.setUint8(4, flag);
  view.setUint32(5, id);
  return Uint8Array.of(...head, ...payload);
}

/** RFC 7541 §6.2.2: literals without indexing, so that no table is needed. */
function block(fields: readonly string[]): Uint8Array {
  return Uint8Array.from(
    fields.flatMap((text, i) => [...(i % 2 === 0 ? [0] : []), text.length, ...bytes(text)]),
  );
}

export function headers(id: number, fields: readonly string[], endStream = false): Uint8Array {
  return frame(frameTypes.headers, flags.endHeaders | (endStream ? flags.endStream : 0), id, block(fields));
}

export function data(id: number, payload: Uint8Array, endStream = false): Uint8Array {
  return frame(frameTypes.data, endStream ? flags.endStream : 0, id, payload);
}

/** A message of gRPC. */
export function message(text: string): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, text.length, ...bytes(text));
}

function words(...values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [index, value] of values.entries()) view.setUint32(4 * index, value);
  return new Uint8Array(view.buffer);
}

export function rstStream(id: number, code: number): Uint8Array {
  return frame(frameTypes.rstStream, 0, id, words(code));
}

export function goAway(lastId: number, code: number): Uint8Array {
  return frame(frameTypes.goAway, 0, 0, words(lastId, code));
}

export const settings = frame(frameTypes.settings, 0, 0, new Uint8Array(0));
export const settingsAck = frame(frameTypes.settings, flags.ack, 0, new Uint8Array(0));

export interface RawRequest {
  readonly id: number;
  readonly content: string;
  readonly ended: boolean;
}

/** Calls `onRequest` for each request that is whole, or has content although it goes on: once each. */
export function readRequests(peer: Recorder, onRequest: (request: RawRequest) => void): void {
  let unread: number[] = [];
  let isGreeted = false;
  const contents = new Map<number, string>();
  const told = new Set<number>();
  peer.onData = (piece) => {
    unread.push(...piece);
    if (!isGreeted) {
      if (unread.length < prefaceBytes) return;
      unread = unread.slice(prefaceBytes);
      isGreeted = true;
    }
    for (;;) {
      const [a = 0, b = 0, c = 0, type, flag = 0] = unread;
      const length = (a << 16) | (b << 8) | c;
      if (unread.length < 9 + length) return;
      const id = (unread[7] ?? 0) * 256 + (unread[8] ?? 0);
      const payload = unread.slice(9, 9 + length);
      unread = unread.slice(9 + length);
      if (type !== frameTypes.headers && type !== frameTypes.data) continue;
      if (type === frameTypes.data)
        contents.set(id, `${contents.get(id) ?? ""}${String.fromCharCode(...payload)}`);
      const ended = (flag & flags.endStream) !== 0;
      if (told.has(id) || !(ended || payload.length === 0 || type === frameTypes.data)) continue;
      if (!ended && (contents.get(id) ?? "") === "") continue;
      told.add(id);
      onRequest({ id, content: contents.get(id) ?? "", ended });
    }
  };
}
