/**
 * Signed heads of the audit log: at each start and at intervals, the number and hash of the last row, signed with the key of the control plane's
 * own certificate, which is in memory alone. Rows that are cut off or written again afterwards, hashes and all, are not those that a head
 * names. Heads are kept in a file beside the state, and each is written to the log, so that it is elsewhere too.
 */
import { asMeshError } from "../../base/errors.ts";
import { auditLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/time_slice.ts";
import type { Clock, Files, Timer, TlsCredentials } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { readSigningKey } from "../../pki/crypto/private_key.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer, SignatureVerifier } from "../../pki/crypto/signature.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { TrustAnchors } from "../../pki/trust/anchors.ts";
import { leafIdentity } from "../../pki/trust/leaf_identity.ts";
import { validatePath } from "../../pki/trust/path.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { AuditCheck, AuditHead } from "../records/audit.ts";
import type { AuditLog, AuditVerdict } from "../state/audit.ts";

export interface SignedHead extends AuditHead {
  readonly atMs: number;
  /** ECDSA P-256 with SHA-256 over `headText`, base64. */
  readonly signature: string;
  /** Of the signer, leaf first. */
  readonly chainPem: string;
}

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
  readonly credentials: () => TlsCredentials;
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
  #last: AuditCheck | null = null;

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
    await heads.sign();
    heads.#schedule();
    return heads;
  }

  /** What the last check said; null before the first is done. */
  get last(): AuditCheck | null {
    return this.#last;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Reads all rows, in slices. @param known heads that were kept elsewhere. */
  async check(known: readonly AuditHead[] = []): Promise<AuditCheck> {
    const { clock, audit } = this.#options;
    const heads = this.#kept;
    const problem = this.#problem ?? (await this.#forged(heads));
    const verdict: AuditVerdict = await new TimeSlice(clock).run(audit.verifyInSteps([...heads, ...known]));
    const reason = problem ?? (verdict.intact ? null : verdict.reason);
    this.#last = {
      intact: reason === null,
      rows: verdict.intact ? verdict.rows : 0,
      heads: heads.length + known.length,
      head: verdict.intact ? verdict.head : null,
      reason,
    };
    return this.#last;
  }

  /** Signs the head as it is now, unless that was done with this certificate. */
  async sign(): Promise<void> {
    const { clock, audit, files, path, provider, logger, stateId } = this.#options;
    const { id, hash } = audit.head();
    const { privateKeyPem, certificateChainPem } = this.#options.credentials();
    const newest = this.#kept.at(-1);
    // By another certificate it is signed again: the newest is always of a root that is in force.
    if (newest?.id === id && newest.hash === hash && newest.chainPem === certificateChainPem) return;
    try {
      const atMs = Math.floor(clock.wallMs());
      const key = await readSigningKey(privateKeyPem, provider);
      const signature = (await key.sign(headText(stateId, { id, hash, atMs }))).toBase64();
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

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimer(auditLimits.headIntervalMs, () => {
      void this.sign().finally(() => this.#schedule());
    });
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
      const signed = await signedBy(head, this.#options);
      if (signed === "unknown" || (signed === "another root" && head === heads.at(-1)))
        return `the head of row ${head.id} is not signed by a key of this control plane`;
    }
    return null;
  }
}

function headText(stateId: string, { id, hash, atMs }: Pick<SignedHead, "id" | "hash" | "atMs">): Uint8Array {
  return new TextEncoder().encode(`fairlead audit head 1\n${stateId}\n${id}\n${hash}\n${atMs}\n`);
}

async function signedBy(
  head: SignedHead,
  { provider, stateId, id, rootsPem }: AuditHeadsOptions,
): Promise<"control plane" | "another root" | "unknown"> {
  try {
    const [leaf, ...intermediates] = decodePemLabel(head.chainPem, "CERTIFICATE").map(parseCertificate);
    if (leaf === undefined || !leafIdentity(leaf).equals(id)) return "unknown";
    const { subtle } = provider.crypto;
    const curve = { name: "ECDSA", namedCurve: "P-256" };
    const key = await subtle.importKey("spki", buffer(leaf.publicKeyInfo), curve, false, ["verify"]);
    const signature = buffer(Uint8Array.fromBase64(head.signature));
    const algorithm = { name: "ECDSA", hash: "SHA-256" };
    if (!(await subtle.verify(algorithm, key, signature, buffer(headText(stateId, head))))) return "unknown";
    const anchors = new TrustAnchors(decodePemLabel(rootsPem(), "CERTIFICATE").map(parseCertificate));
    const question = { leaf, intermediates, anchors, usage: "serverAuth", nowMs: head.atMs } as const;
    return await validatePath(question, new SignatureVerifier(provider)).then(
      () => "control plane",
      () => "another root",
    );
  } catch {
    return "unknown";
  }
}

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
