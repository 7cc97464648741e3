/** Serves a `fetch` function over HTTP/1.1 by `node:http`: administration, metrics and readiness. The data path never goes through here. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { ServeHttp } from "../host.ts";
import { boundAddress, listenTcp } from "./listen.ts";

/** @throws MeshError `address_in_use`, `permission_denied` or `io`, blame local. */
export const serveHttp: ServeHttp = (address, fetch) => {
  const where = formatSocketAddress(address);
  const server = createServer((incoming, outgoing) => {
    answer(where, fetch, incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.keepAliveTimeout = hostLimits.httpIdleSeconds * 1000;
  server.on("clientError", (_, socket) => socket.destroy());
  try {
    listenTcp(server, address, false);
  } catch (thrown) {
    const { code, message } = asMeshError(thrown, "io", "local");
    throw new MeshError(code, "local", `cannot serve HTTP on ${where}: ${message}`, { cause: thrown });
  }
  return {
    address: boundAddress(server, address),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
};

async function answer(
  where: string,
  fetch: Parameters<ServeHttp>[1],
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const body = await readBody(incoming);
  if (body === null) {
    outgoing.writeHead(413, { connection: "close" }).end();
    return;
  }
  const { method = "GET", url = "/", headers } = incoming;
  const gone = new AbortController();
  outgoing.on("close", () => gone.abort());
  let request: Request;
  try {
    request = new Request(`http://${headers.host ?? where}${url}`, {
      method,
      headers: headersOf(incoming),
      signal: gone.signal,
      ...(method === "GET" || method === "HEAD" ? {} : { body }),
    });
  } catch {
    outgoing.writeHead(400, { connection: "close" }).end();
    return;
  }
  const response = await fetch(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null || method === "HEAD") {
    outgoing.end();
    return;
  }
  const reader = response.body.getReader();
  // Whoever makes the body is told that no one reads it any more.
  gone.signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!outgoing.write(value)) await drained(outgoing);
  }
  outgoing.end();
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2)
    headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
  return headers;
}

/** @returns null for one that is too long. */
async function readBody(incoming: IncomingMessage): Promise<Uint8Array<ArrayBuffer> | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    bytes += chunk.length;
    if (bytes > hostLimits.httpRequestBodyBytes) return null;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      outgoing.off("drain", go).off("close", go);
      resolve();
    };
    outgoing.on("drain", go).on("close", go);
  });
}
