import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import type { CrlSource, CrlStatus } from "./revocation.ts";
import { followTrustFiles } from "./trust_files.ts";

const status = (source: string, fields: Partial<CrlStatus> = {}): CrlStatus =>
  ({
    source,
    state: "in_force",
    stale: false,
    message: null,
    entries: 3,
    issuer: "CN=r",
    ...fields,
  }) as CrlStatus;

function bench() {
  const files = new MemoryFiles();
  files.put("/roots", "roots 1");
  files.put("/list", "list 1");
  const seen = { roots: [] as string[], lists: [] as string[] };
  const lines: string[] = [];
  const answers = { crl: (source: CrlSource): CrlStatus => status(source.name), waits: Promise.resolve() };
  const trust = {
    setRoots: (pem: string) => {
      if (pem === "bad") throw new MeshError("configuration", "local", "no roots");
      seen.roots.push(pem);
    },
    setCrls: async (sources: readonly CrlSource[]) => {
      seen.lists.push(sources.map(({ name, bytes }) => `${name}=${new TextDecoder().decode(bytes)}`).join());
      await answers.waits;
      return sources.map(answers.crl);
    },
  };
  const logger = {
    log: (level: string, _target: string, message: string, fields = {}) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
  };
  const follow = (fields: { rootsPath?: string | null; crlPaths?: readonly string[] } = {}) =>
    followTrustFiles({ files, trust, logger, rootsPath: "/roots", crlPaths: ["/list"], ...fields });
  return { files, seen, lines, answers, follow };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe("files of trust", () => {
  test("are read at the start, and again whenever they change, each by itself, until it is over", async () => {
    const { files, seen, follow } = bench();
    const end = await follow();
    expect(seen).toEqual({ roots: ["roots 1"], lists: ["/list=list 1"] });
    files.put("/roots", "roots 2");
    await turn();
    expect(seen).toEqual({ roots: ["roots 1", "roots 2"], lists: ["/list=list 1"] });
    files.put("/list", "list 2");
    await turn();
    expect(seen).toEqual({ roots: ["roots 1", "roots 2"], lists: ["/list=list 1", "/list=list 2"] });
    end();
    files.put("/roots", "roots 3");
    files.put("/list", "list 3");
    await turn();
    expect([seen.roots.length, seen.lists.length]).toEqual([2, 2]);
  });

  test("that are not named are not read", async () => {
    const { files, seen, follow } = bench();
    await follow({ rootsPath: null, crlPaths: [] });
    files.put("/roots", "roots 2");
    files.put("/list", "list 2");
    await turn();
    expect(seen).toEqual({ roots: [], lists: [] });
  });

  test("at the start, one that cannot be used is an error that names it", async () => {
    const { files, answers, follow } = bench();
    answers.crl = ({ name }) => status(name, { state: "refused", message: "it is old" });
    expect(await rejectionOf(follow())).toMatchObject({
      code: "configuration",
      message: "revocation list /list: it is old",
    });
    files.drop("/roots");
    expect(await rejectionOf(follow())).toMatchObject({ code: "io" });
  });

  test("later the last good state stays, and the log says why", async () => {
    const { files, seen, lines, follow } = bench();
    await follow();
    lines.length = 0;
    files.put("/roots", "bad");
    await turn();
    files.drop("/list");
    await turn();
    expect(lines).toEqual([
      'error the last good trust roots stay in force {"reason":"no roots"}',
      'error the last good revocation lists stay in force {"reason":"/list: no such file"}',
    ]);
    expect(seen.roots).toEqual(["roots 1"]);
  });

  test("of many changes during a reading one more reading follows, and none runs beside another", async () => {
    const { files, seen, answers, follow } = bench();
    await follow();
    const reading = Promise.withResolvers<void>();
    answers.waits = reading.promise;
    files.put("/list", "list 2");
    await turn();
    files.put("/list", "list 3");
    files.put("/list", "list 4");
    await turn();
    expect(seen.lists).toEqual(["/list=list 1", "/list=list 2"]);
    answers.waits = Promise.resolve();
    reading.resolve();
    await turn();
    expect(seen.lists).toEqual(["/list=list 1", "/list=list 2", "/list=list 4"]);
    files.put("/list", "list 5");
    await turn();
    expect(seen.lists).toHaveLength(4);
  });

  test("news of a list are told once, by how it is: in force, or stale or refused as a warning", async () => {
    const { files, lines, answers, follow } = bench();
    await follow();
    const fields = (stale: boolean, reason: string | null) =>
      JSON.stringify({ source: "/list", issuer: "CN=r", stale, entries: 3, reason });
    expect(lines).toEqual([`info revocation list in_force ${fields(false, null)}`]);
    files.put("/list", "list 1");
    await turn();
    expect(lines).toHaveLength(1);
    // Other bytes with the same outcome are news, and so is another outcome of the same bytes.
    files.put("/list", "list 2");
    await turn();
    expect(lines).toHaveLength(2);
    answers.crl = ({ name }) => status(name, { stale: true });
    files.put("/list", "list 2");
    await turn();
    answers.crl = ({ name }) => status(name, { state: "refused", message: "it is of no issuer" });
    files.put("/list", "list 2");
    await turn();
    expect(lines.slice(2)).toEqual([
      `warn revocation list in_force ${fields(true, null)}`,
      `warn revocation list refused ${fields(false, "it is of no issuer")}`,
    ]);
    files.put("/list", "list 21");
    await turn();
    expect(lines).toHaveLength(5);
  });
});
