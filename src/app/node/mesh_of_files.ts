/** The mesh of a node without a control plane: documents in files, and the tests that stand beside them. A node with one loads none of this. */
import { MeshIngest } from "../../agent/files/ingest.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { MeshSource } from "./mesh_source.ts";
import { followPolicyTests } from "./policy_tests.ts";

/** Resolves when the files have been read: nothing is made of a mesh before. @param life closes what this opens. */
export async function followFiles(
  host: Host,
  store: MeshStore,
  config: Config,
  logger: LogWriter,
  life: Lifecycle,
): Promise<MeshSource> {
  const ingest = new MeshIngest(host, store, config, logger);
  life.onStop(() => ingest.close());
  life.onStop(followPolicyTests(host.clock, logger, store, ingest.inForce, config));
  await ingest.ready;
  return {
    ready: ingest.ready,
    pending: () => [],
    documents: () => ingest.status(),
    inForce: ingest.inForce,
    control: () => null,
    close: () => ingest.close(),
  };
}
