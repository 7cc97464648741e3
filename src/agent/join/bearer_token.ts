/** The bearer token of a call: from a file that another program keeps fresh, so it is read each time. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { TokenSource } from "../../base/settings/node_control.ts";
import type { Files } from "../../host/host.ts";

/** @throws MeshError `io` for a file that cannot be read, `configuration` for one without a token. No message holds a part of it. */
export async function readBearer(source: TokenSource, files: Files): Promise<string> {
  if (source.kind === "literal") return source.token.reveal();
  let text: string;
  try {
    text = await files.readText(source.path);
  } catch (thrown) {
    const reason = asMeshError(thrown, "io", "local").message;
    throw new MeshError("io", "local", `the token cannot be read: ${reason}`);
  }
  // ztunnel takes the bytes as they are and fails on a line's end, which most tools write.
  const token = text.trim();
  if (token === "" || token.length > joinLimits.maxTokenBytes || !/^[\x21-\x7e]+$/.test(token))
    throw new MeshError("configuration", "local", `${source.path} does not hold one token`);
  return token;
}
