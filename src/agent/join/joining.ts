/** Joining by a one-time token: a key, the call, a look at the answer, and one file. In between a crash leaves nothing, or all of it. */

import { backoffMs } from "../../base/backoff.ts";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, Random } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { join } from "../../wire/grpc/services.ts";
import { JoinRequestSchema } from "../../wire/messages/fairlead.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { clockSkewMs, describeSkew } from "./clock_skew.ts";
import { createNodeKey, readJoinAnswer } from "./node_certificate.ts";
import { type JoinedNode, writeNodeFile } from "./node_file.ts";
import { describeFailure, isTransient, type UnaryCaller } from "./unary_caller.ts";

export interface JoiningOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly provider: CryptoProvider;
  readonly logger: Logger;
  readonly caller: UnaryCaller;
  /** `HOST:PORT`. */
  readonly control: string;
  readonly directory: string;
  readonly token: string;
  /** "" leaves it to the token. */
  readonly nodeName: string;
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
  readonly trustDomain: string;
  readonly version: string;
}

/** Is in the directory while a token is being shown: what the next start says about it. */
const markFile = "joining";

/**
 * Waits for a control plane that is away; a refusal ends it.
 *
 * @throws MeshError `control_refused` with what to do, `io` for a directory that cannot be written: before the token is used.
 */
export async function joinMesh(options: JoiningOptions): Promise<JoinedNode> {
  const { clock, random, files, provider, directory, logger, control } = options;
  const mark = `${directory}/${markFile}`;
  await files.makeDirectory(directory, 0o700);
  const interrupted = await files.exists(mark);
  await files.writeAtomic(
    mark,
    new TextEncoder().encode("a join token was sent, and no answer was kept yet\n"),
    0o600,
  );
  const key = await createNodeKey(provider, options.trustDomain, options.nodeName);
  let isUsed = interrupted;
  for (let failures = 1; ; failures++) {
    try {
      const askedMs = clock.wallMs();
      const response = await options.caller.unary(
        join.join,
        newMessage(JoinRequestSchema, requestFields(options, key.csrPem)),
      );
      isUsed = true;
      const node = await readJoinAnswer(response, key, { provider, control, nowMs: clock.wallMs() });
      await writeNodeFile(files, directory, node);
      await files.remove(mark);
      const skewMs = clockSkewMs(node.credential.notBeforeMs, askedMs, clock.wallMs());
      if (skewMs !== null) logger.log("error", "join", describeSkew(skewMs));
      logger.log("info", "join", "this host has joined the mesh", {
        control,
        identity: node.credential.id.uri,
      });
      return node;
    } catch (thrown) {
      const error = describeFailure(thrown, "the join token", adviceFor(options.nodeName, isUsed));
      if (!isTransient(error)) {
        if (!isUsed) await files.remove(mark);
        throw error;
      }
      // The answer, rather than the question, may be what was lost.
      isUsed ||= error.code !== "connect_refused" && error.code !== "name_not_found";
      const delayMs = backoffMs(failures, joinLimits, random.float());
      const level = failures === 1 ? "warn" : "debug";
      logger.log(level, "join", "the control plane cannot be reached yet; trying again", {
        control,
        reason: error.message,
      });
      await new Promise<void>((resolve) => void clock.setTimer(delayMs, resolve));
    }
  }
}

function requestFields(options: JoiningOptions, csr: string) {
  const { token, nodeName, addresses, labels, network, version } = options;
  return { token, csr, nodeName, addresses: [...addresses], labels: { ...labels }, network, version };
}

function adviceFor(nodeName: string, mayBeOwnDoing: boolean): string {
  const lost = mayBeOwnDoing ? ". This host may have used it in an earlier try, whose answer was lost" : "";
  const whom = nodeName === "" ? "--node NAME" : `--node ${nodeName}`;
  return `. A token is valid once, until it expires${lost}. Make a new one at the control plane: fairlead join-token create ${whom} --replace`;
}

/** What is wrong with a host that has neither joined nor anything to join by. */
export function nothingToJoinBy(control: string): MeshError {
  return new MeshError(
    "configuration",
    "local",
    `this host has not joined ${control}. To join, give --join-token (make one at the control plane: fairlead ` +
      "join-token create --node NAME), or --token-file and --control-root for a real istiod",
  );
}
