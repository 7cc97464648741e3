import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { CliBindings } from "../bindings.ts";
import { plain } from "../style.ts";
import { nodeStatus } from "./status.ts";

const healthy = {
  version: "1.2.3",
  ready: true,
  pending: [],
  workloads: ["shop/cart", "shop/db"],
  connections: 7,
  certificates: [
    { identity: "spiffe://a", state: "available", error: null, expires: "2026-12-01T00:00:00.000Z" },
  ],
  documents: { accepted: 4, refused: 0 },
  control: { server: "10.0.0.10:15012", connected: true, current: true, error: null },
  logLevel: "info",
};

async function shown(status: object, output: "table" | "json" = "table", code = 200) {
  let out = "";
  const asked: string[] = [];
  const bindings = {
    terminal: {
      out: (text: string) => {
        out += text;
      },
    },
    askAdmin: async (_: unknown, method: string, path: string) => {
      asked.push(`${method} ${path}`);
      return { status: code, text: code === 200 ? JSON.stringify(status) : "it is draining\n" };
    },
  } as unknown as CliBindings;
  const exit = await nodeStatus(bindings, plain, { sockets: ["/s"], address: null }, output);
  return { out, asked, exit };
}

describe("fairlead status of a node", () => {
  test("says in a few lines what is asked first", async () => {
    const { out, asked, exit } = await shown(healthy);
    expect([asked, exit]).toEqual([["GET /status"], 0]);
    expect(out.split("\n").map((line) => line.trimEnd())).toEqual([
      "version      1.2.3",
      "ready        yes",
      "workloads    shop/cart",
      "             shop/db",
      "connections  7 open",
      "certificates spiffe://a until 2026-12-01T00:00:00.000Z",
      "documents    4 in force",
      "control      10.0.0.10:15012 connected",
      "log level    info",
      "",
    ]);
  });

  test("a node that is not ready says what it waits for, and ends with 1", async () => {
    const { out, exit } = await shown({
      ...healthy,
      ready: false,
      pending: ["mesh"],
      workloads: [],
      certificates: [{ identity: "spiffe://a", state: "unavailable", error: "no signer", expires: null }],
      documents: { accepted: 4, refused: 2 },
      control: { server: "10.0.0.10:15012", connected: false, current: false, error: "refused" },
    });
    expect(exit).toBe(1);
    for (const line of [
      "ready        no\n             mesh\n",
      "workloads    none runs here\n",
      "certificates spiffe://a unavailable: no signer\n",
      "documents    4 in force, 2 refused (fairlead get documents)\n",
      "control      10.0.0.10:15012 not connected: refused\n",
    ])
      expect(out).toContain(line);
  });

  test("a mesh that is as it was last known is said to be, and without a control plane nothing is said of one", async () => {
    const stale = await shown({ ...healthy, control: { ...healthy.control, current: false } });
    expect(stale.out).toContain("connected, the mesh is as it was last known\n");
    expect((await shown({ ...healthy, control: null })).out).not.toContain("control ");
  });

  test("-o json has all of it, with the same exit code; a refusal is an error", async () => {
    const { out, exit } = await shown({ ...healthy, ready: false }, "json");
    expect([JSON.parse(out), exit]).toEqual([{ ...healthy, ready: false }, 1]);
    // A node that does not say whether it is ready is not taken for one that is.
    const { ready: _, ...silent } = healthy;
    for (const form of ["table", "json"] as const) expect((await shown(silent, form)).exit).toBe(1);
    expect(String(await rejectionOf(shown({}, "table", 503)))).toContain("it is draining");
  });
});
