/** Which local processes may have which identity: rules that an operator writes, `uid=1001=shop/cart`. */
import { nodeNamespace, SpiffeId } from "./identity.ts";

/** Holds for a process when everything it names is so. At least one of user and group is named. */
export interface IdentityRule {
  readonly uid: number | null;
  readonly gid: number | null;
  readonly id: SpiffeId;
}

/** (uid_t)-1 means "no user" to the kernel. */
const maxId = 0xffff_fffe;

/**
 * `uid=N`, `gid=N` or `uid=N,gid=N`, then `=`, then `namespace/service-account` or a whole SPIFFE ID of `trustDomain`.
 *
 * @returns what is wrong, for the operator.
 */
export function parseIdentityRule(text: string, trustDomain: string): IdentityRule | string {
  const split = /^(.*)=([^=]+)$/.exec(text.trim());
  if (split === null) return `"${text}" is not of the form uid=1001=shop/cart`;
  const [, selectors = "", identity = ""] = split;
  const id = readIdentity(identity, trustDomain);
  if (typeof id === "string") return id;
  const selected: { uid: number | null; gid: number | null } = { uid: null, gid: null };
  for (const selector of selectors.split(",")) {
    const match = /^(uid|gid)=(0|[1-9][0-9]{0,9})$/.exec(selector);
    if (match === null) return `"${selector}" is neither uid=NUMBER nor gid=NUMBER`;
    const key = match[1] === "uid" ? "uid" : "gid";
    if (selected[key] !== null) return `"${text}" names its ${key} twice`;
    selected[key] = Number(match[2]);
    if (selected[key] > maxId) return `${match[2]} is no ${key}`;
  }
  return { ...selected, id };
}

function readIdentity(text: string, trustDomain: string): SpiffeId | string {
  const short = /^([^/]+)\/([^/]+)$/.exec(text);
  const id = SpiffeId.parse(short === null ? text : `spiffe://${trustDomain}/ns/${short[1]}/sa/${short[2]}`);
  if (id === null) return `"${text}" is neither namespace/service-account nor a SPIFFE ID`;
  if (id.trustDomain !== trustDomain) return `"${text}" is not of the trust domain ${trustDomain}`;
  if (id.namespace === nodeNamespace) return `"${text}": identities of ${nodeNamespace} are those of hosts`;
  return id;
}
