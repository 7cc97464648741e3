/** Cross-origin requests, as Envoy's filter answers them (`cors_filter.cc`; Fetch, "CORS protocol"). */
import type { CorsPolicy } from "../../mesh/traffic/route_plan.ts";
import { type Fields, field, type RequestHead } from "../exchange.ts";
import { type TextMatcher, textMatcher } from "./text_matcher.ts";

export type Preflight =
  /** No preflight, or one that the upstream answers. */
  { readonly kind: "forward" } | { readonly kind: "answer"; readonly fields: Fields };

export class CorsRules {
  readonly #policy: CorsPolicy;
  readonly #origins: readonly TextMatcher[];

  constructor(policy: CorsPolicy) {
    this.#policy = policy;
    this.#origins = policy.allowOrigins.map(textMatcher);
  }

  preflight(head: RequestHead): Preflight {
    const origin = field(head.fields, "origin") ?? "";
    const wanted = field(head.fields, "access-control-request-method") ?? "";
    if (origin === "" || head.method !== "OPTIONS" || wanted === "") return { kind: "forward" };
    const policy = this.#policy;
    const isAllowed = this.#allows(origin);
    if (!isAllowed && policy.unmatchedPreflights === "forward") return { kind: "forward" };
    // What follows permits nothing without the origin; Envoy says it all the same.
    const fields = isAllowed ? this.#ofOrigin(origin) : [];
    if (policy.allowMethods.length > 0)
      fields.push("access-control-allow-methods", policy.allowMethods.join(","));
    if (policy.allowHeaders.length > 0)
      fields.push("access-control-allow-headers", policy.allowHeaders.join(","));
    if (policy.maxAgeSeconds !== null) fields.push("access-control-max-age", String(policy.maxAgeSeconds));
    return { kind: "answer", fields };
  }

  /** What the upstream says of origins is replaced, never doubled. */
  answered(request: RequestHead, fields: Fields): Fields {
    const origin = field(request.fields, "origin") ?? "";
    if (origin === "" || !this.#allows(origin)) return fields;
    const said = this.#ofOrigin(origin);
    const changed: Fields = [];
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = fields[i] ?? "";
      if (!said.includes(name)) changed.push(name, fields[i + 1] ?? "");
    }
    changed.push(...said);
    return changed;
  }

  #ofOrigin(origin: string): Fields {
    const { allowCredentials, exposeHeaders } = this.#policy;
    const said = ["access-control-allow-origin", origin];
    if (allowCredentials) said.push("access-control-allow-credentials", "true");
    if (exposeHeaders.length > 0) said.push("access-control-expose-headers", exposeHeaders.join(","));
    return said;
  }

  /** `*` is every origin. */
  #allows(origin: string): boolean {
    return this.#origins.some((matches) => matches("*") || matches(origin));
  }
}
