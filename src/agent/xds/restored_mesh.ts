/** A start with the mesh as an earlier run has kept it. */
import { addressType, authorizationType, trustBundleType } from "../../wire/ads/delta.ts";
import type { DocumentStream } from "./document_stream.ts";
import { readSnapshot, type SnapshotOptions } from "./snapshot_file.ts";
import type { XdsClient } from "./xds_client.ts";

/** @param documents of a waypoint; null for a host that is none. @returns when it was saved, milliseconds since the Unix epoch; null without one. */
export async function restoreMesh(
  kept: SnapshotOptions,
  xds: Pick<XdsClient, "restore">,
  documents: Pick<DocumentStream, "restore"> | null,
): Promise<number | null> {
  const snapshot = await readSnapshot(kept);
  if (snapshot === null) return null;
  const resourcesOf = (typeUrl: string) => snapshot.types.find((one) => one.typeUrl === typeUrl)?.resources;
  // Trust first, then policies, then the workloads they are for.
  for (const typeUrl of [trustBundleType, authorizationType, addressType]) {
    const resources = resourcesOf(typeUrl);
    // Of a host that has never been told of a bundle there is none; that is no empty one.
    if (resources === undefined || (typeUrl === trustBundleType && resources.length === 0)) continue;
    await xds.restore(typeUrl, resources);
  }
  await documents?.restore(resourcesOf);
  const { clock, logger } = kept;
  logger.log(
    "info",
    "xds",
    "the control plane is not reached yet; starting with the mesh as it was last known",
    {
      saved: new Date(snapshot.savedAtMs).toISOString(),
      age_ms: Math.round(clock.wallMs() - snapshot.savedAtMs),
    },
  );
  return snapshot.savedAtMs;
}
