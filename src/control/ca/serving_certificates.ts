/**
 * The control plane's own certificate, always one that holds: made at the start, again at half its life and whenever the authority
 * changes. A start while the CA's key cannot be used goes on with the last one: nodes follow and administrators come by it.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock, Timer, TlsCredentials } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { issueServingCertificate, type ServingCertificate } from "../../pki/issue/server.ts";
import type { ServingIssuer } from "../keys/authority_source.ts";
import type { IssuedCertificate } from "../records/certificates.ts";
import type { KeptServing } from "./kept_serving.ts";

export interface ServingCertificatesOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly authority: { serving(): ServingIssuer; readonly bundle: Watch<unknown> };
  /** The control plane's identity. */
  readonly id: SpiffeId;
  /** What it is dialled by. */
  readonly hosts: readonly string[];
  /** Where what was issued is kept, so that it can be revoked like any other. */
  readonly records?: { record(issued: IssuedCertificate): void };
  /** Where the last one is kept over restarts. */
  readonly kept?: Pick<KeptServing, "load" | "save">;
}

export class ServingCertificates {
  readonly #options: ServingCertificatesOptions;
  #current: ServingCertificate;
  #renewAtMs: number;
  readonly #watch: WatchSource<TlsCredentials>;
  #timer: Timer | null = null;
  #endWatch: () => void = () => {};
  #making: Promise<void> | null = null;
  #again = false;
  #closed = false;
  #problem: string | null = null;

  private constructor(options: ServingCertificatesOptions, first: ServingCertificate) {
    this.#options = options;
    this.#current = first;
    this.#watch = new WatchSource(first.credentials);
    this.#renewAtMs = halfLife(options.clock, first);
  }

  /** @throws MeshError when none can be made and none was kept: without one there is nothing to serve with. */
  static async start(options: ServingCertificatesOptions): Promise<ServingCertificates> {
    const { certificate, problem } = await first(options);
    const serving = new ServingCertificates(options, certificate);
    serving.#problem = problem;
    serving.#schedule(problem === null ? serving.#untilHalfLife() : identityLimits.servingRetryMs);
    if (problem !== null) serving.#renewAtMs = atOnce;
    serving.#endWatch = options.authority.bundle.subscribe(() => serving.#renew());
    return serving;
  }

  /** Asked for each handshake. */
  get credentials(): TlsCredentials {
    return this.#current.credentials;
  }

  /** The same, for who has to know when they are others. */
  get watch(): Watch<TlsCredentials> {
    return this.#watch;
  }

  get notAfterMs(): number {
    return this.#current.notAfterMs;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#endWatch();
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    // Timers do not follow a clock that is set: it is looked at often enough to notice.
    this.#timer = this.#options.clock.setTimer(Math.min(delayMs, checkMs), () => {
      if (this.#untilHalfLife() <= 0) this.#renew();
      else this.#schedule(this.#untilHalfLife());
    });
  }

  #untilHalfLife(): number {
    const nowMs = this.#options.clock.wallMs();
    // Made while the clock was ahead: no peer believes it yet.
    return nowMs < this.#current.notBeforeMs ? 0 : this.#renewAtMs - nowMs;
  }

  /** One at a time; however often it is asked for meanwhile, one more follows. */
  #renew(): void {
    this.#again = true;
    this.#making ??= this.#makeUntilQuiet().finally(() => {
      this.#making = null;
    });
  }

  async #makeUntilQuiet(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      let delayMs: number = identityLimits.servingRetryMs;
      try {
        this.#current = await issue(this.#options);
        this.#watch.set(this.#current.credentials);
        this.#renewAtMs = halfLife(this.#options.clock, this.#current);
        delayMs = Math.max(this.#untilHalfLife(), identityLimits.servingRetryMs);
        this.#problem = null;
      } catch (error) {
        const reason = asMeshError(error, "io", "local").message;
        this.#renewAtMs = atOnce;
        // Tried again every half a minute, and said once.
        const isKnown = reason === this.#problem;
        this.#problem = reason;
        if (!isKnown)
          this.#options.logger.log(
            "error",
            "identity",
            "the control plane's own certificate could not be renewed",
            { reason },
          );
      }
      if (!this.#closed) this.#schedule(delayMs);
    }
  }
}

const checkMs = 60 * 60_000;
/** In place of a time by the wall clock, which may be wrong now: when it is set right, what is wanted now would have been put off. */
const atOnce = Number.NEGATIVE_INFINITY;

/** @returns with why none could be made, where it is the last one. */
async function first(
  options: ServingCertificatesOptions,
): Promise<{ readonly certificate: ServingCertificate; readonly problem: string | null }> {
  try {
    return { certificate: await issue(options), problem: null };
  } catch (thrown) {
    const { code, blame, message } = asMeshError(thrown, "io", "local");
    const { kept, logger } = options;
    if (code !== "authority_unavailable" || kept === undefined) throw thrown;
    const last = await kept.load();
    if (typeof last === "string") {
      const why = `${message}; and there is no certificate of before to serve with: ${last}`;
      throw new MeshError(code, blame, why, { cause: thrown });
    }
    logger.log("warn", "identity", "the control plane serves with its last certificate, and issues nothing", {
      reason: message,
      not_after: new Date(last.notAfterMs).toISOString(),
    });
    return { certificate: last, problem: message };
  }
}

async function issue(options: ServingCertificatesOptions): Promise<ServingCertificate> {
  const { clock, authority, id, hosts } = options;
  const issued = await issueServingCertificate({ ...authority.serving(), id, hosts, nowMs: clock.wallMs() });
  record(options, issued);
  await options.kept?.save(issued);
  return issued;
}

/** A disk that is full is no reason to be unreachable: whoever mends it comes by this certificate. */
function record(
  { clock, logger, id, records }: ServingCertificatesOptions,
  issued: ServingCertificate,
): void {
  const { serialNumber: serial, issuerKey, notBeforeMs, notAfterMs } = issued;
  const { uri } = id;
  const row = { serial, identity: uri, issuerKey, notBeforeMs, notAfterMs, requestedBy: uri };
  try {
    records?.record({ ...row, issuedAtMs: Math.floor(clock.wallMs()) });
  } catch (error) {
    const reason = asMeshError(error, "io", "local").message;
    logger.log("warn", "identity", "the control plane's own certificate could not be recorded", {
      serial,
      reason,
    });
  }
}

function halfLife(clock: Clock, { notAfterMs }: ServingCertificate): number {
  const nowMs = clock.wallMs();
  return nowMs + (notAfterMs - nowMs) / 2;
}
