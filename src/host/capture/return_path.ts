/**
 * Routing by marks, to this host: of replies to connections that the node made under a client's address, and of what TPROXY is to take of
 * this host's own.
 */
import type { Host } from "../host.ts";
import { attempt, captureFailure } from "./backends.ts";
import { outboundMark, returnMark, returnMask } from "./options.ts";

/** istio-cni's routing table and the preference of its rule; that of TPROXY comes before it. */
const returnTable = "100";
const preferences: ReadonlyMap<number, string> = new Map([
  [returnMark, "32764"],
  [outboundMark, "32763"],
]);

interface Family {
  readonly flag: "-4" | "-6";
  readonly anywhere: string;
}

const families: readonly Family[] = [
  { flag: "-4", anywhere: "0.0.0.0/0" },
  { flag: "-6", anywhere: "::/0" },
];

function used(ipv6: boolean): readonly Family[] {
  return families.filter(({ flag }) => flag === "-4" || ipv6);
}

/**
 * What of it is there already stays: what is marked would get lost in between. @param marks those that are wanted, as `routedMarks`.
 *
 * @throws MeshError `permission_denied` or `unsupported`, blame local.
 */
export async function installReturnPath(host: Host, ipv6: boolean, marks: readonly number[]): Promise<void> {
  for (const { flag, anywhere } of used(ipv6))
    for (const args of [
      [flag, "route", "replace", "local", anywhere, "dev", "lo", "table", returnTable],
      ...marks.map((mark) => [flag, "rule", "add", ...returnRule(mark)]),
    ]) {
      const ran = await attempt(host, "ip", args);
      if (ran === null)
        throw captureFailure(null, "capture by TPROXY or with the original source needs the program ip");
      // Another node of this host, which puts its own back at this moment, made the very same.
      if (ran.exitCode !== 0 && !ran.output.includes("File exists"))
        throw captureFailure(ran, `ip ${args.join(" ")} failed`);
    }
}

/** Harmless where there is nothing. @param kept marks whose rules stay; none: the routes go, too. */
export async function removeReturnPath(host: Host, kept: readonly number[] = []): Promise<void> {
  for (const { flag } of families) {
    for (const mark of preferences.keys())
      if (!kept.includes(mark)) await attempt(host, "ip", [flag, "rule", "del", ...returnRule(mark)]);
    if (kept.length === 0) await attempt(host, "ip", [flag, "route", "flush", "table", returnTable]);
  }
}

/** Whether all of it is there: systemd-networkd removes rules that it does not know (`ManageForeignRoutingPolicyRules`). */
export async function hasReturnPath(host: Host, ipv6: boolean, marks: readonly number[]): Promise<boolean> {
  for (const { flag } of used(ipv6)) {
    for (const mark of marks) {
      const rules = await attempt(host, "ip", [flag, "rule", "show", "pref", preferences.get(mark) ?? ""]);
      if (rules?.output.includes(`0x${mark.toString(16)}`) !== true) return false;
    }
    const routes = await attempt(host, "ip", [flag, "route", "show", "table", returnTable]);
    if (routes?.output.includes("local") !== true) return false;
  }
  return true;
}

function returnRule(mark: number): readonly string[] {
  const words = `0x${mark.toString(16)}/0x${returnMask.toString(16)}`;
  return ["fwmark", words, "pref", preferences.get(mark) ?? "", "lookup", returnTable];
}
