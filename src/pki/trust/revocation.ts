/** The revocation lists in force, each proven to be its issuer's, and what became of the ones that were offered. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SignatureVerifier } from "../crypto/signature.ts";
import type { Certificate } from "../x509/certificate.ts";
import { parseRevocationList, type RevocationList, splitRevocationLists } from "../x509/crl.ts";
import { keyUsageBit } from "../x509/extensions.ts";

/** One source of lists, as read: DER, or PEM with any number of them. */
export interface CrlSource {
  /** For messages: a path. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface CrlStatus {
  readonly source: string;
  /** For people; null when it could not be read. */
  readonly issuer: string | null;
  /** `pending`: its issuer's certificate has not been seen, so that it is not known whether the list is genuine. */
  readonly state: "in_force" | "pending" | "superseded" | "refused";
  /** Past its nextUpdate. It is enforced all the same. */
  readonly stale: boolean;
  readonly thisUpdateMs: number | null;
  readonly nextUpdateMs: number | null;
  readonly entries: number;
  /** Why it is not in force; null when it is. */
  readonly message: string | null;
}

interface Offered {
  readonly source: string;
  readonly list: RevocationList;
  state: CrlStatus["state"];
  message: string | null;
  /** What it names is not believed although it is not in force. */
  isDoubt: boolean;
}

type Unreadable = { readonly source: string; readonly message: string };

/** One link of a verified path: the certificate that `authorityKey` (see `Certificate`) has issued. */
export interface IssuedCertificate {
  readonly authorityKey: string;
  /** The issuer's name as DER in hexadecimal. */
  readonly issuer: string;
  readonly serialNumber: string;
}

export class RevocationLists {
  readonly #verifier: SignatureVerifier;
  /** By the issuer's authorityKey, so that a re-keyed CA of the same name has its own. */
  #inForce = new Map<string, RevocationList>();
  #offered: readonly Offered[] = [];
  #unreadable: readonly Unreadable[] = [];

  constructor(verifier: SignatureVerifier) {
    this.#verifier = verifier;
  }

  /**
   * Replaces all lists by what the sources hold. A list that is bad, not genuine or older than the one in force is refused,
   * and then the last good ones stay in force; only a set without any doubt can take an issuer's list away. Calls of
   * `replace` and `adopt` must not overlap.
   *
   * @param issuers certificates of CAs that are known: trust anchors and verified intermediates.
   */
  async replace(sources: readonly CrlSource[], issuers: readonly Certificate[]): Promise<void> {
    const { offered, unreadable } = readSources(sources);
    const before = this.#inForce;
    const next = new Map<string, RevocationList>();
    for (const one of offered) await this.#place(one, issuers, next, before);
    const isInDoubt = unreadable.length > 0 || offered.some((one) => one.state !== "in_force");
    if (isInDoubt) for (const [key, list] of before) if (!next.has(key)) next.set(key, list);
    this.#inForce = next;
    this.#offered = offered;
    this.#unreadable = unreadable;
  }

  /** Looks at pending lists again now that `issuers` are known. @returns whether a list came into force. */
  async adopt(issuers: readonly Certificate[]): Promise<boolean> {
    const next = new Map(this.#inForce);
    let changed = false;
    for (const one of this.#offered) {
      if (one.state !== "pending") continue;
      await this.#place(one, issuers, next, this.#inForce);
      changed ||= one.state !== "pending";
    }
    if (changed) this.#inForce = next;
    return changed;
  }

  /** Whether a pending list could speak about this issuer. */
  hasPending(issuer: string): boolean {
    return this.#offered.some((one) => one.state === "pending" && one.list.issuer === issuer);
  }

  /** `doubtful`: a list names it that is not proven, or genuine and not entitled. `unknown`: there is no list of its issuer, or only one past its nextUpdate. */
  look(certificate: IssuedCertificate, nowMs: number): "revoked" | "doubtful" | "unknown" | "good" {
    const list = this.#inForce.get(certificate.authorityKey);
    if (list?.serialNumbers.has(certificate.serialNumber)) return "revoked";
    const isNamed = (one: Offered): boolean =>
      one.isDoubt &&
      one.list.issuer === certificate.issuer &&
      one.list.serialNumbers.has(certificate.serialNumber);
    if (this.#offered.some(isNamed)) return "doubtful";
    return list === undefined || isStale(list, nowMs) ? "unknown" : "good";
  }

  /** The lists in force, in DER: every one of them genuine. */
  get inForce(): readonly Uint8Array[] {
    return [...this.#inForce.values()].map((list) => list.der);
  }

  /** When the next list in force goes past its nextUpdate; Infinity for never. Milliseconds since the Unix epoch. */
  get nextUpdateMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const list of this.#inForce.values()) earliest = Math.min(earliest, list.nextUpdateMs ?? earliest);
    return earliest;
  }

  status(nowMs: number): readonly CrlStatus[] {
    const offered = this.#offered.map((one) => statusOf(one.source, one.list, one.state, one.message, nowMs));
    const kept = [...this.#inForce.values()]
      .filter((list) => !this.#offered.some((one) => one.list === list))
      .map((list) => statusOf("(an earlier list)", list, "in_force", null, nowMs));
    const unreadable = this.#unreadable.map(({ source, message }) =>
      statusOf(source, null, "refused", message, nowMs),
    );
    return [...offered, ...unreadable, ...kept];
  }

  async #place(
    offered: Offered,
    issuers: readonly Certificate[],
    next: Map<string, RevocationList>,
    before: ReadonlyMap<string, RevocationList>,
  ): Promise<void> {
    const { list } = offered;
    const named = issuers.filter((issuer) => issuer.subject === list.issuer);
    const { issuer, error } = await this.#findIssuer(list, named);
    if (issuer === null) {
      // A list that names its issuer's key may wait for another certificate of the same name.
      const isCertain = named.some(
        (one) => list.authorityKeyId !== null && one.extensions.subjectKeyId === list.authorityKeyId,
      );
      if (error !== null) settle(offered, "refused", error);
      else if (isCertain) settle(offered, "refused", "is not signed by its issuer");
      else offered.message = "no certificate of its issuer has been seen";
      return;
    }
    const held = next.get(issuer.authorityKey) ?? before.get(issuer.authorityKey);
    if (!maySignLists(issuer)) {
      // RFC 5280 §6.3.3 (f). It is the CA's word all the same, so what it revokes is not believed.
      settle(offered, "refused", "its issuer has no key usage cRLSign");
      offered.isDoubt = true;
    } else if (held !== undefined && isOlder(list, held)) {
      settle(offered, "superseded", "is older than the list in force");
      next.set(issuer.authorityKey, held);
    } else {
      settle(offered, "in_force", null);
      next.set(issuer.authorityKey, list);
    }
  }

  async #findIssuer(
    list: RevocationList,
    named: readonly Certificate[],
  ): Promise<{ readonly issuer: Certificate | null; readonly error: string | null }> {
    for (const issuer of named) {
      try {
        if (await this.#verifier.verify(list, issuer)) return { issuer, error: null };
      } catch (error) {
        return { issuer: null, error: asMeshError(error, "certificate_malformed", "local").message };
      }
    }
    return { issuer: null, error: null };
  }
}

function settle(offered: Offered, state: CrlStatus["state"], message: string | null): void {
  offered.state = state;
  offered.message = message;
  offered.isDoubt = false;
}

function maySignLists(issuer: Certificate): boolean {
  const { keyUsage } = issuer.extensions;
  return keyUsage === null || (keyUsage & (1 << keyUsageBit.cRLSign)) !== 0;
}

function statusOf(
  source: string,
  list: RevocationList | null,
  state: CrlStatus["state"],
  message: string | null,
  nowMs: number,
): CrlStatus {
  return {
    source,
    issuer: list?.issuerText ?? null,
    state,
    stale: list !== null && isStale(list, nowMs),
    thisUpdateMs: list?.thisUpdateMs ?? null,
    nextUpdateMs: list?.nextUpdateMs ?? null,
    entries: list?.serialNumbers.size ?? 0,
    message,
  };
}

function isStale(list: RevocationList, nowMs: number): boolean {
  return list.nextUpdateMs !== null && nowMs > list.nextUpdateMs;
}

/** RFC 5280 §5.2.3: numbers only grow. A list without one is judged by its time. */
function isOlder(list: RevocationList, held: RevocationList): boolean {
  if (list.number === held.number) return list.thisUpdateMs < held.thisUpdateMs;
  return list.number < held.number;
}

function readSources(sources: readonly CrlSource[]): { offered: Offered[]; unreadable: Unreadable[] } {
  const offered: Offered[] = [];
  const unreadable: Unreadable[] = [];
  for (const { name, bytes } of sources) {
    const lists = attempt(() => splitRevocationLists(bytes));
    if (lists instanceof MeshError) {
      unreadable.push({ source: name, message: lists.message });
      continue;
    }
    for (const der of lists) {
      const list = attempt(() => parseRevocationList(der));
      if (list instanceof MeshError) unreadable.push({ source: name, message: list.message });
      else if (offered.length < pkiLimits.maxCrls)
        offered.push({ source: name, list, state: "pending", message: null, isDoubt: true });
      else unreadable.push({ source: name, message: "there are more revocation lists than the limit" });
    }
  }
  return { offered, unreadable };
}

function attempt<T>(read: () => T): T | MeshError {
  try {
    return read();
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
}
