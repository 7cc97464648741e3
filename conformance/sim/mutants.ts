/**
 * `bun conformance/sim/mutants.ts [NAME …]`: breaks a copy of the program on purpose, once for each line below, and says which seed
 * notices and by which checker. A mutant that lives is a hole in the simulator.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const mutants: readonly Mutant[] = [
  {
    name: "policy changes do not re-decide open connections",
    file: "src/proxy/node.ts",
    from: "context.connections.recheckPolicy(reach.of(change));",
    to: "void [reach, change];",
  },
  {
    name: "trust changes do not re-judge open connections and tunnels",
    file: "src/proxy/node.ts",
    from: "this.#context.connections.recheckTrust(judge, () => {\n      this.#hbone.recheckTrust(judge);\n      this.#pool.recheckTrust(judge);\n    });",
    to: "void judge;",
  },
  {
    name: "a refusal does not stop an inbound connection",
    file: "src/proxy/passthrough.ts",
    from: "if (decision instanceof MeshError) {",
    to: "if (false as boolean) {",
  },
  {
    name: "decided on the workload as it was when the connection came",
    file: "src/proxy/policy_wait.ts",
    from: "const workload = store.workload(local.uid);",
    to: "const workload = local as typeof local | null; void store;",
  },
  {
    name: "what a broken application has said is dropped",
    file: "src/proxy/carry/stream_end.ts",
    from: "this.#stream.resetAfterData(resetCode.connectError);",
    to: "this.#stream.reset(resetCode.connectError);",
  },
  {
    name: "a change of one workload is taken for one of no workload",
    file: "src/proxy/change_reach.ts",
    from: "isMeshWide || uids.has(uid)",
    to: "isMeshWide",
  },
  {
    name: "a socket's reader is not paused when the other end is full",
    file: "src/proxy/carry/socket_end.ts",
    from: "this.#keptByOther += bytes.length - taken;\n    this.#socket.pause();",
    to: "this.#keptByOther += bytes.length - taken;",
  },
  {
    name: "a paused reader is never resumed",
    file: "src/proxy/carry/socket_end.ts",
    from: "if (this.#keptByOther === 0) this.#socket.resume();\n  }\n\n  stop()",
    to: "}\n\n  stop()",
  },
  {
    name: "bytes that a socket did not take at the end are dropped",
    file: "src/proxy/carry/socket_end.ts",
    from: "if (this.#queue === null) this.#endWrite();\n    else this.#endAfterQueue = true;",
    to: "this.#endWrite();",
  },
  {
    name: "any RST_STREAM is read as the end of data",
    file: "src/wire/hbone.ts",
    from: "return errorCode === resetCode.noError || errorCode === resetCode.cancel;",
    to: "return errorCode >= 0;",
  },
  {
    name: "a broken socket is told as an orderly end",
    file: "src/proxy/carry/stream_end.ts",
    from: "this.#stream.reset(resetCode.connectError);",
    to: "this.end();",
  },
  {
    name: "DATA of a stream that was reset is lost from the tunnel's window",
    file: "src/wire/h2/data_receiver.ts",
    from: "if (this.#stream === null) state.returnToConnection(length);",
    to: "",
  },
  {
    name: "consumed bytes are not given back to the peer's window",
    file: "src/proxy/carry/stream_end.ts",
    from: "if (taken > 0) this.#stream.consume(taken);",
    to: "void taken;",
  },
  {
    name: "bytes that came before the connection was carried are forgotten",
    file: "src/proxy/carry/early_stream.ts",
    from: "for (const chunk of this.#chunks) events.onData(chunk, false);",
    to: "",
  },
  {
    name: "whoever answers is believed to be the workload that was called",
    file: "src/proxy/tunnel/client_tunnel.ts",
    from: "identities: target.expected",
    to: "identities: null",
  },
  {
    name: "certificates of any CA are believed",
    file: "src/pki/crypto/signature.ts",
    from: "return await this.#crypto.subtle.verify(",
    to: "return true || await this.#crypto.subtle.verify(",
  },
  {
    name: "the pool does not look whose tunnel it is",
    file: "src/proxy/tunnel/pool.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    from: 'return `${target.source.uri}|${expected}|${formatSocketAddress(target.dial)}|${target.from?.text ?? ""}`;',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    to: "return `${expected}|${formatSocketAddress(target.dial)}`;",
  },
  {
    name: "connections are cut at a drain's beginning instead of its deadline",
    file: "src/proxy/node.ts",
    from: "const deadline = clock.setTimer(deadlineMs, () => finish());",
    to: "const deadline = clock.setTimer(0, () => finish()); void deadlineMs;",
  },
  {
    name: "a drain has no deadline",
    file: "src/proxy/node.ts",
    from: "const deadline = clock.setTimer(deadlineMs, () => finish());",
    to: "const deadline = clock.setTimer(deadlineMs, () => {});",
  },
  {
    name: "a finished connection is not recorded",
    file: "src/proxy/connections.ts",
    from: "this.#registry.remove(this);\n    this.record.close(error);",
    to: "this.#registry.remove(this);\n    if (error === null) this.record.close(error);",
  },
  {
    name: "a connection is recorded twice",
    file: "src/proxy/telemetry.ts",
    from: "if (this.#closed) return;\n    this.#closed = true;\n    const series = this.#count();",
    to: "this.#closed = true;\n    this.flushBytes();\n    this.#telemetry.closed(this, this.#series, error);",
  },
  {
    name: "what a socket did not take of a tunnel's output is lost",
    file: "src/transport/drive.ts",
    from: "this.#keep(chunks, index, taken);",
    to: "void index;",
  },
  {
    name: "scratch memory of the machine is kept without a copy",
    file: "src/transport/drive.ts",
    from: "this.#machine.isScratch(chunk) ? rest.slice() : rest",
    to: "rest",
  },
  {
    name: "output that vanished with a reset stream silences what comes after it",
    file: "src/wire/h2/connection_state.ts",
    from: "if (!this.wantsOutput) {",
    to: "if (!this.wantsOutput) {\n      return;\n    }\n    if (false as boolean) {",
  },
  {
    name: "a client that comes back is taken to hold what there is",
    file: "src/wire/ads/server_subscription.ts",
    from: "this.#held = new Map(Object.entries(first.initialResourceVersions));",
    to: "this.#held = new Map(Object.entries(first.initialResourceVersions)); if (this.#held.size > 0) { this.#held = null; this.#answered = true; this.#upsertsGiven = set.revision; this.#removalsGiven = set.revision; }",
  },
  {
    name: "removals that a control plane sends are lost",
    file: "src/agent/xds/mesh_resources.ts",
    from: "for (const name of delivery.removed) this.#forget(name, change);",
    to: "",
  },
  {
    name: "a control plane sends workloads before their policies",
    file: "src/wire/ads/server_session.ts",
    from: "if (typeUrl === addressType && this.#policiesMissing(nowMs)) return null;",
    to: "",
  },
  {
    name: "pushed revocation lists are acknowledged and put away",
    file: "src/agent/xds/trust_resources.ts",
    from: "crls.map((bytes, index)",
    to: "crls.slice(0, 0).map((bytes, index)",
  },
  {
    name: "streams of hosts that were thrown out go on",
    file: "src/control/xds/server.ts",
    from: "({ caller }) => caller !== null && predicate(caller)",
    to: "({ caller }) => caller !== null && predicate(caller) && false",
  },
  {
    name: "one resource that cannot be read takes its neighbours along",
    file: "src/agent/xds/mesh_resources.ts",
    from: "if (finished !== null) this.#options.store.apply(finished);",
    to: "if (finished !== null && rejected.length === 0) this.#options.store.apply(finished);",
  },
  {
    name: "a certificate that was issued is taken for a root that is held",
    file: "src/control/rotation/root_holders.ts",
    from: "return !nodes.has(name) && (fetchedAtMs",
    to: "return (fetchedAtMs",
  },
  {
    name: "a stream to the control plane that ended is not opened again",
    file: "src/agent/xds/xds_client.ts",
    from: "if (!this.#closed) this.#timer = clock.setTimer(delayMs, () => void this.#connect());",
    to: "void delayMs;",
  },
  {
    name: "half a document is taken for a whole one",
    file: "src/agent/files/ingest.ts",
    from: "if (before === null) return files;",
    to: "if (before === null || before !== null) return files;",
  },
  {
    name: "SVIDs are not renewed",
    file: "src/pki/svid/secrets.ts",
    from: "if (isDue && now >= secret.notBeforeNow) this.#begin(secret);",
    to: "if (isDue && now < secret.notBeforeNow - 1e12) this.#begin(secret);",
  },
];

const root = join(import.meta.dir, "..", "..");
const copied = ["src", "wasm", "scripts", "conformance/sim", "package.json", "tsconfig.json"];

async function tryMutant({ file, from, to }: Mutant): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), "fairlead-mutant-"));
  try {
    for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    const text = await readFile(join(copy, file), "utf8");
    if (text.split(from).length !== 2) return "does not apply";
    await writeFile(
      join(copy, file),
      text.replace(from, () => to),
    );
    const command = [
      process.execPath,
      "conformance/sim/run.ts",
      "--seeds=200",
      "--no-keep",
      "--until-failure",
    ];
    const child = Bun.spawn(command, {
      cwd: copy,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
      timeout: limitMs,
    });
    const output = await new Response(child.stdout).text();
    if ((await child.exited) === 0) return "lives";
    const seeds = [...output.matchAll(/^seed (\d+) failed/gm)].map((match) => match[1]);
    const checkers = new Set([...output.matchAll(/✗ ([a-z]+):/g)].map((match) => match[1]));
    return seeds.length === 0
      ? "killed: the run broke"
      : `killed by seed ${seeds.join(", ")}: ${[...checkers].join(", ")}`;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

const limitMs = 400_000;

async function main(names: readonly string[]): Promise<number> {
  const chosen = mutants.filter(
    ({ name }) => names.length === 0 || names.some((part) => name.includes(part)),
  );
  let failed = 0;
  for (const mutant of chosen) {
    const fate = await tryMutant(mutant);
    if (!fate.startsWith("killed")) failed++;
    console.log(`${mutant.name.padEnd(70)} ${fate}`);
  }
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
