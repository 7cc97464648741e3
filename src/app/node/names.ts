/** Names of the mesh for programs of this host: the DNS proxy, the addresses it gives out, and the host's resolver led to it. */
import { IpAddress } from "../../base/ip.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Config, DnsConfig } from "../../config/node/config.ts";
import { keepVirtualAddresses, MeshNames } from "../../dns/mesh_names.ts";
import { findSetupMode, ResolverSetup } from "../../dns/resolver_setup.ts";
import { DnsServer } from "../../dns/server.ts";
import { Upstream } from "../../dns/upstream.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import { VirtualAddresses } from "../../mesh/names/virtual_addresses.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { LocalWorkloads } from "../../proxy/local_workloads.ts";
import type { OwnListeners } from "../../proxy/own_listeners.ts";
import type { Lifecycle } from "../lifecycle.ts";

/** What resolv.conf can name: a loopback address that no other resolver takes (systemd-resolved has 127.0.0.53 and .54), at port 53. */
const port53 = IpAddress.parse("127.0.0.153") ?? IpAddress.loopback(true);

export class NodeNames {
  /** Null where nothing captures what is sent to such an address. */
  readonly virtual: VirtualAddresses | null;
  readonly #host: Host;
  readonly #config: DnsConfig;
  readonly #store: MeshStore;
  readonly #setup: ResolverSetup;
  readonly #upstream: Upstream;
  #isServing = false;

  private constructor(host: Host, config: DnsConfig, isCaptured: boolean, store: MeshStore, parts: Parts) {
    this.#host = host;
    this.#config = config;
    this.#store = store;
    this.#setup = parts.setup;
    this.#upstream = parts.upstream;
    this.virtual = isCaptured ? new VirtualAddresses() : null;
  }

  static async open(
    host: Host,
    { capture }: Config,
    dns: DnsConfig,
    logger: LogWriter,
    store: MeshStore,
  ): Promise<NodeNames> {
    const mode = dns.setup === "auto" ? await findSetupMode(host) : dns.setup;
    const settings = { mode, listens: dns.listen, port53, upstreams: dns.upstreams };
    const setup = await ResolverSetup.open(host, settings, logger);
    const { clock, random, net } = host;
    const isCaptured = capture.mode !== "off";
    const mark = isCaptured ? capture.mark : null;
    const upstream = new Upstream({ clock, random, net, servers: () => setup.servers, mark });
    if (setup.servers.length === 0)
      logger.log("warn", "dns", "no resolver is known for names outside of the mesh", {
        remedy: "give one with --dns-upstream",
      });
    return new NodeNames(host, dns, isCaptured, store, { setup, upstream });
  }

  /** For the node itself: the host's resolver may be us, and would give a virtual address for what is to be dialled. @throws MeshError. */
  async resolve(hostname: string): Promise<readonly IpAddress[]> {
    return (await inHostsFile(this.#host, hostname)) ?? (await this.#upstream.resolve(hostname));
  }

  /** Listens, then leads the host's programs here. @throws MeshError when a port cannot be had. */
  async serve(
    locals: LocalWorkloads,
    own: OwnListeners,
    metrics: MetricRegistry,
    life: Lifecycle,
    holds: () => boolean,
  ): Promise<void> {
    const { clock, net, random } = this.#host;
    const { virtual } = this;
    const names = new MeshNames({
      store: this.#store,
      virtual,
      clusterDomain: this.#config.clusterDomain,
      searchDomains: () => this.#setup.search,
      random: () => random.float(),
    });
    const upstream = this.#upstream;
    const clientAt = (ip: IpAddress) => locals.byAddress(ip) ?? locals.all[0] ?? null;
    const server = new DnsServer({ clock, net, names, upstream, metrics, clientAt });
    life.onStop(() => server.close());
    const opened = [await server.listen(this.#config.listen)];
    const setup = this.#setup;
    if (setup.mode === "resolv-conf") opened.push(await server.listen({ ip: port53, port: 53 }));
    for (const address of opened) life.onStop(own.add(address));
    if (virtual !== null) life.onStop(keepVirtualAddresses(this.#store, virtual));
    // Last, and first undone: no program is led to where none answers.
    life.onStop(() => (holds() ? setup.remove() : setup.leave()));
    await setup.apply();
    this.#isServing = true;
  }

  /** This host's programs resolve names as before, also when the node goes on. */
  async withdraw(): Promise<void> {
    this.#isServing = false;
    await this.#setup.remove();
  }

  /** What readiness waits for. */
  get pending(): readonly string[] {
    return this.#isServing && this.#setup.problem === null ? [] : ["names of the mesh"];
  }
}

interface Parts {
  readonly setup: ResolverSetup;
  readonly upstream: Upstream;
}

/** hosts(5): what an operator has written there holds for the node too. */
async function inHostsFile(host: Host, hostname: string): Promise<readonly IpAddress[] | null> {
  const wanted = hostname.toLowerCase();
  const text = await host.files.readText("/etc/hosts").catch(() => "");
  const found = text.split("\n").flatMap((line): readonly IpAddress[] => {
    const [address = "", ...names] = line.replace(/#.*$/, "").trim().split(/\s+/);
    const ip = names.some((name) => name.toLowerCase() === wanted) ? IpAddress.parse(address) : null;
    return ip === null ? [] : [ip];
  });
  return found.length === 0 ? null : found;
}
