/**
 * The administration socket of a node: every user of a host can reach a port, but on a Unix socket the kernel says who asks. Root, the
 * user that the node runs as, and a group that the operator names may read and change.
 */
import type { SocketBindings } from "../../admin/node/app.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { AdminSocketConfig } from "../../config/node/config.ts";
import type { Files, Host, PeerCredentials } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { serveHttp } from "../../transport/http/serve.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import type { Ports } from "../served.ts";

export interface SocketApp {
  readonly fetch: (request: Request, bindings: SocketBindings) => Response | Promise<Response>;
}

/**
 * @returns its path; null when there is none: it is switched off, or it was not named and cannot be had where it would be.
 * @throws MeshError `configuration` for a group that does not exist, and as `Network.listenUnix` for a path that was named.
 */
export async function openAdminSocket(
  host: Host,
  config: AdminSocketConfig | null,
  logger: LogWriter,
  ports: Ports,
  app: SocketApp,
): Promise<string | null> {
  if (config === null) return null;
  const { path, isNamed } = config;
  const group = config.group === null ? null : await groupNumber(host.files, config.group);
  const handler = (request: Request, { credentials }: RpcPeer): Response | Promise<Response> =>
    mayAdminister(credentials, host.process.uid, group)
      ? app.fetch(request, {
          caller: `uid=${credentials.uid},gid=${credentials.gid}`,
          isOwner: mayAdminister(credentials, host.process.uid, null),
        })
      : refuse(credentials, config, logger);
  const serving = { clock: host.clock, logger, handler };
  const server = new RpcServer({
    host,
    logger,
    service: new GrpcService<RpcPeer>(),
    credentials: () => {
      throw new TypeError("a Unix socket has no TLS");
    },
    fallback: (stream, headers, endStream, peer) => serveHttp(serving, stream, headers, endStream, peer),
  });
  try {
    if (!isNamed) await host.files.makeDirectory(path.slice(0, path.lastIndexOf("/")), 0o700);
    // Members of the group are told apart by the kernel's word; a mode would have to go by the file's group.
    server.listenUnix(path, group === null ? 0o600 : 0o666);
  } catch (thrown) {
    server.close();
    if (isNamed) throw thrown;
    const { message } = asMeshError(thrown, "io", "local");
    logger.log("warn", "admin", "there is no administration socket; give one with --admin-socket", {
      reason: message,
    });
    return null;
  }
  ports.onClose(() => server.close());
  return path;
}

/** Root, the node's own user, and the group, be it the caller's first or another of its groups. */
export function mayAdminister(
  credentials: PeerCredentials | null,
  ownUid: number,
  group: number | null,
): credentials is PeerCredentials {
  if (credentials === null) return false;
  const { uid, gid, groups } = credentials;
  return uid === 0 || uid === ownUid || (group !== null && (gid === group || groups.includes(group)));
}

function refuse(
  credentials: PeerCredentials | null,
  { group }: AdminSocketConfig,
  logger: LogWriter,
): Response {
  const caller = credentials === null ? "unknown" : `uid=${credentials.uid},gid=${credentials.gid}`;
  logger.log("warn", "admin", "administration was refused", { by: caller });
  const members = group === null ? "" : ` and members of group ${group}`;
  return new Response(`only root and the user of the node${members} may do this, not ${caller}\n`, {
    status: 403,
  });
}

/** Of a name in the system's list of groups, or the number itself. */
async function groupNumber(files: Files, group: string): Promise<number> {
  if (/^[0-9]+$/.test(group)) return Number(group);
  const line = (await files.readText("/etc/group")).split("\n").find((each) => each.startsWith(`${group}:`));
  const number = line?.split(":")[2] ?? "";
  if (!/^[0-9]+$/.test(number))
    throw new MeshError("configuration", "local", `--admin-group: there is no group ${group} in /etc/group`);
  return Number(number);
}
