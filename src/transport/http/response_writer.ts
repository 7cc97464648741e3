/** A Response onto a stream: its head at once, its body as fast as the client reads. */
import { MeshError } from "../../base/errors.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";

const nothing = new Uint8Array(0);

/** What HTTP/1 says about a connection has no place in HTTP/2 (RFC 9113 §8.2.2). */
const connectionSpecific: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

export function responseFields(response: Response): HeaderFields {
  const fields = [":status", String(response.status)];
  response.headers.forEach((value, name) => {
    if (!connectionSpecific.has(name)) fields.push(name, value);
  });
  return fields;
}

/** @param writable resolves when there is room again, and rejects when the client is gone or does not read. */
export async function writeResponse(
  stream: H2Stream,
  response: Response,
  isHead: boolean,
  writable: () => Promise<void>,
): Promise<void> {
  const { body } = response;
  // RFC 9110 §6.4.1: these never have content.
  const empty = isHead || body === null || response.status === 204 || response.status === 304;
  stream.sendHeaders(responseFields(response), empty);
  if (body === null) return;
  if (empty) {
    await body.cancel();
    return;
  }
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (stream.closed) throw new MeshError("connection_closed", "peer", "the client is gone");
      if (done) break;
      stream.sendData(value, false);
      if (stream.aboveHighWater) await writable();
    }
    stream.sendData(nothing, true);
  } catch (error) {
    // The source is told, so that it stops; its own failure it knows.
    await reader.cancel(error).catch(() => {});
    throw error;
  }
}
