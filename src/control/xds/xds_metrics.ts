/** The xDS server's metrics, under istiod's names where it has one (`pilot/pkg/xds/monitoring.go`). */
import type { MetricRegistry } from "../../base/metrics.ts";
import type { OutgoingResponse } from "../../wire/ads/server_session.ts";

const delayBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10];

export class XdsMetrics {
  readonly #connected;
  readonly #pushes;
  readonly #bytes;
  readonly #rejects;
  readonly #delay;

  constructor(metrics: MetricRegistry) {
    this.#connected = metrics
      .gauge("pilot_xds", "Number of endpoints connected to this pilot using XDS.", [])
      .with({});
    this.#pushes = metrics.counter("pilot_xds_pushes", "Responses sent, by type.", ["type"]);
    this.#bytes = metrics.counter("fairlead_xds_sent_bytes", "Bytes of responses sent, by type.", ["type"]);
    this.#rejects = metrics.counter(
      "pilot_total_xds_rejects",
      "Total number of XDS responses rejected by proxy.",
      ["type"],
    );
    this.#delay = metrics
      .histogram(
        "pilot_debounce_time",
        "Delay in seconds between the first config enters debouncing and the merged push request is pushed.",
        [],
        delayBuckets,
      )
      .with({});
  }

  connected(count: number): void {
    this.#connected.set(count);
  }

  sent({ typeUrl, bytes }: OutgoingResponse): void {
    this.#pushes.with({ type: typeUrl }).add(1);
    this.#bytes.with({ type: typeUrl }).add(bytes.length);
  }

  refused(typeUrl: string): void {
    this.#rejects.with({ type: typeUrl }).add(1);
  }

  pushed(delayMs: number): void {
    this.#delay.observe(delayMs / 1000);
  }
}
