/** What a client is told that may not go on, and its operator. */
import type { LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import { describeRequestDenial, type RequestDenial } from "../request_permit.ts";
import { type Consultation, ruleDenial } from "./authorization.ts";
import type { AuthorizerAnswer } from "./authorizer.ts";

/** The client learns no more than that it was refused; the operator, by which rule. */
export function refuse(denial: RequestDenial, status = 403): LocalReply {
  const flag = denial.reason.includes("authorizer") ? "UAEX" : "-";
  const message = status === 403 && flag === "-" ? "RBAC: access denied" : "";
  return localReply(status, flag, message, describeRequestDenial(denial));
}

export function missing({ match, provider }: Consultation): RequestDenial {
  return ruleDenial(
    "authorizer_unavailable",
    match,
    `the mesh has no authorizer called ${JSON.stringify(provider)}`,
  );
}

export function failed({ match, provider }: Consultation, reason: string): RequestDenial {
  return ruleDenial("authorizer_unavailable", match, `${provider}: ${reason}`);
}

export function deniedReply(
  { match, provider }: Consultation,
  answer: AuthorizerAnswer & { kind: "denied" },
): LocalReply {
  return {
    status: answer.status,
    fields: answer.fields,
    body: answer.body,
    grpcStatus: null,
    flag: "UAEX",
    detail: describeRequestDenial(ruleDenial("denied_by_authorizer", match, provider)),
  };
}
