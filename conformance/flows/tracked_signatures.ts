/** Signatures are checked on another thread, which simulated time has to wait for. */
import { afterAll, beforeAll } from "bun:test";
import type { FlowLab } from "./lab.ts";

/** For the tests of a file. @returns the worlds that wait; each test adds its own. */
export function trackSignatures(): Set<FlowLab> {
  const worlds = new Set<FlowLab>();
  const { subtle } = crypto;
  const original = { verify: subtle.verify.bind(subtle), importKey: subtle.importKey.bind(subtle) };
  const tracked =
    <Args extends readonly unknown[], T>(
      work: (...args: Args) => Promise<T>,
    ): ((...args: Args) => Promise<T>) =>
    (...args) => {
      const promise = work(...args);
      for (const { world } of worlds) world.schedule.track(promise);
      return promise;
    };
  beforeAll(() => {
    Object.assign(subtle, { verify: tracked(original.verify), importKey: tracked(original.importKey) });
  });
  afterAll(() => {
    Object.assign(subtle, original);
  });
  return worlds;
}
