/** Routing for replies to connections that the node made under a client's address: by the mark they are delivered here. */
import type { Host } from "../host.ts";
import { attempt, captureFailure } from "./backends.ts";
import { returnMark, returnMask } from "./options.ts";

/** istio-cni's routing table and the preference of its rule. */
const returnTable = "100";
const rulePreference = "32764";

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

/** @throws MeshError `permission_denied` or `unsupported`, blame local. */
export async function installReturnPath(host: Host, ipv6: boolean): Promise<void> {
  for (const { flag, anywhere } of used(ipv6))
    for (const args of [
      [flag, "route", "replace", "local", anywhere, "dev", "lo", "table", returnTable],
      [flag, "rule", "add", ...returnRule()],
    ]) {
      const ran = await attempt(host, "ip", args);
      if (ran === null) throw captureFailure(null, "capture with the original source needs the program ip");
      // Another node of this host, which puts its own back at this moment, made the very same.
      if (ran.exitCode !== 0 && !ran.output.includes("File exists"))
        throw captureFailure(ran, `ip ${args.join(" ")} failed`);
    }
}

/** Harmless where there is nothing. */
export async function removeReturnPath(host: Host): Promise<void> {
  for (const { flag } of families) {
    await attempt(host, "ip", [flag, "rule", "del", ...returnRule()]);
    await attempt(host, "ip", [flag, "route", "flush", "table", returnTable]);
  }
}

/** Whether all of it is there: systemd-networkd removes rules that it does not know (`ManageForeignRoutingPolicyRules`). */
export async function hasReturnPath(host: Host, ipv6: boolean): Promise<boolean> {
  for (const { flag } of used(ipv6)) {
    const rules = await attempt(host, "ip", [flag, "rule", "show", "pref", rulePreference]);
    const routes = await attempt(host, "ip", [flag, "route", "show", "table", returnTable]);
    if (rules?.output.includes(`0x${returnMark.toString(16)}`) !== true) return false;
    if (routes?.output.includes("local") !== true) return false;
  }
  return true;
}

function returnRule(): readonly string[] {
  const mark = `0x${returnMark.toString(16)}/0x${returnMask.toString(16)}`;
  return ["fwmark", mark, "pref", rulePreference, "lookup", returnTable];
}
