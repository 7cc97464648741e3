/** Whoever takes spans, log records or metrics by the OpenTelemetry protocol, whatever carries it. */
import type { OtlpEncoding } from "../../wire/otlp/items.ts";

export type SendOutcome =
  | { readonly kind: "taken"; readonly rejected: number }
  /** What is lost by it is lost: the same again would be refused again. */
  | { readonly kind: "refused"; readonly reason: string }
  /** @member afterMs as the collector says; null when it says nothing. */
  | { readonly kind: "later"; readonly reason: string; readonly afterMs: number | null };

export interface Collector {
  /** For the log. */
  readonly url: string;
  readonly encoding: OtlpEncoding;
  /** @param body an `Export…ServiceRequest`. Never rejects. */
  send(body: Uint8Array): Promise<SendOutcome>;
}
