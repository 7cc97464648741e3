/**
 * The SVIDs of this process: one per identity, made on first need, renewed at half of life, with back-off when the signer
 * fails and the old one in use for as long as it is valid. Connections keep what they began with.
 */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Random, Timer } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import type { CertificateSigner } from "../issue/ca.ts";
import type { TrustVerifier } from "../trust/verifier.ts";
import { withTimeout } from "./deadline.ts";
import { isExpired, isRenewalDue, renewalTimeMs } from "./renewal_time.ts";
import type { Svid } from "./svid.ts";
import { type IssuedSvid, requestSvid } from "./svid_request.ts";

export interface SecretOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly provider: CryptoProvider;
  readonly signer: CertificateSigner;
  /** Wanted validity of an SVID; ztunnel asks for 24 hours. */
  readonly lifetimeMs: number;
  /** Learns the roots that come with each SVID, as source `signer`. */
  readonly trust: Pick<TrustVerifier, "setRoots">;
  readonly logger: Logger;
}

export interface SecretEntry {
  readonly id: SpiffeId;
  readonly state: "available" | "initializing" | "unavailable";
  readonly svid: Svid | null;
  /** The last failure, also while an older SVID is still in use; null after a success. */
  readonly error: MeshError | null;
}

interface Secret {
  readonly id: SpiffeId;
  svid: Svid | null;
  error: MeshError | null;
  /** The signing under way. */
  attempt: Promise<Svid> | null;
  failures: number;
  /** When to renew, by the wall clock, as that is what expiry goes by. */
  renewAtMs: number;
  /** When to renew for another reason, by the monotonic clock: a wall clock that is wrong now would put it off when it is set right. */
  wantedAtNow: number;
  /** Not before this, by the monotonic clock: back-off. */
  notBeforeNow: number;
  /** How far the wall clock was ahead of the monotonic one when the last attempt failed. */
  failedAheadMs: number;
}

export class SecretManager {
  readonly #options: SecretOptions;
  readonly #verifier: SignatureVerifier;
  readonly #secrets = new Map<string, Secret>();
  readonly #listeners = new Set<(svid: Svid) => void>();
  readonly #gate = new Gate(pkiLimits.maxConcurrentSignings);
  #timer: Timer | null = null;
  /** When the timer fires, monotonic. */
  #wakeAt = Number.POSITIVE_INFINITY;
  #closed = false;
  #believesSigner = true;

  constructor(options: SecretOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
  }

  /**
   * The SVID of `id`, made now if there is none. Callers at the same time share one signing. After a failure callers are
   * refused at once until the back-off is over, rather than queueing on a signer that is away.
   *
   * @throws MeshError `identity_unavailable` with the reason.
   */
  async svid(id: SpiffeId): Promise<Svid> {
    const secret = this.#secret(id);
    const usable = this.#usable(secret);
    if (usable !== null) return usable;
    const mayTry = secret.failures === 0 || this.#options.clock.now() >= secret.notBeforeNow;
    if (secret.attempt === null && mayTry) this.#begin(secret);
    if (secret.attempt === null) throw unavailable(id, secret.error);
    const { clock } = this.#options;
    try {
      return await withTimeout(clock, secret.attempt, pkiLimits.svidWaitMs, () =>
        unavailable(id, new MeshError("identity_unavailable", "local", "the signer has not answered yet")),
      );
    } catch (error) {
      throw unavailable(id, asMeshError(error, "identity_unavailable", "local"));
    }
  }

  /** The SVID of `id` when there is one that is valid now. */
  current(id: SpiffeId): Svid | null {
    const secret = this.#secrets.get(id.uri);
    return secret === undefined ? null : this.#usable(secret);
  }

  /** `listener` is called with every new SVID. @returns a function that ends the subscription. */
  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Somebody else says which roots there are: an answer of the signer may be of before that, and bring back one that is gone. */
  ignoreSignerRoots(): void {
    this.#believesSigner = false;
  }

  /**
   * Renews now rather than at half of life, spread over `spreadMs`: the CA is being replaced, say. What is there stays in use
   * until its successor is; back-off after failures holds all the same.
   *
   * @param reason for the log.
   * @param isDue which SVIDs; all when left out.
   * @returns how many.
   */
  renewAll(reason: string, isDue: (svid: Svid) => boolean = () => true, spreadMs = 0): number {
    let count = 0;
    for (const secret of this.#secrets.values()) {
      // What is being signed just now may still be of the kind that is to be replaced.
      const later = (): unknown => this.#hasten(secret, reason, isDue, spreadMs);
      secret.attempt?.then(later, () => {});
      if (this.#hasten(secret, reason, isDue, spreadMs)) count++;
    }
    return count;
  }

  #hasten(secret: Secret, reason: string, isDue: (svid: Svid) => boolean, spreadMs: number): boolean {
    if (secret.svid === null || !this.#isHeld(secret) || !isDue(secret.svid)) return false;
    const { clock, random } = this.#options;
    secret.wantedAtNow = Math.min(secret.wantedAtNow, clock.now() + random.float() * spreadMs);
    this.#log("info", "SVID is to be renewed", secret, { reason });
    if (secret.attempt === null) this.#wakeFor(secret);
    return true;
  }

  /** Forgets an identity and its key; a signing under way comes to nothing. */
  release(id: SpiffeId): void {
    this.#secrets.delete(id.uri);
  }

  /** The signer is there again: what failed is tried again now rather than at the end of its back-off. */
  retry(): void {
    const now = this.#options.clock.now();
    for (const secret of this.#secrets.values()) {
      if (secret.error === null) continue;
      secret.notBeforeNow = now;
      this.#wakeFor(secret);
    }
  }

  /** Ends renewal and forgets all keys. */
  close(): void {
    this.#closed = true;
    this.#secrets.clear();
    this.#listeners.clear();
    this.#timer?.cancel();
  }

  entries(): readonly SecretEntry[] {
    return [...this.#secrets.values()].map((secret) => {
      const svid = this.#usable(secret);
      const waiting = secret.attempt !== null && secret.error === null && secret.svid === null;
      return {
        id: secret.id,
        state: svid !== null ? "available" : waiting ? "initializing" : "unavailable",
        svid,
        error: secret.error,
      };
    });
  }

  #secret(id: SpiffeId): Secret {
    if (this.#closed) throw unavailable(id, null);
    const held = this.#secrets.get(id.uri);
    if (held !== undefined) return held;
    if (this.#secrets.size >= pkiLimits.maxIdentities) {
      throw unavailable(id, new MeshError("limit_reached", "local", "there are too many identities"));
    }
    const secret: Secret = {
      id,
      svid: null,
      error: null,
      attempt: null,
      failures: 0,
      renewAtMs: 0,
      wantedAtNow: Number.POSITIVE_INFINITY,
      notBeforeNow: 0,
      failedAheadMs: 0,
    };
    this.#secrets.set(id.uri, secret);
    return secret;
  }

  #usable(secret: Secret): Svid | null {
    return secret.svid === null || isExpired(secret.svid, this.#options.clock.wallMs()) ? null : secret.svid;
  }

  #isHeld(secret: Secret): boolean {
    return this.#secrets.get(secret.id.uri) === secret;
  }

  #begin(secret: Secret): void {
    const attempt = this.#gate.run(() => this.#request(secret.id));
    secret.attempt = attempt.then(
      (issued) => this.#succeed(secret, issued),
      (error) => this.#fail(secret, asMeshError(error, "identity_unavailable", "local")),
    );
    // No caller waits for a renewal; its failure is kept in the secret.
    secret.attempt.catch(() => {});
  }

  async #request(id: SpiffeId): Promise<IssuedSvid> {
    const { clock, provider, signer, lifetimeMs } = this.#options;
    const wallMs = (): number => clock.wallMs();
    const request = requestSvid({ id, lifetimeMs, signer, provider, verifier: this.#verifier, wallMs });
    const timedOut = (): MeshError =>
      new MeshError("identity_unavailable", "local", "the signer did not answer in time");
    return await withTimeout(clock, request, pkiLimits.signTimeoutMs, timedOut);
  }

  #succeed(secret: Secret, { svid, rootsPem }: IssuedSvid): Svid {
    secret.attempt = null;
    if (!this.#isHeld(secret)) throw unavailable(secret.id, null);
    const { clock, random, trust } = this.#options;
    if (this.#believesSigner) trust.setRoots(rootsPem, "signer");
    secret.svid = svid;
    secret.error = null;
    secret.failures = 0;
    secret.renewAtMs = renewalTimeMs(svid, clock.wallMs(), random.float());
    secret.wantedAtNow = Number.POSITIVE_INFINITY;
    // A signer whose SVIDs are due the moment they arrive is not asked in a busy loop.
    secret.notBeforeNow = clock.now() + pkiLimits.backoffStartMs;
    this.#log("info", "new SVID", secret, {
      serial: svid.serialNumber,
      not_after: new Date(svid.notAfterMs).toISOString(),
    });
    this.#wakeFor(secret);
    for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) listener(svid);
    return svid;
  }

  #fail(secret: Secret, error: MeshError): never {
    secret.attempt = null;
    secret.error = error;
    secret.failures++;
    const delayMs = backoffMs(secret.failures, pkiLimits, this.#options.random.float());
    const { clock } = this.#options;
    secret.notBeforeNow = clock.now() + delayMs;
    secret.failedAheadMs = clock.wallMs() - clock.now();
    if (this.#isHeld(secret)) {
      this.#log("warn", "no new SVID", secret, { error: error.message, retry_ms: Math.round(delayMs) });
      this.#wakeFor(secret);
    }
    throw error;
  }

  #log(
    level: "info" | "warn",
    message: string,
    secret: Secret,
    fields: Readonly<Record<string, string | number>>,
  ): void {
    this.#options.logger.log(level, "pki", message, { identity: secret.id.uri, ...fields });
  }

  /** Makes sure that the timer fires when `secret` is due, or earlier. */
  #wakeFor(secret: Secret): void {
    const { clock } = this.#options;
    const untilHalfLife = secret.svid === null ? 0 : secret.renewAtMs - clock.wallMs();
    const untilRenewal = Math.min(untilHalfLife, secret.wantedAtNow - clock.now());
    const untilAllowed = secret.notBeforeNow - clock.now();
    // Bounded, because a timer runs by the monotonic clock and the wall clock may jump.
    const delayMs = Math.min(Math.max(untilRenewal, untilAllowed, 0), pkiLimits.clockCheckMs);
    const wakeAt = clock.now() + delayMs;
    if (wakeAt >= this.#wakeAt) return;
    this.#timer?.cancel();
    this.#wakeAt = wakeAt;
    this.#timer = clock.setTimer(delayMs, () => this.#wake());
  }

  #wake(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY;
    const nowMs = this.#options.clock.wallMs();
    const now = this.#options.clock.now();
    for (const secret of this.#secrets.values()) {
      if (secret.attempt !== null) continue;
      // What failed by a clock that was wrong is tried again when that is set right, however often it had failed.
      const isClockSet = Math.abs(nowMs - now - secret.failedAheadMs) >= pkiLimits.clockSetMs;
      if (secret.failures > 0 && isClockSet) secret.notBeforeNow = now;
      const isHalfLife = secret.svid === null || isRenewalDue(secret.svid, secret.renewAtMs, nowMs);
      const isDue = isHalfLife || now >= secret.wantedAtNow;
      if (isDue && now >= secret.notBeforeNow) this.#begin(secret);
      else this.#wakeFor(secret);
    }
  }
}

function unavailable(id: SpiffeId, cause: MeshError | null): MeshError {
  if (cause?.code === "identity_unavailable" && cause.message.startsWith("no SVID for ")) return cause;
  const reason = cause === null ? "it was released or the process stops" : cause.message;
  return new MeshError("identity_unavailable", "local", `no SVID for ${id}: ${reason}`, { cause });
}
