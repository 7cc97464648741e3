/**
 * Mesh documents from files, watched. Whatever changed is read once it has stopped changing, parsed, converted together with the
 * rest, and swapped into the store as one change.
 */
import { asMeshError } from "../../base/errors.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import { type MeshFiles, readMeshFiles, sameFiles } from "../../files/mesh_files.ts";
import type { Host } from "../../host/host.ts";
import type { ConversionContext } from "../../mesh/convert/conversion_context.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import { type DocumentError, formatLocation } from "../../mesh/location.ts";
import { diffStatesInSteps, emptyState, type MeshState } from "../../mesh/store/change.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { RetainedStatus } from "./document_candidates.ts";
import { DocumentFiles } from "./document_files.ts";
import { LastGoodDocuments } from "./last_good_documents.ts";

export interface IngestSettings extends ConversionContext {
  /** Files and folders. */
  readonly meshPaths: readonly string[];
  /** What takes the place of a policy that was refused and never was good: denial of what it may concern (the default), or nothing. */
  readonly refusedPolicies?: "deny" | "skip";
}

export interface FileStatus {
  readonly path: string;
  readonly documents: number;
  /** Null when it was read, whatever its documents are like. */
  readonly error: string | null;
}

export interface IngestStatus {
  readonly files: readonly FileStatus[];
  readonly documents: readonly RetainedStatus[];
  /** All that is wrong besides the `error` of each document. */
  readonly errors: readonly DocumentError[];
}

export class MeshIngest {
  /** After the first reading, whatever came of it. */
  readonly ready: Promise<void>;
  readonly #host: Pick<Host, "clock" | "files">;
  readonly #store: MeshStore;
  readonly #settings: IngestSettings;
  readonly #logger: Logger;
  readonly #documents: DocumentFiles;
  readonly #lastGood: LastGoodDocuments;
  readonly #status = new WatchSource<IngestStatus>({ files: [], documents: [], errors: [] });
  readonly #inForce = new WatchSource<DocumentsInForce | null>(null);
  readonly #unwatch: readonly (() => void)[];
  readonly #folders = new Set<string>();
  #files: MeshFiles | null = null;
  #state: MeshState = emptyState;
  #told = new Set<string>();
  #changed = false;
  #running = false;
  #closed = false;

  constructor(
    host: Pick<Host, "clock" | "files">,
    store: MeshStore,
    settings: IngestSettings,
    logger: Logger,
  ) {
    this.#host = host;
    this.#store = store;
    this.#settings = settings;
    this.#logger = logger;
    this.#documents = new DocumentFiles(host.clock);
    this.#lastGood = new LastGoodDocuments(settings, settings.refusedPolicies ?? "deny");
    // Watched before it is read: a change in between is seen twice rather than never.
    this.#unwatch = settings.meshPaths.map((path) => host.files.watch(path, () => this.#onChange()));
    this.ready = this.#run();
  }

  status(): IngestStatus {
    return this.#status.value;
  }

  /** Told after each reading that changed anything. */
  get statusChanges(): Watch<IngestStatus> {
    return this.#status;
  }

  /** Null before the first reading. Told with the change of the store that they make. */
  get inForce(): Watch<DocumentsInForce | null> {
    return this.#inForce;
  }

  close(): void {
    this.#closed = true;
    for (const unwatch of this.#unwatch) unwatch();
  }

  #onChange(): void {
    this.#changed = true;
    if (!this.#running && !this.#closed) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      do {
        this.#changed = false;
        await this.#reload();
      } while (this.#changed && !this.#closed);
    } catch (thrown) {
      // Files are read with care of their own; this is unforeseen, and the mesh stays as it is.
      const error = asMeshError(thrown, "configuration", "local");
      this.#logger.log("error", "ingest", "documents could not be read", { error: error.message });
    } finally {
      this.#running = false;
    }
  }

  async #reload(): Promise<void> {
    const files = await this.#settledFiles();
    if (files === null) return;
    const parsed = await this.#documents.parse(files.texts);
    this.#files = files;
    const slice = new TimeSlice(this.#host.clock);
    const { conversion, documents, errors, inForce } = await this.#lastGood.update(
      parsed,
      files.unreadable,
      slice,
    );
    const change = await slice.run(diffStatesInSteps(this.#state, conversion));
    if (this.#closed) return;
    this.#state = conversion;
    if (change !== null) this.#store.apply(change);
    this.#inForce.set(inForce);
    const unreadable = [...files.unreadable].map(([path, { message }]) => ({
      path,
      documents: 0,
      error: message,
    }));
    const readable = parsed.map(({ path, entries, error }) => ({
      path,
      documents: entries.length,
      error: error?.message ?? null,
    }));
    this.#status.set({ files: [...readable, ...unreadable], documents, errors });
    this.#tell();
  }

  /**
   * The files once two looks in a row see the same: a writer that does not replace files in one step is not caught half-way, and
   * half a policy is often a valid one. The first reading does not wait. @returns null when nothing changed since last time.
   */
  async #settledFiles(): Promise<MeshFiles | null> {
    let files = await this.#read();
    const before = this.#files;
    if (before === null) return files;
    if (sameFiles(before, files)) return null;
    for (let attempt = 0; attempt < meshLimits.maxSettleAttempts; attempt++) {
      await new Promise<void>((resolve) => void this.#host.clock.setTimer(meshLimits.fileSettleMs, resolve));
      const again = await this.#read();
      if (sameFiles(files, again)) return files;
      files = again;
    }
    // The files are written all the time. Look again later, whether or not the watch says so.
    this.#logger.log(
      "warn",
      "ingest",
      "files keep changing; the documents that were read last stay in force",
    );
    void this.#host.clock.setTimer(meshLimits.fileSettleMs * meshLimits.maxSettleAttempts, () =>
      this.#onChange(),
    );
    return null;
  }

  #read(): Promise<MeshFiles> {
    return readMeshFiles(this.#host.files, this.#settings.meshPaths, this.#folders);
  }

  /** Each complaint once, for as long as it stands. */
  #tell(): void {
    const { documents, errors } = this.#status.value;
    const lines = new Map<string, () => void>();
    for (const document of documents) {
      const resource = document.resource;
      const error = document.error;
      if (error !== null) {
        const fate = document.lastGoodInForce
          ? "document refused, its last good version stays in force"
          : "document refused";
        lines.set(complaint(fate, error), () => this.#log("error", fate, error, resource));
      }
      for (const warning of document.warnings) {
        lines.set(complaint("warning", warning), () =>
          this.#log("warn", "document accepted with a warning", warning, resource),
        );
      }
    }
    for (const error of errors)
      lines.set(complaint("error", error), () => this.#log("error", "cannot be used", error, error.resource));
    for (const [line, tell] of lines) if (!this.#told.has(line)) tell();
    this.#told = new Set(lines.keys());
  }

  #log(
    level: "warn" | "error",
    message: string,
    about: Pick<DocumentError, "location" | "message">,
    resource: string | null,
  ): void {
    this.#logger.log(level, "ingest", message, {
      at: formatLocation(about.location),
      resource,
      reason: about.message,
    });
  }
}

function complaint(kind: string, { location, message }: Pick<DocumentError, "location" | "message">): string {
  return `${kind} ${formatLocation(location)} ${message}`;
}
