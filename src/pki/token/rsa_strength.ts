/** Which RSA keys of a key set prove anything: not short ones, nor those whose exponent or modulus lets others sign. */
import { pkiLimits, tokenLimits } from "../../base/limits/pki.ts";

/** Without padding, and of no length that base64 cannot have. */
function isBase64url(text: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(text) && text.length % 4 !== 1;
}

/** @param n @param e members of a JSON Web Key (RFC 7518 §6.3.1), as they come. */
export function isStrongRsaKey(n: unknown, e: unknown): boolean {
  if (typeof n !== "string" || typeof e !== "string") return false;
  // Base64url makes three bytes four; longer keys cost us, not the sender. What libraries take as an exponent ends at 33 bits.
  if (n.length > (tokenLimits.maxRsaBits / 8) * 1.5 || e.length > 8) return false;
  if (!isBase64url(n) || !isBase64url(e)) return false;
  const exponent = toNumber(e);
  // With 1 a signature is its message's hash; an even one is none (RFC 8017 §3.1).
  if (exponent < 3n || exponent % 2n === 0n) return false;
  const modulus = toNumber(n);
  return bitsOf(modulus) >= pkiLimits.minRsaBits && !isOfInfineon(modulus);
}

function toNumber(text: string): bigint {
  return BigInt(`0x0${Uint8Array.fromBase64(text, { alphabet: "base64url" }).toHex()}`);
}

function bitsOf(number: bigint): number {
  return number.toString(2).length;
}

const smallPrimes = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
  109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/**
 * ROCA (CVE-2017-15361): primes of Infineon's library are k·M + 65537^a mod M, so that modulo each small prime the modulus is a power of
 * 65537; such keys of 2048 bits have been factored. Another key passes for one with a probability below 2^-27.
 */
function isOfInfineon(modulus: bigint): boolean {
  return smallPrimes.every((prime) => {
    const wanted = Number(modulus % BigInt(prime));
    for (let power = 1, step = 0; step < prime; step++) {
      if (power === wanted) return true;
      power = (power * 65_537) % prime;
    }
    return false;
  });
}
