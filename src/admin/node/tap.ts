/**
 * What connections and requests this node sees, as they come: the access log's records as JSON lines, to whoever asks on the socket. A
 * reader that is slow loses records and is told how many; the data path never waits for one.
 */
import { adminLimits } from "../../base/limits/admin.ts";
import type { LogEntry, LogFields } from "../../base/log.ts";
import { formatLogLine } from "../../base/log_format.ts";

/** Adds a listener for what the access log says. @returns a function that ends it. */
export type WatchRecords = (listener: (entry: LogEntry) => void) => () => void;

export interface TapFilter {
  /** `namespace`, `namespace/workload`, an identity, an address or a host name; null takes all. */
  readonly from: string | null;
  readonly to: string | null;
  /** What was refused or broke off. */
  readonly failed: boolean;
}

const encoder = new TextEncoder();

export class Taps {
  readonly #watch: WatchRecords;
  #open = 0;

  constructor(watch: WatchRecords) {
    this.#watch = watch;
  }

  /**
   * @param signal of the request: whoever asked is gone, even while there is nothing to write to them.
   * @returns null when there are `maxTaps` already.
   */
  open(filter: TapFilter, signal: AbortSignal): ReadableStream<Uint8Array> | null {
    if (this.#open >= adminLimits.maxTaps || signal.aborted) return null;
    this.#open++;
    const waiting = new WaitingRecords();
    const unwatch = this.#watch((entry) => {
      if (passes(entry, filter)) waiting.push(entry);
    });
    const end = (): void => {
      if (waiting.ended) return;
      unwatch();
      waiting.end();
      this.#open--;
    };
    signal.addEventListener("abort", end, { once: true });
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const text = await waiting.take();
          if (text === null) controller.close();
          else controller.enqueue(encoder.encode(text));
        },
        cancel: end,
      },
      { highWaterMark: 0 },
    );
  }
}

/** Records that were not read yet, up to the bounds. */
class WaitingRecords {
  #lines: string[] = [];
  #chars = 0;
  #dropped = 0;
  #wake: (() => void) | null = null;
  ended = false;

  end(): void {
    this.ended = true;
    this.#wake?.();
    this.#wake = null;
  }

  push({ wallMs, level, target, message, fields }: LogEntry): void {
    if (this.#lines.length >= adminLimits.maxTapRecords || this.#chars >= adminLimits.maxTapChars) {
      this.#dropped++;
      return;
    }
    const line = formatLogLine("json", wallMs, level, target, message, fields);
    this.#lines.push(line);
    this.#chars += line.length;
    this.#wake?.();
    this.#wake = null;
  }

  /** All that waits, once there is something; null at the end. How many were left out is said behind the last that was not. */
  async take(): Promise<string | null> {
    if (this.#lines.length === 0 && !this.ended)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    if (this.ended) return null;
    const text =
      this.#lines.join("") + (this.#dropped === 0 ? "" : `${JSON.stringify({ dropped: this.#dropped })}\n`);
    this.#lines = [];
    this.#chars = 0;
    this.#dropped = 0;
    return text;
  }
}

const sourceFields = ["src.identity", "src.addr", "src.workload"];
const destinationFields = ["dst.identity", "dst.addr", "dst.service", "dst.workload", "dst.hbone_addr"];

function passes({ level, fields = {} }: LogEntry, { from, to, failed }: TapFilter): boolean {
  if (failed && level !== "warn" && level !== "error") return false;
  return isParty(fields, "src", sourceFields, from) && isParty(fields, "dst", destinationFields, to);
}

function isParty(
  fields: LogFields,
  side: "src" | "dst",
  names: readonly string[],
  wanted: string | null,
): boolean {
  if (wanted === null) return true;
  const namespace = fields[`${side}.namespace`];
  if (namespace === wanted || `${namespace}/${fields[`${side}.workload`]}` === wanted) return true;
  return names.some((name) => {
    const value = fields[name];
    // An address is found with and without its port.
    return typeof value === "string" && (value === wanted || value.startsWith(`${wanted}:`));
  });
}
