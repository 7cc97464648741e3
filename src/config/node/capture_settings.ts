/** Settings of transparent capture: how, what of this host's TCP, and by which program. */
import { captureLimits } from "../../base/limits/capture.ts";
import { many, one, optional } from "../setting.ts";
import {
  readCgroup,
  readDuration,
  readInterface,
  readMark,
  readNonEmpty,
  readPort,
  readPrefix,
  readWord,
} from "../value.ts";

export const captureSettings = {
  capture: one(readWord("off", "redirect", "tproxy"), "off", {
    flag: "--capture",
    hint: "MODE",
    group: "Traffic",
    help: "off, redirect or tproxy: take traffic by nftables or iptables (root)",
  }),
  captureMark: one(readMark, "1337", {
    flag: "--capture-mark",
    hint: "MARK",
    group: "Traffic",
    environment: ["PACKET_MARK"],
    help: "the SO_MARK of the node's own traffic, which is never captured",
  }),
  captureInclude: many(readPrefix, {
    flag: "--capture-include",
    hint: "CIDR",
    group: "Traffic",
    help: "capture outbound traffic only to these addresses",
  }),
  captureExclude: many(readPrefix, {
    flag: "--capture-exclude",
    hint: "CIDR",
    group: "Traffic",
    help: "never capture outbound traffic to these addresses",
  }),
  captureExcludePorts: many(readPort, {
    flag: "--capture-exclude-port",
    hint: "PORT",
    group: "Traffic",
    help: "never capture this port, in or out (22 never is)",
  }),
  capturePorts: many(readPort, {
    flag: "--capture-port",
    hint: "PORT",
    group: "Traffic",
    help: "capture only this port, in and out",
  }),
  captureUsers: many(readNonEmpty, {
    flag: "--capture-user",
    hint: "NAME|UID",
    group: "Traffic",
    help: "capture outbound traffic only of this user's programs",
  }),
  captureExcludeUsers: many(readNonEmpty, {
    flag: "--capture-exclude-user",
    hint: "NAME|UID",
    group: "Traffic",
    help: "never capture outbound traffic of this user's programs",
  }),
  captureCgroups: many(readCgroup, {
    flag: "--capture-cgroup",
    hint: "PATH",
    group: "Traffic",
    help: "capture outbound traffic only of programs in this cgroup or below it (system.slice/shop.service)",
  }),
  captureExcludeCgroups: many(readCgroup, {
    flag: "--capture-exclude-cgroup",
    hint: "PATH",
    group: "Traffic",
    help: "never capture outbound traffic of programs in this cgroup or below it",
  }),
  captureExcludeInbound: many(readPrefix, {
    flag: "--capture-exclude-inbound",
    hint: "CIDR",
    group: "Traffic",
    help: "never capture inbound traffic to these addresses of this host",
  }),
  captureExcludeInterfaces: many(readInterface, {
    flag: "--capture-exclude-interface",
    hint: "NAME",
    group: "Traffic",
    help: "never capture inbound traffic of this interface (wg* means all that begin with wg)",
  }),
  captureContainers: one(readWord("exclude", "capture"), "exclude", {
    flag: "--capture-containers",
    hint: "MODE",
    group: "Traffic",
    help: "traffic of this host's containers to their bridge's address: exclude or capture",
  }),
  captureConfirm: optional(readDuration(captureLimits.minConfirmMs, captureLimits.maxConfirmMs), {
    flag: "--confirm",
    hint: "DURATION",
    group: "Traffic",
    help: "remove the rules again unless `fairlead capture confirm` comes within this; settings that were confirmed once are not asked for again",
  }),
  captureBackend: one(readWord("auto", "nftables", "iptables", "iptables-legacy"), "auto", {
    flag: "--capture-backend",
    hint: "NAME",
    group: "Traffic",
    help: "the program that installs the rules: auto (the first that works), nftables, iptables or iptables-legacy",
  }),
} as const;
