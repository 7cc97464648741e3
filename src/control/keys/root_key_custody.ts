/** `fairlead ca root-key`: takes the root's key out of state into a file, and takes it back. */
import { MeshError } from "../../base/errors.ts";
import type { SealedKeys } from "./key_place.ts";
import { isKeptAway, type RootKeyFile } from "./root_key_file.ts";
import type { StateAuthorities } from "./state_authorities.ts";

export interface RootKeyStatus {
  /** `here`: sealed in state. `file`: where `path` says. `away`: neither. `elsewhere`: with Vault. */
  readonly place: "here" | "file" | "away" | "elsewhere";
  /** Where the file is written and looked for, on the control plane's host. */
  readonly path: string;
}

export class RootKeyCustody {
  readonly #authorities: StateAuthorities;
  readonly #sealed: SealedKeys;
  readonly #file: RootKeyFile;

  constructor(authorities: StateAuthorities, sealed: SealedKeys, file: RootKeyFile) {
    this.#authorities = authorities;
    this.#sealed = sealed;
    this.#file = file;
  }

  status(): RootKeyStatus {
    const { path } = this.#file;
    const root = this.#authorities.ownRoot();
    if (root === null) return { place: "elsewhere", path };
    if (!root.authority.keptAway)
      return { place: root.stored !== null && this.#sealed.holds(root.stored) ? "here" : "elsewhere", path };
    return { place: root.authority.ca === null ? "away" : "file", path };
  }

  /**
   * Writes the key into the file, and forgets it. Killed in between it is in both places, and the same again ends it.
   *
   * @throws MeshError `configuration`, blame local, when there is no such key; `io`.
   */
  async export(): Promise<RootKeyStatus> {
    const { id, stored } = this.#root();
    if (isKeptAway(stored)) throw bad("the root's key was exported before, and is not in state");
    const { pkcs8 } = await this.#sealed.open(id, stored);
    await this.#authorities.moveKey(id, await this.#file.write(pkcs8));
    return this.status();
  }

  /** Takes the key from the file into state, sealed, and removes the file. @throws MeshError `configuration`, `authority_unavailable`, `io`. */
  async import(): Promise<RootKeyStatus> {
    const { id, stored } = this.#root();
    if (!isKeptAway(stored)) throw bad("the root's key is in state already");
    const { pkcs8 } = await this.#file.read();
    await this.#authorities.moveKey(id, await this.#sealed.seal(id, pkcs8));
    await this.#file.remove();
    return this.status();
  }

  #root(): { readonly id: string; readonly stored: Uint8Array } {
    const root = this.#authorities.ownRoot();
    if (root === null || root.stored === null) throw bad("this control plane has no root of its own");
    if (!isKeptAway(root.stored) && !this.#sealed.holds(root.stored))
      throw bad("the root's key is in Vault, and does not leave it");
    if (root.authority.state === "active")
      throw bad("the root issues certificates itself: it needs an intermediate below it first");
    return { id: root.authority.id, stored: root.stored };
  }
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
