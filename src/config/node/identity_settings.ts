/** The settings of the socket on which local programs get their identities. */
import { parseIdentityRule } from "../../mesh/identity_rule.ts";
import { many, one, optional } from "../setting.ts";
import { Invalid, type Reader, readNonEmpty } from "../value.ts";

const group = "Identity";

/** Three octal digits, a zero before them or not. A socket is neither setuid nor sticky. */
export const readSocketMode: Reader<number> = (text) =>
  /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : new Invalid("not a file mode such as 0660");

/** As it was written: which trust domain it is to be of, a control plane may tell only later. */
export const readIdentityRule: Reader<string> = (text) => {
  const named = /=spiffe:\/\/([^/]+)\//.exec(text)?.[1];
  const rule = parseIdentityRule(text, named ?? "cluster.local");
  return typeof rule === "string" ? new Invalid(`no rule: ${rule}`) : text;
};

export const identitySettings = {
  identitySocket: optional(readNonEmpty, {
    flag: "--identity-socket",
    hint: "PATH",
    group,
    help: "a Unix socket on which local programs get identities: Envoy's SDS and SPIFFE's Workload API",
  }),
  identityFor: many(readIdentityRule, {
    flag: "--identity-for",
    hint: "uid=N=NS/SA",
    group,
    help: "the identity that a local user gets on that socket; the user is uid=N, gid=N, or uid=N,gid=N",
  }),
  identitySocketMode: one(readSocketMode, "0666", {
    flag: "--identity-socket-mode",
    hint: "MODE",
    group,
    help: "the file mode of that socket: who may connect; --identity-for says who gets an identity",
  }),
} as const;
