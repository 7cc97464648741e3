/** A certificate that says the right name and is not signed by a CA that the mesh knows. */
import type { Clock } from "../../src/host/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { createCertificateRequest } from "../../src/pki/x509/csr.ts";

const clock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  defer: queueMicrotask,
};

/** The insider runs a CA of their own: same trust domain, same identity, other key. */
export async function forgeCertificate(
  serviceAccount: string,
): Promise<{ readonly cert: string; readonly key: string }> {
  const provider = runtimeProvider();
  const id = new SpiffeId("cluster.local", "shop", serviceAccount);
  const authority = await CertificateAuthority.create({ clock, provider, trustDomain: id.trustDomain });
  const { csrPem, keys } = await createCertificateRequest(provider, id);
  const { chainPem } = await authority.sign({ csrPem, id, lifetimeMs: 3_600_000 });
  const key = new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return { cert: chainPem.join("\n"), key: encodePem("PRIVATE KEY", key) };
}
