/** A collector of the OpenTelemetry protocol over HTTP: one request, and what its answer means (OTLP Specification, "OTLP/HTTP Response"). */
import { otlpLimits } from "../../base/limits/otlp.ts";
import type { Files, HttpClient, HttpResponse } from "../../host/host.ts";
import { readHeaderLines } from "../../wire/otlp/header_lines.ts";
import { type OtlpEncoding, otlpContentType } from "../../wire/otlp/items.ts";
import { rejectedItems } from "../../wire/otlp/otlp.ts";
import type { Collector, SendOutcome } from "./collector.ts";

export interface HttpCollectorOptions {
  readonly http: HttpClient;
  readonly files: Pick<Files, "readText">;
  /** `http://collector:4318/v1/traces`. */
  readonly url: string;
  readonly encoding: OtlpEncoding;
  /** `Name: value` lines, read for each request: a credential in it may be replaced. Null for none. */
  readonly headersPath: string | null;
  /** Roots by which it is known; null for the system's. */
  readonly rootPath: string | null;
}

export class HttpCollector implements Collector {
  readonly #options: HttpCollectorOptions;

  constructor(options: HttpCollectorOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.url;
  }

  get encoding(): OtlpEncoding {
    return this.#options.encoding;
  }

  /** Never rejects. */
  async send(body: Uint8Array): Promise<SendOutcome> {
    const { http, files, url, encoding, headersPath, rootPath } = this.#options;
    try {
      const headers =
        headersPath === null
          ? {}
          : readHeaderLines(await files.readText(headersPath), headersPath, otlpLimits.maxHeaders);
      const answer = await http.send({
        method: "POST",
        url,
        headers: { ...headers, "content-type": otlpContentType[encoding] },
        body,
        timeoutMs: otlpLimits.timeoutMs,
        maxResponseBytes: otlpLimits.maxAnswerBytes,
        // Named by who runs the waypoint, in its own settings, and mostly a private address.
        reach: "any",
        ...(rootPath === null ? {} : { trustedRootsPem: await files.readText(rootPath) }),
      });
      return judge(answer, encoding);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { kind: "later", reason, afterMs: null };
    }
  }
}

const retryable: ReadonlySet<number> = new Set([429, 502, 503, 504]);

function judge({ status, headers, body }: HttpResponse, encoding: OtlpEncoding): SendOutcome {
  if (status >= 200 && status <= 299) return { kind: "taken", rejected: rejectedItems(body, encoding) };
  const reason = `the collector answers ${status}`;
  if (!retryable.has(status)) return { kind: "refused", reason };
  // Seconds; a date is not understood, and is as if nothing were said.
  const seconds = /^\d{1,9}$/.test(headers["retry-after"] ?? "") ? Number(headers["retry-after"]) : null;
  const afterMs = seconds === null ? null : Math.min(seconds * 1000, otlpLimits.maxRetryAfterMs);
  return { kind: "later", reason, afterMs };
}
