/**
 * Signed heads of the audit log: at each start and at intervals, the number and hash of the last row, signed with the key of the control plane's
 * own certificate, which is in memory alone. Rows that are cut off or written again afterwards, hashes and all, are not those that a head
 * names. Heads are kept in a file beside the state, written to the log, and sent to nodes, so that they are elsewhere too.
 */
import { asMeshError } from "../../base/errors.ts";
import { auditLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock, Files, Timer, TlsCredentials } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { type SignedHead, signerOf, signHead } from "../../pki/trust/audit_head.ts";
import type { AuditCheck, AuditHead, PublishedHead } from "../records/audit.ts";
import type { AuditLog, AuditVerdict } from "../state/audit.ts";

export interface AuditHeadsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly provider: CryptoProvider;
  readonly audit: AuditLog;
  /** Of this state: a head of another one says nothing. */
  readonly stateId: string;
  readonly path: string;
  /** The control plane's own certificate, now. */
  readonly credentials: Watch<TlsCredentials>;
  readonly id: SpiffeId;
  /** Roots that a signer's certificate may lead to. */
  readonly rootsPem: () => string;
}

export class AuditHeads {
  readonly #options: AuditHeadsOptions;
  #kept: readonly SignedHead[] = [];
  #problem: string | null = null;
  #timer: Timer | null = null;
  #closed = false;
  #endWatch: () => void = () => {};
  #signing: Promise<void> = Promise.resolve();
  #publishing: Promise<void> = Promise.resolve();
  #last: AuditCheck | null = null;
  #checking: Promise<unknown> = Promise.resolve();
  readonly #published = new WatchSource<PublishedHead | null>(null);
  /** Heads that nodes were sent, the oldest first. */
  #sent: readonly AuditHead[] = [];
  #publishedAtMs = Number.NEGATIVE_INFINITY;

  private constructor(options: AuditHeadsOptions) {
    this.#options = options;
  }

  /** Compares the log with the heads that are kept, says what is wrong, and signs the head as it is now. */
  static async start(options: AuditHeadsOptions): Promise<AuditHeads> {
    const heads = new AuditHeads(options);
    await heads.#read();
    const found = await heads.check();
    if (!found.intact)
      options.logger.log("error", "audit", "the audit log is not intact", {
        reason: found.reason ?? "",
      });
    // A node may have been sent any of these by the run before.
    heads.#sent = heads.#kept.slice(-auditLimits.headsInProof * minutesPerPush);
    await heads.sign();
    await heads.publish();
    // At once, and not at the next interval: when the old root ends, the newest head has to be of the new one.
    heads.#endWatch = options.credentials.subscribe(() => void heads.sign().then(() => heads.publish()));
    heads.#schedule();
    return heads;
  }

  /** What the last check said; null before the first is done. */
  get last(): AuditCheck | null {
    return this.#last;
  }

  /** That are kept beside the state. */
  get heads(): readonly AuditHead[] {
    return this.#kept;
  }

  /** What nodes are sent; null before the first. */
  get published(): Watch<PublishedHead | null> {
    return this.#published;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#endWatch();
  }

  /** Reads all rows, in slices. @param known heads that were kept elsewhere. */
  check(known: readonly AuditHead[] = []): Promise<AuditCheck> {
    // One after the other: each reads everything there is.
    const mine = this.#checking.then(() => this.#check(known));
    this.#checking = mine.catch(() => {});
    return mine;
  }

  async #check(known: readonly AuditHead[]): Promise<AuditCheck> {
    const { clock, audit } = this.#options;
    const heads = this.#kept;
    const problem = this.#problem ?? (await this.#forged(heads));
    const verdict: AuditVerdict = await new TimeSlice(clock).run(audit.verifyInSteps([...heads, ...known]));
    const reason = problem ?? (verdict.intact ? null : verdict.reason);
    this.#last = {
      intact: reason === null,
      rows: verdict.intact ? verdict.rows : 0,
      heads: heads.length + known.length,
      older: verdict.intact ? verdict.older : 0,
      head: verdict.intact ? verdict.head : null,
      reason,
    };
    return this.#last;
  }

  /** Signs the head as it is now, unless that was done with this certificate. */
  sign(): Promise<void> {
    // One after the other: each is written over the file of the one before. It never rejects.
    this.#signing = this.#signing.then(() => this.#sign());
    return this.#signing;
  }

  async #sign(): Promise<void> {
    const { clock, audit, files, path, provider, logger, stateId } = this.#options;
    const { id, hash } = audit.head();
    const { privateKeyPem, certificateChainPem } = this.#options.credentials.value;
    const newest = this.#kept.at(-1);
    // By another certificate it is signed again: the newest is always of a root that is in force.
    if (newest?.id === id && newest.hash === hash && newest.chainPem === certificateChainPem) return;
    try {
      const atMs = Math.floor(clock.wallMs());
      const signature = await signHead(stateId, { id, hash, atMs }, privateKeyPem, provider);
      this.#kept = thinned([...this.#kept, { id, hash, atMs, signature, chainPem: certificateChainPem }]);
      await files.writeAtomic(path, new TextEncoder().encode(`${JSON.stringify(this.#kept)}\n`), 0o600);
      logger.log("info", "audit", "signed the head of the audit log", { id: String(id), hash, signature });
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "audit", "the head of the audit log could not be signed and kept", {
        error: message,
      });
    }
  }

  /** Gives nodes the newest head. A node that starts once a root has ended has to believe it: one of another certificate is given again. */
  publish(): Promise<void> {
    // One after the other: nodes would take one that is older than the one before for a log that was cut off.
    this.#publishing = this.#publishing.then(() => this.#publish());
    return this.#publishing;
  }

  async #publish(): Promise<void> {
    const { clock, audit, logger, stateId } = this.#options;
    const newest = this.#kept.at(-1);
    if (newest === undefined) return;
    this.#publishedAtMs = clock.now();
    try {
      const sinceId = Math.max(
        this.#sent[0]?.id ?? 0,
        newest.id - auditLimits.maxDigests,
        audit.digestsAfterId,
      );
      const proof = await new TimeSlice(clock).run(
        audit.proofInSteps(Math.min(sinceId, newest.id), newest.id),
      );
      const { id, chainPem } = newest;
      const published = this.#published.value;
      const sent = [...this.#sent, newest].filter((one, index, all) => all[index + 1]?.id !== one.id);
      this.#sent = sent.slice(-auditLimits.headsInProof);
      if (!this.#closed && (id !== published?.id || chainPem !== published.chainPem))
        this.#published.set({ ...newest, stateId, ...proof });
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "audit", "the head of the audit log could not be sent to nodes", {
        error: message,
      });
    }
  }

  #schedule(): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    this.#timer = clock.setTimer(auditLimits.headIntervalMs, () => {
      void this.#tick().finally(() => this.#schedule());
    });
  }

  async #tick(): Promise<void> {
    await this.sign();
    const rows = this.#options.audit.head().id - (this.#published.value?.id ?? 0);
    const isDue = this.#options.clock.now() - this.#publishedAtMs >= auditLimits.headPushMs;
    // Earlier where the log grows fast: a proof reaches back only so many rows.
    if (isDue || rows > auditLimits.maxDigests / 4) await this.publish();
  }

  async #read(): Promise<void> {
    const { files, path } = this.#options;
    if (!(await files.exists(path))) {
      // A first start has an empty log, and one of a program that signed none is told apart by nothing: it is said.
      if (this.#options.audit.head().id > 0)
        this.#options.logger.log(
          "warn",
          "audit",
          "there are no signed heads of the audit log yet; the first one is signed now",
          { path },
        );
      return;
    }
    try {
      this.#kept = readHeads(JSON.parse(await files.readText(path)));
    } catch {
      this.#problem = `${path} cannot be read as signed heads`;
    }
  }

  /**
   * @returns which head was not signed by this control plane; null when all were. The newest has to lead to a root that is in force; those
   * before it may be of roots that were replaced since.
   */
  async #forged(heads: readonly SignedHead[]): Promise<string | null> {
    for (const head of heads) {
      const signed = await signerOf(this.#options.stateId, head, this.#options);
      if (signed === "unknown" || (signed === "another root" && head === heads.at(-1)))
        return `the head of row ${head.id} is not signed by a key of this control plane`;
    }
    return null;
  }
}

/** Heads that are signed between two that nodes are sent. */
const minutesPerPush = auditLimits.headPushMs / auditLimits.headIntervalMs;

/** All of the last day, and of each day before it the last one, for as long as there is room. */
function thinned(heads: readonly SignedHead[]): readonly SignedHead[] {
  const newestMs = heads.at(-1)?.atMs ?? 0;
  const day = ({ atMs }: SignedHead): number => Math.floor(atMs / auditLimits.dayMs);
  const kept = heads.filter((head, index) => {
    const next = heads[index + 1];
    return head.atMs > newestMs - auditLimits.dayMs || next === undefined || day(next) !== day(head);
  });
  return kept.slice(-auditLimits.maxHeads);
}

/** @throws TypeError for what no head is. */
function readHeads(value: unknown): readonly SignedHead[] {
  if (!Array.isArray(value)) throw new TypeError("no list");
  return value.map((one: Partial<Record<keyof SignedHead, unknown>>) => {
    const { id, hash, atMs, signature, chainPem } = one;
    if (typeof id !== "number" || typeof atMs !== "number") throw new TypeError("no head");
    if (typeof hash !== "string" || typeof signature !== "string" || typeof chainPem !== "string")
      throw new TypeError("no head");
    return { id, hash, atMs, signature, chainPem };
  });
}
