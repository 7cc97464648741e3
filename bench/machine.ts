/** Whether the machine is quiet enough for figures that somebody will read: looked at before each round, and told with the results. */
import { readFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";

/** Of all processor time of the sample, 0 to 1. */
export interface MachineState {
  readonly busy: number;
  /** Taken by the hypervisor for others. */
  readonly steal: number;
  /** Of the last minute. */
  readonly load: number;
  /** The slowest core's clock beside the fastest it could have; null where the kernel does not tell. */
  readonly frequency: number | null;
}

/** A machine that does nothing else has a few per mille of each. */
const maxBusy = 0.05;
const maxSteal = 0.02;
const minFrequency = 0.9;
/** A whole run is as good as its worst round, but a second of somebody else's is not waited out. */
const sampleMs = 1_500;

export async function machineState(): Promise<MachineState> {
  const before = processorTimes();
  await Bun.sleep(sampleMs);
  const after = processorTimes();
  const total = after.total - before.total || 1;
  return {
    busy: (after.busy - before.busy) / total,
    steal: (after.steal - before.steal) / total,
    load: loadavg()[0] ?? 0,
    frequency: frequency(),
  };
}

/** @returns why nothing measured now should be published; null on a quiet machine. */
export function busyReason({ busy, steal, frequency }: MachineState): string | null {
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  if (steal > maxSteal) return `the hypervisor gives ${percent(steal)} of the processors' time to others`;
  if (busy > maxBusy) return `other programs take ${percent(busy)} of the processors' time`;
  if (frequency !== null && frequency < minFrequency)
    return `a core runs at ${percent(frequency)} of its frequency`;
  return null;
}

/** What a reader needs to know of where it was measured. */
export function machine(): { readonly kernel: string; readonly cpu: string; readonly cores: number } {
  return { kernel: release(), cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length };
}

interface ProcessorTimes {
  readonly total: number;
  readonly busy: number;
  readonly steal: number;
}

/** proc(5), `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. */
export function readProcessorTimes(stat: string): ProcessorTimes {
  const fields = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? "").split(" ").map(Number).slice(0, 8);
  const total = fields.reduce((sum, each) => sum + each, 0);
  const [, , , idle = 0, waiting = 0, , , steal = 0] = fields;
  return { total, busy: total - idle - waiting - steal, steal };
}

function processorTimes(): ProcessorTimes {
  return readProcessorTimes(readFileSync("/proc/stat", "utf8"));
}

function frequency(): number | null {
  try {
    const shares = cpus().map((_, core) => {
      const folder = `/sys/devices/system/cpu/cpu${core}/cpufreq`;
      const read = (name: string) => Number(readFileSync(`${folder}/${name}`, "utf8"));
      // What the governor allows: an idle core's present clock says nothing.
      return read("scaling_max_freq") / read("cpuinfo_max_freq");
    });
    return Math.min(...shares);
  } catch {
    return null;
  }
}
