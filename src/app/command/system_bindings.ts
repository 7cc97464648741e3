/** This host, for installing on it and for checking it. */
import { asMeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import type { SystemBindings } from "../../cli/bindings.ts";
import { readResolvConf } from "../../dns/resolv_conf.ts";
import { resolvConfPath } from "../../dns/resolver_setup.ts";
import { Upstream } from "../../dns/upstream.ts";
import type { Host } from "../../host/host.ts";
import { dnsType, readQuery, writeQuery } from "../../wire/dns/message.ts";
import { isBuilt } from "../version.ts";

export function systemBindings(host: Host): SystemBindings {
  const { clock, files, net, process } = host;
  const run = (argv: readonly string[]) => process.run(argv[0] ?? "", argv.slice(1));
  return {
    uid: process.uid,
    isBuilt,
    executable: async () => {
      const path = `/proc/${process.pid}/exe`;
      const { exitCode, output } = await run(["readlink", path]);
      return exitCode === 0 ? output.trim() : path;
    },
    date: () => new Date(clock.wallMs()).toISOString().slice(0, 10),
    nowMs: () => clock.wallMs(),
    exists: (path) => files.exists(path),
    readText: (path) => files.readText(path),
    writeFile: (path, text, mode) => files.writeAtomic(path, new TextEncoder().encode(text), mode),
    makeDirectory: (path, mode) => files.makeDirectory(path, mode),
    connects: (to, timeoutMs, mark) =>
      net.connect({ to, timeoutMs, ...(mark === null ? {} : { mark }) }).then(
        (socket) => {
          socket.close();
          return true;
        },
        (thrown) => (asMeshError(thrown, "io", "local").code === "permission_denied" ? null : false),
      ),
    resolvers: async () => {
      const text = await files.readText(resolvConfPath).catch(() => "");
      const { servers } = readResolvConf(text);
      return Promise.all(
        servers.map(async (server) => ({ server: server.ip.text, answers: await answers(host, server) })),
      );
    },
    run,
  };
}

/** Any answer will do: also that there is no such name. */
async function answers({ clock, net, random }: Host, server: SocketAddress): Promise<boolean> {
  const upstream = new Upstream({ clock, net, random, servers: () => [server], mark: null });
  const query = writeQuery(1, "localhost", dnsType.a);
  const read = query === null ? null : readQuery(query);
  if (query === null || read === null || !("question" in read)) return false;
  return (await upstream.forward(query, read.question, "udp")) !== null;
}
