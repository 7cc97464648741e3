/** Vault's HTTP interface as far as a session needs it, with a switch for each thing that goes wrong. */
import { MeshError } from "../../../base/errors.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "../../../host/host.ts";

export class FakeVault implements HttpClient {
  readonly requests: HttpRequest[] = [];
  /** Answers in place of all others; throws to play a server that is gone. */
  fault: ((request: HttpRequest) => HttpResponse) | null = null;
  leaseSeconds = 60;
  isRenewable = true;
  logins = 0;
  renewals = 0;
  readonly #tokens = new Set<string>();
  readonly #answer: (request: HttpRequest) => HttpResponse;

  constructor(answer: (request: HttpRequest) => HttpResponse = () => json(200, { data: { value: "yes" } })) {
    this.#answer = answer;
  }

  /** All tokens are worthless from now on. */
  forgetTokens(): void {
    this.#tokens.clear();
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    this.requests.push(request);
    if (this.fault !== null) return this.fault(request);
    const path = new URL(request.url).pathname;
    if (path === "/v1/auth/approle/login") return this.#login(request);
    const token = request.headers?.["x-vault-token"] ?? "";
    if (!this.#tokens.has(token)) return json(403, { errors: ["permission denied"] });
    if (path === "/v1/auth/token/renew-self") {
      this.renewals++;
      return this.#tokenAnswer(token);
    }
    return this.#answer(request);
  }

  #login(request: HttpRequest): HttpResponse {
    const body: { role_id?: string; secret_id?: string } = JSON.parse(new TextDecoder().decode(request.body));
    if (body.role_id !== "role" || body.secret_id !== "secret")
      return json(400, { errors: ["invalid role or secret ID"] });
    const token = `token-${++this.logins}`;
    this.#tokens.add(token);
    return this.#tokenAnswer(token);
  }

  #tokenAnswer(token: string): HttpResponse {
    return json(200, {
      auth: { client_token: token, lease_duration: this.leaseSeconds, renewable: this.isRenewable },
    });
  }
}

export function json(status: number, body: unknown): HttpResponse {
  return { status, headers: {}, body: new TextEncoder().encode(JSON.stringify(body)) };
}

export function gone(): never {
  throw new MeshError("connect_refused", "upstream", "connection refused");
}
