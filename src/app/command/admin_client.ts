/** The command line's way to a running node: its administration socket, wherever it is; its port for reading. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { adminLimits } from "../../base/limits/admin.ts";
import type { AdminTarget } from "../../cli/bindings.ts";
import type { Host } from "../../host/host.ts";
import { httpGet } from "../../host/system/http_get.ts";
import { HttpConnection } from "../../transport/http/client_connection.ts";
import { readAll } from "../../transport/http/request.ts";

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** @throws MeshError as `CliBindings.askAdmin`. */
export async function askAdmin(
  host: Host,
  target: AdminTarget,
  method: "GET" | "POST",
  path: string,
): Promise<Answer> {
  const { address } = target;
  try {
    return await atFirstSocket(target, (socket) => askSocket(host, socket, method, path));
  } catch (thrown) {
    if (!(thrown instanceof NoSocket)) throw thrown;
    if (method === "GET" && address !== null)
      return await httpGet(address, path, adminLimits.clientTimeoutMs);
    throw thrown.reason;
  }
}

/** @throws MeshError as `LiveBindings.follow`. */
export async function followAdmin(
  host: Host,
  target: AdminTarget,
  path: string,
  take: (text: string) => boolean,
): Promise<void> {
  try {
    await atFirstSocket(target, (socket) => followSocket(host, socket, path, take));
  } catch (thrown) {
    throw thrown instanceof NoSocket ? thrown.reason : thrown;
  }
}

/** None of the sockets was there for us. */
class NoSocket extends Error {
  readonly reason: MeshError;
  constructor(reason: MeshError) {
    super(reason.message);
    this.reason = reason;
  }
}

/** @throws NoSocket; MeshError when one is there and fails: it has more to say than those that are not. */
async function atFirstSocket<T>({ sockets }: AdminTarget, ask: (socket: string) => Promise<T>): Promise<T> {
  let denied: MeshError | null = null;
  for (const socket of sockets) {
    try {
      return await ask(socket);
    } catch (thrown) {
      const error = asMeshError(thrown, "connect_refused", "upstream");
      if (error.code === "permission_denied") denied = error;
      else if (!isAbsent(error)) throw error;
    }
  }
  if (denied !== null)
    throw new NoSocket(
      new MeshError(
        "permission_denied",
        "local",
        `the node's socket is for root, the node's own user and its --admin-group: ${denied.message}`,
      ),
    );
  throw new NoSocket(
    new MeshError(
      "connect_refused",
      "upstream",
      `no node answers at ${sockets.join(", ")}. Is one running? If its socket is elsewhere, give --admin unix:PATH`,
    ),
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

async function followSocket(
  host: Host,
  socket: string,
  path: string,
  take: (text: string) => boolean,
): Promise<void> {
  const connection = await HttpConnection.openUnix(host, socket);
  const stopped = new AbortController();
  const unsubscribe = host.process.onSignal(() =>
    stopped.abort(new MeshError("connection_closed", "local", "stopped")),
  );
  try {
    const answer = await connection.request({ method: "GET", path, headers: {}, body: null }, stopped.signal);
    if (answer.status !== 200) {
      const words = new TextDecoder().decode(await readAll(answer.body, adminLimits.maxAnswerBytes)).trim();
      throw new MeshError("io", "upstream", `the node refused ${path} (${answer.status}): ${words}`);
    }
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !take(decoder.decode(value, { stream: true }))) return;
    }
  } catch (thrown) {
    if (!stopped.signal.aborted) throw thrown;
  } finally {
    unsubscribe();
    connection.close();
  }
}
