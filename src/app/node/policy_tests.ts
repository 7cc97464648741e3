/** PolicyTests of a node that has its documents from files. */
import type { Logger } from "../../base/log.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Watch } from "../../base/watch.ts";
import type { Config } from "../../config/node/config.ts";
import type { Clock } from "../../host/host.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import { formatLocation } from "../../mesh/location.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import { explainedStore } from "../../policy/explain/explained_mesh.ts";
import { runPolicyTests } from "../../policy/explain/policy_tests.ts";

/**
 * PolicyTests in files: what is written is in force before anything can refuse it (that is what `fairlead validate` is for, and a control
 * plane), so a test that fails is an error in the log, once for as long as it fails.
 *
 * @returns a function that ends it.
 */
export function followPolicyTests(
  clock: Clock,
  logger: Logger,
  store: MeshStore,
  inForce: Watch<DocumentsInForce | null>,
  { missingPolicy, rootNamespace, layer7 }: Pick<Config, "missingPolicy" | "rootNamespace" | "layer7">,
): () => void {
  let told = new Set<string>();
  let latest: DocumentsInForce | null = null;
  const run = async (documents: DocumentsInForce["documents"]): Promise<void> => {
    const words = { missingPolicy, rootNamespace, documents, layer7 };
    const slice = new TimeSlice(clock);
    const calls = await slice.run(runPolicyTests(await slice.run(explainedStore(store, words))));
    if (latest?.documents !== documents) return;
    const failing = new Set<string>();
    for (const { passed, message, location, document } of calls) {
      if (passed) continue;
      const at = formatLocation(location);
      failing.add(`${at} ${message}`);
      if (!told.has(`${at} ${message}`))
        logger.log("error", "policy", "a policy test fails", { resource: document, at, reason: message });
    }
    told = failing;
  };
  return inForce.subscribe((now) => {
    latest = now;
    if (now?.documents.some(({ kind }) => kind === "PolicyTest") !== true) told = new Set();
    else
      run(now.documents).catch((bug) =>
        logger.log("error", "bug", "policy tests did not run", { error: String(bug) }),
      );
  });
}
