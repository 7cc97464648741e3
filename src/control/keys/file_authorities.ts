/**
 * An operator's own CA in files (Istio's `cacerts`), followed: what replaces it is checked as a whole before it issues, and the
 * last good one stays in force until then. What was replaced leaves its certificate in state, so that its revocation list is
 * published for as long as something of it is valid.
 */
import { asMeshError } from "../../base/errors.ts";
import { rotationLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Files } from "../../host/host.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { hex } from "../../pki/der/values.ts";
import type { AuthorityOptions, CertificateAuthority } from "../../pki/issue/ca.ts";
import { type AuthorityPaths, loadAuthority } from "../../pki/issue/ca_files.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import { isSelfIssued, parseLocalCertificate } from "../../pki/x509/certificate.ts";
import type { AuthorityRecords, AuthorityRow } from "../records/keys.ts";
import {
  type AuthorityView,
  authorityView,
  type LoadedAuthority,
  readRowCertificates,
} from "./authority_view.ts";

export interface FileAuthorityOptions extends AuthorityOptions {
  readonly files: Files;
  readonly logger: Logger;
  readonly paths: AuthorityPaths;
  readonly records: AuthorityRecords;
}

export class FileAuthorities {
  readonly #options: FileAuthorityOptions;
  readonly #view: WatchSource<AuthorityView>;
  readonly #unwatch: readonly (() => void)[];
  /** Those of this process, also the ones that were replaced: their keys are still at hand for their lists. */
  readonly #loaded = new Map<string, CertificateAuthority>();
  #problem: string | null = null;
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: FileAuthorityOptions, first: CertificateAuthority) {
    this.#options = options;
    this.#view = new WatchSource(authorityView([]));
    this.#adopt(first);
    const { certificate, privateKey, root, chain } = options.paths;
    this.#unwatch = [certificate, privateKey, root, chain]
      .filter((path) => path !== null)
      .map((path) => options.files.watch(path, () => this.#reload()));
    // Whatever changed between the reading and the watch.
    this.#reload();
  }

  /** @throws MeshError `configuration` or `io`, blame local, for files that cannot be used. */
  static async open(options: FileAuthorityOptions): Promise<FileAuthorities> {
    return new FileAuthorities(options, await loadAuthority(options.files, options.paths, options));
  }

  get view(): Watch<AuthorityView> {
    return this.#view;
  }

  /** Why the files as they are now are not in force; null when they are. */
  get problem(): string | null {
    return this.#problem;
  }

  close(): void {
    this.#closed = true;
    for (const unwatch of this.#unwatch) unwatch();
  }

  #reload(): void {
    this.#work = this.#work.then(() => this.#readAgain());
  }

  async #readAgain(): Promise<void> {
    if (this.#closed) return;
    const { files, paths, logger } = this.#options;
    try {
      const authority = await loadAuthority(files, paths, this.#options);
      this.#problem = null;
      if (!this.#closed && !this.#isInForce(authority)) this.#adopt(authority);
    } catch (thrown) {
      const { message } = asMeshError(thrown, "configuration", "local");
      // While four files are replaced one after the other this is so for a moment.
      if (message !== this.#problem)
        logger.log("warn", "keys", "the CA's files are not taken over", { error: message });
      this.#problem = message;
    }
  }

  #isInForce(authority: CertificateAuthority): boolean {
    const { active, rootsPem } = this.#view.value;
    const roots = parseRoots(authority.rootsPem);
    const isSameRoots = rootsPem === roots.map((root) => encodePem("CERTIFICATE", root.der)).join("");
    return isSameRoots && active?.certificate.serialNumber === authority.certificate.serialNumber;
  }

  #adopt(authority: CertificateAuthority): void {
    const { records, clock, logger } = this.#options;
    const row = rowOf(authority, clock.wallMs());
    for (const other of records.list()) {
      if (other.id === row.id || other.state === "retired") continue;
      const hasEnded = readRowCertificates(other).certificate.notAfterMs < clock.wallMs();
      records.setState(other.id, hasEnded ? "retired" : "retiring");
    }
    const retired = records.list().filter((other) => other.state === "retired" && other.id !== row.id);
    for (const other of retired.slice(0, -rotationLimits.maxRetired)) records.remove(other.id);
    records.put(row);
    this.#loaded.set(row.id, authority);
    const others = records.list().filter((other) => other.state === "retiring" && other.id !== row.id);
    this.#view.set(
      authorityView([
        this.#describe(row, parseRoots(authority.rootsPem)),
        ...others.map((one) => this.#describe(one, [])),
      ]),
    );
    logger.log("info", "keys", "the CA of the files issues", { id: row.id });
  }

  /** @param roots which roots are believed is the operator's file to say: one that was replaced adds none. */
  #describe(row: AuthorityRow, roots: LoadedAuthority["roots"]): LoadedAuthority {
    const { certificate } = readRowCertificates(row);
    const { id, kind, createdAtMs } = row;
    const ca = this.#loaded.get(id) ?? null;
    const state = row.state === "active" ? "active" : "retiring";
    const unavailable = ca === null ? "its key was in files that were replaced" : null;
    return { id, kind, state, certificate, roots, createdAtMs, ca, unavailable };
  }
}

function rowOf(authority: CertificateAuthority, nowMs: number): AuthorityRow {
  const { certificate, sentPem, rootsPem } = authority;
  const above = sentPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
  const top =
    above.length === 0
      ? certificate
      : parseLocalCertificate(above.at(-1) ?? certificate.der, "the chain of the CA");
  const root = isSelfIssued(top) ? null : parseRoots(rootsPem).find((one) => one.subject === top.issuer);
  const chain = [...above.slice(1), ...(root == null ? [] : [root.der])];
  return {
    // Not the serial number, which is 1 for many a CA that was made by hand.
    id: `file-${hex(certificate.signature.subarray(-8))}`,
    kind: isSelfIssued(certificate) ? "root" : "intermediate",
    certificatePem: encodePem("CERTIFICATE", certificate.der),
    chainPem: chain.map((der) => encodePem("CERTIFICATE", der)).join(""),
    sealedKey: null,
    state: "active",
    createdAtMs: Math.floor(nowMs),
  };
}
