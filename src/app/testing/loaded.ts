/**
 * What the product loads when a role needs it, loaded before anything is simulated: reading a file takes real time, which a world with a clock
 * of its own does not wait for, and a first run would differ from its second.
 */
await Promise.all([
  import("../../agent/workload_api/serve.ts"),
  import("../../agent/workload_api/verifier_bundle.ts"),
  import("../../agent/xds/held_documents.ts"),
  import("../node/capture.ts"),
  import("../node/explain.ts"),
  import("../node/join_control.ts"),
  import("../node/mesh_of_files.ts"),
  import("../node/names.ts"),
  import("../node/waypoint.ts"),
  import("../node/workers/node_workers.ts"),
  import("../../pki/crypto/peculiar_provider.ts"),
  import("../../pki/issue/authority.ts"),
]);

export {};
