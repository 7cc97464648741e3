/** Join tokens as text: `fjt_ID_SECRET`. The id finds the token, the secret proves it, and only the secret's hash is kept. */
import { identityLimits } from "../../base/limits/control.ts";
import type { Random } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";

export interface JoinToken {
  readonly id: string;
  /** 256 bits. */
  readonly secret: Uint8Array;
}

const form = /^fjt_([0-9a-f]{16})_([0-9a-f]{64})$/;

/** @returns null for what is no token, before anything is computed or looked up. */
export function parseJoinToken(text: string): JoinToken | null {
  if (text.length > identityLimits.maxJoinTokenChars) return null;
  const [, id, secret] = form.exec(text) ?? [];
  return id === undefined || secret === undefined ? null : { id, secret: bytesOf(secret) };
}

export function newJoinToken(random: Random): JoinToken {
  const id = new Uint8Array(8);
  const secret = new Uint8Array(32);
  random.fill(id);
  random.fill(secret);
  return { id: hexOf(id), secret };
}

export function formatJoinToken({ id, secret }: JoinToken): string {
  return `fjt_${id}_${hexOf(secret)}`;
}

/** A fast hash is enough: 256 random bits are not guessed, unlike a password. */
export async function hashSecret(secret: Uint8Array, provider: CryptoProvider): Promise<Uint8Array> {
  return new Uint8Array(await provider.crypto.subtle.digest("SHA-256", secret.slice()));
}

/** How far two byte strings agree does not show in the time it takes. */
export function equalInConstantTime(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let index = 0; index < left.length; index++) difference |= (left[index] ?? 0) ^ (right[index] ?? 0);
  return difference === 0;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(hexadecimal: string): Uint8Array {
  return Uint8Array.from(hexadecimal.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}
