import { describe, expect, test } from "bun:test";
import type { CliBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { FakeLive } from "../testing/live.ts";
import { type TapFlags, tap, tapLine } from "./tap.ts";

const node = { sockets: ["/s"], address: null };
const record = (fields: object): string =>
  `${JSON.stringify({ level: "info", time: "2026-11-29T12:01:03.004Z", scope: "access", ...fields })}\n`;
const parties = {
  "src.namespace": "shop",
  "src.workload": "frontend",
  "dst.namespace": "shop",
  "dst.workload": "backend",
  direction: "inbound",
};
const complete = { message: "connection complete", ...parties, bytes_sent: 1_200, bytes_recv: 34 };

async function run(flags: TapFlags, live: FakeLive) {
  const terminal = { isTerminal: false, out: () => {}, error: () => {} };
  const code = await tap({ live, terminal } as unknown as CliBindings, plain, flags, node);
  return { code, out: live.written.join("") };
}

describe("fairlead tap", () => {
  test("a record is a line, however it was cut on its way", async () => {
    const live = new FakeLive();
    const text =
      record({ ...complete, duration: "12ms" }) + record({ ...parties, message: "connection opened" });
    live.pieces = [text.slice(0, 30), text.slice(30, 31), text.slice(31)];
    const { code, out } = await run({}, live);
    expect(code).toBe(0);
    expect(out).toBe(
      "12:01:03 in  shop/frontend → shop/backend  12ms sent 1.2K received 34B\n12:01:03 in  shop/frontend → shop/backend  opened\n",
    );
  });

  test("filters go to the node, written so that nothing in them is taken for another", async () => {
    const live = new FakeLive();
    await run({ from: "shop/a&to=x", to: "10.0.0.1", failed: true }, live);
    await run({}, live);
    expect(live.followed).toEqual(["/tap?from=shop%2Fa%26to%3Dx&to=10.0.0.1&failed=1", "/tap"]);
  });

  test("--json passes the node's lines on; a reader that is gone ends it", async () => {
    const live = new FakeLive();
    const line = record(complete);
    live.pieces = [line, line, line];
    live.readsOn = 1;
    expect((await run({ json: true }, live)).out).toBe(line + line);
  });

  test("what is no record is an error with the node's blame", async () => {
    const live = new FakeLive();
    live.pieces = ["<html>\n"];
    await expect(async () => await run({}, live)).toThrow("did not answer with records");
  });

  const cases: readonly (readonly [string, object, string])[] = [
    [
      "a denial",
      { ...complete, level: "error", error: "policy_denied: by shop/few" },
      "12:01:03 in  shop/frontend → shop/backend  DENIED policy_denied: by shop/few",
    ],
    [
      "a failure, by a name of no workload",
      {
        message: "connection complete",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/x",
        "dst.addr": "10.0.0.1:80",
        direction: "outbound",
        error: "connect_refused: no one listens",
      },
      "12:01:03 out shop/x → 10.0.0.1:80  FAILED connect_refused: no one listens",
    ],
    [
      "a request",
      {
        ...parties,
        direction: undefined,
        message: "request complete",
        method: "GET",
        path: "/a",
        status: 200,
        duration: "3ms",
        detail: "-",
      },
      "12:01:03     shop/frontend → shop/backend  GET /a 200 3ms",
    ],
    [
      "a request that is refused",
      {
        ...parties,
        message: "request complete",
        method: "GET",
        path: "/a",
        status: 403,
        duration: "1ms",
        detail: "denied by x",
      },
      "12:01:03 in  shop/frontend → shop/backend  GET /a 403 1ms denied by x",
    ],
    ["records that are lost", { dropped: 7 }, "7 records are left out: this reader is slow"],
    ["nothing that is known", {}, "12:01:03     unknown → unknown  -"],
  ];
  for (const [name, fields, line] of cases)
    test(name, () => expect(tapLine(JSON.parse(record(fields)), plain, null)).toBe(line));

  test("a peer's words cannot move the cursor, and a narrow screen cuts the line", () => {
    const evil = JSON.parse(record({ ...parties, message: "\u001b[2J\nx", "src.workload": "a\u0007b" }));
    expect(tapLine(evil, plain, null)).toBe("12:01:03 in  shop/a?b → shop/backend  ?[2J?x");
    expect(tapLine(evil, plain, 20)).toBe("12:01:03 in  shop/a…");
  });
});
