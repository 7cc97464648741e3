/** How the stream to a control plane is doing, for administration. */
import { joinLimits } from "../../base/limits/agent.ts";
import type { DeltaClient } from "../../wire/ads/client.ts";

export interface XdsTypeStatus {
  readonly typeUrl: string;
  readonly resources: number;
  /** Resources refused (NACK) and not mended since; the newest good version of each, if there was one, is in force. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

export interface XdsStatus {
  /** Whether a stream is open that has answered. */
  readonly connected: boolean;
  /** Since when it is so, or not: milliseconds since the Unix epoch; null before the first try has ended. */
  readonly sinceMs: number | null;
  readonly lastAnswerMs: number | null;
  /** What the server calls itself; "" when it does not say, null before it was heard. */
  readonly identifier: string | null;
  /** Why it is not connected. */
  readonly error: string | null;
  /** Streams tried since the start. */
  readonly attempts: number;
  /** Whether there is a mesh to carry traffic by. */
  readonly ready: boolean;
  /** Whether that mesh is what the server has now; otherwise it is as it was last known. */
  readonly current: boolean;
  readonly types: readonly XdsTypeStatus[];
}

export function describeTypes(client: DeltaClient, typeUrls: readonly string[]): readonly XdsTypeStatus[] {
  return typeUrls.map((typeUrl) => ({
    typeUrl,
    resources: client.held(typeUrl).size,
    refused: [...client.rejected(typeUrl)]
      .slice(0, joinLimits.maxRefusedResources)
      .map(([name, reason]) => ({ name, reason: reason.slice(0, joinLimits.maxReasonChars) })),
  }));
}
