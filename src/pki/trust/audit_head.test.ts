/** Who has signed a head of the audit log: each word of what is signed counts, and so do identity, root and the time of it. */
import { expect, test } from "bun:test";
import { SpiffeId } from "../../mesh/identity.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { encodePem } from "../der/pem.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { controlServiceAccount, signerOf, signHead } from "./audit_head.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const provider = runtimeProvider();
const forge = new Forge(provider, nowMs);
const id = new SpiffeId("mesh.example", "istio-system", controlServiceAccount);
const head = { id: 7, hash: "ab".repeat(32), atMs: nowMs };

async function keyOf({ keys }: Forged): Promise<string> {
  return encodePem("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey)));
}

test("a head is the control plane's for what was signed alone, by its identity, under a root, at its time", async () => {
  const [root, other] = [await forge.ca(), await forge.ca({ subject: "CN=other" })];
  const leaf = await forge.leaf(root, { uris: [id.uri] });
  const signature = await signHead("state-1", head, await keyOf(leaf), provider);
  const signed = { ...head, signature, chainPem: leaf.pem };
  const who = (change: Partial<typeof signed> = {}, stateId = "state-1", roots = root.pem) =>
    signerOf(stateId, { ...signed, ...change }, { provider, id, rootsPem: () => roots });
  expect(await who()).toBe("control plane");
  for (const change of [{ id: 8 }, { hash: "ac".repeat(32) }, { atMs: nowMs + 1 }, { signature: "" }])
    expect([change, await who(change)]).toEqual([change, "unknown"]);
  expect(await who({}, "state-2")).toBe("unknown");
  expect(await who({ chainPem: "" })).toBe("unknown");
  expect(await who({}, "state-1", other.pem)).toBe("another root");
  const cart = await forge.leaf(root, { keys: leaf.keys });
  expect(await who({ chainPem: cart.pem })).toBe("unknown");
  const late = { ...head, atMs: leaf.parsed.notAfterMs + 1_000 };
  const signedLate = { ...late, signature: await signHead("state-1", late, await keyOf(leaf), provider) };
  expect(await who(signedLate)).toBe("another root");
});
