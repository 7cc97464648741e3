/**
 * The program broken on purpose, once for each entry: source text, what replaces it, the checkers of which one must
 * notice, and a seed in which it does.
 */
export interface Mutant {
  readonly name: string;
  /** Checkers by the word their findings begin with; one of them has to notice. */
  readonly trips: readonly [string, ...string[]];
  /** One that is known to; null where it is looked for each time; left out with `at`. */
  readonly seed?: number | null;
  /** Its seeds are run for liveness. */
  readonly liveness?: true;
  /** Where `awaits/` notices, in place of a seed. */
  readonly at?: { readonly flow: string; readonly event: string };
  readonly file: string;
  /** Is there exactly once in the file. */
  readonly from: string;
  readonly to: string;
}

export const mutants: readonly Mutant[] = [
  {
    name: "policy changes do not re-decide open connections",
    trips: ["authorization"],
    seed: 2,
    file: "src/proxy/node.ts",
    from: "context.connections.recheckPolicy(reach.of(change));",
    to: "void [reach, change];",
  },
  {
    name: "trust changes do not re-judge open connections and tunnels",
    trips: ["authorization"],
    seed: 161,
    file: "src/proxy/node.ts",
    from: "this.#context.connections.recheckTrust(judge, () => {\n      this.#hbone.recheckTrust(judge);\n      this.#pool.recheckTrust(judge);\n    });",
    to: "void judge;",
  },
  {
    // No byte gets there: only a Permit opens the way to a workload. What is noticed is that the refusal is on no record.
    name: "a refusal does not stop an inbound connection",
    trips: ["records"],
    seed: 76,
    file: "src/proxy/passthrough.ts",
    from: "if (decision instanceof MeshError) {",
    to: "if (false as boolean) {",
  },
  {
    name: "decided on the workload as it was when the connection came",
    trips: ["authorization"],
    seed: 2,
    file: "src/proxy/policy_wait.ts",
    from: "const workload = store.workload(local.uid);",
    to: "const workload = local as typeof local | null; void store;",
  },
  {
    name: "what a broken application has said is dropped",
    trips: ["delivery"],
    seed: 1,
    file: "src/proxy/carry/stream_end.ts",
    from: "this.#stream.resetAfterData(resetCode.connectError);",
    to: "this.#stream.reset(resetCode.connectError);",
  },
  {
    name: "a change of one workload is taken for one of no workload",
    trips: ["authorization"],
    seed: 14,
    file: "src/proxy/change_reach.ts",
    from: "isMeshWide || uids.has(uid)",
    to: "isMeshWide",
  },
  {
    name: "a socket's reader is not paused when the other end is full",
    trips: ["bounds"],
    seed: 161,
    file: "src/proxy/carry/socket_end.ts",
    from: "this.#keptByOther += bytes.length - taken;\n    this.#socket.pause();",
    to: "this.#keptByOther += bytes.length - taken;",
  },
  {
    name: "a paused reader is never resumed",
    trips: ["progress"],
    seed: 1,
    file: "src/proxy/carry/socket_end.ts",
    from: "if (this.#keptByOther === 0) this.#socket.resume();\n  }\n\n  stop()",
    to: "}\n\n  stop()",
  },
  {
    name: "bytes that a socket did not take at the end are dropped",
    trips: ["delivery"],
    seed: 4,
    file: "src/proxy/carry/socket_end.ts",
    from: "if (this.#queue === null) this.#endWrite();\n    else this.#endAfterQueue = true;",
    to: "this.#endWrite();",
  },
  {
    name: "any RST_STREAM is read as the end of data",
    trips: ["delivery"],
    seed: 0,
    file: "src/wire/hbone.ts",
    from: "return errorCode === resetCode.noError || errorCode === resetCode.cancel;",
    to: "return errorCode >= 0;",
  },
  {
    name: "a broken socket is told as an orderly end",
    trips: ["delivery"],
    seed: 2,
    file: "src/proxy/carry/stream_end.ts",
    from: "this.#stream.reset(resetCode.connectError);",
    to: "this.end();",
  },
  {
    name: "DATA of a stream that was reset is lost from the tunnel's window",
    trips: ["window", "progress"],
    seed: 0,
    file: "src/wire/h2/data_receiver.ts",
    from: "if (this.#stream === null) state.returnToConnection(length);",
    to: "",
  },
  {
    name: "consumed bytes are not given back to the peer's window",
    trips: ["window", "progress"],
    seed: 0,
    file: "src/proxy/carry/stream_end.ts",
    from: "this.#stream.consume(this.#other?.write(bytes) ?? 0);",
    to: "this.#other?.write(bytes);",
  },
  {
    name: "bytes that came before the connection was carried are forgotten",
    trips: ["records", "progress", "delivery"],
    seed: 230,
    file: "src/proxy/carry/early_stream.ts",
    from: "for (const chunk of this.#chunks) events.onData(chunk, false);",
    to: "",
  },
  {
    name: "whoever answers is believed to be the workload that was called",
    trips: ["authorization"],
    seed: 9,
    file: "src/proxy/tunnel/client_tunnel.ts",
    from: "identities: target.expected",
    to: "identities: null",
  },
  {
    name: "certificates of any CA are believed",
    trips: ["authorization"],
    seed: 165,
    file: "src/pki/crypto/signature.ts",
    from: "return await this.#crypto.subtle.verify(",
    to: "return true || await this.#crypto.subtle.verify(",
  },
  {
    name: "the pool does not look whose tunnel it is",
    trips: ["records"],
    seed: 0,
    file: "src/proxy/tunnel/pool.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    from: 'return `${target.source.uri}|${expected}|${formatSocketAddress(target.dial)}|${target.from?.text ?? ""}`;',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    to: "return `${expected}|${formatSocketAddress(target.dial)}`;",
  },
  {
    name: "connections are cut at a drain's beginning instead of its deadline",
    trips: ["drain"],
    seed: 0,
    file: "src/proxy/node.ts",
    from: "const deadline = clock.setTimer(deadlineMs, () => finish());",
    to: "const deadline = clock.setTimer(0, () => finish()); void deadlineMs;",
  },
  {
    name: "a drain has no deadline",
    trips: ["drain"],
    seed: 0,
    file: "src/proxy/node.ts",
    from: "const deadline = clock.setTimer(deadlineMs, () => finish());",
    to: "const deadline = clock.setTimer(deadlineMs, () => {});",
  },
  {
    name: "a finished connection is not recorded",
    trips: ["records"],
    seed: 0,
    file: "src/proxy/connections.ts",
    from: "this.#registry.remove(this);\n    this.record.close(error);",
    to: "this.#registry.remove(this);\n    if (error === null) this.record.close(error);",
  },
  {
    name: "a connection is recorded twice",
    trips: ["records", "broken"],
    seed: 21,
    file: "src/proxy/telemetry.ts",
    from: "if (this.#closed) return;\n    this.#closed = true;\n    const series = this.#count();",
    to: "this.#closed = true;\n    this.flushBytes();\n    this.#telemetry.closed(this, this.#series, error);",
  },
  {
    name: "what a socket did not take of a tunnel's output is lost",
    trips: ["delivery", "records"],
    seed: 0,
    file: "src/transport/drive.ts",
    from: "this.#keep(chunks, index, taken);",
    to: "void index;",
  },
  {
    name: "scratch memory of the machine is kept without a copy",
    trips: ["delivery", "records"],
    seed: 7,
    file: "src/transport/drive.ts",
    from: "this.#machine.isScratch(chunk) ? rest.slice() : rest",
    to: "rest",
  },
  {
    name: "output that vanished with a reset stream silences what comes after it",
    trips: ["progress"],
    seed: 1,
    file: "src/wire/h2/connection_state.ts",
    from: "if (!this.wantsOutput) {",
    to: "if (!this.wantsOutput) {\n      return;\n    }\n    if (false as boolean) {",
  },
  {
    name: "a client that comes back is taken to hold what there is",
    trips: ["control"],
    seed: 21,
    file: "src/wire/ads/server_subscription.ts",
    from: "this.#held = new Map(Object.entries(first.initialResourceVersions));",
    to: "this.#held = new Map(Object.entries(first.initialResourceVersions)); if (this.#held.size > 0) { this.#held = null; this.#answered = true; this.#upsertsGiven = set.revision; this.#removalsGiven = set.revision; }",
  },
  {
    name: "removals that a control plane sends are lost",
    trips: ["control"],
    seed: 21,
    file: "src/agent/xds/mesh_resources.ts",
    from: "yield* inSteps(delivery.removed, (name) => this.#forget(name, change));",
    to: "",
  },
  {
    name: "a control plane sends workloads before their policies",
    trips: ["control"],
    seed: 165,
    file: "src/wire/ads/server_session.ts",
    from: "if (typeUrl === addressType && this.#policiesMissing(nowMs)) return null;",
    to: "",
  },
  {
    name: "pushed revocation lists are acknowledged and put away",
    trips: ["authorization"],
    seed: 2,
    file: "src/agent/xds/trust_resources.ts",
    from: "crls.map((bytes, index)",
    to: "crls.slice(0, 0).map((bytes, index)",
  },
  {
    name: "streams of hosts that were thrown out go on",
    trips: ["control"],
    seed: 165,
    file: "src/control/xds/server.ts",
    from: "({ caller }) => caller !== null && predicate(caller)",
    to: "({ caller }) => caller !== null && predicate(caller) && false",
  },
  {
    name: "one resource that cannot be read takes its neighbours along",
    trips: ["control"],
    seed: 21,
    file: "src/agent/xds/mesh_resources.ts",
    from: "if (finished === null) return rejected;",
    to: "if (finished === null || rejected.length > 0) return rejected;",
  },
  {
    name: "a certificate that was issued is taken for a root that is held",
    trips: ["control", "convergence"],
    seed: 15,
    file: "src/control/rotation/root_holders.ts",
    from: "return !nodes.has(name) && (fetchedAtMs",
    to: "return (fetchedAtMs",
  },
  {
    name: "a stream to the control plane that ended is not opened again",
    trips: ["control"],
    seed: 21,
    file: "src/agent/xds/xds_client.ts",
    from: "if (!this.#closed) this.#timer = clock.setTimer(delayMs, () => void this.#connect());",
    to: "void delayMs;",
  },
  {
    name: "half a document is taken for a whole one",
    trips: ["authorization"],
    seed: 16,
    file: "src/agent/files/ingest.ts",
    from: "if (before === null) return files;",
    to: "if (before === null || before !== null) return files;",
  },
  {
    name: "SVIDs are not renewed",
    trips: ["identity"],
    seed: 76,
    file: "src/pki/svid/secrets.ts",
    from: "if (isDue && now >= secret.notBeforeNow) this.#begin(secret);",
    to: "if (isDue && now >= secret.notBeforeNow) secret.notBeforeNow = now + 1e9;",
  },
];
