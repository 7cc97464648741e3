/** Authorities for people: what `ca show` and `ca export-root` tell. */
import type { Watch } from "../../base/watch.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { hex } from "../../pki/der/values.ts";
import type { Certificate } from "../../pki/x509/certificate.ts";
import { positions } from "./authority_states.ts";
import type { AuthorityView, LoadedAuthority } from "./authority_view.ts";

export interface CertificateSummary {
  readonly subject: string;
  readonly serialNumber: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SHA-256 over the certificate, hexadecimal. */
  readonly fingerprint: string;
  /** `sha256:` and SHA-256 over its SubjectPublicKeyInfo, hexadecimal: what a join line pins. */
  readonly pin: string;
}

export interface AuthorityDescription {
  readonly id: string;
  readonly kind: LoadedAuthority["kind"];
  readonly state: LoadedAuthority["state"];
  /** What it is there for now, in words. */
  readonly role: string;
  readonly createdAtMs: number;
  readonly certificate: CertificateSummary;
  readonly roots: readonly CertificateSummary[];
  /** Null when its key can be used. */
  readonly unavailable: string | null;
}

/** The active one first, then what is next, then what is on its way out. */
export async function describeAuthorities(
  view: AuthorityView,
  provider: CryptoProvider,
): Promise<readonly AuthorityDescription[]> {
  const order = ["active", "next", "retiring"];
  const sorted = [...view.authorities].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const above = new Set(
    positions(view.authorities).flatMap(({ id, below }) => (below.length === 0 ? [] : [id])),
  );
  return await Promise.all(
    sorted.map(async ({ id, kind, state, createdAtMs, certificate, roots, unavailable }) => ({
      id,
      kind,
      state,
      role: above.has(id) && state !== "active" ? "signs intermediates" : roles[state],
      createdAtMs,
      certificate: await summarize(certificate, provider),
      roots: await Promise.all(roots.map((root) => summarize(root, provider))),
      unavailable,
    })),
  );
}

const roles = { active: "issues", next: "announced", retiring: "on its way out" } as const;

/** The authorities for people; digests take a moment, so the list is made when they change. */
export class AuthorityList {
  #entries: readonly AuthorityDescription[] = [];
  #end: () => void = () => {};

  static async follow(view: Watch<AuthorityView>, provider: CryptoProvider): Promise<AuthorityList> {
    const list = new AuthorityList();
    const read = async (now: AuthorityView): Promise<void> => {
      const entries = await describeAuthorities(now, provider);
      if (view.value === now) list.#entries = entries;
    };
    list.#end = view.subscribe((now) => void read(now));
    await read(view.value);
    return list;
  }

  get entries(): readonly AuthorityDescription[] {
    return this.#entries;
  }

  close(): void {
    this.#end();
  }
}

/** The pin of a root, as a join line carries it. */
export async function pinOf(root: Certificate, provider: CryptoProvider): Promise<string> {
  return `sha256:${await sha256(root.publicKeyInfo, provider)}`;
}

async function summarize(certificate: Certificate, provider: CryptoProvider): Promise<CertificateSummary> {
  const { subjectText, serialNumber, notBeforeMs, notAfterMs } = certificate;
  const fingerprint = await sha256(certificate.der, provider);
  return {
    subject: subjectText,
    serialNumber,
    notBeforeMs,
    notAfterMs,
    fingerprint,
    pin: await pinOf(certificate, provider),
  };
}

async function sha256(bytes: Uint8Array, provider: CryptoProvider): Promise<string> {
  return hex(new Uint8Array(await provider.crypto.subtle.digest("SHA-256", buffer(bytes))));
}
