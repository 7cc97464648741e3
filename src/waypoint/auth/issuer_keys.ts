/** The keys of one issuer, and whether they are still those that a token was verified by. */
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, HttpClient } from "../../host/host.ts";
import type { JwtRule } from "../../mesh/documents/security.ts";
import { JwksCache, type JwksStatus } from "../../pki/token/jwks_cache.ts";
import type { KeyQuestion } from "../../pki/token/jwks_keys.ts";
import { type JwksSource, readJwks } from "../../pki/token/jwks_source.ts";

export interface KeyReader {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly http: HttpClient;
  readonly files: Files;
}

export class IssuerKeys {
  readonly #cache: JwksCache;
  #text: string | null = null;
  /** One more whenever other keys were read than before. */
  generation = 0;

  /** @param privateHosts of key sets that may be at private addresses. */
  constructor(rule: JwtRule, privateHosts: readonly string[], reader: KeyReader) {
    const source = sourceOf(rule, privateHosts);
    const { clock, logger } = reader;
    const read = async () => {
      const keys = await readJwks(reader, rule.issuer, source);
      if (this.#text !== null && this.#text !== keys.text) this.generation++;
      this.#text = keys.text;
      return keys;
    };
    this.#cache = new JwksCache({ clock, logger, issuer: rule.issuer, read });
  }

  /** @throws MeshError `identity_unavailable` when no keys may be believed. */
  find(question: KeyQuestion): Promise<readonly CryptoKey[]> {
    return this.#cache.find(question);
  }

  status(): JwksStatus {
    return this.#cache.status();
  }
}

function sourceOf({ keys, timeoutMs }: JwtRule, privateHosts: readonly string[]): JwksSource {
  const reachable = { reach: "public", rootsPath: null, privateHosts, timeoutMs } as const;
  switch (keys.kind) {
    case "inline":
      return keys;
    case "uri":
      return { kind: "uri", uri: keys.uri, ...reachable };
    case "discovery":
      return { kind: "discovery", ...reachable };
  }
}
