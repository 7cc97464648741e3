/**
 * A cable that loses, delays, reorders and repeats packets, where the kernel has no netem: a tunnel device in each of two network namespaces,
 * and this program between them, which carries IP packets of both families from the one to the other. `rough_cable.ts NAMESPACE NAMESPACE JSON`,
 * as root; it ends with its parent's signal.
 */
import { dlopen, ptr } from "bun:ffi";
import { Draw } from "../fuzz/mutate.ts";
import type { Roughness } from "./roughness.ts";

const { symbols: libc } = dlopen("libc.so.6", {
  open: { args: ["ptr", "i32"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  read: { args: ["i32", "ptr", "u64"], returns: "i64" },
  write: { args: ["i32", "ptr", "u64"], returns: "i64" },
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
});

/** linux/if_tun.h, linux/sched.h, fcntl.h, poll.h. */
const setInterface = 0x4004_54ca;
const plainTunnel = 0x0001 | 0x1000;
const newNetwork = 0x4000_0000;
const readAndWriteNonBlocking = 0x0002 | 0x0800;
const readable = 1;
const interfaceName = "eth0";
const packetBytes = 2048;

function pathBytes(path: string): Uint8Array {
  return new TextEncoder().encode(`${path}\0`);
}

function opened(path: string, flags: number): number {
  const file = libc.open(ptr(pathBytes(path)), flags);
  if (file < 0) throw new Error(`cannot open ${path}`);
  return file;
}

/** In the namespace, where it is called `eth0`. */
function tunnelIn(namespace: string): number {
  if (libc.setns(opened(`/run/netns/${namespace}`, 0), newNetwork) !== 0)
    throw new Error(`cannot enter the namespace ${namespace}`);
  const tunnel = opened("/dev/net/tun", readAndWriteNonBlocking);
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode(interfaceName));
  new DataView(request.buffer).setUint16(16, plainTunnel, true);
  if (libc.ioctl(tunnel, setInterface, ptr(request)) !== 0)
    throw new Error(`cannot make ${interfaceName} in ${namespace}`);
  return tunnel;
}

interface Waiting {
  readonly dueMs: number;
  readonly to: number;
  readonly packet: Uint8Array;
}

const [one = "", other = "", text = "{}"] = process.argv.slice(2);
const rough: Roughness = JSON.parse(text);
const draw = new Draw(rough.seed);
const ends = [tunnelIn(one), tunnelIn(other)] as const;
/** By when they are due. */
const waiting: Waiting[] = [];
const buffer = new Uint8Array(packetBytes);
const polled = new DataView(new ArrayBuffer(16));
for (const [index, end] of ends.entries()) {
  polled.setInt32(index * 8, end, true);
  polled.setInt16(index * 8 + 4, readable, true);
}

function happens(perMille: number): boolean {
  return draw.below(1000) < perMille;
}

function take(packet: Uint8Array, to: number): void {
  if (happens(rough.lostPerMille)) return;
  const now = performance.now();
  // As netem: what is reordered overtakes what waits.
  const delayMs = happens(rough.reorderedPerMille)
    ? 0
    : rough.delayMs + draw.below(rough.jitterMs * 1000 + 1) / 1000;
  keep({ dueMs: now + delayMs, to, packet });
  if (happens(rough.repeatedPerMille)) keep({ dueMs: now + delayMs, to, packet });
}

function keep(one: Waiting): void {
  let at = waiting.length;
  while (at > 0 && (waiting[at - 1]?.dueMs ?? 0) > one.dueMs) at--;
  waiting.splice(at, 0, one);
}

console.log("ready");
for (;;) {
  const first = waiting[0];
  const restMs = first === undefined ? 1_000 : Math.max(0, Math.ceil(first.dueMs - performance.now()));
  libc.poll(ptr(new Uint8Array(polled.buffer)), 2n, restMs);
  for (const [index, end] of ends.entries())
    for (;;) {
      const length = Number(libc.read(end, ptr(buffer), BigInt(packetBytes)));
      if (length <= 0) break;
      take(buffer.slice(0, length), ends[1 - index] ?? end);
    }
  const now = performance.now();
  while ((waiting[0]?.dueMs ?? Number.POSITIVE_INFINITY) <= now) {
    const due = waiting.shift();
    if (due !== undefined) libc.write(due.to, ptr(due.packet), BigInt(due.packet.length));
  }
}
