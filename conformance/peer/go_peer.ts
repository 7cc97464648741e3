/** Starts the Go peer's servers in a lab and turns what its checks print into outcomes. */
import { join } from "node:path";
import { knownDifference } from "./known_differences.ts";
import type { Leaf } from "./lab/authority.ts";
import { appPorts, type Lab, scriptPorts } from "./lab/lab.ts";
import type { Side } from "./lab/place.ts";
import { Subprocess } from "./lab/subprocess.ts";
import { hbonePort } from "./subjects/subject.ts";
import type { Tally } from "./tally.ts";

/** One line of the Go peer: a check's outcome, a tally of tries, or an event. */
export type PeerLine = Readonly<Record<string, unknown>>;

export class GoPeer {
  readonly #path: string;
  readonly #lab: Lab;
  readonly #started: Subprocess[] = [];

  constructor(path: string, lab: Lab) {
    this.#path = path;
    this.#lab = lab;
  }

  /** The applications on the server's side. */
  async startApplications(): Promise<Subprocess> {
    const { address } = this.#lab.place.server;
    const listen = [appPorts.app, appPorts.denied].map((port) => `${address}:${port}`).join(",");
    return await this.#start("app", this.#lab.place.server, [
      "-listen",
      listen,
      "-banner",
      `${address}:${appPorts.banner}`,
    ]);
  }

  /** An HBONE server in the inbound node's place: Go's own, or the scripted one. */
  async startServer(
    kind: "server" | "scripted",
    leaf: Leaf,
    expect: string,
    streams = 100,
  ): Promise<Subprocess> {
    const { server } = this.#lab.place;
    const ports = kind === "server" ? appPorts : scriptPorts;
    return await this.#start(kind, server, [
      ...["-listen", `${server.address}:${hbonePort}`, "-expect", expect, "-parallel", `${streams}`],
      ...credentials(this.#lab, leaf),
      ...["-ports", pairs(ports, (port) => `${port}`)],
    ]);
  }

  /** HBONE checks of the inbound node from the client's side. */
  async client(leaf: Leaf, expect: string, flags: readonly string[]): Promise<PeerLine[]> {
    const { client, server } = this.#lab.place;
    return await this.#run("client", client, [
      ...[
        "-target",
        `${server.address}:${hbonePort}`,
        "-expect",
        expect,
        "-ports",
        pairs(appPorts, (port) => `${port}`),
      ],
      ...credentials(this.#lab, leaf),
      ...flags,
    ]);
  }

  /** Checks of the client's application through an outbound node. */
  async call(
    command: "call" | "scripted-call",
    dial: (port: number) => string,
    flags: readonly string[] = [],
  ): Promise<PeerLine[]> {
    const ports = command === "call" ? appPorts : scriptPorts;
    return await this.#run(command, this.#lab.place.client, ["-ports", pairs(ports, dial), ...flags]);
  }

  /** Connections with this certificate (null: none), or to a server of which nothing is expected. */
  async tries(leaf: Leaf | null, tries: number): Promise<PeerLine> {
    const { client, server } = this.#lab.place;
    const lines = await this.#run("try", client, [
      ...[
        "-target",
        `${server.address}:${hbonePort}`,
        "-app",
        `${server.address}:${appPorts.app}`,
        "-tries",
        `${tries}`,
      ],
      ...(leaf === null ? ["-root", this.#lab.authority.certPath] : credentials(this.#lab, leaf)),
    ]);
    return lines[0] ?? {};
  }

  async stop(): Promise<void> {
    await Promise.all(this.#started.map((process) => process.stop()));
  }

  async #start(command: string, side: Side, flags: readonly string[]): Promise<Subprocess> {
    const process = Subprocess.start({
      name: `go ${command}`,
      argv: side.command([this.#path, command, ...flags]),
      logPath: join(this.#lab.directory, `go_${command}.log`),
    });
    this.#started.push(process);
    await process.waitForLine((line) => line.includes('"event":"ready"'));
    return process;
  }

  async #run(command: string, side: Side, flags: readonly string[]): Promise<PeerLine[]> {
    const process = Subprocess.start({
      name: `go ${command}`,
      argv: side.command([this.#path, command, ...flags]),
      logPath: join(this.#lab.directory, `go_${command}.log`),
    });
    const code = await process.exited;
    if (code !== 0) throw new Error(`${process.name}: exit ${code}\n${process.log()}`);
    return peerLines(process);
  }
}

export function peerLines(process: Subprocess): PeerLine[] {
  return process
    .lines()
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

function credentials(lab: Lab, leaf: Leaf): string[] {
  return ["-cert", leaf.certPath, "-key", leaf.keyPath, "-root", lab.authority.certPath];
}

function pairs(ports: Readonly<Record<string, number>>, value: (port: number) => string): string {
  return Object.entries(ports)
    .map(([name, port]) => `${name}=${value(port)}`)
    .join(",");
}

/** Outcomes of checks under `prefix`. `subject` is whose known differences apply. No outcome at all is a failure. */
export function recordOutcomes(
  tally: Tally,
  prefix: string,
  subject: string,
  lines: readonly PeerLine[],
): void {
  const outcomes = lines.filter((line) => typeof line.case === "string");
  if (outcomes.length === 0) tally.fail(prefix, "no check ran");
  for (const outcome of outcomes)
    recordOutcome(
      tally,
      prefix,
      subject,
      `${outcome.case}`,
      outcome.ok === true ? null : `${outcome.detail}`,
    );
}

export function recordOutcome(
  tally: Tally,
  prefix: string,
  subject: string,
  name: string,
  problem: string | null,
): void {
  const difference = knownDifference(subject, name);
  const title = `${prefix}: ${name}`;
  if (difference === null) tally.check(title, problem);
  else if (problem === null) tally.fail(title, `holds now; remove its known difference: ${difference}`);
  else tally.skip(title, `known difference of ${subject}: ${difference}`);
}
