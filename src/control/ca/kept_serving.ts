/** The control plane's own certificate and key, sealed in state: what it serves with when it starts while its CA's key cannot be used. */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../host/host.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { bytesEqual } from "../../pki/der/values.ts";
import type { ServingCertificate } from "../../pki/issue/server.ts";
import { parseRoots } from "../../pki/trust/anchors.ts";
import { parseCertificate } from "../../pki/x509/certificate.ts";
import type { SealedKeys } from "../keys/key_place.ts";
import type { SettingRecords } from "../records/keys.ts";

export interface KeptServingOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: Pick<SettingRecords, "get" | "set">;
  readonly sealed: Pick<SealedKeys, "seal" | "unseal">;
  /** The roots in force. */
  readonly rootsPem: () => string;
  readonly isRevoked: (serialNumber: string) => boolean;
}

const name = "serving_certificate";

export class KeptServing {
  readonly #options: KeptServingOptions;

  constructor(options: KeptServingOptions) {
    this.#options = options;
  }

  /** One that cannot be kept serves all the same. Never rejects. */
  async save({ credentials, ...rest }: ServingCertificate): Promise<void> {
    const { settings, sealed, logger } = this.#options;
    try {
      const text = JSON.stringify({ ...credentials, trustedRootsPem: "", notAfterMs: rest.notAfterMs });
      settings.set(name, (await sealed.seal(name, new TextEncoder().encode(text))).toBase64());
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("warn", "identity", "the control plane's own certificate could not be kept", {
        reason: message,
      });
    }
  }

  /** @returns the last one, or why there is none that can be used: ended, revoked, of a root that is gone, damaged. */
  async load(): Promise<ServingCertificate | string> {
    const { settings, sealed } = this.#options;
    const kept = settings.get(name);
    if (kept === null) return "none was kept";
    try {
      const opened = await sealed.unseal(name, Uint8Array.fromBase64(kept));
      return this.#read(JSON.parse(new TextDecoder().decode(opened)));
    } catch (thrown) {
      return `it cannot be opened: ${asMeshError(thrown, "configuration", "local").message}`;
    }
  }

  #read(value: Readonly<Record<string, unknown>>): ServingCertificate | string {
    const { certificateChainPem, privateKeyPem } = value;
    if (typeof certificateChainPem !== "string" || typeof privateKeyPem !== "string") return "it is damaged";
    const { clock, rootsPem, isRevoked } = this.#options;
    const [leaf, ...above] = decodePemLabel(certificateChainPem, "CERTIFICATE").map(parseCertificate);
    const [root, issuer] = [above.at(-1), above[0]];
    if (leaf === undefined || root === undefined || issuer === undefined) return "it is damaged";
    const { serialNumber, notBeforeMs, notAfterMs } = leaf;
    if (notAfterMs <= clock.wallMs()) return `it ended at ${new Date(notAfterMs).toISOString()}`;
    if (!parseRoots(rootsPem()).some((one) => bytesEqual(one.der, root.der)))
      return "its root is trusted no more";
    if ([leaf, ...above].some((one) => isRevoked(one.serialNumber))) return "it is revoked";
    return {
      credentials: { certificateChainPem, privateKeyPem, trustedRootsPem: rootsPem() },
      serialNumber,
      issuerKey: issuer.authorityKey,
      notBeforeMs,
      notAfterMs,
    };
  }
}
