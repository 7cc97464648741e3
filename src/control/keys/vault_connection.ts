/** Single requests to Vault: address, namespace, bounds, and what the answer means. */
import { MeshError } from "../../base/errors.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { HttpClient, HttpRequest } from "../../host/host.ts";
import { readVaultAnswer, type VaultAnswer } from "./vault_answer.ts";

export interface VaultAddress {
  /** `https://vault.example:8200`; `http:` for a loopback address alone, as tokens go along. */
  readonly url: string;
  /** Vault Enterprise's and OpenBao's name spaces; null for the root. */
  readonly namespace: string | null;
  /** Null for the system's. */
  readonly trustedRootsPem: string | null;
}

export interface VaultRequest {
  readonly method: "GET" | "POST" | "LIST";
  /** Below `/v1/`. */
  readonly path: string;
  readonly token: string | null;
  readonly body: Readonly<Record<string, unknown>> | null;
}

export class VaultConnection {
  readonly #http: HttpClient;
  readonly #address: VaultAddress;
  readonly #base: string;

  /** @throws MeshError `configuration`, blame local. */
  constructor(http: HttpClient, address: VaultAddress) {
    this.#http = http;
    this.#address = address;
    this.#base = readBase(address.url);
  }

  /** Without credentials, for people. */
  get name(): string {
    return this.#base;
  }

  /** @returns `away` also where nothing answers. */
  async send(request: VaultRequest): Promise<VaultAnswer> {
    try {
      return readVaultAnswer(await this.#http.send(this.#encode(request)));
    } catch (thrown) {
      if (!(thrown instanceof MeshError) || thrown.blame !== "upstream") throw thrown;
      // An answer beyond the bound will be so again.
      const kind = thrown.code === "limit_reached" ? "refused" : "away";
      return { kind, message: thrown.message };
    }
  }

  #encode({ method, path, token, body }: VaultRequest): HttpRequest {
    const { namespace, trustedRootsPem } = this.#address;
    return {
      method,
      url: `${this.#base}/v1/${path}`,
      headers: {
        // Vault refuses requests without it when an agent is in front of it (SSRF).
        "x-vault-request": "true",
        ...(token === null ? {} : { "x-vault-token": token }),
        ...(namespace === null ? {} : { "x-vault-namespace": namespace }),
        ...(body === null ? {} : { "content-type": "application/json" }),
      },
      ...(body === null ? {} : { body: new TextEncoder().encode(JSON.stringify(body)) }),
      timeoutMs: keysLimits.vaultTimeoutMs,
      maxResponseBytes: keysLimits.maxVaultResponseBytes,
      // An operator has named this very address in the control plane's own settings, and it is a private one nearly always.
      // Nothing that a peer or a document says gets here.
      reach: "any",
      ...(trustedRootsPem === null ? {} : { trustedRootsPem }),
    };
  }
}

function readBase(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlainUrl =
    url !== null && url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (!isPlainUrl || !/^https?:$/.test(url.protocol)) throw bad("the address of Vault is not an http(s) URL");
  if (url.protocol === "http:" && !/^(?:127(?:\.\d+){3}|\[::1\]|localhost)$/.test(url.hostname)) {
    throw bad(`Vault at ${url.host} has to be reached by https: its token would be sent in plain text`);
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** Part of a path: a mount (which may have slashes) or a name. @throws MeshError `configuration`, blame local. */
export function vaultPath(text: string, what: string): string {
  const path = text.replace(/^\/+|\/+$/g, "");
  const isGood =
    /^[\w.~-]+(?:\/[\w.~-]+)*$/.test(path) && !path.split("/").some((part) => /^\.+$/.test(part));
  if (!isGood) throw bad(`${what} of Vault cannot be ${JSON.stringify(text)}`);
  return path;
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
