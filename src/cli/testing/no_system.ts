/** For commands that have no business with the host's files and programs. */
import type { SystemBindings } from "../bindings.ts";

function unexpected(): Promise<never> {
  return Promise.reject(new Error("the host is not to be touched here"));
}

export const noSystem: SystemBindings = {
  uid: 1000,
  isBuilt: true,
  executable: unexpected,
  date: () => "2026-11-29",
  exists: unexpected,
  readText: unexpected,
  writeFile: unexpected,
  makeDirectory: unexpected,
  nowMs: () => Date.UTC(2026, 10, 29),
  connects: unexpected,
  resolvers: unexpected,
  run: unexpected,
};
