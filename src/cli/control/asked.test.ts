/** What each command asks of a control plane, flag by flag, and what it tells of the answer. `control.test.ts` has the real API. */
import { describe, expect, test } from "bun:test";
import { chainRow, chainStart } from "../../base/audit_chain.ts";
import { controlAdminLimits } from "../../base/limits/control.ts";
import type { CliBindings } from "../bindings.ts";
import { runCli } from "../program.ts";
import { FakeLive } from "../testing/live.ts";
import { noCapture } from "../testing/no_capture.ts";
import { noControl } from "../testing/no_control.ts";
import { noNames } from "../testing/no_names.ts";
import { noSystem } from "../testing/no_system.ts";

type Answer = unknown | ((path: string) => unknown);

/** @param answers by method and path without its query. */
async function run(
  words: string,
  answers: Readonly<Record<string, Answer>>,
  files: Readonly<Record<string, string>> = {},
) {
  const [asked, bodies]: [string[], unknown[]] = [[], []];
  let [out, error] = ["", ""];
  const bindings = {
    arguments: words.split(" "),
    environment: { HOME: "/h" },
    terminal: {
      isTerminal: false,
      out: (text: string) => {
        out += text;
      },
      error: (text: string) => {
        error += text;
      },
    },
    version: {},
    readText: async (path: string) => files[path] ?? "",
    control: {
      ...noControl,
      exists: async () => false,
      connect: async () => ({
        request: async ({ method, path, body }: { method: string; path: string; body: string | null }) => {
          asked.push(`${method} ${path}`);
          if (body !== null) bodies.push(JSON.parse(body));
          const [plain = ""] = path.split("?");
          const answer = answers[`${method} ${plain}`] ?? {};
          const said = typeof answer === "function" ? answer(path) : answer;
          return { status: 200, body: new TextEncoder().encode(JSON.stringify(said)) };
        },
        close: () => {},
      }),
    },
    ...{ live: new FakeLive(), capture: noCapture, names: noNames, system: noSystem },
    onStopSignal: () => () => {},
  } as unknown as CliBindings;
  const code = await runCli(bindings);
  return { code, out, error, asked, bodies };
}

const server = "--control https://c:15012";

describe("flags", () => {
  test("ca rotate finish abandons where it is told to, and then alone", async () => {
    const rotation = { rotation: { phase: "idle" } };
    const answers = { "POST /v1/ca/rotation/finish": rotation };
    expect((await run(`ca rotate finish ${server}`, answers)).asked).toEqual(["POST /v1/ca/rotation/finish"]);
    expect((await run(`ca rotate finish --abandon ${server}`, answers)).asked).toEqual([
      "POST /v1/ca/rotation/finish?abandon=true",
    ]);
  });

  test("prune says how much stays, and forces where it is told to", async () => {
    const words = `prune --audit-rows 5000 --versions 7 ${server}`;
    const waiting = { waiting: [{ target: "syslog", rows: 12 }] };
    const plain = await run(words, { "POST /v1/prune": waiting });
    expect(plain.bodies).toEqual([{ auditRows: 5000, versions: 7 }]);
    expect(plain.error).toContain("12 rows of the audit log stay until syslog has them");
    expect((await run(`${words} --force`, {})).bodies).toEqual([
      { auditRows: 5000, versions: 7, force: true },
    ]);
  });

  test("a join token is bound, lasts and replaces as it was said", async () => {
    const create = async (flags: string) =>
      (await run(`join-token create ${flags} ${server}`, { "POST /v1/join-tokens": { line: "l" } })).bodies;
    expect(await create("--node edge-1")).toEqual([{ binding: { kind: "node", node: "edge-1" } }]);
    expect(await create("--group shop/vms --ttl 10m --replace")).toEqual([
      { binding: { kind: "group", group: "shop/vms" }, ttlMs: 600_000, replace: true },
    ]);
  });

  test("a revocation has its reason, and says when it is not published yet", async () => {
    const answers = {
      "POST /v1/revocations": { serialNumbers: ["a", "b"], pending: "the list cannot be signed" },
    };
    const revoked = await run(`revoke --node edge-1 --reason stolen ${server}`, answers);
    expect(revoked.bodies).toEqual([{ kind: "node", value: "edge-1", reason: "stolen" }]);
    expect(revoked.error).toBe(
      "node edge-1 is revoked, with 2 valid certificates\nnot published yet: the list cannot be signed\n",
    );
    const lifted = await run(`revoke --operator https://i/a#ada --lift ${server}`, {});
    expect(lifted.asked).toEqual(["DELETE /v1/revocations/operator/https%3A%2F%2Fi%2Fa%23ada"]);
  });
});

describe("lists", () => {
  test("are read page by page, and no more is asked for than was wanted", async () => {
    const { maxPage } = controlAdminLimits;
    const row = (id: number) => ({ kind: "node", value: `edge-${id}`, reason: "r", atMs: 0 });
    const all = Array.from({ length: maxPage + 5 }, (_, id) => row(id));
    const pageOf = (path: string) => {
      const query = new URLSearchParams(path.split("?")[1] ?? "");
      const from = Number(query.get("after") ?? 0);
      const to = Math.min(all.length, from + Number(query.get("limit") ?? maxPage));
      return { revocations: all.slice(from, to), next: to < all.length ? String(to) : null };
    };
    const answers = { "GET /v1/revocations": pageOf };
    const limits = (asked: readonly string[]) =>
      asked.map((path) => new URLSearchParams(path.split("?")[1] ?? "").get("limit"));
    const whole = await run(`get revocations ${server} -o json`, answers);
    expect(JSON.parse(whole.out).length).toBe(all.length);
    expect(limits(whole.asked)).toEqual([String(maxPage), String(maxPage)]);
  });
});

describe("status", () => {
  const status = {
    version: { version: "1.2.3" },
    ready: false,
    pending: ["the root's key"],
    readOnly: null as string | null,
    documentVersion: 7,
    nodes: 5,
    connected: 3,
    auditExports: [{ target: "syslog", where: "udp:1", waiting: 4, lost: 0, failing: null as object | null }],
    you: { name: "ada", roles: [{ role: "viewer", namespaces: ["blue"] }] },
  };
  const lines = async (said: typeof status): Promise<readonly string[]> =>
    (await run(`status ${server}`, { "GET /v1/status": said })).out.split("\n");

  test("says each thing in its own line", async () => {
    expect(await lines(status)).toEqual([
      "version      1.2.3",
      "ready        no",
      "             the root's key",
      "documents    version 7",
      "nodes        3 of 5 connected",
      "audit        syslog udp:1: 4 rows wait",
      "you          ada",
      "role         viewer of blue",
      "",
    ]);
  });

  test("hides no trouble: a state that cannot be written, a receiver that fails, rows that are lost", async () => {
    expect(await lines({ ...status, readOnly: "the disk is read-only" })).toContain(
      "state        cannot be written: the disk is read-only",
    );
    const [export_ = never()] = status.auditExports;
    const failing = { sinceMs: 1, reason: "connection refused" };
    expect(await lines({ ...status, auditExports: [{ ...export_, failing }] })).toContain(
      "audit        syslog udp:1: 4 rows wait: connection refused",
    );
    expect(await lines({ ...status, auditExports: [{ ...export_, lost: 9 }] })).toContain(
      "audit        syslog udp:1: 4 rows wait, 9 were removed before it had them",
    );
  });
});

function never(): never {
  throw new Error("there is one");
}

describe("an audit log that is read here", () => {
  const row = (id: number) => ({
    ...{ id, atMs: id, actor: "ada", action: "documents.apply", target: "t", namespace: null },
    ...{ outcome: "ok", detail: `did ${id}`, before: null, after: null },
  });
  const rows = Array.from({ length: 5 }, (_, index) => row(index + 1));
  const hashes: string[] = [];
  let last: Uint8Array = chainStart;
  for (const each of rows) {
    last = chainRow(last, each, null);
    hashes.push(last.toHex());
  }
  const hashOf = (id: number): string => hashes[id - 1] ?? "";

  /** @param kept numbers of the rows that the control plane still tells of. */
  async function verify(flags: string, kept: readonly number[] = [1, 2, 3, 4, 5]) {
    const page = (path: string) => {
      const after = Number(new URLSearchParams(path.split("?")[1] ?? "").get("after"));
      return {
        start: { id: 0, hash: "" },
        records: rows
          .filter(({ id }) => id > after && kept.includes(id))
          .map((each) => ({ ...each, salt: null })),
      };
    };
    const ran = await run(`audit verify --independent ${flags} ${server}`.replace(/ +/g, " "), {
      "GET /v1/audit/records": page,
    });
    return { code: ran.code, said: `${ran.out}${ran.error}` };
  }

  test("is intact where it leads to the heads that were kept, in either case of their letters", async () => {
    for (const hash of [hashOf(3), hashOf(3).toUpperCase()])
      expect(await verify(`--head 3:${hash}`)).toMatchObject({
        code: 0,
        said: expect.stringContaining(`5 rows, 1 heads, the last row 5:${hashOf(5)}`),
      });
  });

  test("is not where a row is missing, another one, or cut off, nor where two heads name one row", async () => {
    expect(await verify("", [1, 2, 4, 5])).toMatchObject({
      code: 1,
      said: expect.stringContaining("row 3 is missing"),
    });
    expect(await verify(`--head 3:${"0".repeat(64)}`)).toMatchObject({
      code: 1,
      said: expect.stringContaining("row 3 is not the one that the signed head names"),
    });
    expect(await verify(`--head 5:${hashOf(5)}`, [1, 2, 3])).toMatchObject({
      code: 1,
      said: expect.stringContaining("rows 4 to 5 are cut off"),
    });
    // One of them is right, and the log still cannot have been both.
    expect(await verify(`--head 3:${hashOf(3)} --head 3:${"0".repeat(64)}`)).toMatchObject({ code: 1 });
  });
});
