/** The connections that ended last: what an operator may still ask about by the `id` of an access line. */
import { proxyLimits } from "../base/limits/proxy.ts";
import type { PolicyConnection } from "../policy/decision.ts";

/** What policy was asked, so that it can be asked again. */
export interface AskedPolicy {
  readonly workloadUid: string;
  readonly connection: PolicyConnection;
}

export interface EndedParty {
  readonly address: string;
  /** `namespace/name` */
  readonly workload: string | null;
  /** Verified; null for plain text. */
  readonly identity: string | null;
}

export interface EndedConnection {
  readonly id: number;
  /** Since the Unix epoch. */
  readonly endedAtMs: number;
  readonly durationMs: number;
  readonly direction: "inbound" | "outbound";
  readonly source: EndedParty;
  readonly destination: EndedParty;
  /** `namespace/name` of the ALLOW policy that let it in. */
  readonly policy: string | null;
  readonly dryRun: string | null;
  /** Null when it ended well. */
  readonly error: string | null;
  readonly asked: AskedPolicy | null;
}

/** A ring: what is older than so many is forgotten. What failed is kept apart, so that a busy node does not forget a refusal within a second. */
export class ConnectionHistory {
  readonly #failed: EndedConnection[] = [];
  readonly #others: EndedConnection[] = [];
  #failedNext = 0;
  #othersNext = 0;

  add(ended: EndedConnection): void {
    if (ended.error === null) this.#othersNext = put(this.#others, this.#othersNext, ended);
    else this.#failedNext = put(this.#failed, this.#failedNext, ended);
  }

  find(id: number): EndedConnection | null {
    const isIt = (ended: EndedConnection): boolean => ended.id === id;
    return this.#failed.find(isIt) ?? this.#others.find(isIt) ?? null;
  }
}

function put(ring: EndedConnection[], next: number, ended: EndedConnection): number {
  ring[next] = ended;
  return (next + 1) % (proxyLimits.maxEndedConnections / 2);
}
