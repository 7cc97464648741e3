/**
 * What one conversion leaves for the next. Documents that did not change are the same objects, so what was made of them can be
 * the same objects, too; comparing two states of ten thousand workloads then costs next to nothing.
 */

import type { Authorization } from "../authorization.ts";
import type {
  AuthorizationPolicyDocument,
  EndpointSpec,
  MeshDocument,
  ServiceEntryDocument,
} from "../documents/document.ts";
import type { DocumentWarning } from "../location.ts";
import type { Service } from "../service.ts";
import { sameValue } from "../store/change.ts";
import type { Workload } from "../workload.ts";
import { type AddressClaim, claimsOf } from "./address_claims.ts";
import { convertAuthorizationPolicy } from "./authorization_policy.ts";
import type { ConversionContext } from "./conversion_context.ts";
import { ConversionReport, type DocumentStatus } from "./conversion_report.ts";
import { type ServiceSurroundings, servicesOf } from "./services_of.ts";
import {
  convertWorkload,
  endpointPorts,
  type WorkloadMembership,
  type WorkloadSource,
  workloadSource,
} from "./workload_entry.ts";

/** For one `ConversionContext` only. Forgets by itself what no document holds any more. */
export class ConversionCache {
  readonly #sources = new WeakMap<EndpointSpec, WorkloadSource>();
  readonly #workloads = new WeakMap<
    WorkloadSource,
    { readonly membership: WorkloadMembership; readonly workload: Workload }
  >();
  readonly #ports = new WeakMap<ServiceEntryDocument, ReadonlyMap<number, number>>();
  /** By the hosts that they are of. */
  readonly #keys = new WeakMap<ServiceEntryDocument["hosts"], readonly string[]>();
  readonly #claims = new WeakMap<MeshDocument, readonly AddressClaim[]>();
  readonly #policies = new WeakMap<AuthorizationPolicyDocument, ConvertedPolicy>();
  readonly #services = new WeakMap<ServiceEntryDocument, ConvertedServices>();
  readonly #canonical = new WeakMap<Service, Service>();
  readonly #statuses = new WeakMap<MeshDocument, DocumentStatus>();

  source(document: WorkloadSource["document"], spec: EndpointSpec): WorkloadSource {
    const known = this.#sources.get(spec);
    if (known !== undefined && known.document === document) return known;
    const source = workloadSource(document, spec);
    this.#sources.set(spec, source);
    return source;
  }

  workload(source: WorkloadSource, membership: WorkloadMembership, context: ConversionContext): Workload {
    const known = this.#workloads.get(source);
    if (known !== undefined && sameValue(known.membership, membership)) return known.workload;
    const workload = convertWorkload(source, membership, context);
    this.#workloads.set(source, { membership, workload });
    return workload;
  }

  /** The same for all that name no ports of their own: a thousand services of a thousand workloads would be a million. */
  ports(document: ServiceEntryDocument, spec: EndpointSpec): ReadonlyMap<number, number> {
    if (spec.ports.size > 0) return endpointPorts(document, spec);
    const known = this.#ports.get(document) ?? endpointPorts(document, spec);
    this.#ports.set(document, known);
    return known;
  }

  /** Of the services that some hosts of the document are. */
  serviceKeys(document: ServiceEntryDocument, hosts: ServiceEntryDocument["hosts"]): readonly string[] {
    const known =
      this.#keys.get(hosts) ?? hosts.map(({ value }) => `${document.metadata.namespace}/${value}`);
    this.#keys.set(hosts, known);
    return known;
  }

  /** The addresses that the document says are its own. */
  claims(document: MeshDocument, context: ConversionContext): readonly AddressClaim[] {
    const known = this.#claims.get(document);
    if (known !== undefined) return known;
    const claims = claimsOf(document, context);
    this.#claims.set(document, claims);
    return claims;
  }

  /** With the same warnings each time. */
  policy(
    document: AuthorizationPolicyDocument,
    context: ConversionContext,
    report: ConversionReport,
  ): Authorization | null {
    let known = this.#policies.get(document);
    if (known === undefined) {
      const own = new ConversionReport();
      const policy = convertAuthorizationPolicy(document, context, own);
      known = { policy, warnings: own.warnings(document) };
      this.#policies.set(document, known);
    }
    for (const { reason, message, location } of known.warnings)
      report.warn(document, reason, message, location);
    return known.policy;
  }

  services(
    document: ServiceEntryDocument,
    surroundings: ServiceSurroundings,
    context: ConversionContext,
  ): readonly Service[] {
    const known = this.#services.get(document);
    if (known !== undefined && sameValue(known.surroundings, surroundings)) return known.services;
    const services = servicesOf(document, surroundings, context);
    this.#services.set(document, { surroundings, services });
    return services;
  }

  /** The service as the canonical one of its name. */
  canonical(service: Service): Service {
    const known = this.#canonical.get(service) ?? { ...service, canonical: true };
    this.#canonical.set(service, known);
    return known;
  }

  /** The same object for a document about which there is nothing to say. */
  status(document: MeshDocument, report: ConversionReport): DocumentStatus {
    if (report.isRefused(document) || report.warnings(document).length > 0) return report.status(document);
    const known = this.#statuses.get(document) ?? report.status(document);
    this.#statuses.set(document, known);
    return known;
  }
}

interface ConvertedPolicy {
  readonly policy: Authorization | null;
  readonly warnings: readonly DocumentWarning[];
}

interface ConvertedServices {
  readonly surroundings: ServiceSurroundings;
  readonly services: readonly Service[];
}
