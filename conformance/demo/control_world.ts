/** The processes of the control plane's demo, and what an administrator and a workload say to them. */

import { join, resolve } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
import {
  adminPort,
  choosePlaces,
  credential,
  entryPort,
  hbonePort,
  type Member,
  readinessPort,
} from "./places.ts";
import { Processes, type Running } from "./processes.ts";
import { type Answer, call } from "./visitor.ts";

const root = join(import.meta.dir, "..", "..");
const binary = process.argv[2];
const fairlead = binary === undefined ? [process.execPath, join(root, "src", "main.ts")] : [resolve(binary)];

export const places = choosePlaces(process.pid + 61);
export const processes = await Processes.create();
export const state = join(processes.directory, "control");
export const controlIp = places.frontend.ip.replace(/\.1$/, ".9");
const server = `https://${controlIp}:15012`;

export interface Node {
  readonly member: Member;
  readonly running: Running;
}

/** A command of an administrator: the first one, whose certificate the control plane has left in its state directory. */
export async function administer(
  ...words: readonly string[]
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const who = ["--control", server, "--identity", join(state, "admin.pem")];
  return await processes.run([...fairlead, ...words, ...who]);
}

async function administerJson(...words: readonly string[]): Promise<unknown> {
  const { output } = await administer(...words, "--output", "json");
  try {
    return JSON.parse(output);
  } catch {
    return null;
  }
}

export function startControl(): Running {
  const where = [
    "--control-listen",
    `${controlIp}:15012`,
    "--serving-name",
    controlIp,
    "--state-directory",
    state,
  ];
  const ports = ["--metrics", "off", "--readiness", `${controlIp}:${readinessPort}`];
  return processes.start("the control plane", [...fairlead, "control", ...where, ...ports]);
}

export async function isReady(ip: string): Promise<boolean> {
  try {
    return (await fetch(`http://${ip}:${readinessPort}/healthz/ready`)).ok;
  } catch {
    return false;
  }
}

export async function publish(name: string, text: string): Promise<boolean> {
  const path = join(processes.directory, name);
  await Bun.write(path, text);
  return (await administer("apply", "--yes", "--file", path)).exitCode === 0;
}

/** @param line as the control plane prints it; what differs from host to host is said here. */
export function startNode(member: Member, line: string, more: readonly string[]): Node {
  const [, ...words] = line.trim().split(" ");
  const own = [
    "--svid-lifetime",
    "1m",
    "--join-address",
    member.ip,
    "--bind",
    "addresses",
    "--hbone-port",
    String(hbonePort),
  ];
  const kept = ["--state-directory", join(processes.directory, member.name)];
  const ports = [
    "--admin",
    `${member.ip}:${adminPort}`,
    "--metrics",
    "off",
    "--readiness",
    `${member.ip}:${readinessPort}`,
  ];
  const command = [...fairlead, ...words, ...kept, ...own, ...ports, ...more];
  return { member, running: processes.start(`${member.name}'s node`, command) };
}

export async function joinLine(member: Member): Promise<string> {
  const { output } = await administer("join-token", "create", "--workload", `shop/${member.name}`);
  return output.split("\n").find((line) => line.startsWith("fairlead node ")) ?? "";
}

export function callAs(member: Member): Promise<Answer> {
  return call(member.ip, entryPort, credential);
}

/** Serial numbers of what a node shows now, by workload. */
export async function serialOf({ member }: Node): Promise<string> {
  const command = [
    ...fairlead,
    "get",
    "certificates",
    "--admin",
    `${member.ip}:${adminPort}`,
    "--output",
    "json",
  ];
  const { output } = await processes.run(command);
  return /"serial(?:Number)?": ?"([0-9a-f]+)"/.exec(output)?.[1] ?? "none";
}

interface JoinedNode {
  readonly node: string;
  readonly binding: { readonly workload?: string };
  readonly connected: boolean;
}

export async function joinedNodes(): Promise<readonly JoinedNode[]> {
  const nodes = await administerJson("nodes");
  return Array.isArray(nodes) ? nodes : [];
}

interface Rotation {
  readonly rotation: {
    readonly phase: string;
    readonly waiting: { readonly what: string; readonly names: readonly string[] } | null;
  };
}

export async function rotationIs(holds: (rotation: Rotation["rotation"]) => boolean): Promise<boolean> {
  return await comesTrue(async () => {
    const answer = (await administerJson("ca", "rotate", "status")) as Rotation | null;
    return answer !== null && holds(answer.rotation);
  });
}
