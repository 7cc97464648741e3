/** Which service a document means by a name. */
import type { MeshDocument } from "../documents/document.ts";
import type { BackendRef, ParentRef } from "../documents/traffic_specs.ts";
import { type Service, serviceKey } from "../service.ts";

export class ServiceLookup {
  readonly all: readonly Service[];
  readonly #byHost = new Map<string, Service[]>();
  /** By namespace and the name of the document that it comes from, or of the Service of Kubernetes. */
  readonly #byName = new Map<string, Service[]>();
  /** Whose host is `name.namespace.svc.…`. */
  readonly #byKubernetesName = new Map<string, Service[]>();
  readonly #portNames = new Map<string, ReadonlyMap<string, number>>();

  constructor(services: readonly Service[], documents: readonly MeshDocument[]) {
    this.all = services;
    for (const service of services) {
      push(this.#byHost, service.hostname, service);
      push(this.#byName, `${service.namespace}/${service.name}`, service);
      const [first = "", second, third] = service.hostname.split(".", 3);
      if (second === service.namespace && third === "svc")
        push(this.#byKubernetesName, `${second}/${first}`, service);
    }
    for (const document of documents) {
      if (document.kind !== "ServiceEntry") continue;
      const names = new Map(document.ports.map(({ name, number }) => [name, number]));
      for (const { value } of document.hosts)
        this.#portNames.set(`${document.metadata.namespace}/${value}`, names);
    }
  }

  /**
   * A name without a dot is one of the document's own namespace (Istio `ResolveShortnameToFQDN`). Of several of one name it is the
   * document's namespace's own, else the canonical one.
   */
  byHost(host: string, namespace: string): Service | null {
    if (!host.includes(".")) return this.#byShortName(host, namespace);
    const found = this.#byHost.get(host) ?? [];
    return (
      found.find((service) => service.namespace === namespace) ??
      found.find((service) => service.canonical) ??
      found.find((service) => service.visibility === "PUBLIC") ??
      null
    );
  }

  /** Whether a host of a document, wildcards too, means any service. */
  covers(host: string, namespace: string): boolean {
    if (!host.startsWith("*"))
      return host.includes(".") ? this.#byHost.has(host) : this.#byShortName(host, namespace) !== null;
    return this.all.some((service) => hostCovers(host, namespace, service));
  }

  byRef({ kind, namespace, name }: ParentRef | BackendRef, own: string): readonly Service[] {
    if (kind === "Hostname") {
      const service = this.byHost(name, own);
      return service === null ? [] : [service];
    }
    return this.byName(namespace ?? own, name);
  }

  byName(namespace: string, name: string): readonly Service[] {
    const named = this.#byName.get(`${namespace}/${name}`);
    if (named !== undefined) return named;
    const service = this.#byShortName(name, namespace);
    return service === null ? [] : [service];
  }

  /** By its name, or its number as a text. */
  port(service: Service, section: string): number | null {
    const named = this.#portNames.get(serviceKey(service))?.get(section);
    if (named !== undefined) return named;
    const number = Number(section);
    return service.ports.has(number) ? number : null;
  }

  #byShortName(name: string, namespace: string): Service | null {
    const exact = this.#byHost.get(name)?.find((service) => service.namespace === namespace);
    if (exact !== undefined) return exact;
    return this.#byKubernetesName.get(`${namespace}/${name}`)?.[0] ?? null;
  }
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** Whether a host of a document, as it is written, means the service. */
export function hostCovers(host: string, namespace: string, service: Service): boolean {
  if (host === "*") return true;
  if (host.startsWith("*"))
    return service.hostname.endsWith(host.slice(1)) && service.hostname !== host.slice(1);
  if (host.includes(".")) return host === service.hostname;
  if (service.namespace !== namespace) return false;
  return host === service.hostname || service.hostname.startsWith(`${host}.${namespace}.svc.`);
}

/** Documents by the hosts that they name, so that a service need not look at all of them. */
export class HostIndex<T extends MeshDocument> {
  readonly #documents: readonly T[];
  readonly #byHost = new Map<string, number[]>();
  readonly #wild: { readonly host: string; readonly at: number }[] = [];

  /** @param documents in the order in which they are given back. */
  constructor(documents: readonly T[], hostsOf: (document: T) => readonly string[]) {
    this.#documents = documents;
    for (const [at, document] of documents.entries())
      for (const host of hostsOf(document)) {
        if (host.startsWith("*")) this.#wild.push({ host, at });
        else push(this.#byHost, host.includes(".") ? host : `${document.metadata.namespace}/${host}`, at);
      }
  }

  /** Those of which a host covers the service. */
  of(service: Service): readonly T[] {
    const { namespace, hostname } = service;
    const short = hostname.slice(0, Math.max(0, hostname.indexOf(".")));
    const found = new Set([
      ...(this.#byHost.get(hostname) ?? []),
      ...(this.#byHost.get(`${namespace}/${hostname}`) ?? []),
      ...(hostname.startsWith(`${short}.${namespace}.svc.`)
        ? (this.#byHost.get(`${namespace}/${short}`) ?? [])
        : []),
    ]);
    for (const { host, at } of this.#wild) if (hostCovers(host, namespace, service)) found.add(at);
    return [...found].sort((a, b) => a - b).flatMap((at) => this.#documents[at] ?? []);
  }
}

/** The older first; what has no time comes last, by name and namespace (Istio `sortConfigByCreationTime`). */
export function byAge<T extends MeshDocument>(documents: readonly T[]): readonly T[] {
  return documents
    .map((document) => {
      const { createdMs, name, namespace } = document.metadata;
      return { document, age: createdMs ?? Number.MAX_VALUE, key: `${name}.${namespace}` };
    })
    .sort((a, b) => a.age - b.age || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ document }) => document);
}
