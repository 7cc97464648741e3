/** Authorities that are kept in state: opened at the start, made, moved from state to state, and forgotten. */

import { assert } from "../../base/assert.ts";
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { keysLimits, rotationLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Timer } from "../../host/host.ts";
import { decodePemLabel, encodePem } from "../../pki/der/pem.ts";
import { bytesEqual, hex } from "../../pki/der/values.ts";
import { type AuthorityOptions, CertificateAuthority } from "../../pki/issue/ca.ts";
import type { AuthorityRecords, AuthorityRow } from "../records/keys.ts";
import type { AuthorityCertifier } from "./authority_certificate.ts";
import { activation, positions, type StateChange, unfinished } from "./authority_states.ts";
import {
  type AuthorityView,
  authorityView,
  type LoadedAuthority,
  readRowCertificates,
} from "./authority_view.ts";
import type { KeyPlace } from "./key_place.ts";
import { isKeptAway } from "./root_key_file.ts";

export interface StateAuthorityOptions extends AuthorityOptions {
  readonly logger: Logger;
  readonly records: AuthorityRecords;
  /** Where keys may be; new ones are made in the first. */
  readonly places: readonly [KeyPlace, ...KeyPlace[]];
  readonly certifier: AuthorityCertifier;
  /** `root`: our own, with an intermediate below it that issues. `intermediate`: below a root that is elsewhere. */
  readonly firstKind: AuthorityRow["kind"];
}

/** Our own root, above what issues or issuing itself. */
export interface OwnRoot {
  readonly authority: LoadedAuthority;
  /** What of its key is in state. */
  readonly stored: Uint8Array | null;
}

export class StateAuthorities {
  readonly #options: StateAuthorityOptions;
  readonly #view = new WatchSource<AuthorityView>(authorityView([]));
  readonly #opened = new Map<string, CertificateAuthority>();
  readonly #unavailable = new Map<string, string>();
  #retry: Timer | null = null;
  #failures = 0;
  #closed = false;

  private constructor(options: StateAuthorityOptions) {
    this.#options = options;
  }

  /**
   * Opens what is in state, and makes the first authority when there has never been one. A key that cannot be reached is
   * asked for again and again; the others are in force meanwhile.
   *
   * @throws MeshError `configuration`, blame local, for state that cannot be used: a wrong key-encryption key, damage. Nothing
   *   is made in its place. `authority_unavailable` when the first authority cannot be made now.
   */
  static async open(options: StateAuthorityOptions): Promise<StateAuthorities> {
    const authorities = new StateAuthorities(options);
    const rows = options.records.list();
    if (rows.length === 0) await authorities.#makeFirst();
    else if (!rows.some((row) => row.state !== "retired"))
      throw bad(
        "every authority in the state is retired; restore a back-up (a new authority would cut off every node)",
      );
    authorities.#publish();
    authorities.apply(unfinished(positions(authorities.view.value.authorities)));
    await authorities.#reseal();
    await authorities.#openKeys();
    authorities.#publish();
    await authorities.#startIntermediate();
    return authorities;
  }

  /**
   * Takes over a CA that exists, such as that of a mesh on one host, as the first authority.
   *
   * @param seal `SealedKeys.seal`.
   * @returns whether it was taken over now; false when it is there already.
   * @throws MeshError `configuration`, blame local, when there are others already.
   */
  static async adopt(
    options: Pick<StateAuthorityOptions, "records" | "clock">,
    ca: CertificateAuthority,
    seal: (authorityId: string, pkcs8: Uint8Array) => Promise<Uint8Array>,
  ): Promise<boolean> {
    const rows = options.records.list();
    const isSame = (row: AuthorityRow): boolean =>
      bytesEqual(readRowCertificates(row).certificate.der, ca.certificate.der);
    if (rows.some(isSame)) return false;
    if (rows.length > 0)
      throw bad("the state already has authorities, so another one cannot be taken over as the first");
    const pem = ca.exportPem();
    const id = authorityId(ca.certificate.serialNumber);
    const isRoot = ca.sentPem.length === 0;
    const [pkcs8] = decodePemLabel(pem.privateKeyPem, "PRIVATE KEY");
    assert(pkcs8 !== undefined, "a CA cannot be exported without its key");
    const row: AuthorityRow = {
      id,
      kind: isRoot ? "root" : "intermediate",
      certificatePem: pem.certificatePem,
      chainPem: isRoot ? "" : `${pem.chainPem}${pem.rootsPem}`,
      sealedKey: await seal(id, pkcs8),
      state: "active",
      createdAtMs: Math.floor(options.clock.wallMs()),
    };
    readRowCertificates(row);
    options.records.put(row);
    return true;
  }

  get view(): Watch<AuthorityView> {
    return this.#view;
  }

  rows(): readonly AuthorityRow[] {
    return this.#options.records.list();
  }

  /**
   * Makes an authority and announces it; it issues nothing yet. A root comes with the intermediate below it, which is to issue.
   *
   * @throws MeshError as `AuthorityCertifier`.
   */
  async prepare(kind: AuthorityRow["kind"]): Promise<AuthorityRow> {
    if (kind === "intermediate" || !this.completesRoots)
      return await this.#make(kind, "next", this.ownRoot()?.authority ?? null);
    const root = await this.#make("root", "next", null);
    try {
      return await this.#make("intermediate", "next", this.#loaded(root.id));
    } catch (thrown) {
      this.apply([{ id: root.id, state: "retired" }]);
      throw thrown;
    }
  }

  /**
   * A root of ours that has nothing below it gets its intermediate: at the first start, after an earlier version whose roots issued
   * leaves, or after a process that was killed in between. Nodes hold its root already, so that nothing is cut.
   *
   * @returns what was made, or null when nothing is lacking. @throws MeshError as `AuthorityCertifier`.
   */
  async completeRoot(): Promise<AuthorityRow | null> {
    const { authorities } = this.#view.value;
    if (!this.completesRoots) return null;
    const next = authorities.filter((one) => one.state === "next");
    // While another one is announced, the one that is on its way out is left as it is.
    const candidates = next.length > 0 ? next : authorities.filter((one) => one.state === "active");
    const [root] = candidates;
    const isLacking = candidates.length === 1 && root?.kind === "root";
    if (!isLacking || root === undefined) return null;
    const made = await this.#make("intermediate", "next", root);
    if (root.state === "active") this.apply(activation(positions(this.#view.value.authorities)));
    return made;
  }

  /** Whether roots of ours get intermediates. */
  get completesRoots(): boolean {
    return this.#options.firstKind === "root";
  }

  /** Null where the root is not ours. */
  ownRoot(): OwnRoot | null {
    const { active, authorities } = this.#view.value;
    const [root] = active?.roots ?? [];
    const authority = authorities.find(
      (one) => root !== undefined && bytesEqual(one.certificate.der, root.der),
    );
    if (authority === undefined) return null;
    const row = this.rows().find((one) => one.id === authority.id);
    return { authority, stored: row?.sealedKey ?? null };
  }

  /** The key of an authority is somewhere else from now on. @throws MeshError for a key that is not its. */
  async moveKey(id: string, stored: Uint8Array): Promise<void> {
    const row = this.#rowsInForce().find((one) => one.id === id);
    if (row === undefined) throw bad(`there is no authority ${id} any more`);
    const ca = await this.#load(row, stored);
    this.#options.records.put({ ...row, sealedKey: stored });
    this.#opened.set(id, ca);
    this.#unavailable.delete(id);
    this.#publish();
  }

  /** Keys that are in files have come or gone. */
  async reopenKeptAway(): Promise<void> {
    for (const { id, sealedKey } of this.#rowsInForce()) if (isKeptAway(sealedKey)) this.#opened.delete(id);
    this.#retry?.cancel();
    await this.#openKeys();
    this.#publish();
  }

  /** In order, each one durable before the next; a key that is needed no more is erased. */
  apply(changes: readonly StateChange[]): void {
    const { records } = this.#options;
    for (const { id, state } of changes) {
      records.setState(id, state);
      if (state !== "retired") continue;
      this.#opened.delete(id);
      this.#unavailable.delete(id);
    }
    if (changes.length === 0) return;
    this.#eraseRetired();
    this.#publish();
  }

  /** Retired rows whose key was not erased yet, as the process was killed in between, and those that are long past. */
  #eraseRetired(): void {
    const { records } = this.#options;
    const retired = records.list().filter((row) => row.state === "retired");
    for (const row of retired) if (row.sealedKey !== null) records.forgetKey(row.id);
    for (const row of retired.slice(0, -rotationLimits.maxRetired)) records.remove(row.id);
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
  }

  async #makeFirst(): Promise<void> {
    const { firstKind, logger } = this.#options;
    const row = await this.#make(firstKind, "active", null);
    logger.log("info", "keys", "made the mesh's first authority", { id: row.id, kind: row.kind });
  }

  /** An intermediate that cannot be made now is no reason not to start: the root issues until it can be. */
  async #startIntermediate(): Promise<void> {
    const { logger } = this.#options;
    try {
      const row = await this.completeRoot();
      if (row !== null)
        logger.log(
          "info",
          "keys",
          "made an intermediate below the root; it issues, and the root signs intermediates",
          {
            id: row.id,
          },
        );
    } catch (thrown) {
      const { message } = asMeshError(thrown, "authority_unavailable", "local");
      logger.log("warn", "keys", "the intermediate that is to issue waits", { error: message });
    }
  }

  async #make(
    kind: AuthorityRow["kind"],
    state: "next" | "active",
    root: LoadedAuthority | null,
  ): Promise<AuthorityRow> {
    const { places, certifier, records, clock, provider } = this.#options;
    const id = authorityId(hex(provider.crypto.getRandomValues(new Uint8Array(8))));
    // Asked for before a key is made: Vault would make another version of its key for each attempt.
    if (root !== null && root.ca === null)
      throw new MeshError("authority_unavailable", "local", root.unavailable ?? "the root's key is not here");
    const { key, publicKeyInfo, stored } = await places[0].create(id);
    const certified = await certifier.certify({
      kind,
      key,
      publicKeyInfo,
      root: root?.ca ?? null,
      lifetimeMs: root?.keptAway === true ? keysLimits.keptAwayLifetimeMs : keysLimits.intermediateLifetimeMs,
    });
    const row: AuthorityRow = { id, ...certified, sealedKey: stored, state, createdAtMs: clock.wallMs() };
    const { certificate } = readRowCertificates(row);
    if (!bytesEqual(certificate.publicKeyInfo, publicKeyInfo))
      throw bad(`authority ${id} was certified for another key`);
    // Everything about it is checked before it is believed by anybody.
    this.#opened.set(id, await this.#load(row, stored));
    // From this moment on whoever is sent roots is sent its root, too.
    const announced = { ...row, createdAtMs: Math.floor(clock.wallMs()) };
    records.put(announced);
    this.#publish();
    return announced;
  }

  #loaded(id: string): LoadedAuthority | null {
    return this.#view.value.authorities.find((one) => one.id === id) ?? null;
  }

  async #reseal(): Promise<void> {
    this.#eraseRetired();
    for (const row of this.#rowsInForce()) {
      if (row.sealedKey === null) continue;
      const fresh = await this.#placeOf(row.sealedKey).refresh(row.id, row.sealedKey);
      if (fresh === null) continue;
      this.#options.records.put({ ...row, sealedKey: fresh });
      this.#options.logger.log("info", "keys", "the CA's keys are sealed with the new key-encryption key", {
        id: row.id,
      });
    }
  }

  async #openKeys(): Promise<void> {
    const closed = this.#rowsInForce().filter((row) => row.sealedKey !== null && !this.#opened.has(row.id));
    // All at the same time: each may wait for a service that does not answer.
    await Promise.all(closed.map((row) => this.#openKey(row)));
    this.#retryLater();
  }

  async #openKey(row: AuthorityRow): Promise<void> {
    try {
      if (row.sealedKey === null) return;
      this.#opened.set(row.id, await this.#load(row, row.sealedKey));
      this.#unavailable.delete(row.id);
    } catch (thrown) {
      const error = asMeshError(thrown, "configuration", "local");
      // A wrong file in the place of a key that is kept away stops nothing that goes on without it.
      if (error.code !== "authority_unavailable" && !isKeptAway(row.sealedKey)) throw error;
      this.#unavailable.set(row.id, error.message);
    }
  }

  #retryLater(): void {
    if (this.#unavailable.size === 0 || this.#closed) {
      this.#failures = 0;
      return;
    }
    const { clock, logger } = this.#options;
    const delayMs = backoffMs(++this.#failures, keysLimits.vaultBackoff);
    const before = [...this.#unavailable].join();
    this.#retry = clock.setTimer(delayMs, () => {
      this.#openKeys().then(
        () => {
          if ([...this.#unavailable].join() !== before) this.#publish();
        },
        (error) => {
          // Found out only now: the key is not the certificate's, say. It stays unavailable, and nothing else suffers.
          logger.log("error", "keys", "an authority cannot be used", { error: String(error) });
        },
      );
    });
  }

  async #load(row: AuthorityRow, stored: Uint8Array): Promise<CertificateAuthority> {
    const key = await this.#placeOf(stored).open(row.id, stored);
    const { intermediates, root } = readRowCertificates(row);
    const pem = {
      certificatePem: row.certificatePem,
      chainPem: intermediates.map((one) => encodePem("CERTIFICATE", one.der)).join(""),
      rootsPem: encodePem("CERTIFICATE", root.der),
    };
    return await CertificateAuthority.withKey({ ...this.#options, pem, key });
  }

  #placeOf(stored: Uint8Array): KeyPlace {
    const place = this.#options.places.find((one) => one.holds(stored));
    if (place === undefined)
      throw bad("the state has a key whose place is not configured; was it made with --ca vault-transit?");
    return place;
  }

  #rowsInForce(): readonly AuthorityRow[] {
    return this.#options.records.list().filter((row) => row.state !== "retired");
  }

  #publish(): void {
    if (this.#closed) return;
    const loaded = this.#rowsInForce().map((row): LoadedAuthority => {
      const { certificate, intermediates, root } = readRowCertificates(row);
      const { id, kind, createdAtMs } = row;
      const state = row.state === "retired" ? "retiring" : row.state;
      const unavailable = this.#unavailable.get(id) ?? null;
      return {
        id,
        kind,
        state,
        certificate,
        above: kind === "root" ? [] : [...intermediates, root],
        roots: [root],
        createdAtMs,
        ca: this.#opened.get(id) ?? null,
        unavailable,
        keptAway: isKeptAway(row.sealedKey),
      };
    });
    this.#view.set(authorityView(loaded));
  }
}

function authorityId(suffix: string): string {
  return `ca-${suffix.slice(0, 16)}`;
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
