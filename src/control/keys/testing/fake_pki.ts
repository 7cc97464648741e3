/** The PKI engine of a Vault, with a root of its own, for whoever shows `transitToken`. */
import type { HttpRequest, HttpResponse } from "../../../host/host.ts";
import { peculiarProvider } from "../../../pki/crypto/peculiar_provider.ts";
import { SignatureVerifier } from "../../../pki/crypto/signature.ts";
import { encodePem } from "../../../pki/der/pem.ts";
import { issueIntermediateCertificate } from "../../../pki/issue/authority.ts";
import { CertificateAuthority } from "../../../pki/issue/ca.ts";
import { proveCertificateRequest } from "../../../pki/x509/csr.ts";
import { transitToken } from "./fake_transit.ts";
import { json } from "./fake_vault.ts";

const provider = peculiarProvider();
const trustDomain = "cluster.local";
const hour = 3_600_000;

export class FakePki {
  readonly revoked = new Set<string>();
  /** What its policy cuts intermediates to. */
  maxLifetimeMs = 90 * 24 * hour;
  #root: Promise<CertificateAuthority> | null = null;
  #lists = 0n;
  /** The engine's own clock. */
  nowMs: () => number = () => Date.parse("2026-01-01T00:00:00Z");

  readonly answer = async (request: HttpRequest): Promise<HttpResponse> => {
    if (request.headers?.["x-vault-token"] !== transitToken) return json(403, { errors: [] });
    const { pathname } = new URL(request.url);
    if (pathname === "/v1/auth/token/lookup-self") return json(200, { data: { ttl: 0, renewable: false } });
    const body: Record<string, string> =
      request.body === undefined ? {} : JSON.parse(new TextDecoder().decode(request.body));
    if (pathname.endsWith("/sign-intermediate")) return await this.#certify(body.csr ?? "");
    if (pathname.endsWith("/revoke")) {
      this.revoked.add((body.serial_number ?? "").replaceAll(":", ""));
      return json(200, { data: { revocation_time: 1 } });
    }
    if (pathname.endsWith("/crl")) return json(200, { data: { crl: await this.#list() } });
    return json(404, { errors: [] });
  };

  get #authority(): Promise<CertificateAuthority> {
    const clock = { wallMs: this.nowMs, now: () => 0, setTimer: () => ({ cancel() {} }), defer() {} };
    this.#root ??= CertificateAuthority.create({ clock, provider, trustDomain });
    return this.#root;
  }

  async #certify(csrPem: string): Promise<HttpResponse> {
    const { publicKeyInfo } = await proveCertificateRequest(csrPem, new SignatureVerifier(provider));
    const { issuer, rootsPem } = await this.#authority;
    const nowMs = this.nowMs();
    const validity = { notBeforeMs: nowMs - hour, notAfterMs: nowMs + this.maxLifetimeMs };
    const made = await issueIntermediateCertificate(issuer, { publicKeyInfo, trustDomain, ...validity });
    const certificate = encodePem("CERTIFICATE", made.der);
    return json(200, { data: { certificate, issuing_ca: rootsPem, ca_chain: [rootsPem] } });
  }

  async #list(): Promise<string> {
    const revokedAtMs = this.nowMs();
    const revoked = [...this.revoked].map((serialNumber) => ({
      serialNumber,
      revokedAtMs,
      reason: "superseded" as const,
    }));
    const authority = await this.#authority;
    return encodePem(
      "X509 CRL",
      await authority.revocationList(revoked, ++this.#lists, revokedAtMs + 72 * hour),
    );
  }
}
