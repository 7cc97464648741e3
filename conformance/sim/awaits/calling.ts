/** One call, from a client of a node or by a peer that speaks HBONE by hand. */
import type { MemoryHost } from "../../../src/host/memory/process.ts";
import { Recorder } from "../../../src/host/testing/recorder.ts";
import { at } from "../../flows/lab.ts";
import type { HbonePeer } from "../../flows/peer.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A call as its client has it. */
export interface Calling {
  readonly text: () => string;
  readonly isClosed: () => boolean;
  reset(): void;
  /** Orderly. */
  close(): void;
}

/** @throws MeshError when the node does not take it. */
export async function callNode(client: MemoryHost): Promise<Calling> {
  const socket = await client.net.connect({ to: at("10.0.0.1:8080"), timeoutMs: 1_000 });
  const recorder = new Recorder(socket);
  socket.write(bytes("hello"));
  return {
    text: () => recorder.text,
    isClosed: () => recorder.closes > 0,
    reset: () => socket.reset(),
    close: () => socket.close(),
  };
}

export function callByHand(peer: HbonePeer): Calling {
  const { stream, log } = peer.connect("10.0.0.2:15432");
  stream.sendData(bytes("hello"), false);
  return {
    text: () => log.text,
    isClosed: () => log.closed,
    reset: () => stream.reset(8),
    close: () => {
      if (!stream.closed && !stream.localEnded) stream.sendData(new Uint8Array(0), true);
    },
  };
}

export function describe(call: Calling | null | undefined): string {
  if (call === null || call === undefined) return "nothing: it was not taken in";
  return `${JSON.stringify(call.text())}, ${call.isClosed() ? "closed" : "open"}`;
}
