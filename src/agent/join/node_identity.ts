/** This host's own certificate while it runs: in use, on disk, and renewed at half of its life. */
import { backoffMs } from "../../base/backoff.ts";
import type { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, Random, Timer, TlsCredentials } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { isExpired, isRenewalDue, renewalTimeMs } from "../../pki/svid/renewal_time.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import { join } from "../../wire/grpc/services.ts";
import { RenewRequestSchema } from "../../wire/messages/fairlead.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { createNodeKey, readJoinAnswer } from "./node_certificate.ts";
import { type JoinedNode, nodeFileName, readNodeFile, writeNodeFile } from "./node_file.ts";
import { describeFailure, type UnaryCaller } from "./unary_caller.ts";

export interface NodeIdentityOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly provider: CryptoProvider;
  readonly logger: Logger;
  readonly directory: string;
  /** Shows the certificate of now, an expired one too: renewal is what it is still good for. */
  readonly caller: UnaryCaller;
  /** After each renewal: connections that were made with the old certificate are made again. */
  readonly onRenewed: () => void;
  /** When roots that could not be written down before are on the disk. */
  readonly onKept: () => void;
}

export interface NodeIdentityStatus {
  readonly identity: string;
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notAfterMs: number;
  /** Why the last renewal failed; null when it did not. */
  readonly error: string | null;
}

export class NodeIdentity {
  readonly #options: NodeIdentityOptions;
  #node: JoinedNode;
  #renewAtMs: number;
  /** When to renew for another reason, by the monotonic clock: a wall clock that is wrong now would put it off when it is set right. */
  #wantedAtNow = Number.POSITIVE_INFINITY;
  #failures = 0;
  #error: MeshError | null = null;
  #timer: Timer | null = null;
  #renewing: Promise<boolean> | null = null;
  /** Why the roots in memory are not on the disk; null when they are. */
  #unkept: string | null = null;
  #notBeforeNow = 0;
  /** How far the wall clock was ahead of the monotonic one when the last renewal began. */
  #triedAheadMs = 0;
  #closed = false;
  /** Ends the watch of the file; null while this process keeps it. */
  #unfollow: (() => void) | null = null;
  /** One write after the other. */
  #writes: Promise<void> = Promise.resolve();

  constructor(options: NodeIdentityOptions, node: JoinedNode) {
    this.#options = options;
    this.#node = node;
    this.#renewAtMs = this.#planRenewal(node.credential.notBeforeMs);
    this.#watch();
  }

  get node(): JoinedNode {
    return this.#node;
  }

  get isExpired(): boolean {
    return isExpired(this.#node.credential, this.#options.clock.wallMs());
  }

  get credentials(): TlsCredentials {
    const { credential, rootsPem } = this.#node;
    return {
      certificateChainPem: credential.chainPem,
      privateKeyPem: credential.privateKeyPem,
      trustedRootsPem: rootsPem,
    };
  }

  /**
   * The mesh's roots have changed; the control plane itself is known by them at the next start too.
   *
   * @returns why they are not on the disk, though they are in force; null when they are. They are tried again, and `onKept` is called.
   */
  async setRoots(rootsPem: string): Promise<string | null> {
    if (rootsPem === this.#node.rootsPem && this.#unkept === null) return null;
    this.#node = { ...this.#node, rootsPem };
    await this.#keep();
    // The look that is planned may be a minute away.
    if (this.#unkept !== null) this.#watch();
    return this.#unkept;
  }

  /** @returns whether there is a new certificate. Calls at the same time share one renewal. */
  renew(): Promise<boolean> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
      this.#watch();
    });
    return this.#renewing;
  }

  /** The mesh's CA is being replaced by the one with this key identifier: not at half of life, but soon. */
  moveToIssuer(issuerKeyId: string): void {
    // What is on its way just now may still be of the CA from before.
    void this.#renewing?.then(() => this.#moveSoon(issuerKeyId));
    this.#moveSoon(issuerKeyId);
  }

  #moveSoon(issuerKeyId: string): void {
    const [leaf] = decodePemLabel(this.#node.credential.chainPem, "CERTIFICATE");
    if (leaf === undefined || parseCertificate(leaf).extensions.authorityKeyId === issuerKeyId) return;
    const { clock, random } = this.#options;
    const soon = clock.now() + random.float() * pkiLimits.replacementSpreadMs;
    this.#wantedAtNow = Math.min(this.#wantedAtNow, soon);
    this.#watch();
  }

  status(): NodeIdentityStatus {
    const { id, serialNumber, notAfterMs } = this.#node.credential;
    return { identity: id.uri, serialNumber, notAfterMs, error: this.#error?.message ?? null };
  }

  /**
   * Another process becomes this host: it renews and keeps the certificate from now on, and this one shows what it finds on the disk. By two
   * certificates of different age the control plane would take one of the two for a copy.
   */
  async follow(): Promise<void> {
    const { files, directory } = this.#options;
    this.#unfollow ??= files.watch(`${directory}/${nodeFileName}`, () => void this.#readAgain());
    this.#timer?.cancel();
    await this.#renewing;
    await this.#writes;
  }

  /** It did not. */
  lead(): void {
    this.#unfollow?.();
    this.#unfollow = null;
    this.#watch();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unfollow?.();
  }

  async #readAgain(): Promise<void> {
    const { files, directory, provider, logger, clock, onRenewed } = this.#options;
    try {
      const node = await readNodeFile(files, directory, provider);
      if (node === null || this.#closed || this.#unfollow === null) return;
      const isNew = node.credential.serialNumber !== this.#node.credential.serialNumber;
      this.#node = node;
      this.#renewAtMs = this.#planRenewal(clock.wallMs());
      if (!isNew) return;
      this.#wantedAtNow = Number.POSITIVE_INFINITY;
      onRenewed();
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      logger.log("warn", "join", "this host's certificate cannot be read again", { reason });
    }
  }

  async #renew(): Promise<boolean> {
    const { clock, random, provider, caller, logger, onRenewed } = this.#options;
    const { membership } = this.#node;
    this.#triedAheadMs = clock.wallMs() - clock.now();
    try {
      const key = await createNodeKey(provider, membership.trustDomain, membership.node);
      const response = await caller.unary(join.renew, newMessage(RenewRequestSchema, { csr: key.csrPem }));
      const { control } = membership;
      const renewed = await readJoinAnswer(response, key, { provider, control, nowMs: clock.wallMs() });
      if (this.#closed) return false;
      await this.#adopt(renewed);
      this.#failures = 0;
      this.#error = null;
      this.#notBeforeNow = clock.now() + joinLimits.renewRetryMinMs;
      this.#renewAtMs = this.#planRenewal(clock.wallMs());
      this.#wantedAtNow = Number.POSITIVE_INFINITY;
      logger.log("info", "join", "this host's certificate was renewed", {
        identity: renewed.credential.id.uri,
        not_after: new Date(renewed.credential.notAfterMs).toISOString(),
      });
      onRenewed();
      return true;
    } catch (thrown) {
      this.#error = describeFailure(thrown, "to renew this host's certificate", advice);
      const level = this.#failures === 0 || this.#error.code === "control_refused" ? "warn" : "debug";
      this.#failures++;
      const { renewRetryMinMs, renewRetryMaxMs, renewExpiredRetryMaxMs, backoffJitter } = joinLimits;
      const backoffMaxMs = this.isExpired ? renewExpiredRetryMaxMs : renewRetryMaxMs;
      const bounds = { backoffStartMs: renewRetryMinMs, backoffMaxMs, backoffJitter };
      this.#notBeforeNow = clock.now() + backoffMs(this.#failures, bounds, random.float());
      logger.log(level, "join", "this host's certificate was not renewed; trying again", {
        reason: this.#error.message,
        not_after: new Date(this.#node.credential.notAfterMs).toISOString(),
      });
      return false;
    }
  }

  /**
   * On disk first: once the control plane has seen the new certificate, a host that starts with the one before is taken for a copy.
   * So it stays with the one it has while the disk is full, as long as that holds.
   */
  async #adopt(renewed: JoinedNode): Promise<void> {
    const { files, directory, logger } = this.#options;
    // The roots may change while the disk is at work; the newer ones stay.
    let seen = this.#node;
    let next = renewed;
    for (;;) {
      const writing = next;
      const write = this.#writes.then(() => writeNodeFile(files, directory, writing));
      this.#writes = write.catch(() => {});
      try {
        await write;
      } catch (thrown) {
        if (!this.isExpired) throw thrown;
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        logger.log("error", "join", "this host's certificate could not be kept on disk", { reason });
      }
      if (this.#node === seen) break;
      seen = this.#node;
      next = { ...renewed, rootsPem: seen.rootsPem };
    }
    this.#node = next;
  }

  /** What is in memory counts here; a disk that is full now is tried again, until it has what is in memory. */
  #keep(): Promise<void> {
    // The other process hears of the same roots, and keeps them.
    if (this.#unfollow !== null) return Promise.resolve();
    const { files, directory, logger } = this.#options;
    this.#writes = this.#writes.then(async () => {
      const isFirst = this.#unkept === null;
      try {
        await writeNodeFile(files, directory, this.#node);
        this.#unkept = null;
      } catch (thrown) {
        this.#unkept = thrown instanceof Error ? thrown.message : String(thrown);
        const level = isFirst ? "error" : "debug";
        logger.log(level, "join", "the roots of the mesh could not be kept on disk; trying again", {
          reason: this.#unkept,
        });
      }
    });
    return this.#writes;
  }

  async #keepAgain(): Promise<void> {
    await this.#keep();
    if (this.#unkept === null && !this.#closed) this.#options.onKept();
  }

  #planRenewal(arrivedMs: number): number {
    return renewalTimeMs(this.#node.credential, arrivedMs, this.#options.random.float());
  }

  /** Looks at the wall clock now and then: a timer goes by the monotonic clock, and a host may have slept. */
  #watch(): void {
    if (this.#closed || this.#unfollow !== null) return;
    const { clock } = this.#options;
    this.#timer?.cancel();
    const untilDue = Math.min(this.#renewAtMs - clock.wallMs(), this.#wantedAtNow - clock.now());
    const untilAllowed = this.#notBeforeNow - clock.now();
    const longestMs = this.#unkept === null ? joinLimits.clockCheckMs : joinLimits.keepRetryMs;
    const delayMs = Math.min(Math.max(untilDue, untilAllowed, 0), longestMs);
    this.#timer = clock.setTimer(delayMs, () => {
      // What failed by a clock that was wrong is tried again when that is set right, however often it had failed.
      const movedMs = clock.wallMs() - clock.now() - this.#triedAheadMs;
      if (Math.abs(movedMs) >= pkiLimits.clockSetMs) this.#notBeforeNow = clock.now();
      const isHalfLife = isRenewalDue(this.#node.credential, this.#renewAtMs, clock.wallMs());
      const isDue = isHalfLife || clock.now() >= this.#wantedAtNow;
      // A renewal writes both, and what is in memory now would come after it with the certificate from before.
      if (this.#unkept !== null && this.#renewing === null) void this.#keepAgain();
      if (isDue && clock.now() >= this.#notBeforeNow) void this.renew();
      else this.#watch();
    });
  }
}

const advice =
  ". Check whether this host was revoked or removed. To let it join again, make a new token at the control plane (fairlead join-token " +
  "create --node NAME --replace), move this host's node.json away, and join";
