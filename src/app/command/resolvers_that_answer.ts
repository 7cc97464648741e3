/** Whom this host asks for names, and whether they answer. */
import type { SocketAddress } from "../../base/ip.ts";
import type { SystemBindings } from "../../cli/bindings.ts";
import { readResolvConf } from "../../dns/resolv_conf.ts";
import { resolvConfPath } from "../../dns/resolver_setup.ts";
import { Upstream } from "../../dns/upstream.ts";
import type { Host } from "../../host/host.ts";
import { dnsType, readQuery, writeQuery } from "../../wire/dns/message.ts";

export async function resolversThatAnswer(host: Host): ReturnType<SystemBindings["resolvers"]> {
  const text = await host.files.readText(resolvConfPath).catch(() => "");
  const { servers } = readResolvConf(text);
  return await Promise.all(
    servers.map(async (server) => ({ server: server.ip.text, answers: await answers(host, server) })),
  );
}

/** Any answer will do: also that there is no such name. */
async function answers({ clock, net, random }: Host, server: SocketAddress): Promise<boolean> {
  const upstream = new Upstream({ clock, net, random, servers: () => [server], mark: null });
  const query = writeQuery(1, "localhost", dnsType.a);
  const read = query === null ? null : readQuery(query);
  if (query === null || read === null || !("question" in read)) return false;
  return (await upstream.forward(query, read.question, "udp")) !== null;
}
