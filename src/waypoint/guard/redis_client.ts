/** One connection to a Redis server, made when it is needed and again after it broke; commands are sent without waiting for those before. */
import { backoffMs } from "../../base/backoff.ts";
import { MeshError } from "../../base/errors.ts";
import type { HostPort } from "../../base/ip.ts";
import { redisLimits } from "../../base/limits/redis.ts";
import type { Host, Socket } from "../../host/host.ts";
import { dial } from "../../transport/dial.ts";
import { encodeCommand, RespReader, type RespReply } from "../../wire/resp.ts";

export interface RedisSettings {
  readonly address: HostPort;
  /** TLS over a connection that has just been made, the server verified; null for plain text. */
  readonly secure: ((socket: Socket) => Promise<Socket>) | null;
  /** Read for each connection, so that a new one counts at once. */
  readonly password: () => Promise<string | null>;
  readonly database: number;
  /** Of one command, the connection included. */
  readonly timeoutMs: number;
}

interface Waiting {
  /** Told already, by its time-out. */
  isDone: boolean;
  readonly resolve: (reply: RespReply) => void;
  readonly reject: (error: MeshError) => void;
}

export class RedisClient {
  readonly #host: Pick<Host, "clock" | "net" | "random">;
  readonly #settings: RedisSettings;
  #socket: Socket | null = null;
  #connecting: Promise<Socket> | null = null;
  /** In the order of their commands. */
  #waiting: Waiting[] = [];
  /** What the socket has not taken. */
  #unsent: Uint8Array[] = [];
  #failures = 0;
  #notBefore = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(host: Pick<Host, "clock" | "net" | "random">, settings: RedisSettings) {
    this.#host = host;
    this.#settings = settings;
  }

  /** @throws MeshError, blame upstream: the server is away, slow, or answered with an error. It is not known then whether the command was done. */
  async command(parts: readonly string[]): Promise<RespReply> {
    const { clock } = this.#host;
    const { timeoutMs, address } = this.#settings;
    if (this.#closed) throw new MeshError("stopped", "local", "the Redis client is closed");
    if (clock.now() < this.#notBefore) throw away(`${address.host}:${address.port} failed a moment ago`);
    if (this.#waiting.length >= redisLimits.maxPending) throw away("too many commands wait for an answer");
    return await new Promise<RespReply>((resolve, reject) => {
      const settle = (act: () => void) => {
        if (waiting.isDone) return;
        waiting.isDone = true;
        timer.cancel();
        act();
      };
      const waiting: Waiting = {
        isDone: false,
        resolve: (reply) =>
          settle(() =>
            reply.kind === "error"
              ? reject(away(`the Redis server answered: ${reply.message}`))
              : resolve(reply),
          ),
        reject: (error) => settle(() => reject(error)),
      };
      const timer = clock.setTimer(timeoutMs, () => {
        const error = away(`${address.host}:${address.port} did not answer within ${timeoutMs} ms`);
        waiting.reject(error);
        // Answers come in order: a connection that owes one is of no use for the next either.
        this.#broke(error);
      });
      this.#send(parts, waiting);
    });
  }

  close(): void {
    this.#closed = true;
    this.#broke(new MeshError("stopped", "local", "the Redis client is closed"));
  }

  #send(parts: readonly string[], waiting: Waiting): void {
    if (this.#socket !== null) {
      this.#waiting.push(waiting);
      this.#write(encodeCommand(parts));
      return;
    }
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    this.#connecting.then(
      () => {
        if (!waiting.isDone) this.#send(parts, waiting);
      },
      (error: unknown) => waiting.reject(error instanceof MeshError ? error : away(String(error))),
    );
  }

  async #connect(): Promise<Socket> {
    const { net } = this.#host;
    const { address, secure, password, database } = this.#settings;
    try {
      const secret = await password();
      const dialled = await dial(net, address, redisLimits.connectTimeoutMs);
      const socket = secure === null ? dialled : await secure(dialled);
      const reader = new RespReader();
      socket.setHandler({
        onData: (bytes) => this.#receive(reader, bytes),
        onDrain: () => this.#flush(),
        onEnd: () => this.#broke(away("the Redis server closed the connection")),
        onClose: (error) => {
          if (this.#socket === socket)
            this.#broke(error ?? away("the connection to the Redis server closed"));
        },
      });
      this.#socket = socket;
      if (secret !== null) this.#first(["AUTH", secret]);
      if (database !== 0) this.#first(["SELECT", String(database)]);
      return socket;
    } catch (error) {
      this.#failed();
      throw error;
    }
  }

  /** Before all others: whatever comes after an error here would be answered with one too. */
  #first(parts: readonly string[]): void {
    this.#waiting.push({
      isDone: false,
      resolve: (reply) => {
        if (reply.kind === "error")
          this.#broke(away(`the Redis server refused ${parts[0]}: ${reply.message}`));
      },
      reject: () => {},
    });
    this.#write(encodeCommand(parts));
  }

  #receive(reader: RespReader, bytes: Uint8Array): void {
    let replies: readonly RespReply[];
    try {
      replies = reader.receive(bytes);
    } catch (error) {
      this.#broke(error instanceof MeshError ? error : away(String(error)));
      return;
    }
    for (const reply of replies) {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) {
        this.#broke(away("the Redis server sent a reply to no command"));
        return;
      }
      if (reply.kind !== "error") this.#failures = 0;
      waiting.resolve(reply);
    }
  }

  #write(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#flush();
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next !== undefined && this.#socket !== null; next = this.#unsent[0]) {
      const taken = this.#socket.write(next);
      if (taken < next.length) {
        this.#unsent[0] = next.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
  }

  #broke(error: MeshError): void {
    const socket = this.#socket;
    if (socket !== null && !this.#closed) this.#failed();
    this.#socket = null;
    this.#unsent = [];
    socket?.reset();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.reject(error);
  }

  #failed(): void {
    const { clock, random } = this.#host;
    this.#failures++;
    this.#notBefore = clock.now() + backoffMs(this.#failures, redisLimits, random.float());
  }
}

function away(message: string): MeshError {
  return new MeshError("connection_closed", "upstream", message);
}
