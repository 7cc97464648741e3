/**
 * Revocation lists of CAs that are not ours and above our intermediates (Vault's PKI engine): what an intermediate that was replaced is
 * revoked on. They are published beside our own, as nodes know of no other place to look.
 */
import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { SignatureVerifier } from "../../pki/crypto/signature.ts";
import type { Certificate } from "../../pki/x509/certificate.ts";
import { parseRevocationList } from "../../pki/x509/crl.ts";
import type { RevocationRow, SettingRecords } from "../records/keys.ts";
import type { AuthorityView } from "./authority_view.ts";

export interface OutsideAuthority {
  /**
   * Revokes certificates that it has issued; those that are revoked already too.
   *
   * @param serialNumbers hexadecimal. @returns its list in DER, which may lag behind. @throws MeshError `authority_unavailable`.
   */
  revoke(serialNumbers: readonly string[]): Promise<Uint8Array>;
}

export interface OutsideListOptions {
  readonly authority: OutsideAuthority;
  readonly provider: CryptoProvider;
  readonly settings: Pick<SettingRecords, "get" | "set">;
}

export class OutsideLists {
  readonly #options: OutsideListOptions;
  readonly #verifier: SignatureVerifier;

  constructor(options: OutsideListOptions) {
    this.#options = options;
    this.#verifier = new SignatureVerifier(options.provider);
  }

  /**
   * The lists that are to be published, asked for again once a day.
   *
   * @returns with why one does not say what it should.
   */
  async refresh(
    { authorities }: AuthorityView,
    revoked: readonly RevocationRow[],
    nowMs: number,
  ): Promise<{ readonly crls: readonly Uint8Array[]; readonly problem: string | null }> {
    const issuers = new Map(
      authorities.flatMap(({ above: [issuer] }) =>
        issuer === undefined ? [] : [[issuer.authorityKey, issuer]],
      ),
    );
    for (const { certificate } of authorities) issuers.delete(certificate.authorityKey);
    const crls: Uint8Array[] = [];
    let problem: string | null = null;
    for (const issuer of issuers.values()) {
      const wanted = revoked
        .filter((row) => row.issuerKey === issuer.authorityKey && (row.expiresAtMs ?? nowMs) >= nowMs)
        .map((row) => row.value);
      if (wanted.length === 0) continue;
      const held = this.#held(issuer);
      const isEnough = held !== null && names(held, wanted);
      if (isEnough && nowMs - held.thisUpdateMs < keysLimits.listRenewalMs) {
        crls.push(held.der);
        continue;
      }
      try {
        crls.push(await this.#fetch(issuer, wanted));
      } catch (thrown) {
        if (!(thrown instanceof MeshError)) throw thrown;
        if (held !== null) crls.push(held.der);
        // One of yesterday names them as well.
        if (!isEnough) problem = thrown.message;
      }
    }
    return { crls, problem };
  }

  async #fetch(issuer: Certificate, wanted: readonly string[]): Promise<Uint8Array> {
    const der = await this.#options.authority.revoke(wanted);
    const list = parseRevocationList(der);
    // Each node would find out, and go without it.
    if (list.issuer !== issuer.subject || !(await this.#verifier.verify(list, issuer)))
      throw unusable("is not signed by the CA above the intermediate");
    if (!names(list, wanted)) throw unusable("does not name the intermediate that was replaced yet");
    this.#options.settings.set(settingName(issuer), der.toBase64());
    return der;
  }

  #held(issuer: Certificate): ReturnType<typeof parseRevocationList> | null {
    const kept = this.#options.settings.get(settingName(issuer));
    return kept === null ? null : parseRevocationList(Uint8Array.fromBase64(kept));
  }
}

function names(list: { readonly serialNumbers: ReadonlySet<string> }, wanted: readonly string[]): boolean {
  return wanted.every((one) => list.serialNumbers.has(one));
}

/** One for each key: a CA that is given another key has another list. */
function settingName({ signature }: Certificate): string {
  return `outside_list/${signature.subarray(-16).toHex()}`;
}

function unusable(what: string): MeshError {
  return new MeshError(
    "authority_unavailable",
    "upstream",
    `the revocation list of Vault's PKI engine ${what}`,
  );
}
