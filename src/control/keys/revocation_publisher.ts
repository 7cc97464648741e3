/**
 * Keeps a revocation list of every authority in force, and publishes them with the roots. The last list that was signed is
 * in state and stays published while a key cannot be reached: a node that is sent no list forgets the one it had.
 */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock, Timer } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { concatBytes } from "../../pki/der/encode.ts";
import { hex } from "../../pki/der/values.ts";
import type { Revocation } from "../../pki/issue/crl.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import { parseRevocationList, type RevocationList } from "../../pki/x509/crl.ts";
import type { KeyRecords, RevocationRow } from "../records/keys.ts";
import type { AuthorityView, LoadedAuthority } from "./authority_view.ts";
import { type OutsideAuthority, OutsideLists } from "./outside_lists.ts";

export interface RevocationPublisherOptions {
  readonly clock: Clock;
  readonly provider: CryptoProvider;
  readonly logger: Logger;
  readonly records: Pick<KeyRecords, "revocations" | "settings">;
  readonly authorities: Watch<AuthorityView>;
  readonly outside?: OutsideAuthority | null;
}

interface HeldList {
  readonly der: Uint8Array;
  readonly list: RevocationList;
}

export class RevocationPublisher {
  readonly #options: RevocationPublisherOptions;
  readonly #bundle = new WatchSource<PublishedBundle>({
    rootsPem: "",
    crls: [],
    version: "",
    wantedIssuerKeyId: null,
  });
  readonly #unsubscribe: () => void;
  readonly #outside: OutsideLists | null;
  #work: Promise<void> = Promise.resolve();
  #pending: string | null = null;
  /** The same of the round that is under way, which may wait for Vault: until its end what the one before found holds. */
  #found: string | null = null;
  #failures = 0;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: RevocationPublisherOptions) {
    this.#options = options;
    const { outside = null, provider, records } = options;
    this.#outside =
      outside === null
        ? null
        : new OutsideLists({ authority: outside, provider, settings: records.settings });
    this.#unsubscribe = options.authorities.subscribe(() => void this.refresh());
  }

  /** Empty until the first `refresh` has come to its end. */
  get bundle(): Watch<PublishedBundle> {
    return this.#bundle;
  }

  /** Why a list that is wanted could not be signed; null when all are as they should be. */
  get pending(): string | null {
    return this.#pending;
  }

  /** Brings lists and bundle up to what state says. Never rejects; `pending` says what was not possible. */
  refresh(): Promise<void> {
    // One round that fails must not be the last: those who come after it wait for it.
    this.#work = this.#work.then(() => this.#refresh()).catch((thrown: unknown) => this.#failed(thrown));
    return this.#work;
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#timer?.cancel();
  }

  async #refresh(): Promise<void> {
    if (this.#closed) return;
    const view = this.#options.authorities.value;
    const crls: Uint8Array[] = [];
    this.#found = null;
    for (const authority of view.authorities) {
      try {
        const der = await this.#listOf(authority);
        if (der !== null) crls.push(der);
      } catch (thrown) {
        // Nothing that goes wrong with one list may keep the others, or the roots, from being published.
        this.#found = asMeshError(thrown, "authority_unavailable", "local").message;
        this.#log("error", "a revocation list could not be made", authority, this.#found);
      }
    }
    crls.push(...(await this.#outsideLists(view)));
    await this.#publish(view, [...crls, ...this.#listsOfGone(view)]);
    this.#pending = this.#found;
    this.#schedule();
  }

  async #outsideLists(view: AuthorityView): Promise<readonly Uint8Array[]> {
    if (this.#outside === null) return [];
    const { records, clock, logger } = this.#options;
    const revoked = records.revocations.list("serial");
    const { crls, problem } = await this.#outside.refresh(view, revoked, clock.wallMs());
    if (problem !== null && this.#failures === 0)
      logger.log("warn", "keys", "an intermediate that was replaced is not revoked yet", { error: problem });
    this.#found ??= problem;
    return crls;
  }

  /** The disk is full, say. What is published stays, and it is tried again. */
  #failed(thrown: unknown): void {
    this.#pending = asMeshError(thrown, "io", "local").message;
    if (this.#failures === 0)
      this.#options.logger.log("error", "keys", "revocation lists could not be brought up to date", {
        error: this.#pending,
      });
    this.#schedule();
  }

  /**
   * Once an authority is in force no more, its list is of no use; but while the list above it is not yet signed that names the authority
   * itself, its own goes on being published: what it has revoked would be believed again. In state are the names of all that are kept.
   */
  #listsOfGone({ authorities }: AuthorityView): readonly Uint8Array[] {
    const { settings } = this.#options.records;
    const names = authorities.map(settingName);
    const known = (settings.get(namesSetting) ?? "").split(" ").filter((name) => name !== "");
    const gone = known.filter((name) => !names.includes(name));
    const kept = this.#found === null ? [] : gone;
    if (this.#found === null) for (const name of gone) settings.remove(name);
    const wanted = [...names, ...kept].join(" ");
    if (wanted !== known.join(" ")) settings.set(namesSetting, wanted);
    return kept.flatMap((name) => this.#heldAs(name)?.der ?? []);
  }

  /** The list that is to be published: a new one when it is due and can be signed, else the last. */
  async #listOf(authority: LoadedAuthority): Promise<Uint8Array | null> {
    const held = this.#held(authority);
    const nowMs = this.#options.clock.wallMs();
    const wanted = this.#wanted(authority, nowMs);
    if (held !== null && !isDue(authority, held.list, wanted, nowMs)) return held.der;
    if (authority.ca === null) {
      // An operator's CA without the right to sign lists, or a key that is out of reach.
      if (held === null || !covers(held.list, wanted) || hasEnded(held.list, nowMs))
        this.#found = authority.unavailable ?? "its key is not here";
      return held?.der ?? null;
    }
    const counted = held === null ? 0n : held.list.number + 1n;
    // Never below the time: after a restore of an older state the next list must still be the newer one.
    const time = BigInt(Math.floor(nowMs));
    const number = counted > time ? counted : time;
    try {
      const der = await authority.ca.revocationList(wanted, number, nowMs + lifetimeMs(authority));
      this.#options.records.settings.set(settingName(authority), toBase64(der));
      return der;
    } catch (thrown) {
      this.#found = asMeshError(thrown, "authority_unavailable", "local").message;
      this.#log("warn", "a revocation list waits for its key", authority, this.#found);
      return held?.der ?? null;
    }
  }

  #wanted(authority: LoadedAuthority, nowMs: number): readonly Revocation[] {
    const { authorityKey } = authority.certificate;
    const rows = this.#options.records.revocations
      .list("serial")
      .filter((row) => row.issuerKey === authorityKey || row.issuerKey === "")
      .filter((row) => row.expiresAtMs === null || row.expiresAtMs >= nowMs);
    // One number may be there twice: for its issuer, and for no issuer in particular.
    return [...new Map(rows.map((row) => [row.value, toRevocation(row)])).values()];
  }

  #held(authority: LoadedAuthority): HeldList | null {
    return this.#heldAs(settingName(authority));
  }

  #heldAs(name: string): HeldList | null {
    const text = this.#options.records.settings.get(name);
    if (text === null) return null;
    const der = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return { der, list: parseRevocationList(der) };
  }

  async #publish(view: AuthorityView, crls: readonly Uint8Array[]): Promise<void> {
    const { active, rootsPem, authorities } = view;
    // What is above the one that issues is not being replaced by it.
    const isAbove = (one: LoadedAuthority): boolean =>
      active?.above.some((above) => above.authorityKey === one.certificate.authorityKey) ?? false;
    const isReplacing = authorities.some((one) => one.state === "retiring" && !isAbove(one));
    const wantedIssuerKeyId = isReplacing ? (active?.certificate.extensions.subjectKeyId ?? null) : null;
    const head = new TextEncoder().encode(
      `${rootsPem}\0${wantedIssuerKeyId}\0${crls.map((one) => one.length)}\0`,
    );
    const content = buffer(concatBytes(head, ...crls));
    const digest = await this.#options.provider.crypto.subtle.digest("SHA-256", content);
    const version = hex(new Uint8Array(digest));
    if (this.#closed || version === this.#bundle.value.version) return;
    this.#bundle.set({ rootsPem, crls, version, wantedIssuerKeyId });
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    this.#failures = this.#pending === null ? 0 : this.#failures + 1;
    const delayMs =
      this.#failures === 0 ? keysLimits.listCheckMs : backoffMs(this.#failures + 1, keysLimits.vaultBackoff);
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.refresh());
  }

  #log(level: "warn" | "error", message: string, authority: LoadedAuthority, error: string): void {
    // Once for each time it begins: it is tried again every few seconds.
    if (this.#failures === 0)
      this.#options.logger.log(level, "keys", message, { authority: authority.id, error });
  }
}

function isDue(
  { keptAway }: LoadedAuthority,
  held: RevocationList,
  wanted: readonly Revocation[],
  nowMs: number,
): boolean {
  if (!covers(held, wanted) || nowMs < held.thisUpdateMs) return true;
  if (!keptAway) return nowMs >= held.thisUpdateMs + keysLimits.listRenewalMs;
  // While the key is here, the list is made to last.
  const leftMs = (held.nextUpdateMs ?? Number.POSITIVE_INFINITY) - nowMs;
  return leftMs < keysLimits.keptAwayLifetimeMs * keysLimits.keptAwayRenewalShare;
}

function lifetimeMs({ keptAway }: LoadedAuthority): number {
  return keptAway ? keysLimits.keptAwayLifetimeMs : keysLimits.listLifetimeMs;
}

function hasEnded({ nextUpdateMs }: RevocationList, nowMs: number): boolean {
  return nextUpdateMs !== null && nowMs > nextUpdateMs;
}

/** What is on it besides has expired, and goes with the next list that is due. */
function covers(held: RevocationList, wanted: readonly Revocation[]): boolean {
  return wanted.every((one) => held.serialNumbers.has(one.serialNumber));
}

const reasons = ["keyCompromise", "superseded", "cessationOfOperation", "privilegeWithdrawn"] as const;

/** An operator's words, unless they are those of RFC 5280 §5.3.1, say that a privilege was withdrawn. */
function toRevocation(row: RevocationRow): Revocation {
  const reason = reasons.find((one) => one === row.reason) ?? "privilegeWithdrawn";
  return { serialNumber: row.value, revokedAtMs: row.atMs, reason };
}

const namesSetting = "revocation_lists";

function settingName(authority: LoadedAuthority): string {
  return `revocation_list/${authority.id}`;
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
