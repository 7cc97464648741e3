/** One small GET, for the command line's questions to a running node. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";

/** @throws MeshError `connect_refused` or `connect_timeout` (blame upstream), naming the address. */
export async function httpGet(
  address: SocketAddress,
  path: string,
  timeoutMs: number,
): Promise<{ readonly status: number; readonly text: string }> {
  const where = formatSocketAddress(address);
  try {
    const response = await fetch(`http://${where}${path}`, { signal: AbortSignal.timeout(timeoutMs) });
    return { status: response.status, text: await response.text() };
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === "TimeoutError")
      throw new MeshError("connect_timeout", "upstream", `${where} did not answer in ${timeoutMs} ms`, {
        cause: thrown,
      });
    const error = asMeshError(thrown, "connect_refused", "upstream");
    throw new MeshError(
      error.code,
      "upstream",
      `nothing answers at ${where}; is a node running with --admin ${where}?`,
      {
        cause: thrown,
      },
    );
  }
}
