/** Python's ssl and h2 on either side: another TLS library, another HTTP/2 library, and rough handling of sockets. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { GoPeer, type PeerLine, peerLines, recordOutcome, recordOutcomes } from "../go_peer.ts";
import type { Leaf } from "../lab/authority.ts";
import { appPorts, cartIdentity, dbIdentity, type Lab } from "../lab/lab.ts";
import { Subprocess } from "../lab/subprocess.ts";
import { findPythonWithH2 } from "../lab/tools.ts";
import { hbonePort, type NodeSubject } from "../subjects/subject.ts";
import { inLab, type SuiteContext } from "./suite.ts";

const scripts = join(import.meta.dir, "../python");

/** Leaves ChaCha20 as the only suite of TLS 1.3; Python cannot say so by itself. */
const chachaOnly = `openssl_conf = init
[init]
ssl_conf = modules
[modules]
system_default = defaults
[defaults]
Ciphersuites = TLS_CHACHA20_POLY1305_SHA256
`;

export async function pythonClientSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const { tally } = context;
  const prefix = `python client → ${subject.name}`;
  const python = findPythonWithH2();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  await inLab(context, prefix, [subject], async (lab) => {
    const peer = new GoPeer(context.goPath, lab);
    await peer.startApplications();
    const node = await subject.startInbound(lab);
    try {
      const leaf = lab.authority.issueFor(cartIdentity, "python_cart");
      recordOutcomes(tally, prefix, subject.name, await runClient(python.path, lab, leaf, "", {}));
      const configuration = join(lab.directory, "chacha.cnf");
      writeFileSync(configuration, chachaOnly);
      const chacha = await runClient(python.path, lab, leaf, "chacha20-is-refused", {
        OPENSSL_CONF: configuration,
      });
      recordOutcomes(tally, prefix, subject.name, chacha);
    } finally {
      await node.process.stop();
      await peer.stop();
    }
  });
}

async function runClient(
  python: string,
  lab: Lab,
  leaf: Leaf,
  only: string,
  env: Record<string, string>,
): Promise<PeerLine[]> {
  const { client, server } = lab.place;
  const process = Subprocess.start({
    name: "python client",
    argv: client.command([
      ...[python, join(scripts, "client.py"), "--only", only],
      ...["--target", `${server.address}:${hbonePort}`, "--app", `${server.address}:${appPorts.app}`],
      ...["--root", lab.authority.certPath, "--cert", leaf.certPath, "--key", leaf.keyPath],
    ]),
    logPath: join(lab.directory, `python_client_${only}.log`),
    env,
  });
  const code = await process.exited;
  if (code !== 0) throw new Error(`python client: exit ${code}\n${process.log()}`);
  return peerLines(process);
}

export async function pythonServerSuite(context: SuiteContext, subject: NodeSubject): Promise<void> {
  const { tally } = context;
  const prefix = `${subject.name} → python server`;
  const python = findPythonWithH2();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  await inLab(context, prefix, [subject], async (lab) => {
    const { server } = lab.place;
    const leaf = lab.authority.issueFor(dbIdentity, "python_db");
    const process = Subprocess.start({
      name: "python server",
      argv: server.command([
        ...[python.path, join(scripts, "server.py"), "--listen", `${server.address}:${hbonePort}`],
        ...["--root", lab.authority.certPath, "--cert", leaf.certPath, "--key", leaf.keyPath],
      ]),
      logPath: join(lab.directory, "python_server.log"),
    });
    await process.waitForLine((line) => line.includes('"ready"'));
    const node = await subject.startOutbound(lab);
    try {
      const peer = new GoPeer(context.goPath, lab);
      const cases = "echo,bulk-both-ways,twenty-at-once-over-limited-streams";
      recordOutcomes(
        tally,
        prefix,
        subject.name,
        await peer.call("scripted-call", node.dial, ["-only", cases]),
      );
      const lines = peerLines(process);
      const violation = lines.find((line) => line.event === "violation");
      recordOutcome(
        tally,
        prefix,
        subject.name,
        "keeps-to-the-protocol",
        violation === undefined ? null : `${violation.error}`,
      );
      const wrong = lines.find(
        (line) =>
          line.event === "connection" && JSON.stringify(line.identity) !== JSON.stringify([cartIdentity]),
      );
      recordOutcome(
        tally,
        prefix,
        subject.name,
        "shows-its-identity",
        wrong === undefined ? null : JSON.stringify(wrong),
      );
      const pseudo = lines.find(
        (line) =>
          line.event === "request" &&
          (line.method !== "CONNECT" || JSON.stringify(line.names).includes(":scheme")),
      );
      recordOutcome(
        tally,
        prefix,
        subject.name,
        "connect-has-no-scheme-nor-path",
        pseudo === undefined ? null : JSON.stringify(pseudo),
      );
    } finally {
      await node.process.stop();
      await process.stop();
    }
  });
}
