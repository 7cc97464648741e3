/** Certificates for both ends, and the methods that the suites call. */

import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { Forge, type Forged } from "../../src/pki/testing/forge.ts";
import type { MethodDescription } from "../../src/wire/grpc/method.ts";
import { rawCodec } from "../../src/wire/grpc/method.ts";

export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

export interface GrpcCertificates {
  readonly root: string;
  readonly rootDer: Uint8Array;
  readonly server: Pair;
  readonly client: Pair;
}

/** One root; a server at `localhost` and 127.0.0.1. */
export async function makeCertificates(): Promise<GrpcCertificates> {
  const forge = new Forge(runtimeProvider(), Date.now());
  const root = await forge.ca();
  const server = await forge.leaf(root, { dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"] });
  const client = await forge.leaf(root, { uris: ["spiffe://cluster.local/ns/shop/sa/cart"] });
  return { root: root.pem, rootDer: root.der, server: await pairOf(server), client: await pairOf(client) };
}

async function pairOf({ pem, keys }: Forged): Promise<Pair> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { certificate: pem, key: encodePem("PRIVATE KEY", new Uint8Array(pkcs8)) };
}

/** `/test.Echo/<name>`, bytes both ways. */
export function method(name: string): MethodDescription<Uint8Array, Uint8Array> {
  return { path: `/test.Echo/${name}`, request: rawCodec, response: rawCodec };
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
