/** Waits for the answer to our CONNECT, and keeps what comes with it until the connection is carried. */
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock } from "../../host/host.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { parseAnswer, resetCode } from "../../wire/hbone.ts";
import { EarlyStream, type Initiator } from "../carry/early_stream.ts";

/** `refused`: the peer has not looked at the request (REFUSED_STREAM, or beyond its GOAWAY; RFC 9113 §8.7), so it may be made again. */
type Outcome = "answered" | "refused" | MeshError;

export class AnswerWait extends EarlyStream {
  #outcome: Outcome | null = null;
  #tell: (() => void) | null = null;

  constructor() {
    super(false);
  }

  /** @throws MeshError `hbone_status`, `h2_*`, `connect_timeout`. */
  async outcome(clock: Clock, stream: H2Stream): Promise<"answered" | "refused"> {
    if (this.#outcome === null) {
      const timer = clock.setTimer(proxyLimits.answerTimeoutMs, () => {
        this.#settle(
          new MeshError("connect_timeout", "upstream", "the tunnel did not answer our CONNECT in time"),
        );
      });
      await new Promise<void>((resolve) => {
        this.#tell = resolve;
      });
      timer.cancel();
    }
    const outcome = this.#outcome;
    if (outcome instanceof MeshError) {
      if (!stream.closed) stream.reset(resetCode.cancel);
      throw outcome;
    }
    return outcome ?? "refused";
  }

  cancel(): void {
    this.#settle(new MeshError("stopped", "local", "the connection ended before its CONNECT was answered"));
  }

  override onHeaders(headers: HeaderFields, endStream: boolean): void {
    // RFC 9110 §15.2: interim answers may come first.
    if (headers[0] === ":status" && headers[1]?.startsWith("1") === true) return;
    try {
      parseAnswer(headers);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.#settle(error);
      return;
    }
    super.onHeaders(headers, endStream);
    this.#settle("answered");
  }

  override onReset(code: number, initiator: Initiator, error: MeshError): void {
    super.onReset(code, initiator, error);
    this.#settle(code === resetCode.refusedStream ? "refused" : error);
  }

  override onClose(): void {
    super.onClose();
    this.#settle(new MeshError("h2_reset", "upstream", "the tunnel ended our CONNECT without an answer"));
  }

  #settle(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#tell?.();
  }
}
