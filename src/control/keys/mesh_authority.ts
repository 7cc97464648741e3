/** What the rest of the control plane sees of the mesh's CA: it issues and records, revokes and publishes. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import { shareOf } from "../../base/share.ts";
import type { Watch } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import type { CertificateAuthority, SigningResponse } from "../../pki/issue/ca.ts";
import { withTimeout } from "../../pki/svid/deadline.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import { type Certificate, parseCertificate } from "../../pki/x509/certificate.ts";
import type { IssuedRow, KeyRecords, RevocationRow } from "../records/keys.ts";
import type {
  AuthoritySource,
  IssuingRequest,
  RevocationOutcome,
  RevocationTarget,
  ServingIssuer,
} from "./authority_source.ts";
import type { AuthorityView } from "./authority_view.ts";
import { IssuingLog } from "./issuing_log.ts";
import type { OutsideAuthority } from "./outside_lists.ts";
import { RevocationPublisher } from "./revocation_publisher.ts";

export interface MeshAuthorityOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  readonly logger: Logger;
  readonly records: Pick<KeyRecords, "audit" | "certificates" | "revocations" | "settings">;
  /** Of `StateAuthorities` or `FileAuthorities`, which stay the caller's to close. */
  readonly authorities: Watch<AuthorityView>;
  /** Null, or left out, where no CA outside signs our intermediates. */
  readonly outside?: OutsideAuthority | null;
}

export class MeshAuthority implements AuthoritySource {
  readonly #options: MeshAuthorityOptions;
  readonly #publisher: RevocationPublisher;
  readonly #log: IssuingLog;

  private constructor(options: MeshAuthorityOptions) {
    this.#options = options;
    this.#publisher = new RevocationPublisher(options);
    this.#log = new IssuingLog(options.clock, options.records.certificates, (rows) => this.#tell(rows));
  }

  /** Resolves when the first bundle is there. */
  static async open(options: MeshAuthorityOptions): Promise<MeshAuthority> {
    const authority = new MeshAuthority(options);
    authority.#spreadAll();
    await authority.#publisher.refresh();
    return authority;
  }

  /** The state can be written again: what could not be written down before is. */
  async resume(): Promise<void> {
    this.#spreadAll();
    await this.#publisher.refresh();
  }

  /** One row for all that one write records: a fleet that renews is no flood. */
  #tell(rows: readonly IssuedRow[]): void {
    const [first] = rows;
    if (first === undefined) return;
    const isOne = rows.length === 1;
    this.#options.records.audit?.append({
      atMs: this.#options.clock.wallMs(),
      actor: isOne ? first.requestedBy : "fairlead",
      action: "certificates.issue",
      target: isOne ? first.identity : `${rows.length} certificates`,
      outcome: "ok",
      detail: rows
        .map(({ serial, identity, requestedBy }) => `${serial} for ${identity} to ${requestedBy}`)
        .join("; "),
      before: null,
      after: null,
    });
  }

  get bundle(): Watch<PublishedBundle> {
    return this.#publisher.bundle;
  }

  get authorities(): Watch<AuthorityView> {
    return this.#options.authorities;
  }

  /** Why revocations are not published yet; null when they are. */
  get pendingRevocation(): string | null {
    return this.#publisher.pending;
  }

  async sign(request: IssuingRequest): Promise<SigningResponse> {
    const requestedBy = request.requestedBy ?? request.id.uri;
    const { replaces = false } = request;
    const refused = this.#refusal(request.id.uri, requestedBy, replaces);
    if (refused !== null) throw refused;
    const ca = await this.#activeCa();
    const signing = ca.sign(request);
    await this.#log.record(
      signing.then(({ chainPem }) => ({
        row: this.#row(chainPem[0] ?? "", request.id.uri, requestedBy, ca),
        // A revocation that came while the key was at work sees this one or stops it.
        refusal: () => this.#refusal(request.id.uri, requestedBy, replaces),
      })),
    );
    const { chainPem } = await signing;
    return { chainPem, rootsPem: this.#options.authorities.value.rootsPem };
  }

  serving(): ServingIssuer {
    const { active, rootsPem } = this.#options.authorities.value;
    const [root] = active?.roots ?? [];
    if (active?.ca == null || root === undefined) throw unavailable(active?.unavailable ?? null);
    const { issuer, sentPem } = active.ca;
    return { issuer, chainPem: sentPem, rootPem: encodePem("CERTIFICATE", root.der), rootsPem };
  }

  rootPem(): string {
    const [root] = this.#options.authorities.value.active?.roots ?? [];
    if (root === undefined) throw unavailable(null);
    return encodePem("CERTIFICATE", root.der);
  }

  async revoke(
    target: RevocationTarget,
    reason: string,
    byWhom: string,
    byNamespace = "",
  ): Promise<RevocationOutcome> {
    const { records, clock } = this.#options;
    const atMs = Math.floor(clock.wallMs());
    const row = { reason, byWhom, byNamespace, atMs, issuerKey: "", expiresAtMs: null };
    const concerned = this.#concerned(target);
    if (target.kind !== "serial") {
      // Before it is known whether the lists have room: from here on nothing new is issued, whatever becomes of the rest.
      records.revocations.add({ ...row, kind: target.kind, value: keptValue(target) });
    }
    const isUnknown = target.kind === "serial" && concerned.length === 0;
    this.#checkRoom(isUnknown ? this.#issuerKeys() : concerned.map((one) => one.issuerKey), byNamespace);
    if (target.kind === "serial" && isUnknown) {
      // Issued before there was a record of it, or elsewhere: every list says so, for as long as there are lists.
      records.revocations.add({ ...row, kind: "serial", value: serialOf(target.serialNumber) });
    }
    this.#spread(concerned, row);
    await this.#publisher.refresh();
    const serialNumbers =
      target.kind === "serial" ? [serialOf(target.serialNumber)] : concerned.map((one) => one.serial);
    return { serialNumbers, pending: this.#publisher.pending };
  }

  supersede(
    node: string,
    keptSerialNumber: string,
    { reason, byWhom, byNamespace = "" }: Pick<RevocationRow, "reason" | "byWhom" | "byNamespace">,
  ): void {
    this.#withdraw(node, serialOf(keptSerialNumber), { reason, byWhom, byNamespace });
    this.#options.records.revocations.remove("node", node);
  }

  withdraw(node: string, by: Pick<RevocationRow, "reason" | "byWhom" | "byNamespace">): void {
    this.#withdraw(node, null, by);
  }

  #withdraw(
    node: string,
    keptSerialNumber: string | null,
    by: Pick<RevocationRow, "reason" | "byWhom" | "byNamespace">,
  ): void {
    const concerned = this.#concerned({ kind: "node", node }).filter(
      ({ serial }) => serial !== keptSerialNumber,
    );
    this.#checkRoom(
      concerned.map((one) => one.issuerKey),
      by.byNamespace ?? "",
    );
    this.#spread(concerned, { ...by, atMs: Math.floor(this.#options.clock.wallMs()) });
  }

  /** An intermediate is not to be believed any more. Durable; the list of `issuerKey` names it as soon as it is published. @throws MeshError `limit_reached`. */
  revokeAuthority(id: string, { serialNumber, notAfterMs }: Certificate, issuerKey: string): void {
    const atMs = Math.floor(this.#options.clock.wallMs());
    if (notAfterMs < atMs) return;
    this.tellOfAuthority("revoked", id, `serial ${serialNumber}`);
    this.#options.records.revocations.add({
      kind: "serial",
      value: serialNumber,
      issuerKey,
      reason: "superseded",
      byWhom: "fairlead",
      byNamespace: "",
      atMs,
      expiresAtMs: notAfterMs,
    });
  }

  /** What becomes of authorities is in the audit log, also where no operator has said a word. */
  tellOfAuthority(what: string, id: string, detail: string): void {
    this.#options.records.audit?.append({
      atMs: this.#options.clock.wallMs(),
      actor: "fairlead",
      action: `authority.${what}`,
      target: id,
      outcome: "ok",
      detail,
      before: null,
      after: null,
    });
  }

  publish(): Promise<void> {
    return this.#publisher.refresh();
  }

  async lift(target: RevocationTarget): Promise<boolean> {
    // A serial number stays revoked: nodes may have learnt of it already.
    if (target.kind === "serial") return false;
    this.#spreadAll();
    return this.#options.records.revocations.remove(target.kind, keptValue(target));
  }

  close(): void {
    this.#publisher.close();
  }

  /** Why nothing may be issued to it now. */
  #refusal(uri: string, requestedBy: string, replaces: boolean): MeshError | null {
    const { records, clock } = this.#options;
    const row =
      records.revocations.get("identity", uri) ??
      (replaces ? null : records.revocations.get("node", requestedBy));
    if (row !== null) {
      const message = `${row.kind} ${row.value} is revoked: ${row.reason}`;
      return new MeshError("certificate_revoked", "policy", message);
    }
    // Who has more certificates than a list can name could not be revoked.
    const count = records.certificates.countValid(requestedBy, clock.wallMs());
    if (count < keysLimits.maxValidPerRequester) return null;
    const message = `${requestedBy} has ${count} certificates in force already`;
    return new MeshError("limit_reached", "local", message);
  }

  async #activeCa(): Promise<CertificateAuthority> {
    const { authorities, clock } = this.#options;
    const { active } = authorities.value;
    if (active?.ca != null) return active.ca;
    const { promise, resolve } = Promise.withResolvers<CertificateAuthority>();
    const unsubscribe = authorities.subscribe((view) => {
      if (view.active?.ca != null) resolve(view.active.ca);
    });
    try {
      return await withTimeout(clock, promise, keysLimits.keyWaitMs, () =>
        unavailable(active?.unavailable ?? null),
      );
    } finally {
      unsubscribe();
    }
  }

  #row(leafPem: string, identity: string, requestedBy: string, ca: CertificateAuthority): IssuedRow {
    const [der] = decodePemLabel(leafPem, "CERTIFICATE");
    if (der === undefined)
      throw new MeshError("authority_unavailable", "local", "the CA has not issued anything");
    const leaf = parseCertificate(der);
    return {
      serial: leaf.serialNumber,
      identity,
      issuerKey: ca.certificate.authorityKey,
      notBeforeMs: leaf.notBeforeMs,
      notAfterMs: leaf.notAfterMs,
      requestedBy,
      issuedAtMs: Math.floor(this.#options.clock.wallMs()),
    };
  }

  /** Certificates in force that a revocation is about. */
  #concerned(target: RevocationTarget): readonly IssuedRow[] {
    const { certificates } = this.#options.records;
    const validAtMs = this.#options.clock.wallMs();
    switch (target.kind) {
      case "serial": {
        const row = certificates.bySerial(serialOf(target.serialNumber));
        return row === null ? [] : [row];
      }
      case "identity":
        return [...certificates.all({ identity: target.uri, validAtMs })];
      case "node":
        return [...certificates.all({ requestedBy: target.node, validAtMs })];
      // Nothing was issued to them; who asked by such a token has certificates of its own name.
      case "operator":
      case "token":
        return [];
    }
  }

  #spread(
    concerned: readonly IssuedRow[],
    row: Pick<RevocationRow, "reason" | "byWhom" | "byNamespace" | "atMs">,
  ): void {
    const { reason, byWhom, byNamespace = "", atMs } = row;
    this.#options.records.revocations.addAll(
      concerned.map(({ serial: value, issuerKey, notAfterMs: expiresAtMs }) => ({
        kind: "serial",
        value,
        issuerKey,
        reason,
        byWhom,
        byNamespace,
        atMs,
        expiresAtMs,
      })),
    );
  }

  /** What a revocation means in serial numbers, once more: the process may have been killed before it had written all. */
  #spreadAll(): void {
    for (const row of this.#options.records.revocations.list()) {
      if (row.kind !== "identity" && row.kind !== "node") continue;
      const target: RevocationTarget =
        row.kind === "identity" ? { kind: "identity", uri: row.value } : { kind: "node", node: row.value };
      try {
        const { revocations } = this.#options.records;
        const isListed = (one: IssuedRow) => revocations.isRevokedSerial(one.serial, one.issuerKey);
        const missing = this.#concerned(target).filter((one) => !isListed(one));
        if (missing.length > 0) this.#spread(missing, row);
      } catch (thrown) {
        // A tenant that has its share stops neither the others' nor this start; nor does a disk, after which `resume` comes.
        const { code, message } = asMeshError(thrown, "io", "local");
        if (code !== "limit_reached" && code !== "disk_full" && code !== "disk_read_only") throw thrown;
        const reason = `${row.kind} ${row.value}: ${message}`;
        this.#options.logger.log("warn", "keys", "certificates of a revocation are not listed", { reason });
      }
    }
  }

  #issuerKeys(): readonly string[] {
    return this.#options.authorities.value.authorities.map(({ certificate }) => certificate.authorityKey);
  }

  /**
   * Nodes refuse a list that is longer, and with it everything that is new on it. A namespace has a share of each list, so that what
   * one tenant revokes stops neither the others nor the mesh's administrators.
   *
   * @param issuerKeys one for each certificate that is to be listed.
   */
  #checkRoom(issuerKeys: readonly string[], byNamespace: string): void {
    const wanted = new Map<string, number>();
    for (const key of issuerKeys) wanted.set(key, (wanted.get(key) ?? 0) + 1);
    const { revocations } = this.#options.records;
    for (const [key, more] of wanted) {
      const listed = revocations.countListed(key, this.#options.clock.wallMs());
      const all = [...listed.values()].reduce((sum, count) => sum + count, 0);
      if (all + more > pkiLimits.maxCrlEntries) {
        const message = `the revocation list holds ${all} certificates of ${pkiLimits.maxCrlEntries}; rotate the CA instead`;
        throw new MeshError("limit_reached", "local", message);
      }
      if (byNamespace === "") continue;
      const own = listed.get(byNamespace) ?? 0;
      const mesh = listed.get("") ?? 0;
      const share = shareOf(keysLimits.listShares, all - mesh - own, mesh);
      if (own + more <= share) continue;
      const message = `namespace ${byNamespace} has ${own} certificates on the revocation list, may have ${share} now, and this revocation would add ${more}; ask an administrator of the mesh`;
      throw new MeshError("limit_reached", "local", message);
    }
  }
}

/** As `Certificate.serialNumber` is written: lower case, whole bytes, no zero byte in front; colons are dropped. */
function serialOf(text: string): string {
  const digits = text.replaceAll(":", "").toLowerCase();
  if (!/^[0-9a-f]{1,42}$/.test(digits))
    throw new MeshError("configuration", "local", "a serial number has to be hexadecimal");
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  return even.replace(/^(?:00)+(?=..)/, "");
}

/** As it is kept. */
function keptValue(target: Exclude<RevocationTarget, { kind: "serial" }>): string {
  switch (target.kind) {
    case "identity":
      return target.uri;
    case "node":
      return target.node;
    case "operator":
      return target.name;
    case "token":
      return target.id;
  }
}

function unavailable(why: string | null): MeshError {
  return new MeshError(
    "authority_unavailable",
    "local",
    `the CA's key cannot be used now${why === null ? "" : `: ${why}`}`,
  );
}
