/**
 * A CA in an operator's files, followed: cert-manager, Vault agent or a person replaces them while this runs. What replaces them is
 * checked as a whole before it issues, and the last good CA issues until then.
 */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Files } from "../../host/host.ts";
import { encodePem } from "../der/pem.ts";
import { parseRoots } from "../trust/anchors.ts";
import type {
  AuthorityOptions,
  CertificateAuthority,
  CertificateSigner,
  SigningRequest,
  SigningResponse,
} from "./ca.ts";
import { type AuthorityPaths, loadAuthority } from "./ca_files.ts";

export interface FollowedAuthorityOptions extends AuthorityOptions {
  readonly files: Files;
  readonly logger: Logger;
  readonly paths: AuthorityPaths;
}

export class FollowedAuthority implements CertificateSigner {
  readonly #options: FollowedAuthorityOptions;
  readonly #authority: WatchSource<CertificateAuthority>;
  readonly #unwatch: readonly (() => void)[];
  #problem: string | null = null;
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: FollowedAuthorityOptions, first: CertificateAuthority) {
    this.#options = options;
    this.#authority = new WatchSource(first);
    const { certificate, privateKey, root, chain } = options.paths;
    const paths = new Set([certificate, privateKey, root, chain].filter((path) => path !== null));
    this.#unwatch = [...paths].map((path) => options.files.watch(path, () => this.#reload()));
    // Whatever changed between the reading and the watch.
    this.#reload();
  }

  /** @throws MeshError `configuration` or `io`, blame local, for files that cannot be used. */
  static async open(options: FollowedAuthorityOptions): Promise<FollowedAuthority> {
    return new FollowedAuthority(options, await loadAuthority(options.files, options.paths, options));
  }

  /** The last good one. It changes when its certificate, its chain or its roots do. */
  get authority(): Watch<CertificateAuthority> {
    return this.#authority;
  }

  /** Why the files as they are now are not in force; null when they are. */
  get problem(): string | null {
    return this.#problem;
  }

  /** @throws MeshError as `CertificateAuthority.sign`. */
  sign(request: SigningRequest): Promise<SigningResponse> {
    return this.#authority.value.sign(request);
  }

  close(): void {
    this.#closed = true;
    for (const unwatch of this.#unwatch) unwatch();
  }

  #reload(): void {
    this.#work = this.#work.then(() => this.#readAgain());
  }

  async #readAgain(): Promise<void> {
    if (this.#closed) return;
    const { files, paths, logger } = this.#options;
    try {
      const authority = await loadAuthority(files, paths, this.#options);
      if (this.#closed) return;
      this.#problem = null;
      if (contentOf(authority) === contentOf(this.#authority.value)) return;
      this.#authority.set(authority);
      logger.log("info", "pki", "the CA's files were replaced, and the new CA issues", {
        certificate: authority.certificate.subjectText,
        serial: authority.certificate.serialNumber,
      });
    } catch (thrown) {
      const { message } = asMeshError(thrown, "configuration", "local");
      // While several files are replaced one after the other this is so for a moment.
      if (message !== this.#problem)
        logger.log("warn", "pki", "the CA's files are not taken over; the CA before goes on issuing", {
          reason: message,
        });
      this.#problem = message;
    }
  }
}

/** What makes one CA another: the certificates. A key is never changed alone, as it has to be its certificate's. */
function contentOf({ certificate, sentPem, rootsPem }: CertificateAuthority): string {
  const roots = parseRoots(rootsPem).map((root) => encodePem("CERTIFICATE", root.der));
  return [encodePem("CERTIFICATE", certificate.der), ...sentPem, "", ...roots].join("");
}
