/**
 * The mesh as it was last known, on disk: a host that starts while its control plane is away begins with it. The resources stand
 * there as they came, so that reading them again judges them again.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, Timer } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { buffer } from "../../pki/crypto/signature.ts";
import { hex } from "../../pki/der/values.ts";
import type { DeltaResource } from "../../wire/ads/delta.ts";
import { DeltaDiscoveryResponseSchema } from "../../wire/messages/envoy_discovery.gen.ts";
import { decodeMessage, encodeMessage, newMessage } from "../../wire/messages/message.ts";

export const snapshotFileName = "mesh.snapshot";
const magic = "fairlead mesh 1";

export interface Snapshot {
  /** Milliseconds since the Unix epoch. */
  readonly savedAtMs: number;
  readonly types: readonly { readonly typeUrl: string; readonly resources: readonly DeltaResource[] }[];
}

export interface SnapshotOptions {
  readonly clock: Clock;
  readonly files: Files;
  readonly provider: CryptoProvider;
  readonly logger: Logger;
  readonly directory: string;
  /** Whose mesh it is: another control plane's, or another trust domain's, is not taken for it. */
  readonly mesh: string;
  /** `joinLimits.maxSnapshotBytes` when left out. */
  readonly maxBytes?: number;
}

/**
 * Reads what an earlier run has kept. What is damaged or another mesh's is not used, and said so: without it the host waits for its
 * control plane, which denies more, never less.
 */
export async function readSnapshot(options: SnapshotOptions): Promise<Snapshot | null> {
  const { files, directory, logger } = options;
  const path = `${directory}/${snapshotFileName}`;
  try {
    if (!(await files.exists(path))) return null;
    const snapshot = await parseSnapshot(await files.readBytes(path), options);
    if (typeof snapshot !== "string") return snapshot;
    logger.log("info", "xds", "the mesh kept on disk is not used", { path, reason: snapshot });
  } catch (thrown) {
    const reason = asMeshError(thrown, "io", "local").message;
    logger.log("error", "xds", "the mesh kept on disk is not used; waiting for the control plane", {
      path,
      reason,
    });
  }
  return null;
}

/** @returns why it is not for us. @throws MeshError when it is damaged. */
async function parseSnapshot(bytes: Uint8Array, options: SnapshotOptions): Promise<Snapshot | string> {
  const end = bytes.indexOf(0x0a);
  const head = end === -1 || end > 4096 ? "" : new TextDecoder().decode(bytes.subarray(0, end));
  const match = /^fairlead mesh ([0-9]+) ([0-9]+) ([0-9a-f]{64}) (\S+)$/.exec(head);
  if (match === null) throw damaged("it is not a kept mesh");
  const [, version, savedAt, digest = "", mesh = ""] = match;
  if (version !== "1") return `it is of format ${version}`;
  if (decodeURIComponent(mesh) !== options.mesh) return `it is of ${decodeURIComponent(mesh)}`;
  const body = bytes.subarray(end + 1);
  if ((await digestOf(body, options.provider)) !== digest) throw damaged("its digest does not match");
  return { savedAtMs: Number(savedAt), types: readTypes(body) };
}

function readTypes(body: Uint8Array): Snapshot["types"] {
  const types: { typeUrl: string; resources: readonly DeltaResource[] }[] = [];
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  for (let at = 0; at < body.length; ) {
    const length = at + 4 <= body.length ? view.getUint32(at) : body.length;
    if (at + 4 + length > body.length) throw damaged("it is cut short");
    const { typeUrl, resources } = decodeMessage(
      DeltaDiscoveryResponseSchema,
      body.subarray(at + 4, at + 4 + length),
    );
    types.push({ typeUrl, resources });
    at += 4 + length;
  }
  return types;
}

/** Writes what is held, some time after it changed, one write at a time. */
export class SnapshotWriter {
  readonly #options: SnapshotOptions;
  readonly #types: () => Snapshot["types"];
  #timer: Timer | null = null;
  #writing: Promise<void> | null = null;
  #dirty = false;
  #failing = false;
  #isStopped = false;

  constructor(options: SnapshotOptions, types: () => Snapshot["types"]) {
    this.#options = options;
    this.#types = types;
  }

  /** Another process writes it now. */
  stop(): void {
    this.#isStopped = true;
    this.#dirty = false;
    this.#timer?.cancel();
    this.#timer = null;
  }

  changed(): void {
    if (this.#isStopped) return;
    this.#dirty = true;
    if (this.#writing !== null) return;
    this.#timer ??= this.#options.clock.setTimer(joinLimits.snapshotDelayMs, () => void this.flush());
  }

  /** Resolves when all that has changed is on disk, or could not be written. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    while (this.#writing !== null) await this.#writing;
    if (!this.#dirty) return;
    this.#writing = this.#write();
    await this.#writing;
    this.#writing = null;
    if (this.#dirty) this.changed();
  }

  async #write(): Promise<void> {
    const { files, directory, logger } = this.#options;
    this.#dirty = false;
    try {
      const bytes = await encodeSnapshot(this.#types(), this.#options);
      if (bytes.length > (this.#options.maxBytes ?? joinLimits.maxSnapshotBytes))
        throw new MeshError("limit_reached", "local", "the mesh is too large to be kept on disk");
      await files.makeDirectory(directory, 0o700);
      await files.writeAtomic(`${directory}/${snapshotFileName}`, bytes, 0o600);
      this.#failing = false;
    } catch (thrown) {
      // The last one stays. A full disk is no reason to stop carrying traffic.
      const reason = asMeshError(thrown, "io", "local").message;
      if (!this.#failing) logger.log("error", "xds", "the mesh could not be kept on disk", { reason });
      this.#failing = true;
    }
  }
}

async function encodeSnapshot(types: Snapshot["types"], options: SnapshotOptions): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const { typeUrl, resources } of types) {
    const message = newMessage(DeltaDiscoveryResponseSchema, {
      typeUrl,
      resources: resources.map(({ name, version, resource }) =>
        resource === undefined
          ? { name, version }
          : { name, version, resource: { typeUrl: resource.typeUrl, value: resource.value } },
      ),
    });
    const encoded = encodeMessage(DeltaDiscoveryResponseSchema, message);
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, encoded.length);
    parts.push(length, encoded);
  }
  const body = join(parts);
  const digest = await digestOf(body, options.provider);
  const head = `${magic} ${Math.round(options.clock.wallMs())} ${digest} ${encodeURIComponent(options.mesh)}\n`;
  return join([new TextEncoder().encode(head), body]);
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function digestOf(bytes: Uint8Array, provider: CryptoProvider): Promise<string> {
  const { subtle } = provider.crypto;
  return hex(new Uint8Array(await subtle.digest("SHA-256", buffer(bytes))));
}

function damaged(message: string): MeshError {
  return new MeshError("io", "local", `it is damaged: ${message}`);
}
