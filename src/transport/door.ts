/**
 * The door of a listener that strangers reach: whoever came in and has proven nothing yet. An accept is not a promise: when there are
 * too many, of one address, of its neighbourhood or in all, the oldest of them go, because those who mean well prove themselves in
 * milliseconds. So silence keeps nobody out, and whoever is proven is no longer counted here.
 */
import { MeshError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { doorLimits } from "../base/limits/door.ts";
import type { Logger } from "../base/log.ts";
import type { MetricRegistry } from "../base/metrics.ts";
import { networkNeighbourhood, networkSource } from "../base/network_source.ts";
import type { Clock } from "../host/host.ts";
import { Turns } from "./turns.ts";

export interface DoorLimits {
  readonly maxUnproven: number;
  readonly maxUnprovenPerAddress: number;
  readonly maxUnprovenPerNeighbourhood: number;
}

export interface DoorOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Null counts nothing. */
  readonly metrics: MetricRegistry | null;
  /** Which listener: a label, and a word in the log. */
  readonly name: string;
  readonly limits: DoorLimits;
}

/** A connection in the door. */
export interface Visit {
  /** Aborted, with a MeshError `limit_reached`, when it has to make room. */
  readonly signal: AbortSignal;
  /** @throws MeshError when it had to make room: whoever holds the socket closes it. Idempotent. */
  proven(): void;
  /** It is gone. Idempotent, also after `proven`. */
  leave(): void;
}

type Outcome = "closed" | "refused";

export class Door {
  readonly #options: DoorOptions;
  readonly #turns: Turns;
  /** Oldest first. */
  readonly #visitors = new Set<Visitor>();
  readonly #perAddress = new Map<string, Set<Visitor>>();
  readonly #perNeighbourhood = new Map<string, Set<Visitor>>();
  readonly #count: ((outcome: Outcome) => void) | null;
  #toldMs = Number.NEGATIVE_INFINITY;
  #untold = 0;

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#turns = Turns.of(options.clock);
    const { metrics, name } = options;
    const family = metrics?.counter(
      "fairlead_unproven_connections",
      "Connections that had proven nothing and made room for others (closed), or found no room (refused)",
      ["door", "outcome"],
    );
    this.#count =
      family === undefined
        ? null
        : (outcome) => {
            family.with({ door: name, outcome }).add(1);
          };
  }

  get size(): number {
    return this.#visitors.size;
  }

  /** @throws MeshError `limit_reached` when all who would have to make room have only just come. */
  enter(ip: IpAddress): Visit {
    const address = networkSource(ip);
    const neighbourhood = networkNeighbourhood(ip);
    const { maxUnproven, maxUnprovenPerAddress, maxUnprovenPerNeighbourhood } = this.#options.limits;
    const ofAddress = setOf(this.#perAddress, address);
    const ofNeighbourhood = setOf(this.#perNeighbourhood, neighbourhood);
    try {
      this.#makeRoom(ofAddress, maxUnprovenPerAddress, `from ${address}`);
      this.#makeRoom(ofNeighbourhood, maxUnprovenPerNeighbourhood, `from ${neighbourhood}`);
      this.#makeRoom(this.#visitors, maxUnproven, "in all");
    } finally {
      forgetEmpty(this.#perAddress, address);
      forgetEmpty(this.#perNeighbourhood, neighbourhood);
    }
    const visitor = new Visitor(this.#options.clock.now(), (gone) => {
      this.#visitors.delete(gone);
      remove(this.#perAddress, address, gone);
      remove(this.#perNeighbourhood, neighbourhood, gone);
    });
    this.#visitors.add(visitor);
    setOf(this.#perAddress, address).add(visitor);
    setOf(this.#perNeighbourhood, neighbourhood).add(visitor);
    return visitor;
  }

  /** Begins what costs, a TLS handshake, when the turn has time for it: a crowd that comes at once is let in bit by bit. */
  begin<T>(visit: Visit, work: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    return new Promise<T>((resolve, reject) => {
      this.#turns.run(() => {
        if (visit.signal.aborted) {
          reject(visit.signal.reason);
          return;
        }
        const startedMs = clock.now();
        work().then(resolve, reject);
        this.#turns.spend(clock.now() - startedMs);
      });
    });
  }

  #makeRoom(among: ReadonlySet<Visitor>, most: number, where: string): void {
    if (among.size < most) return;
    const [oldest] = among;
    const ageMs = oldest === undefined ? 0 : this.#options.clock.now() - oldest.sinceMs;
    const found = `${among.size} connections ${where} have not proven who they are`;
    const isRefused = oldest === undefined || ageMs < doorLimits.graceMs;
    this.#tell(isRefused ? "refused" : "closed", found);
    if (isRefused) throw new MeshError("limit_reached", "peer", `${found}; try again`);
    oldest.makeRoom(
      new MeshError("limit_reached", "peer", `it proved nothing in ${Math.round(ageMs)} ms, and ${found}`),
    );
  }

  /** Once a minute at the most: the log is not the stranger's either. */
  #tell(outcome: Outcome, found: string): void {
    const { clock, logger, name } = this.#options;
    this.#count?.(outcome);
    this.#untold++;
    const now = clock.now();
    if (now - this.#toldMs < doorLimits.warningIntervalMs) return;
    const fields = { door: name, connections: this.#untold, reason: found };
    this.#toldMs = now;
    this.#untold = 0;
    logger.log("warn", "door", "connections that proved nothing were closed or refused to keep room", fields);
  }
}

class Visitor implements Visit {
  readonly sinceMs: number;
  readonly #abort = new AbortController();
  readonly #remove: (gone: Visitor) => void;
  #inside = true;

  constructor(sinceMs: number, remove: (gone: Visitor) => void) {
    this.sinceMs = sinceMs;
    this.#remove = remove;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  proven(): void {
    this.#abort.signal.throwIfAborted();
    this.leave();
  }

  leave(): void {
    if (!this.#inside) return;
    this.#inside = false;
    this.#remove(this);
  }

  makeRoom(reason: MeshError): void {
    this.leave();
    this.#abort.abort(reason);
  }
}

function setOf(sets: Map<string, Set<Visitor>>, key: string): Set<Visitor> {
  const known = sets.get(key);
  if (known !== undefined) return known;
  const made = new Set<Visitor>();
  sets.set(key, made);
  return made;
}

function remove(sets: Map<string, Set<Visitor>>, key: string, visitor: Visitor): void {
  sets.get(key)?.delete(visitor);
  forgetEmpty(sets, key);
}

function forgetEmpty(sets: Map<string, Set<Visitor>>, key: string): void {
  if (sets.get(key)?.size === 0) sets.delete(key);
}
