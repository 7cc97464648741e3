/**
 * What this host shows to its control plane, and by which roots it knows it. Made first, before there is anything to show; what comes
 * later (a join, a workload's certificate) is put in.
 */

import type { TokenSource } from "../../base/settings/node_control.ts";
import type { TlsCredentials } from "../../host/host.ts";
import type { Svid } from "../../pki/svid/svid.ts";

/** Who this host is to the server, now. */
export interface Presented {
  /** Null shows no certificate. */
  readonly credentials: TlsCredentials | null;
  /** Null sends no token. */
  readonly bearer: TokenSource | null;
  /**
   * Shown when there is a token and it cannot be read: istiod takes a certificate that it has signed (`NewServer` of
   * `pilot/pkg/bootstrap/server.go`).
   */
  readonly spare: TlsCredentials | null;
}

/** A certificate of this host's own. `NodeIdentity` is one. */
export interface OwnCertificate {
  readonly credentials: TlsCredentials;
  readonly node: { readonly rootsPem: string };
}

export class HostCredentials {
  #rootsPem: string | null;
  #own: OwnCertificate | null = null;
  #token: TokenSource | null = null;
  #svid: () => Svid | null = () => null;

  /** @param rootsPem of an earlier join; null before the first. */
  constructor(rootsPem: string | null) {
    this.#rootsPem = rootsPem;
  }

  /** The mesh's own roots as far as they are known; null before the first certificate of a host that does not join. */
  get rootsPem(): string | null {
    return this.#own?.node.rootsPem ?? this.#rootsPem;
  }

  /** Those that came with the join. */
  trustRoots(rootsPem: string): void {
    this.#rootsPem = rootsPem;
  }

  /** From here on it is shown alone, as it is at the time. */
  showCertificateOf(own: OwnCertificate): void {
    this.#own = own;
  }

  /** For a host that has no certificate of its own. */
  showToken(token: TokenSource | null): void {
    this.#token = token;
  }

  /** Where the certificate of a workload that runs here is: all that such a host can show when its token is gone. */
  useSvid(current: () => Svid | null): void {
    this.#svid = current;
  }

  /** Nothing before the host has joined or was given a token. */
  present(): Presented {
    if (this.#own !== null) return { credentials: this.#own.credentials, bearer: null, spare: null };
    const svid = this.#svid();
    const spare =
      svid === null
        ? null
        : {
            certificateChainPem: svid.certificateChainPem,
            privateKeyPem: svid.privateKeyPem,
            trustedRootsPem: this.rootsPem ?? "",
          };
    return { credentials: null, bearer: this.#token, spare };
  }
}
