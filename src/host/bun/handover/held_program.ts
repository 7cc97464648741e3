/** A program's file, opened once: what is looked at and what is run is one and the same, whatever its path means by then. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MeshError } from "../../../base/errors.ts";
import type { HeldProgram } from "../../handover.ts";
import { systemErrorName } from "../../socket_errors.ts";

/** Some 2 ms of a digest. */
const pieceBytes = 1024 * 1024;

/** @throws MeshError `io`, blame local. */
export async function holdProgram(name: string): Promise<HeldProgram> {
  const cannot = (reason: string): MeshError => new MeshError("io", "local", `cannot run ${name}: ${reason}`);
  let file: FileHandle;
  try {
    // Opening a pipe must not wait for its other end.
    file = await open(name, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (thrown) {
    throw cannot(systemErrorName(thrown) ?? String(thrown));
  }
  const stat = await file.stat();
  if (!stat.isFile()) {
    await file.close();
    throw cannot("it is no file");
  }
  return {
    name,
    // By this process's number: whoever runs it, and a script's shell, too, finds this descriptor there.
    path: `/proc/${process.pid}/fd/${file.fd}`,
    digest: () => digest(file),
    close: () => void file.close().catch(() => {}),
  };
}

async function digest(file: FileHandle): Promise<string | null> {
  // Not before it is needed: it brings the streams with it, which a start has no use for.
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  const piece = new Uint8Array(pieceBytes);
  try {
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(piece.subarray(0, bytesRead));
      at += bytesRead;
    }
  } catch {
    return null;
  }
}
