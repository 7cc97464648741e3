import type { ControlBindings } from "../control/bindings.ts";

function unexpected(): Promise<never> {
  return Promise.reject(new Error("no control plane is expected here"));
}

/** For tests of commands that have nothing to do with one. */
export const noControl: ControlBindings = {
  start: unexpected,
  connect: unexpected,
  restore: unexpected,
  exists: unexpected,
  ask: unexpected,
  sleep: unexpected,
};
