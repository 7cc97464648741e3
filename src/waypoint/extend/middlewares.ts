/** The middleware of all documents: loaded from the waypoint's folder, made again when file or document changed, and found for each request. */

import type { Context } from "hono";
import { faultOf, MeshError } from "../../base/errors.ts";
import { middlewareLimits } from "../../base/limits/middleware.ts";
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import { sha256 } from "../../base/sha256.ts";
import type { Clock, Files, Process } from "../../host/host.ts";
import type { MiddlewareDocument } from "../../mesh/documents/document.ts";
import { formatLocation } from "../../mesh/location.ts";
import { serviceKey } from "../../mesh/service.ts";
import { type Exchange, type Fields, field, type LocalReply, type RequestHead } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { UserStage } from "../stages.ts";
import { guarded } from "./guarded.ts";
import type { MeshRequest, Middleware } from "./middleware_api.ts";

export interface MiddlewaresOptions {
  readonly clock: Clock;
  readonly files: Files;
  readonly process: Pick<Process, "loadModule">;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  /** Where the files are; null: no middleware can be loaded here. */
  readonly folder: string | null;
  readonly reply: (c: Context, reply: LocalReply) => Response;
  readonly traceId: (exchange: Exchange) => string | null;
}

interface Loaded {
  readonly document: MiddlewareDocument;
  /** Of the file's text and the document; null when it could not be read. */
  readonly version: string | null;
  readonly stage: UserStage;
  readonly error: string | null;
}

/** Which documents are for the request's target. @see auth's attachment: the same rules. */
export interface AppliesTo {
  isFor(document: MiddlewareDocument, exchange: Exchange): boolean;
  /** One object for all exchanges with the same answers, and another as soon as these change. */
  scope(exchange: Exchange): object;
}

export class Middlewares {
  readonly #options: MiddlewaresOptions;
  readonly #events;
  readonly #counters = new Map<string, Set<string>>();
  #loaded: readonly Loaded[] = [];
  /** Of what is loaded, by scope. */
  #chains = new WeakMap<object, readonly UserStage[]>();
  #documents: readonly MiddlewareDocument[] = [];
  #running: Promise<void> | null = null;
  #again = false;
  readonly #unwatch: () => void;

  constructor(options: MiddlewaresOptions) {
    this.#options = options;
    this.#events = options.metrics.counter("fairlead_middleware_events", "What users' middleware counts", [
      "middleware",
      "event",
    ]);
    const { folder, files } = options;
    this.#unwatch = folder === null ? () => {} : files.watch(folder, () => void this.update(this.#documents));
  }

  close(): void {
    this.#unwatch();
  }

  /** What is loaded, for the administrator. */
  get status(): readonly { readonly name: string; readonly error: string | null }[] {
    return this.#loaded.map(({ document, error }) => ({ name: nameOf(document), error }));
  }

  /** Requests that are under way keep the middleware they have. Resolves when the documents are in force. */
  update(documents: readonly MiddlewareDocument[]): Promise<void> {
    this.#documents = documents;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The stage's. Outermost first. */
  chain(exchange: Exchange, applies: AppliesTo): readonly UserStage[] {
    if (this.#loaded.length === 0) return none;
    const scope = applies.scope(exchange);
    const known = this.#chains.get(scope);
    if (known !== undefined) return known;
    const chain = this.#loaded
      .filter(({ document }) => applies.isFor(document, exchange))
      .map(({ stage }) => stage);
    this.#chains.set(scope, chain);
    return chain;
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const documents = [...this.#documents].sort(
        (a, b) => a.order - b.order || (nameOf(a) < nameOf(b) ? -1 : 1),
      );
      const known = new Map(this.#loaded.map((loaded) => [nameOf(loaded.document), loaded]));
      const loaded: Loaded[] = [];
      // Counted by namespace: no tenant's documents take the place of another's.
      const counts = new Map<string, number>();
      for (const document of documents) {
        const { namespace } = document.metadata;
        const count = (counts.get(namespace) ?? 0) + 1;
        counts.set(namespace, count);
        if (count <= middlewareLimits.maxPerNamespace)
          loaded.push(await this.#load(document, known.get(nameOf(document)) ?? null));
        else {
          const reason = `more than ${middlewareLimits.maxPerNamespace} of ${namespace} are in force already`;
          loaded.push(this.#broken(document, null, reason));
        }
      }
      this.#loaded = loaded;
      this.#chains = new WeakMap();
    }
  }

  async #load(document: MiddlewareDocument, before: Loaded | null): Promise<Loaded> {
    const { folder, files, process } = this.#options;
    if (folder === null)
      return this.#broken(
        document,
        null,
        "this waypoint has no folder of middleware (--waypoint-middleware)",
      );
    const path = `${folder}/${document.file.value}`;
    try {
      const bytes = await files.readBytes(path);
      if (bytes.length > middlewareLimits.maxFileBytes)
        throw new MeshError(
          "configuration",
          "local",
          `${path} has more than ${middlewareLimits.maxFileBytes} bytes`,
        );
      const source = sha256(bytes).toHex().slice(0, 16);
      const version = `${source} ${JSON.stringify([[...document.config], document.timeoutMs, document.onFailure])}`;
      if (before !== null && before.version === version && before.error === null)
        return { ...before, document };
      const module = await process.loadModule(path, source);
      const factory = module.default;
      if (typeof factory !== "function")
        throw new MeshError("configuration", "local", `${path} has no default export that is a function`);
      const made: unknown = await factory(Object.fromEntries(document.config));
      if (typeof made !== "function")
        throw new MeshError("configuration", "local", `the default export of ${path} gives no middleware`);
      this.#options.logger.log("info", "middleware", "middleware loaded", {
        name: nameOf(document),
        file: path,
      });
      return { document, version, stage: this.#guard(document, made as Middleware), error: null };
    } catch (error) {
      // One that is broken takes the place of a good one only if it is another document; a file that was spoilt leaves what runs.
      const { message } = faultOf(error);
      if (before !== null && before.error === null) {
        this.#say(document, `${message}; what was loaded before stays in force`);
        return { ...before, document };
      }
      return this.#broken(document, null, message);
    }
  }

  /** One that cannot run fails each request, or none, as its document says. */
  #broken(document: MiddlewareDocument, version: string | null, error: string): Loaded {
    this.#say(document, error);
    const { reply } = this.#options;
    const refusal = localReply(500, "-", "a middleware failed", `Middleware ${nameOf(document)}: ${error}`);
    const stage: UserStage = (c, next, onDone) => {
      if (document.onFailure === "Continue") return next(onDone);
      c.res = reply(c, refusal);
      onDone(null);
    };
    return { document, version, stage, error };
  }

  #say(document: MiddlewareDocument, error: string): void {
    this.#options.logger.log("error", "middleware", "middleware cannot be loaded", {
      name: nameOf(document),
      at: formatLocation(document.location),
      error,
      requests: document.onFailure === "Continue" ? "pass without it" : "are refused",
    });
  }

  #guard(document: MiddlewareDocument, middleware: Middleware): UserStage {
    const { clock, logger, reply } = this.#options;
    const name = nameOf(document);
    const { timeoutMs, onFailure } = document;
    const onError = (message: string) => {
      this.#count(name, "failure", 1);
      logger.log("error", "middleware", "middleware failed", { name, error: message });
    };
    return guarded(middleware, (c, exchange) => c.set("mesh", this.#context(name, exchange)), {
      name,
      timeoutMs,
      onFailure,
      clock,
      onError,
      reply,
    });
  }

  #context(name: string, exchange: Exchange): MeshRequest {
    const { downstream, user, request } = exchange;
    const { logger, traceId } = this.#options;
    const { place } = downstream;
    const service = place.side === "inbound" ? place.service : downstream.service;
    return {
      peer: downstream.peer,
      user,
      service: service === null ? null : serviceKey(service),
      port: downstream.destination.port,
      sourceAddress: downstream.source.ip.text,
      traceId: traceId(exchange),
      requestId: field(request.fields, "x-request-id"),
      setRequestHeader: (header, value) => setField(request, header, value),
      count: (event, amount = 1) => this.#count(name, event, amount),
      log: (level, message, fields = {}) => logger.log(level, "middleware", message, { ...fields, name }),
    };
  }

  /** Names are code's, not clients'; a middleware that makes them of what clients send stops at the bound. */
  #count(name: string, event: string, amount: number): void {
    let events = this.#counters.get(name);
    if (events === undefined) {
      events = new Set();
      this.#counters.set(name, events);
    }
    if (!events.has(event) && events.size >= middlewareLimits.maxCounters) return;
    events.add(event);
    this.#events.with({ middleware: name, event }).add(Math.max(0, amount));
  }
}

const none: readonly UserStage[] = [];

const fieldName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/;
/** How a message is framed and where it goes is not a header's to say. */
const framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

function setField(request: RequestHead, header: string, value: string | null): void {
  const name = header.toLowerCase();
  if (!fieldName.test(name) || framing.includes(name))
    throw new TypeError(`${header} is no header that can be set`);
  if (value !== null && !fieldValue.test(value))
    throw new TypeError(`the value of ${header} is none of HTTP`);
  const kept: Fields = [];
  for (let i = 0; i + 1 < request.fields.length; i += 2)
    if (request.fields[i] !== name) kept.push(request.fields[i] ?? "", request.fields[i + 1] ?? "");
  if (value !== null) kept.push(name, value.trim());
  request.fields = kept;
}

function nameOf({ metadata: { namespace, name } }: MiddlewareDocument): string {
  return `${namespace}/${name}`;
}
