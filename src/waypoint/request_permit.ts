/**
 * Proof that a request may be sent on, or why not. Minted in `auth/` alone, and `Forward` wants one: a pipeline without authorization
 * does not compile.
 */
import { formatLocation, type Location } from "../mesh/location.ts";

const mintKey = Symbol("request permit");

/** What a permit rests on. */
export interface PermitGrounds {
  /** `namespace/name` of the ALLOW policy that matched; null when there was none to match. */
  readonly policy: string | null;
  /** Of the policies it was decided on. */
  readonly version: number;
  /** When the end user's token ends, milliseconds since the Unix epoch; null for none, or one without an end. */
  readonly expiresAtMs: number | null;
  /** To be set on the answer: what an external authorizer adds to what it allows. */
  readonly responseFields: readonly string[];
}

export class RequestPermit {
  readonly grounds: PermitGrounds;
  readonly #recheck: (nowMs: number) => RequestDenial | null;

  constructor(key: typeof mintKey, grounds: PermitGrounds, recheck: (nowMs: number) => RequestDenial | null) {
    if (key !== mintKey) throw new TypeError("a RequestPermit is made by the authorization stage alone");
    this.grounds = grounds;
    this.#recheck = recheck;
  }

  /**
   * Decides again on the request as it was, by the policies, keys and token as they are now. Never awaits.
   *
   * @param nowMs milliseconds since the Unix epoch
   * @returns null while it may go on.
   */
  recheck(nowMs: number): RequestDenial | null {
    return this.#recheck(nowMs);
  }

  /** Whether this really is a permit, not an object that looks like one. */
  static isGenuine(value: unknown): value is RequestPermit {
    return typeof value === "object" && value !== null && #recheck in value;
  }
}

/** For `auth/` alone; the tidy test keeps it so. */
export function mintRequestPermit(
  grounds: PermitGrounds,
  recheck: (nowMs: number) => RequestDenial | null,
): RequestPermit {
  return new RequestPermit(mintKey, grounds, recheck);
}

export type RequestDenialReason =
  /** A DENY rule matched. */
  | "denied_by_rule"
  /** There are ALLOW policies and none matched. */
  | "no_allow_matched"
  /** An AccessCondition does not hold, or could not be worked out. */
  | "condition_not_met"
  /** The external authorizer said no. */
  | "denied_by_authorizer"
  /** There is no such authorizer, or it gave no answer. */
  | "authorizer_unavailable"
  /** A document that may have been about it was refused, and has no good version. */
  | "document_refused"
  /** The end user's token is over. */
  | "token_expired"
  /** The key that made the token is withdrawn, or its issuer is not believed any more. */
  | "token_withdrawn";

export interface RequestDenial {
  readonly reason: RequestDenialReason;
  /** `namespace/name`, or `kind namespace/name` of what is no AuthorizationPolicy; null for none. */
  readonly policy: string | null;
  /** Index of the rule in the policy; null when no single rule decided. */
  readonly rule: number | null;
  readonly location: Location | null;
  /** What else there is to say; "" for nothing. */
  readonly detail: string;
}

/** One line for an operator: `denied by shop/deny-all rule 0 (mesh.yaml:12:5)`. Never for the client. */
export function describeRequestDenial(denial: RequestDenial): string {
  const where = denial.location === null ? "" : ` (${formatLocation(denial.location)})`;
  const more = denial.detail === "" ? "" : `: ${denial.detail}`;
  const policy = denial.policy ?? "unknown";
  switch (denial.reason) {
    case "denied_by_rule":
      return `denied by ${policy} rule ${denial.rule ?? 0}${where}${more}`;
    case "no_allow_matched":
      return `not allowed by any rule of ${policy}${where}${more}`;
    case "condition_not_met":
      return `${policy} condition ${denial.rule ?? 0} does not hold${where}${more}`;
    case "denied_by_authorizer":
      return `the authorizer of ${policy} said no${where}${more}`;
    case "authorizer_unavailable":
      return `the authorizer of ${policy} could not be asked${where}${more}`;
    case "document_refused":
      return `${policy} was refused and may be about this request${where}${more}`;
    case "token_expired":
      return `the end user's token has expired${more}`;
    case "token_withdrawn":
      return `the end user's token does not hold any more${more}`;
  }
}
