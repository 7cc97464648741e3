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
    help: "the control plane (Fairlead's or istiod) that this host takes the mesh from, in place of documents",
  }),
  controlRoot: optional(readPemSource, {
    flag: "--control-root",
    hint: "PATH",
    group,
    environment: ["XDS_ROOT_CA"],
    help: "the root certificates that verify the control plane",
  }),
  caPin: optional(readPin, {
    flag: "--ca-pin",
    hint: "sha256:HEX",
    group,
    help: "the pin of the control plane's root, from the join line; needed only for the first contact",
  }),
  controlName: optional(readHostName, {
    flag: "--control-name",
    hint: "NAME",
    group,
    environment: ["ALT_XDS_HOSTNAME"],
    help: "the name in the control plane's certificate, if that is not HOST",
  }),
  joinToken: optional(readJoinToken, {
    flag: "--join-token",
    hint: "TOKEN",
    group,
    environment: ["FAIRLEAD_JOIN_TOKEN"],
    help: "the one-time token by which this host joins; ignored once it has joined",
  }),
  tokenFile: optional(readTokenSource, {
    flag: "--token-file",
    hint: "PATH",
    group,
    environment: ["AUTH_TOKEN"],
    help: "a file with a bearer token, read again for each call, in place of a join token",
  }),
  caAddress: optional(readControlAddress, {
    flag: "--ca-address",
    hint: "https://HOST:PORT",
    group,
    environment: ["CA_ADDRESS"],
    help: "the CA that signs certificates, if that is not the control plane",
  }),
  caAddressRoot: optional(readPemSource, {
    flag: "--ca-address-root",
    hint: "PATH",
    group,
    environment: ["CA_ROOT_CA"],
    help: "the root certificates that verify that CA",
  }),
  caAddressName: optional(readHostName, {
    flag: "--ca-address-name",
    hint: "NAME",
    group,
    environment: ["ALT_CA_HOSTNAME"],
    help: "the name in that CA's certificate, if that is not HOST",
  }),
  joinAddresses: many(readIp, {
    flag: "--join-address",
    hint: "IP",
    group,
    help: "this host's address in the mesh; by default the addresses of its interfaces",
  }),
  joinLabels: many(readLabel, {
    flag: "--join-label",
    hint: "KEY=VALUE",
    group,
    help: "a label of this host as a member of a WorkloadGroup",
  }),
} as const;
