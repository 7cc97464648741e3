/**
 * An operator's own CA in files (Istio's `cacerts`), followed: what replaces it is checked as a whole before it issues, and the
 * last good one stays in force until then. What was replaced leaves its certificate in state, so that its revocation list is
 * published for as long as something of it is valid.
 */
import { rotationLimits } from "../../base/limits/control.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { hex } from "../../pki/der/values.ts";
import type { CertificateAuthority } from "../../pki/issue/ca.ts";
import { FollowedAuthority, type FollowedAuthorityOptions } from "../../pki/issue/followed_authority.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import { isSelfIssued, parseLocalCertificate } from "../../pki/x509/certificate.ts";
import type { AuthorityRecords, AuthorityRow } from "../records/keys.ts";
import {
  type AuthorityView,
  authorityView,
  type LoadedAuthority,
  readRowCertificates,
} from "./authority_view.ts";

export interface FileAuthorityOptions extends FollowedAuthorityOptions {
  readonly records: AuthorityRecords;
}

export class FileAuthorities {
  readonly #options: FileAuthorityOptions;
  readonly #view: WatchSource<AuthorityView>;
  readonly #followed: FollowedAuthority;
  /** Those of this process, also the ones that were replaced: their keys are still at hand for their lists. */
  readonly #loaded = new Map<string, CertificateAuthority>();

  private constructor(options: FileAuthorityOptions, followed: FollowedAuthority) {
    this.#options = options;
    this.#followed = followed;
    this.#view = new WatchSource(authorityView([]));
    this.#adopt(followed.authority.value);
    followed.authority.subscribe((authority) => this.#adopt(authority));
  }

  /** @throws MeshError `configuration` or `io`, blame local, for files that cannot be used. */
  static async open(options: FileAuthorityOptions): Promise<FileAuthorities> {
    return new FileAuthorities(options, await FollowedAuthority.open(options));
  }

  get view(): Watch<AuthorityView> {
    return this.#view;
  }

  /** Why the files as they are now are not in force; null when they are. */
  get problem(): string | null {
    return this.#followed.problem;
  }

  close(): void {
    this.#followed.close();
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
    logger.log("info", "keys", "the CA in the files now issues", { id: row.id });
  }

  /** @param roots which roots are believed is the operator's file to say: one that was replaced adds none. */
  #describe(row: AuthorityRow, roots: LoadedAuthority["roots"]): LoadedAuthority {
    const { id, kind, createdAtMs } = row;
    const { certificate, intermediates, root } = readRowCertificates(row);
    const above = kind === "root" ? [] : [...intermediates, root];
    const ca = this.#loaded.get(id) ?? null;
    const state = row.state === "active" ? "active" : "retiring";
    const unavailable = ca === null ? "its key was in files that were replaced" : null;
    return {
      id,
      kind,
      state,
      certificate,
      above,
      roots,
      createdAtMs,
      ca,
      unavailable,
      keptAway: false,
    };
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
