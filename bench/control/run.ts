/**
 * `npm run bench -- control [--rounds n] [--workloads n] [--services n] [--nodes n] [--certificates n] [--json file] [--keep]`: how fast and at
 * what cost a control plane gives the mesh, and changes of it, to many nodes, and certificates to their workloads. Control plane and nodes are two
 * processes on one machine, over TLS on loopback. With `ISTIOD_LAB` a whole istiod has the same mesh and the same nodes, in turn.
 */
import { cpus } from "node:os";
import { findIstiodFolder, type IstiodFolder } from "../../conformance/istiod/folder.ts";
import { cleanUpOnExit } from "../../conformance/peer/lab/cleanup.ts";
import { adsLimits } from "../../src/base/limits/rpc.ts";
import { keepRaw, place } from "../keep.ts";
import { busyReason, machineState } from "../machine.ts";
import { besideIstiod, type IstiodRound } from "./beside_istiod.ts";
import { benchCertificates, type CertificateRow } from "./certificates.ts";
import { IstiodControlPlane } from "./istiod_control_plane.ts";
import { measure, type Row } from "./measure.ts";
import type { MeshSize } from "./mesh.ts";
import { OurControlPlane } from "./our_control_plane.ts";

export async function benchControl(args: readonly string[]): Promise<number> {
  const number = (flag: string, otherwise: number) => {
    const at = args.indexOf(flag);
    return at === -1 ? otherwise : Number(args[at + 1]);
  };
  const workloads = number("--workloads", 10_000);
  const services = Math.min(number("--services", 1_000), workloads);
  const size = { workloads, services, policies: Math.min(200, services) };
  const nodes = number("--nodes", 100);
  const rounds: Round[] = [];
  const keep = args.includes("--keep");
  const folder = findIstiodFolder();
  cleanUpOnExit();
  const state = await machineState();
  // A range needs some.
  for (let round = 1; round <= number("--rounds", keep ? 3 : 1); round++) {
    const measured = await measureOurs(size, nodes);
    const certificates = await benchCertificates(number("--certificates", 600));
    const istiod = "missing" in folder ? null : await measureIstiod(folder, size, nodes);
    rounds.push({ ...measured, certificates, istiod });
    print(size, nodes, measured.rows, measured.memory);
    printCertificates(certificates);
  }
  const beside = besideIstiod(rounds);
  if (beside !== null) console.log(`\n${beside}`);
  // Printed each time, so that no reader takes the tables above for a comparison.
  else if ("missing" in folder) console.log(`\nreal istiod: NOT measured, ${folder.missing}.`);
  const json = args.indexOf("--json");
  const results = { ...place(), busy: busyReason(state), load: state.load, size, nodes, rounds };
  if (json !== -1) await Bun.write(args[json + 1] ?? "control.json", `${JSON.stringify(results, null, 1)}\n`);
  if (keep) keepRaw("control", results);
  return 0;
}

/** One after the other, each with processes of its own. */
export interface Round {
  readonly rows: readonly Row[];
  readonly memory: Memory;
  readonly certificates: readonly CertificateRow[];
  /** Null where `ISTIOD_LAB` names none. */
  readonly istiod: IstiodRound | null;
}

interface Memory {
  readonly beforeBytes: number;
  readonly encodedBytes: number;
  readonly connectedBytes: number;
  readonly heapBytes: number;
}

async function measureOurs(
  size: MeshSize,
  nodes: number,
): Promise<{ readonly rows: readonly Row[]; readonly memory: Memory }> {
  const server = await OurControlPlane.start(size);
  try {
    const { rows, connected } = await measure(server, size, nodes);
    const memory = {
      beforeBytes: server.beforeBytes,
      encodedBytes: server.started.usage.rssBytes,
      connectedBytes: connected.rssBytes,
      heapBytes: connected.heapBytes,
    };
    return { rows, memory };
  } finally {
    server.end();
  }
}

async function measureIstiod(folder: IstiodFolder, size: MeshSize, nodes: number): Promise<IstiodRound> {
  const server = await IstiodControlPlane.start(folder, size);
  try {
    const { rows, connected } = await measure(server, size, nodes);
    const besideBytes = server.besideBytes();
    const readyBytes = server.started.usage.rssBytes;
    return { rows, readyBytes, connectedBytes: connected.rssBytes, besideBytes };
  } finally {
    await server.end();
  }
}

function print(size: MeshSize, nodes: number, rows: readonly Row[], memory: Memory): void {
  const { workloads, services, policies } = size;
  console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, Bun ${Bun.version}`);
  console.log(`${workloads} workloads, ${services} services, ${policies} policies, ${nodes} nodes`);
  console.log(`times include the ${adsLimits.quietMs} ms that the control plane waits for quiet\n`);
  console.log(line(["what", "median ms", "last ms", "CPU ms", "KB", "responses", "RSS MB"]));
  console.log(line(Array.from({ length: 7 }, () => "---")));
  for (const { what, medianMs, lastMs, cpuMs, bytes, responses, residentBytes } of rows) {
    const cells = [medianMs, lastMs, cpuMs].map((value) => (value === null ? "" : value.toFixed(1)));
    const resident = (residentBytes / 1024 / 1024).toFixed(0);
    console.log(line([what, ...cells, (bytes / 1024).toFixed(1), String(responses), resident]));
  }
  const megabytes = (value: number) => `${(value / 1024 / 1024).toFixed(0)} MB`;
  console.log(
    `\nresident: ${megabytes(memory.beforeBytes)} with the mesh, ${megabytes(memory.encodedBytes)} with its resources, ${megabytes(memory.connectedBytes)} with ${nodes} nodes (heap ${megabytes(memory.heapBytes)})`,
  );
}

function printCertificates(rows: readonly CertificateRow[]): void {
  console.log(
    `\n${line(["certificates for workloads", "per second", "p50 ms", "p99 ms", "CPU ms each", "RSS MB"])}`,
  );
  console.log(line(Array.from({ length: 6 }, () => "---")));
  for (const { what, perSecond, p50Ms, p99Ms, cpuMs, residentBytes } of rows) {
    const cells = [perSecond.toFixed(0), p50Ms.toFixed(1), p99Ms.toFixed(1), cpuMs.toFixed(2)];
    console.log(line([what, ...cells, (residentBytes / 1024 / 1024).toFixed(0)]));
  }
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
