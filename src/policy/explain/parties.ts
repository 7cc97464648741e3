/** Whom an operator means by the words of `--from` and `--to`. */
import { IpAddress, parseHostPort } from "../../base/ip.ts";
import { inSteps } from "../../base/turns/steps.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Service } from "../../mesh/service.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { Workload } from "../../mesh/workload.ts";

/** Who calls: a workload by its node, or something that comes in plain text. */
export type Caller =
  | { readonly kind: "workload"; readonly workload: Workload; readonly ip: IpAddress }
  | {
      readonly kind: "plaintext";
      readonly ip: IpAddress;
      /** One without a tunnel. */
      readonly workload: Workload | null;
    };

/** What is called. The port is null where the words do not say it. */
export type Called =
  | { readonly kind: "workload"; readonly workload: Workload; readonly port: number | null }
  | { readonly kind: "service"; readonly service: Service; readonly port: number | null }
  | { readonly kind: "address"; readonly ip: IpAddress; readonly port: number | null }
  | { readonly kind: "name"; readonly hostname: string; readonly port: number | null };

/** Words that cannot be answered about; the message is for the operator. */
export class Unclear extends Error {}

/** RFC 5737: an address of nothing that is anywhere. */
const elsewhere = IpAddress.fromBytes(Uint8Array.of(192, 0, 2, 1));

/** A mesh's parties by the words that mean them. */
export class Parties {
  readonly #store: MeshStore;
  readonly #byAccount = new Map<string, Workload>();
  readonly #byAddress = new Map<string, Workload>();
  readonly #services = new Map<string, Service>();

  private constructor(store: MeshStore) {
    this.#store = store;
  }

  static *of(store: MeshStore): Generator<void, Parties> {
    const parties = new Parties(store);
    yield* inSteps(store.workloads(), (workload) => parties.#add(workload));
    yield* inSteps(store.services(), (service) => {
      const name = `${service.namespace}/${service.name}`;
      if (!parties.#services.has(name)) parties.#services.set(name, service);
    });
    return parties;
  }

  #add(workload: Workload): void {
    const { identity, addresses } = workload;
    if (!this.#byAccount.has(identity.uri)) this.#byAccount.set(identity.uri, workload);
    const account = `${workload.namespace}/${workload.serviceAccount}`;
    if (!this.#byAccount.has(account)) this.#byAccount.set(account, workload);
    for (const { text } of addresses) if (!this.#byAddress.has(text)) this.#byAddress.set(text, workload);
  }

  at(ip: IpAddress): Workload | null {
    return this.#byAddress.get(ip.text) ?? null;
  }

  /**
   * `shop/frontend` (a workload, else a service account), a SPIFFE ID, an address, or `outside`: whoever is not in the mesh.
   *
   * @throws Unclear
   */
  caller(words: string): Caller {
    if (words === "outside" && elsewhere !== null)
      return { kind: "plaintext", ip: elsewhere, workload: null };
    const ip = IpAddress.parse(words);
    if (ip !== null) {
      const workload = this.at(ip);
      return workload === null ? { kind: "plaintext", ip, workload: null } : callerOf(workload, ip);
    }
    const [namespace = "", name = "", ...rest] = words.split("/");
    if (SpiffeId.parse(words) === null && (name === "" || rest.length > 0))
      throw new Unclear(
        `${words} is no caller: give NAMESPACE/WORKLOAD, NAMESPACE/SERVICE-ACCOUNT, a SPIFFE ID, an address, or "outside"`,
      );
    const [named] = this.#store.workloadsByName(namespace, name);
    const workload = named ?? this.#byAccount.get(words);
    if (workload === undefined) throw new Unclear(`no workload of the mesh is called ${words} or runs as it`);
    return callerOf(workload, workload.addresses[0] ?? null);
  }

  /**
   * `shop/backend` (a workload, else a service of that name), `backend.shop.mesh`, or an address, each with `:PORT` or without.
   *
   * @throws Unclear
   */
  called(words: string, callerNamespace: string | null): Called {
    const split = IpAddress.parse(words) === null ? parseHostPort(words) : null;
    const host = split?.host ?? words;
    const port = split?.port ?? null;
    const ip = IpAddress.parse(host);
    if (ip !== null) return { kind: "address", ip, port };
    const [namespace = "", name = "", ...rest] = host.split("/");
    if (rest.length > 0)
      throw new Unclear(
        `${words} is nothing to call: give NAMESPACE/WORKLOAD, NAMESPACE/SERVICE, a host name, or an address`,
      );
    if (name === "") {
      const service = this.#store.serviceByHostname(host, callerNamespace);
      if (service !== null) return { kind: "service", service, port };
      if (!host.includes(".")) throw new Unclear(`no service of the mesh is called ${words}`);
      return { kind: "name", hostname: host, port };
    }
    const [workload] = this.#store.workloadsByName(namespace, name);
    if (workload !== undefined) return { kind: "workload", workload, port };
    const service = this.#store.serviceByKey(host) ?? this.#services.get(host);
    if (service === undefined) throw new Unclear(`no workload and no service of the mesh is called ${host}`);
    return { kind: "service", service, port };
  }
}

function callerOf(workload: Workload, ip: IpAddress | null): Caller {
  const known = ip ?? elsewhere;
  if (known === null) throw new Unclear(`${workload.namespace}/${workload.name} has no address`);
  // Without a tunnel of its own it calls in plain text, like whoever is not in the mesh.
  return workload.tunnelProtocol === "NONE"
    ? { kind: "plaintext", ip: known, workload }
    : { kind: "workload", workload, ip: known };
}
