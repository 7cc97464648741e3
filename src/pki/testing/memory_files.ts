/** Files in memory, for tests of what is read, written and watched. */
import { MeshError } from "../../base/errors.ts";
import type { FileEntry, Files } from "../../host/host.ts";

export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  readonly modes = new Map<string, number>();
  readonly #watches = new Set<{ readonly path: string; readonly onChange: () => void }>();

  put(path: string, content: string | Uint8Array): void {
    this.contents.set(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    this.#changed(path);
  }

  drop(path: string): void {
    this.contents.delete(path);
    this.#changed(path);
  }

  async readText(path: string): Promise<string> {
    return new TextDecoder().decode(await this.readBytes(path));
  }

  async readBytes(path: string): Promise<Uint8Array> {
    const content = this.contents.get(path);
    if (content === undefined) throw new MeshError("io", "local", `${path}: no such file`);
    return content;
  }

  async list(): Promise<readonly FileEntry[] | null> {
    return null;
  }

  async exists(path: string): Promise<boolean> {
    return this.contents.has(path);
  }

  async identity(): Promise<string | null> {
    throw new Error("not used");
  }

  async writeStream(path: string, pieces: AsyncIterable<Uint8Array>, mode: number): Promise<number> {
    const all: Uint8Array[] = [];
    for await (const piece of pieces) all.push(piece);
    const bytes = new Uint8Array(await new Blob(all.map((one) => one.slice())).arrayBuffer());
    await this.writeAtomic(path, bytes, mode);
    return bytes.length;
  }

  async writeAtomic(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    this.modes.set(path, mode);
    this.put(path, bytes.slice());
  }

  async appendLines(path: string, lines: Uint8Array, mode: number): Promise<void> {
    const before = this.contents.get(path) ?? new Uint8Array();
    await this.writeAtomic(path, new Uint8Array([...before, ...lines]), mode);
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    this.modes.set(path, mode);
  }

  async remove(path: string): Promise<void> {
    this.drop(path);
  }

  watch(path: string, onChange: () => void): () => void {
    const watch = { path, onChange };
    this.#watches.add(watch);
    return () => {
      this.#watches.delete(watch);
    };
  }

  #changed(path: string): void {
    for (const watch of this.#watches) if (watch.path === path) watch.onChange();
  }
}
