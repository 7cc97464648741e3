/** Making join tokens, and the one line that an operator pastes on the host. */
import { MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import type { Clock, Random } from "../../host/host.ts";
import { isNodeName, nodeNamespace } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { TokenBinding } from "../records/tokens.ts";
import type { TokenStore } from "./identity_state.ts";
import { formatJoinToken, hashSecret, newJoinToken } from "./join_token.ts";

export interface JoinTokenOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly provider: CryptoProvider;
  readonly tokens: TokenStore;
  /** `https://HOST:15012`, as hosts reach it. */
  readonly controlUrl: () => string;
  /** `sha256:…` of the root that the control plane's certificate leads to. */
  readonly pin: () => Promise<string>;
}

export interface JoinTokenRequest {
  readonly binding: TokenBinding;
  /** Default an hour. */
  readonly ttlMs?: number;
  /** May take the place of a host of the same name. */
  readonly replace?: boolean;
  readonly createdBy: string;
  /** By whose right it is made: a namespace's. The mesh's when left out. */
  readonly byNamespace?: string;
}

/** Told once: the secret is nowhere else. */
export interface CreatedJoinToken {
  readonly id: string;
  readonly token: string;
  readonly expiresAtMs: number;
  /** The whole command for the host. */
  readonly line: string;
}

export class JoinTokens {
  readonly #options: JoinTokenOptions;

  constructor(options: JoinTokenOptions) {
    this.#options = options;
  }

  /** @throws MeshError `configuration`, blame local, for a binding or a lifetime that cannot be; the state's own. */
  async create(request: JoinTokenRequest): Promise<CreatedJoinToken> {
    const { clock, random, provider, tokens, controlUrl, pin } = this.#options;
    checkBinding(request.binding);
    const ttlMs = request.ttlMs ?? identityLimits.defaultJoinTokenMs;
    const { minJoinTokenMs, maxJoinTokenMs } = identityLimits;
    if (!(ttlMs >= minJoinTokenMs && ttlMs <= maxJoinTokenMs))
      throw bad(`a join token lives between ${minJoinTokenMs / 1000} and ${maxJoinTokenMs / 1000} seconds`);
    const made = newJoinToken(random);
    const keyPin = await pin();
    const secretHash = await hashSecret(made.secret, provider);
    const expiresAtMs = clock.wallMs() + ttlMs;
    const { binding, createdBy, byNamespace = "", replace = false } = request;
    tokens.create({ id: made.id, secretHash, binding, expiresAtMs, createdBy, byNamespace, replace });
    const token = formatJoinToken(made);
    const line = `fairlead node --control ${controlUrl()} --join-token ${token} --ca-pin ${keyPin}`;
    return { id: made.id, token, expiresAtMs, line };
  }
}

const namePattern = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

function checkBinding(binding: TokenBinding): void {
  if (binding.kind === "node") {
    if (!isNodeName(binding.node))
      throw bad(`"${binding.node}" is not a name of a node, which is one DNS label of at most 63 characters`);
    return;
  }
  const key = binding.kind === "workload" ? binding.workload : binding.group;
  const [namespace = "", name = "", ...more] = key.split("/");
  if (!isNodeName(namespace) || !namePattern.test(name) || more.length > 0)
    throw bad(`"${key}" is not namespace/name`);
  if (namespace === nodeNamespace) throw bad(`the namespace ${nodeNamespace} is reserved`);
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", message);
}
