import { expect, test } from "bun:test";
import type { RequestDenial } from "../request_permit.ts";
import type { Consultation } from "./authorization.ts";
import { deniedReply, failed, missing, refuse } from "./refusals.ts";

const location = { file: "policy.yaml", line: 12, column: 5 };
const match = {
  policy: { key: "AuthorizationPolicy shop/ask" },
  rule: { clauses: [], index: 2, location },
} as unknown as Consultation["match"];
const consultation: Consultation = { match, provider: "opa", authorizer: null };
const denial: RequestDenial = {
  reason: "denied_by_rule",
  policy: "shop/few",
  rule: 1,
  location,
  detail: "",
};
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("a client learns that it was refused, and the operator by which rule and line", () => {
  const reply = refuse(denial);
  expect([reply.status, reply.flag, text(reply.body)]).toEqual([403, "-", "RBAC: access denied"]);
  expect(reply.detail).toBe("denied by shop/few rule 1 (policy.yaml:12:5)");
  // Whoever has to authenticate first is told nothing of rules.
  expect([refuse(denial, 401).status, text(refuse(denial, 401).body)]).toEqual([401, ""]);
});

test("an authorizer that is unknown, or fails, has the flag of external authorization and its name", () => {
  const unknown = refuse(missing(consultation));
  expect([unknown.status, unknown.flag, text(unknown.body)]).toEqual([403, "UAEX", ""]);
  expect(unknown.detail).toContain('the mesh has no authorizer called "opa"');
  expect(unknown.detail).toContain("policy.yaml:12:5");
  expect(refuse(failed(consultation, "timed out")).detail).toContain("opa: timed out");
});

test("what the authorizer said is passed on as it said it", () => {
  const body = new TextEncoder().encode("pay first");
  const fields = ["x-reason", "unpaid"];
  const reply = deniedReply(consultation, { kind: "denied", status: 402, fields, body });
  expect([reply.status, reply.fields, reply.body, reply.flag]).toEqual([402, fields, body, "UAEX"]);
  expect(reply.detail).toContain(
    "the authorizer of AuthorizationPolicy shop/ask said no (policy.yaml:12:5): opa",
  );
});
