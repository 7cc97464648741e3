/** The settings of a host that takes its mesh from a control plane. Each has ztunnel's environment name where ztunnel has one. */
import {
  readControlAddress,
  readHostName,
  readIp,
  readJoinToken,
  readLabel,
  readPemSource,
  readPin,
  readTokenSource,
} from "../control_value.ts";
import { many, optional } from "../setting.ts";

const group = "Control plane";

export const joinSettings = {
  control: optional(readControlAddress, {
    flag: "--control",
    hint: "https://HOST:PORT",
    group,
    environment: ["XDS_ADDRESS"],
    help: "take the mesh from this control plane (ours, or a real istiod) instead of from documents",
  }),
  controlRoot: optional(readPemSource, {
    flag: "--control-root",
    hint: "PATH",
    group,
    environment: ["XDS_ROOT_CA"],
    help: "the root certificates by which its own certificate is known",
  }),
  caPin: optional(readPin, {
    flag: "--ca-pin",
    hint: "sha256:HEX",
    group,
    help: "or the pin of its root, from the join line; needed for the first contact only",
  }),
  controlName: optional(readHostName, {
    flag: "--control-name",
    hint: "NAME",
    group,
    environment: ["ALT_XDS_HOSTNAME"],
    help: "the name in its certificate, when that is not HOST",
  }),
  joinToken: optional(readJoinToken, {
    flag: "--join-token",
    hint: "TOKEN",
    group,
    environment: ["FAIRLEAD_JOIN_TOKEN"],
    help: "join by this one-time token; ignored once joined",
  }),
  tokenFile: optional(readTokenSource, {
    flag: "--token-file",
    hint: "PATH",
    group,
    environment: ["AUTH_TOKEN"],
    help: "or show the bearer token in this file, which is read for each call",
  }),
  caAddress: optional(readControlAddress, {
    flag: "--ca-address",
    hint: "https://HOST:PORT",
    group,
    environment: ["CA_ADDRESS"],
    help: "who signs certificates, when not the control plane",
  }),
  caAddressRoot: optional(readPemSource, {
    flag: "--ca-address-root",
    hint: "PATH",
    group,
    environment: ["CA_ROOT_CA"],
    help: "the root certificates by which that one is known",
  }),
  caAddressName: optional(readHostName, {
    flag: "--ca-address-name",
    hint: "NAME",
    group,
    environment: ["ALT_CA_HOSTNAME"],
    help: "the name in its certificate",
  }),
  joinAddresses: many(readIp, {
    flag: "--join-address",
    hint: "IP",
    group,
    help: "this host's address in the mesh; without it, those of its interfaces",
  }),
  joinLabels: many(readLabel, {
    flag: "--join-label",
    hint: "KEY=VALUE",
    group,
    help: "a label of this host, for a WorkloadGroup",
  }),
} as const;
