/** The command line's way to a running node: its administration socket, wherever it is; its port for reading. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { adminLimits } from "../../base/limits/admin.ts";
import type { AdminTarget } from "../../cli/bindings.ts";
import { httpGet } from "../../host/bun/http_get.ts";
import type { Host } from "../../host/host.ts";
import { HttpConnection } from "../../transport/http/client_connection.ts";
import { readAll } from "../../transport/http/request.ts";

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** @throws MeshError as `CliBindings.askAdmin`. */
export async function askAdmin(
  host: Host,
  { sockets, address }: AdminTarget,
  method: "GET" | "POST",
  path: string,
): Promise<Answer> {
  let denied: MeshError | null = null;
  for (const socket of sockets) {
    try {
      return await askSocket(host, socket, method, path);
    } catch (thrown) {
      const error = asMeshError(thrown, "connect_refused", "upstream");
      if (error.code === "permission_denied") denied = error;
      // One that is there and fails has more to say than those that are not.
      else if (!isAbsent(error)) throw error;
    }
  }
  if (method === "GET" && address !== null) return await httpGet(address, path, adminLimits.clientTimeoutMs);
  if (denied !== null)
    throw new MeshError(
      "permission_denied",
      "local",
      `the node's socket is for root, the node's own user and its --admin-group: ${denied.message}`,
    );
  throw new MeshError(
    "connect_refused",
    "upstream",
    `no node answers at ${sockets.join(", ")}. Is one running? If its socket is elsewhere, give --admin unix:PATH`,
  );
}

function isAbsent({ code }: MeshError): boolean {
  return code === "connect_unreachable" || code === "connect_refused" || code === "unsupported";
}

async function askSocket(host: Host, socket: string, method: string, path: string): Promise<Answer> {
  const connection = await HttpConnection.openUnix(host, socket);
  try {
    const answer = await connection.request({ method, path, headers: {}, body: null });
    const body = await readAll(answer.body, adminLimits.maxAnswerBytes);
    return { status: answer.status, text: new TextDecoder().decode(body) };
  } finally {
    connection.close();
  }
}
