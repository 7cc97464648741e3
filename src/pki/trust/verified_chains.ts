/** Chains that were found to hold, so that a peer that comes again costs a comparison. */
import { pkiLimits } from "../../base/limits/pki.ts";
import type { CertificateUsage } from "../der/oids.ts";
import { bytesEqual, latin1 } from "../der/values.ts";

/** What is verified: the chain as presented, byte for byte, for one usage. */
export interface PresentedChain {
  readonly chain: readonly Uint8Array[];
  readonly usage: CertificateUsage;
}

interface Entry<T> extends PresentedChain {
  readonly value: T;
}

/**
 * Values by presented chain. The key is a part of the leaf's signature, which no two certificates share by accident; a hit
 * is one only after the whole chain was compared, so that there is nothing to collide.
 */
export class ChainMap<T> {
  readonly #entries = new Map<string, Entry<T>>();

  get(presented: PresentedChain): T | null {
    const entry = this.#entries.get(keyOf(presented));
    return entry !== undefined && isSame(entry, presented) ? entry.value : null;
  }

  /** As `get`, and the entry becomes the newest. */
  touch(presented: PresentedChain): T | null {
    const key = keyOf(presented);
    const entry = this.#entries.get(key);
    if (entry === undefined || !isSame(entry, presented)) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** Takes the place of another chain with the same key. */
  set(presented: PresentedChain, value: T): void {
    this.#entries.set(keyOf(presented), { ...presented, value });
  }

  delete(presented: PresentedChain): void {
    const key = keyOf(presented);
    const entry = this.#entries.get(key);
    if (entry !== undefined && isSame(entry, presented)) this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  get size(): number {
    return this.#entries.size;
  }

  deleteOldest(): void {
    const [first] = this.#entries.keys();
    if (first !== undefined) this.#entries.delete(first);
  }
}

/** Peers by chain: the most recently used are kept, and each for as long as its path is valid. */
export class VerifiedChains<Peer extends { readonly notBeforeMs: number; readonly notAfterMs: number }> {
  readonly #peers = new ChainMap<Peer>();

  get(presented: PresentedChain, nowMs: number): Peer | null {
    const peer = this.#peers.touch(presented);
    if (peer === null || (nowMs >= peer.notBeforeMs && nowMs <= peer.notAfterMs)) return peer;
    this.#peers.delete(presented);
    return null;
  }

  set(presented: PresentedChain, peer: Peer): void {
    this.#peers.set(presented, peer);
    if (this.#peers.size > pkiLimits.maxVerifiedChains) this.#peers.deleteOldest();
  }

  clear(): void {
    this.#peers.clear();
  }

  get size(): number {
    return this.#peers.size;
  }
}

function keyOf({ chain, usage }: PresentedChain): string {
  return usage + latin1(chain[0]?.subarray(-16) ?? new Uint8Array());
}

function isSame(left: PresentedChain, right: PresentedChain): boolean {
  if (left.usage !== right.usage || left.chain.length !== right.chain.length) return false;
  return left.chain.every((certificate, index) =>
    bytesEqual(certificate, right.chain[index] ?? new Uint8Array()),
  );
}
