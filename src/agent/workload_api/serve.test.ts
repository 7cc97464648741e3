/** Starting, stopping, and a node's log in place of an audit log. */
import { expect, test } from "bun:test";
import type { LogFields } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { spiffeWorkload } from "../../wire/grpc/services.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { X509SVIDRequestSchema } from "../../wire/messages/spiffe_workload.gen.ts";
import { auditToLog } from "./serve.ts";
import { cart, IdentityLab, socketPath } from "./testing/lab.ts";

test("a drain ends streams that have no end of their own, and the socket is gone", async () => {
  const lab = new IdentityLab(["uid=1001=shop/cart"]);
  lab.secrets.put(cart, "1");
  const client = await lab.connect(1001);
  const call = lab.open(client, spiffeWorkload.fetchX509Svid, newMessage(X509SVIDRequestSchema));
  await lab.pass(50);
  expect([call.answers.length, call.end]).toEqual([1, undefined]);
  await lab.world.settle(lab.api.drain());
  await lab.pass(50);
  expect(call.end).toBeInstanceOf(Error);
  expect([lab.api.status().openStreams, lab.secrets.subscriptions]).toEqual([0, 0]);
  const late = lab.machine.start();
  expect(await rejectionOf(lab.world.settle(late.net.connectUnix(socketPath, 100)))).toMatchObject({
    code: "connect_unreachable",
  });
});

test("an audit entry becomes a line, a refusal one that warns", () => {
  const lines: [string, string, LogFields | undefined][] = [];
  const audit = auditToLog({ log: (level, _, message, fields) => void lines.push([level, message, fields]) });
  const entry = { atMs: 0, actor: "uid=1", action: "svid.x509", target: "", before: null, after: null };
  audit.append({ ...entry, outcome: "ok", detail: "" });
  audit.append({ ...entry, outcome: "refused", detail: "no rule" });
  expect(lines).toEqual([
    ["info", "svid.x509", { actor: "uid=1", target: "", outcome: "ok", detail: "" }],
    ["warn", "svid.x509", { actor: "uid=1", target: "", outcome: "refused", detail: "no rule" }],
  ]);
});
