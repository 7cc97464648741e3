/**
 * What one conversion leaves for the next. Documents that did not change are the same objects, so what was made of them can be
 * the same objects, too; comparing two states of ten thousand workloads then costs next to nothing.
 */

import type { EndpointSpec } from "../documents/document.ts";
import { sameValue } from "../store/change.ts";
import type { Workload } from "../workload.ts";
import type { ConversionContext } from "./conversion_context.ts";
import {
  convertWorkload,
  type WorkloadMembership,
  type WorkloadSource,
  workloadSource,
} from "./workload_entry.ts";

/** For one `ConversionContext` only. Forgets by itself what no document holds any more. */
export class WorkloadCache {
  readonly #sources = new WeakMap<EndpointSpec, WorkloadSource>();
  readonly #workloads = new WeakMap<
    WorkloadSource,
    { readonly membership: WorkloadMembership; readonly workload: Workload }
  >();

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
}
