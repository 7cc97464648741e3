/**
 * The door of a listener that strangers reach: whoever came in and has proven nothing yet. An accept is not a promise: when there are
 * too many, of one address, of its neighbourhood or in all, one of them goes: the oldest that has not said a word, else the oldest,
 * because those who mean well speak at once and prove themselves in milliseconds. So silence keeps no caller out, and whoever is proven
 * is no longer counted here.
 */
import { MeshError } from "../base/errors.ts";
import { doorLimits } from "../base/limits/door.ts";
import type { Logger } from "../base/log.ts";
import type { MetricRegistry } from "../base/metrics.ts";
import { networkNeighbourhood, networkSource } from "../base/network_source.ts";
import { Turns } from "../base/turns/turns.ts";
import type { Clock, Network, Socket } from "../host/host.ts";

export interface DoorLimits {
  readonly maxUnproven: number;
  readonly maxUnprovenPerAddress: number;
  readonly maxUnprovenPerNeighbourhood: number;
}

export interface DoorOptions {
  readonly clock: Clock;
  readonly net: Pick<Network, "speech">;
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

  /**
   * In a turn that has time for it: making room costs, and a crowd comes all at once.
   *
   * @param socket accepted, without handler or TLS; whoever waits here for too long is not told, it is the caller's to reset.
   * @throws MeshError `limit_reached` when all who would have to make room have only just come, and have spoken.
   */
  enter(socket: Socket): Promise<Visit> {
    const { clock } = this.#options;
    return new Promise((resolve, reject) => {
      if (this.#turns.waiting >= doorLimits.maxWaiting) {
        reject(this.#refuse(`${this.#turns.waiting} connections wait to be looked at`));
        return;
      }
      this.#turns.run(() => {
        const startedMs = clock.now();
        try {
          resolve(this.#enter(socket));
        } catch (error) {
          reject(error);
        }
        this.#turns.spend(clock.now() - startedMs);
      });
    });
  }

  #enter(socket: Socket): Visit {
    const { ip } = socket.remote;
    const address = networkSource(ip);
    const neighbourhood = networkNeighbourhood(ip);
    const { maxUnproven, maxUnprovenPerAddress, maxUnprovenPerNeighbourhood } = this.#options.limits;
    const speech = this.#options.net.speech(socket);
    this.#makeRoom(this.#perAddress.get(address), maxUnprovenPerAddress, `from ${address}`);
    this.#makeRoom(
      this.#perNeighbourhood.get(neighbourhood),
      maxUnprovenPerNeighbourhood,
      `from ${neighbourhood}`,
    );
    this.#makeRoom(this.#visitors, maxUnproven, "in all");
    const visitor = new Visitor(this.#options.clock.now(), speech, (gone) => {
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

  #makeRoom(among: ReadonlySet<Visitor> | undefined, most: number, where: string): void {
    if (among === undefined || among.size < most) return;
    const now = this.#options.clock.now();
    const found = `${among.size} connections ${where} have not proven who they are`;
    const chosen = oldestSilent(among) ?? oldestOf(among, now - doorLimits.graceMs);
    if (chosen === null) throw this.#refuse(found);
    this.#tell("closed", found);
    const ageMs = Math.round(now - chosen.sinceMs);
    chosen.makeRoom(new MeshError("limit_reached", "peer", `it proved nothing in ${ageMs} ms, and ${found}`));
  }

  #refuse(found: string): MeshError {
    this.#tell("refused", found);
    return new MeshError("limit_reached", "peer", `${found}; try again`);
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

function oldestSilent(among: ReadonlySet<Visitor>): Visitor | null {
  let asked = 0;
  for (const visitor of among) {
    if (visitor.knownToSpeak) continue;
    if (visitor.isSilent()) return visitor;
    if (++asked === doorLimits.maxAsked) return null;
  }
  return null;
}

function oldestOf([oldest]: ReadonlySet<Visitor>, cameBeforeMs: number): Visitor | null {
  return oldest === undefined || oldest.sinceMs > cameBeforeMs ? null : oldest;
}

class Visitor implements Visit {
  readonly sinceMs: number;
  /** Null once it has spoken, or where the host cannot tell. */
  #speech: (() => boolean) | null;
  readonly #abort = new AbortController();
  readonly #remove: (gone: Visitor) => void;
  #inside = true;

  constructor(sinceMs: number, speech: (() => boolean) | null, remove: (gone: Visitor) => void) {
    this.sinceMs = sinceMs;
    this.#speech = speech;
    this.#remove = remove;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get knownToSpeak(): boolean {
    return this.#speech === null;
  }

  isSilent(): boolean {
    if (this.#speech?.() === false) return true;
    this.#speech = null;
    return false;
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
