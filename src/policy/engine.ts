/** The engine the program runs. */
import type { PolicyEngine, PolicyEngineOptions } from "./policy_engine.ts";
import { createReferenceEngine } from "./reference.ts";

export type { PolicyEngine, PolicyEngineOptions } from "./policy_engine.ts";

export function createPolicyEngine(options: PolicyEngineOptions): PolicyEngine {
  return createReferenceEngine(options);
}
