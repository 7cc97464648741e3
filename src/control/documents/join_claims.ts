/** Which of the names and addresses that a joining host says are its to have, by the documents in force. */
import { IpAddress } from "../../base/ip.ts";
import type { CheckedClaims, ClaimingHost, JoinClaims } from "../records/join_claims.ts";
import type { Ownership } from "./ownership.ts";

export function joinClaims(ownership: () => Promise<Ownership>): JoinClaims {
  return { check: async (host) => checkClaims(await ownership(), host) };
}

function checkClaims(ownership: Ownership, host: ClaimingHost): CheckedClaims {
  const allowed: string[] = [];
  const refusals: string[] = [];
  for (const text of host.addresses) {
    const ip = IpAddress.parse(text);
    const reason = ip === null ? `${text} is not an address` : ownership.refuseAddress(ip, host);
    if (reason === null) allowed.push(text);
    else refusals.push(reason);
  }
  return {
    nameRefusal: ownership.refuseNodeName(host.node, host.namespace),
    addresses: allowed,
    refusals,
  };
}
