/**
 * A standing relation to Vault: logs in, keeps the token alive, logs in again when it is lost, and tries again for a bounded
 * time while Vault is away, sealed or restarting.
 */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import { keysLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, HttpClient, Random, Timer } from "../../host/host.ts";
import { asRecord, type VaultAnswer, type VaultFailure } from "./vault_answer.ts";
import { type VaultAddress, VaultConnection } from "./vault_connection.ts";
import { isToken, obtainToken, renewToken, type VaultAuth, type VaultToken } from "./vault_token.ts";

export interface VaultOptions {
  readonly http: HttpClient;
  readonly files: Pick<Files, "readText">;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly address: VaultAddress;
  readonly auth: VaultAuth;
}

export interface VaultStatus {
  readonly address: string;
  readonly state: "new" | "ready" | "away";
  /** What it said last when it is away. */
  readonly message: string | null;
}

/** What was asked of Vault: `data` of its answer. */
export type VaultData = Readonly<Record<string, unknown>>;

export class VaultSession {
  readonly #options: VaultOptions;
  readonly #connection: VaultConnection;
  readonly #gate = new Gate(keysLimits.maxVaultRequests);
  #admitted = 0;
  #token: VaultToken | null = null;
  #login: Promise<VaultToken> | null = null;
  #timer: Timer | null = null;
  #status: VaultStatus;
  #closed = false;

  /** Nothing is sent before the first request. @throws MeshError `configuration`, blame local. */
  constructor(options: VaultOptions) {
    this.#options = options;
    this.#connection = new VaultConnection(options.http, options.address);
    this.#status = { address: this.#connection.name, state: "new", message: null };
  }

  status(): VaultStatus {
    return this.#status;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#token = null;
  }

  /**
   * @returns null where there is no such thing.
   * @throws MeshError `authority_unavailable`: blame upstream when Vault is away for longer than `waitMs`, blame local when it
   *   refuses; `limit_reached` when too many wait already.
   */
  async request(
    method: "GET" | "POST" | "LIST",
    path: string,
    body: VaultData | null = null,
    waitMs: number = keysLimits.keyWaitMs,
  ): Promise<VaultData | null> {
    if (this.#admitted >= keysLimits.maxVaultRequests + keysLimits.maxVaultWaiting) {
      throw new MeshError("limit_reached", "local", "too many requests are waiting for Vault");
    }
    // From when it was asked, not from when it had its turn.
    const deadline = this.#options.clock.now() + waitMs;
    this.#admitted++;
    try {
      return await this.#gate.run(() => this.#persist({ method, path, body }, deadline));
    } finally {
      this.#admitted--;
    }
  }

  async #persist(
    request: {
      readonly method: "GET" | "POST" | "LIST";
      readonly path: string;
      readonly body: VaultData | null;
    },
    deadline: number,
  ): Promise<VaultData | null> {
    const { clock, random } = this.#options;
    let hasNewToken = false;
    for (let attempt = 0; ; attempt++) {
      if (this.#closed) throw new MeshError("stopped", "local", "the control plane stops");
      const answer = await this.#attempt(request);
      if (answer.kind === "ok") return asRecord(answer.body?.data) ?? {};
      if (answer.kind === "absent") return null;
      if (answer.kind === "denied" && !hasNewToken) {
        // The token may have ended, or Vault may have lost it.
        hasNewToken = true;
        this.#forget();
        continue;
      }
      const what = `${request.method} ${request.path}: ${answer.message}`;
      if (answer.kind !== "away") throw this.#unavailable("local", what);
      const delayMs = backoffMs(
        attempt + 1,
        { ...keysLimits.vaultBackoff, backoffJitter: 0.25 },
        random.float(),
      );
      if (clock.now() + delayMs >= deadline) throw this.#unavailable("upstream", answer.message);
      await new Promise<void>((resolve) => void clock.setTimer(delayMs, resolve));
    }
  }

  async #attempt(request: {
    readonly method: "GET" | "POST" | "LIST";
    readonly path: string;
    readonly body: VaultData | null;
  }): Promise<VaultAnswer> {
    const token = await this.#currentToken();
    const answer = isToken(token) ? await this.#connection.send({ ...request, token: token.token }) : token;
    this.#note(answer);
    return answer;
  }

  /** One login at a time, which all wait for. */
  async #currentToken(): Promise<VaultToken | VaultFailure> {
    if (this.#token !== null) return this.#token;
    this.#login ??= this.#logIn().finally(() => {
      this.#login = null;
    });
    try {
      return await this.#login;
    } catch (thrown) {
      if (thrown instanceof LoginRefused) return thrown.answer;
      throw thrown;
    }
  }

  async #logIn(): Promise<VaultToken> {
    const { auth, files, logger } = this.#options;
    const outcome = await obtainToken(this.#connection, auth, files);
    if (!isToken(outcome)) throw new LoginRefused(outcome);
    logger.log("info", "vault", "logged in", { address: this.#connection.name, lease_ms: outcome.leaseMs });
    this.#adopt(outcome);
    return outcome;
  }

  #adopt(token: VaultToken): void {
    if (this.#closed) return;
    this.#token = token;
    this.#timer?.cancel();
    // No lease: a root token, or one that never ends.
    if (token.leaseMs > 0) this.#renewAfter(token, token.leaseMs * keysLimits.tokenRenewalShare);
  }

  #renewAfter(token: VaultToken, delayMs: number): void {
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#renew(token).catch((thrown) => {
        const error = asMeshError(thrown, "authority_unavailable", "local").message;
        this.#options.logger.log("error", "vault", "the token cannot be renewed", { error });
      });
    });
  }

  async #renew(token: VaultToken): Promise<void> {
    const outcome = token.isRenewable ? await renewToken(this.#connection, token) : null;
    // It was forgotten meanwhile, or all is closed.
    if (this.#token !== token) return;
    if (outcome !== null && !isToken(outcome) && outcome.kind === "away") {
      // It is still good for the rest of its lease; a request that finds it gone logs in again.
      this.#note(outcome);
      this.#renewAfter(token, keysLimits.vaultBackoff.backoffMaxMs);
      return;
    }
    // Near its maximal life the lease that is granted gets shorter (Vault's max_ttl): then a login is due.
    if (outcome !== null && isToken(outcome) && outcome.leaseMs >= token.leaseMs / 2) this.#adopt(outcome);
    else await this.#replaceToken(token);
  }

  /** A login while the old token is still good, so that no caller waits for it. */
  async #replaceToken(token: VaultToken): Promise<void> {
    const { auth, files, logger } = this.#options;
    const outcome = await obtainToken(this.#connection, auth, files);
    if (this.#token !== token) return;
    if (!isToken(outcome)) {
      logger.log("warn", "vault", "no new token", { error: outcome.message });
      this.#renewAfter(token, keysLimits.vaultBackoff.backoffMaxMs);
    } else if (outcome.token !== token.token || outcome.leaseMs > keysLimits.vaultBackoff.backoffMaxMs) {
      this.#adopt(outcome);
    } else {
      // The same token, which is about to end and cannot be renewed: its file has to be replaced.
      logger.log("error", "vault", "Vault's token ends and cannot be replaced", {
        lease_ms: outcome.leaseMs,
      });
      this.#renewAfter(token, keysLimits.vaultBackoff.backoffMaxMs);
    }
  }

  #forget(): void {
    this.#token = null;
    this.#timer?.cancel();
  }

  #note(answer: VaultAnswer): void {
    const state = answer.kind === "away" ? "away" : "ready";
    const message = answer.kind === "away" ? answer.message : null;
    if (state !== this.#status.state) {
      const level = state === "away" ? "warn" : "info";
      this.#options.logger.log(level, "vault", `Vault is ${state}`, {
        address: this.#connection.name,
        error: message,
      });
    }
    this.#status = { address: this.#connection.name, state, message };
  }

  #unavailable(blame: "local" | "upstream", what: string): MeshError {
    return new MeshError("authority_unavailable", blame, `Vault at ${this.#connection.name}: ${what}`);
  }
}

class LoginRefused extends Error {
  readonly answer: VaultFailure;

  constructor(answer: VaultFailure) {
    super(answer.message);
    // A login that finds nothing is a wrong mount, not an absent thing that was asked for.
    this.answer =
      answer.kind === "absent" ? { kind: "refused", message: `login: ${answer.message}` } : answer;
  }
}
