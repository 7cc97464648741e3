/** The commands against the real API over a control plane in memory. */

import { describe, expect, test } from "bun:test";
import { ControlWorld, policy, uriOf } from "../../admin/control/testing/control_world.ts";
import { MeshError } from "../../base/errors.ts";
import { parseSocketAddress } from "../../base/ip.ts";
import type { ControlClientConfig } from "../../config/control/client.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import type { CliBindings } from "../bindings.ts";
import { runCli } from "../program.ts";
import { FakeLive } from "../testing/live.ts";
import { noCapture } from "../testing/no_capture.ts";
import { noControl } from "../testing/no_control.ts";
import { noNames } from "../testing/no_names.ts";
import { noSystem } from "../testing/no_system.ts";

interface World {
  readonly control?: ControlWorld;
  readonly who?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly isTerminal?: boolean;
  readonly answers?: readonly string[];
  /** How often `--follow` goes on; what happens before each time. */
  readonly follow?: readonly (() => void)[];
}

interface Run {
  readonly code: number;
  readonly out: string;
  readonly error: string;
  readonly connected: readonly ControlClientConfig[];
  readonly started: readonly ControlPlaneConfig[];
  readonly written: ReadonlyMap<string, Uint8Array>;
  readonly asked: readonly string[];
}

async function run(words: readonly string[] | string, world: World = {}): Promise<Run> {
  let out = "";
  let error = "";
  const connected: ControlClientConfig[] = [];
  const started: ControlPlaneConfig[] = [];
  const written = new Map<string, Uint8Array>();
  const asked: string[] = [];
  const answers = [...(world.answers ?? [])];
  const follow = [...(world.follow ?? [])];
  const read = (path: string): string => {
    const text = world.files?.[path];
    if (text === undefined) throw new MeshError("io", "local", `${path}: no such file`);
    return text;
  };
  const bindings: CliBindings = {
    arguments: typeof words === "string" ? words.split(" ") : words,
    environment: { HOME: "/h", ...world.environment },
    terminal: {
      isTerminal: world.isTerminal ?? false,
      out: (text) => {
        out += text;
      },
      error: (text) => {
        error += text;
      },
    },
    version: {},
    readText: async (path) => read(path),
    readMeshFiles: async (paths) => paths.map((path) => ({ path, text: read(path) })),
    startNode: () => Promise.reject(new Error("no node is expected here")),
    runProgram: () => Promise.reject(new Error("no program is expected here")),
    readControlDocument: async () => null,
    expressionFlaw: async () => null,
    schemas: async () => ({ $schema: "", definitions: {} }),
    askAdmin: () => Promise.reject(new MeshError("connect_refused", "upstream", "no node here")),
    control: {
      ...noControl,
      start: async (config) => {
        started.push(config);
        return {
          address: "0.0.0.0:15012",
          url: "https://c:15012",
          administratorPath: "/s/admin.pem",
          ended: Promise.resolve(),
          drain: () => {},
          stop: () => {},
        };
      },
      connect: async (config) => {
        connected.push(config);
        const { control } = world;
        if (control === undefined) throw new MeshError("connect_refused", "upstream", "nothing answers");
        return {
          download: async ({ path }, target) => {
            const init = { headers: { authorization: world.who ?? "root" } };
            const response = await control.app.fetch(
              new Request(`https://c:15012${path}`, init),
              control.peer,
            );
            const body = new Uint8Array(await response.arrayBuffer());
            if (response.status === 200) written.set(target, body);
            return { status: response.status, body, written: body.length };
          },
          request: async ({ method, path, body }) => {
            const remote = parseSocketAddress("10.0.0.9:1");
            if (remote === null) throw new Error("address");
            const headers = {
              authorization: world.who ?? "root",
              ...(body === null ? {} : { "content-type": "application/json" }),
            };
            const request = new Request(`https://c:15012${path}`, {
              method,
              headers,
              ...(body === null ? {} : { body }),
            });
            const response = await control.app.fetch(request, { chain: [], remote });
            return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
          },
          close: () => {},
        };
      },
      restore: async (path, directory, overwrite) => {
        if (!overwrite) throw new MeshError("configuration", "local", `there is a state in ${directory}`);
        const kept = { revocationsKept: path === "lost.db" ? null : 2, tokensEnded: 1 };
        return { stateId: `of ${path}`, documentVersion: 7, lastAuditMs: 0, ...kept };
      },
      exists: async (path) => world.files?.[path] !== undefined,
      ask: async (question) => {
        asked.push(question);
        return answers.shift() ?? null;
      },
      sleep: async () => {
        const next = follow.shift();
        next?.();
        return next !== undefined;
      },
    },
    live: new FakeLive(),
    capture: noCapture,
    names: noNames,
    system: noSystem,
    onStopSignal: () => () => {},
  };
  return { code: await runCli(bindings), out, error, connected, started, written, asked };
}

function world(): ControlWorld {
  const made = new ControlWorld();
  made.addTenant("blue", "bluemark");
  return made;
}

describe("fairlead control", () => {
  test("starts with what it was told, and says on a terminal what to do next", async () => {
    const { code, started, error } = await run(
      "control --serving-name control.example --control-listen 127.0.0.1:1",
      { isTerminal: true },
    );
    expect([code, started[0]?.servingNames, started[0]?.listen.port]).toEqual([0, ["control.example"], 1]);
    for (const word of ["https://c:15012", "/s/admin.pem", "join-token create", "apply"])
      expect(error).toContain(word);
  });

  test("wrong settings are told with their place, and nothing starts", async () => {
    const { code, started, error } = await run("control --ca vault-pki");
    expect([code, started]).toEqual([2, []]);
    expect(error).toContain("--vault: is missing");
    const file = await run("control --config f.yaml", { files: { "f.yaml": "capture: redirect\n" } });
    expect([file.code, file.error]).toEqual([
      2,
      "f.yaml:1:10: capture is not a setting of a control plane\n",
    ]);
  });
});

describe("which control plane, and as whom", () => {
  test("this host's, as its first administrator, unless it is said otherwise", async () => {
    const files = { "/h/.local/state/fairlead/admin.pem": "" };
    const { connected, code, error } = await run("status", { files });
    expect([code, error]).toEqual([1, "fairlead: nothing answers (connect_refused)\n"]);
    expect(connected[0]).toEqual({
      server: { host: "127.0.0.1", port: 15012 },
      name: null,
      identityPath: "/h/.local/state/fairlead/admin.pem",
      rootPath: null,
      tokenPath: null,
    });
    const environment = { FAIRLEAD_CONTROL: "https://c.example", FAIRLEAD_IDENTITY: "me.pem" };
    expect((await run("nodes", { environment })).connected[0]).toMatchObject({
      server: { host: "c.example", port: 15012 },
      identityPath: "me.pem",
    });
    const flags = "nodes --control https://d:1 --token-file t --control-root r --control-name e";
    expect(
      (await run(flags, { environment: { FAIRLEAD_CONTROL: "https://c.example" } })).connected[0],
    ).toEqual({
      server: { host: "d", port: 1 },
      name: "e",
      identityPath: null,
      rootPath: "r",
      tokenPath: "t",
    });
  });

  test("a token goes to no server that is not known, and never over plain text", async () => {
    for (const words of ["nodes --token-file t", "nodes --control http://c:1", "nodes --control c:1/x"]) {
      const { code, connected } = await run(words);
      expect([words, code, connected]).toEqual([words, 2, []]);
    }
  });
});

describe("fairlead apply", () => {
  const files = { "p.yaml": policy("blue", "bluemark-policy", "frontend") };

  test("shows the difference and does it", async () => {
    const control = world();
    const { code, out, error } = await run("apply -f p.yaml", { control, files });
    expect(code).toBe(0);
    expect(out).toStartWith("AuthorizationPolicy blue/bluemark-policy changed\n");
    expect(out).toContain(
      "-     - source: {namespaces: [bluemark]}\n+     - source: {namespaces: [frontend]}\n",
    );
    expect(error).toBe("done: 1 document changed, version 2\n");
    expect(control.versions).toHaveLength(3);
    expect((await run("apply -f p.yaml", { control, files })).error).toBe("nothing to change\n");
  });

  test("--dry-run changes nothing; a person is asked, and only a yes is one", async () => {
    const control = world();
    expect((await run("apply -f p.yaml --dry-run", { control, files })).error).toContain("would change");
    for (const answers of [["n"], [""], [], ["yess"]]) {
      const { code, asked, error } = await run("apply -f p.yaml", {
        control,
        files,
        isTerminal: true,
        answers,
      });
      expect([code, asked]).toEqual([1, ["change 1 document? [y/N] "]]);
      expect(error).toEndWith("nothing was changed\n");
    }
    expect(control.versions).toHaveLength(2);
    expect((await run("apply -f p.yaml", { control, files, isTerminal: true, answers: ["y"] })).code).toBe(0);
    expect(
      (
        await run("apply -f p.yaml --yes", {
          control,
          files: { "p.yaml": policy("blue", "x") },
          isTerminal: true,
        })
      ).asked,
    ).toEqual([]);
    expect(control.versions).toHaveLength(4);
  });

  test("errors point into the file and show the line", async () => {
    const bad = { "p.yaml": policy("blue", "x").replace("namespaces:", "namespacs:") };
    const { code, out, error } = await run("apply -f p.yaml", { control: world(), files: bad });
    expect([code, out]).toEqual([1, ""]);
    expect(error).toContain("p.yaml:7:16: error: AuthorizationPolicy blue/x: ");
    expect(error).toContain("     7 |     - source: {namespacs: [x]}\n       |                ^^^^^^^^^\n");
    expect(error).toEndWith("fairlead: 1 error; nothing was changed\n");
  });

  test("what was looked at is what is done: a change in between is a conflict", async () => {
    const control = world();
    const fetch = control.app.fetch.bind(control.app);
    let asked = 0;
    Object.assign(control.app, {
      fetch: async (...given: Parameters<typeof fetch>) => {
        // Between the look and the deed.
        if (asked++ === 1) control.put([], "somebody");
        return fetch(...given);
      },
    });
    const { code, error } = await run("apply -f p.yaml", { control, files });
    expect([code, error]).toEqual([
      1,
      "fairlead: the documents are now at version 2; look at the difference again\n",
    ]);
  });

  test("what is not theirs is refused, and JSON is for programs", async () => {
    const control = world();
    const refused = await run("apply -f p.yaml", { control, files, who: "red" });
    expect([refused.code, refused.out]).toEqual([1, ""]);
    expect(refused.error).toContain("namespace blue");
    const { out } = await run("apply -f p.yaml -o json", { control, files });
    expect(JSON.parse(out)).toMatchObject({ applied: true, version: 2 });
  });

  test("a lock-out is told with what --force would do", async () => {
    const control = world();
    control.result = {
      outcome: "refused",
      because: "lock_out",
      version: 1,
      message: "",
      errors: [],
      lockOuts: [{ reason: "AuthorizationPolicy blue/x denies nodes", resource: null, kind: "unreachable" }],
    };
    const { error } = await run("apply -f p.yaml", { control, files });
    expect(error).toContain(
      "  AuthorizationPolicy blue/x denies nodes\n  --force makes the change nevertheless\n",
    );
  });
});

describe("versions", () => {
  test("history, diff, delete and rollback", async () => {
    const control = world();
    await run("apply -f p.yaml", { control, files: { "p.yaml": policy("blue", "second") } });
    const deleted = await run("delete AuthorizationPolicy blue/second", { control });
    expect([deleted.code, deleted.out.split("\n")[0]]).toEqual([
      0,
      "AuthorizationPolicy blue/second removed",
    ]);
    const history = await run("history", { control });
    expect(history.out.split("\n")[0]).toBe(
      "VERSION  WHEN                  WHO                                             WHAT    CHANGES",
    );
    expect(history.out).toContain("-AuthorizationPolicy blue/second");
    const between = await run("diff 2 3", { control });
    expect([between.out.split("\n")[0], between.error]).toEqual([
      "AuthorizationPolicy blue/second removed",
      "version 2 to 3: 1 document differ\n",
    ]);
    const back = await run("rollback 2", { control });
    expect(back.error).toBe("done: 1 document changed, version 4\n");
    expect(
      (await run("diff -f p.yaml", { control, files: { "p.yaml": policy("blue", "second") } })).error,
    ).toBe("nothing to change\n");
    expect((await run("rollback x", { control })).code).toBe(2);
    expect((await run("diff 1 2 3", { control })).code).toBe(2);
    expect((await run("rollback 99", { control })).code).toBe(1);
    expect((await run("delete AuthorizationPolicy blue/none", { control })).error).toBe(
      "fairlead: there is no AuthorizationPolicy blue/none\n",
    );
  });
});

describe("fairlead join-token", () => {
  test("prints the line alone, and the rest for people aside", async () => {
    const control = world();
    const { code, out, error } = await run("join-token create --workload blue/cart --ttl 10m", { control });
    expect([code, out]).toEqual([0, "fairlead node --join-token fjt_t2_SECRET\n"]);
    expect(error).toContain("1970-01-01T00:10:00Z");
    const list = await run("join-token list", { control });
    expect(list.out).toMatch(/^t2 +workload blue\/cart +open +1970-01-01T00:10:00Z /m);
    expect(list.out + list.error).not.toContain("SECRET");
    expect((await run("join-token revoke t2", { control })).code).toBe(0);
    expect((await run("join-token list", { control })).out).toContain("revoked");
  });

  test.each(["", "--node a --workload b/c", "--node a --ttl 1s", "--node a --ttl soon"])(
    "a wrong call: %p",
    async (words) => {
      const { code, connected } = await run(`join-token create ${words}`.trim());
      expect([code, connected]).toEqual([2, []]);
    },
  );
});

describe("showing", () => {
  test("nodes, certificates, administrators, authorities, revocations", async () => {
    const control = world();
    const nodes = await run("nodes", { control });
    expect(nodes.out.split("\n")[1]).toMatch(
      /^bluemark-node {2}workload blue\/bluemark-workload {2}connected {2}10\.1\.1\.1 {3,}1 {2,}- {2,}1 {2,}1970/,
    );
    for (const [words, expected] of [
      ["get certificates --control https://c", "spiffe://cluster.local/ns/blue/sa/bluemark"],
      ["get administrators", "namespace-admin"],
      ["get revocations", "bluemark-node"],
      ["ca show", "CN=root"],
      ["get documents --control https://c -n blue", "bluemark.yaml"],
      ["get AuthorizationPolicy --control https://c", "bluemark-policy"],
    ] as const) {
      const { code, out } = await run(words, { control });
      expect([words, code, out.includes(expected)]).toEqual([words, 0, true]);
    }
    const yaml = await run("get AuthorizationPolicy --control https://c -o yaml", { control });
    expect(yaml.out).toBe(`---\n${policy("blue", "bluemark-policy", "bluemark")}`);
    expect((await run("get pods --control https://c", { control })).code).toBe(2);
    expect((await run("get nodes -o yaml", { control })).code).toBe(2);
    expect((await run("get workloads -o yaml", { control })).code).toBe(2);
    expect((await run("ca export-root", { control })).out).toBe("-----BEGIN CERTIFICATE-----\n");
  });

  test("a name that both have goes to the control plane when there is talk of one, and to a node when that is named", async () => {
    const environment = { FAIRLEAD_CONTROL: "https://c" };
    const control = world();
    expect((await run("get documents", { control, environment })).out).toContain("bluemark.yaml");
    expect((await run("get Namespace", { control })).out).toContain("blue");
    for (const words of ["get documents", "get workloads"])
      expect([words, (await run(words, { control })).error]).toEqual([
        words,
        "fairlead: no node here (connect_refused)\n",
      ]);
    expect((await run("get workloads", { control, environment })).error).toContain("no node here");
    expect((await run("get documents --admin 127.0.0.1:1", { control, environment })).error).toContain(
      "no node here",
    );
  });

  test("status says who one is", async () => {
    const { out } = await run("status --control https://c", { control: world(), who: "blue" });
    expect(out).toContain(`you          ${uriOf("blue")}\n`);
    expect(out).toContain("namespace-admin of blue");
    expect(out).not.toContain("nodes");
  });

  test("status asks the node where no control plane is named and none is here, or where a node is named", async () => {
    const control = world();
    const files = { "/h/.local/state/fairlead/admin.pem": "" };
    for (const [words, known] of [
      ["status", {}],
      ["status --admin 127.0.0.1:1", { files, environment: { FAIRLEAD_CONTROL: "https://c" } }],
    ] as const) {
      const { error, connected } = await run(words, { control, ...known });
      expect([error, connected]).toEqual(["fairlead: no node here (connect_refused)\n", []]);
    }
    const byIdentity = await run("status --identity me.pem", { control });
    expect(byIdentity.connected.map(({ identityPath }) => identityPath)).toEqual(["me.pem"]);
    // A file that is named and is not there is no reason to ask somebody else.
    const byVariable = await run("status", { control, environment: { FAIRLEAD_IDENTITY: "you.pem" } });
    expect(byVariable.connected.map(({ identityPath }) => identityPath)).toEqual(["you.pem"]);
    expect((await run("status --control-root r.pem", { control })).connected).toHaveLength(1);
  });

  test("the audit log, oldest first, and what comes after it", async () => {
    const control = world();
    const { out } = await run("audit", { control });
    expect(out.split("\n")).toHaveLength(3);
    const entry = control.audit[0];
    if (entry === undefined) throw new Error("none");
    const append = (detail: string) => () => control.append({ ...entry, detail });
    const followed = await run("audit --follow", {
      control,
      follow: [append("one"), () => {}, append("two")],
    });
    expect(followed.out.split("\n").map((line) => line.split(" ").at(-1))).toEqual([
      "bluemark",
      "one",
      "two",
      "",
    ]);
    const json = await run("audit --follow -o json", { control, follow: [append("three")] });
    expect(
      json.out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).id),
    ).toEqual([1, 2, 3, 4]);
  });

  test("of one namespace, one actor, one action, and no more rows than were asked for", async () => {
    const control = world();
    const [entry] = control.audit;
    if (entry === undefined) throw new Error("none");
    const ada = { ...entry, actor: "ada", action: "tokens.create", namespace: "red" };
    for (const detail of ["first", "second"]) control.append({ ...ada, detail });
    control.append({ ...ada, actor: "bob", detail: "bob's" });
    control.append({ ...ada, action: "nodes.remove", detail: "removed" });
    control.append({ ...ada, namespace: "blue", detail: "blue's" });
    const details = async (flags: string): Promise<readonly string[]> => {
      const { out } = await run(`audit ${flags} -o json`, { control });
      return JSON.parse(out).map((row: { readonly detail: string }) => row.detail);
    };
    const one = "--namespace red --actor ada --action tokens.create";
    expect(await details(one)).toEqual(["first", "second"]);
    expect(await details("--actor bob")).toEqual(["bob's"]);
    expect(await details("--action nodes.remove")).toEqual(["removed"]);
    expect((await details("--namespace blue")).at(-1)).toBe("blue's");
    // The newest.
    expect(await details(`${one} --limit 1`)).toEqual(["second"]);
    expect((await details("--limit 2")).length).toBe(2);
  });

  test("what somebody named does not move the cursor", async () => {
    const control = world();
    const [first] = control.audit;
    if (first !== undefined) control.audit[0] = { ...first, detail: "a\u001b[2Jb" };
    expect((await run("audit", { control })).out).toContain("a?[2Jb");
  });
});

describe("revoke and rotate", () => {
  test("whom, and back again", async () => {
    const control = world();
    const id = "spiffe://cluster.local/ns/blue/sa/x";
    const { code, error } = await run(["revoke", id, "--reason", "laptop lost"], { control });
    expect([code, error]).toEqual([0, `identity ${id} is revoked, with 1 valid certificate\n`]);
    expect(control.revocations.at(-1)).toMatchObject({ kind: "identity", value: id, reason: "laptop lost" });
    const lifted = await run(["revoke", id, "--lift"], { control });
    expect([lifted.code, lifted.error]).toEqual([
      0,
      `identity ${id} is no longer revoked. It gets new certificates again; those that were revoked stay revoked\n`,
    ]);
    // A host that was revoked has nothing left by which it could ask for one.
    await run("revoke --node blue-secret-node", { control });
    const host = await run("revoke --node blue-secret-node --lift", { control });
    expect(host.error).toContain(
      "It has to join again, with a new token: `fairlead join-token create … --replace`",
    );
    expect((await run(["revoke", id, "--lift"], { control })).code).toBe(1);
    expect((await run("revoke", { control })).code).toBe(2);
    expect((await run(["revoke", id, "--node", "n"], { control })).code).toBe(2);
    expect((await run(["revoke", uriOf("root")], { control })).error).toContain("this is your own identity");
  });

  test("all pages of revocations are shown", async () => {
    const control = world();
    const value = (index: number): string => `spiffe://cluster.local/ns/blue/sa/w${index}`;
    for (let index = 0; index < 2_500; index++)
      control.revocations.push({
        kind: "identity",
        value: value(index),
        reason: "",
        byWhom: "root",
        byNamespace: "",
        atMs: 5,
      });
    const shown = JSON.parse((await run("get revocations --control https://c -o json", { control })).out);
    expect(shown.length).toBe(control.revocations.length);
  });

  test("a rotation says its step and who it waits for; it is not finished early", async () => {
    const control = world();
    const start = await run("ca rotate start", { control });
    expect(start.out).toContain("preparing: ");
    expect(start.out).toContain("for 1 to get the new root: red-secret-node");
    const finish = await run("ca rotate finish", { control });
    expect([finish.code, finish.error]).toEqual([
      1,
      "  waiting for red-secret-node\nfairlead: still without the new root: 1\n",
    ]);
    expect((await run("ca rotate abort", { control })).out).toContain("no rotation is under way");
    expect((await run("ca rotate stop", { control })).code).toBe(2);
  });
});

describe("fairlead audit verify and prune", () => {
  test("an intact log, one that a head from elsewhere does not fit, and a head that is none", async () => {
    const control = new ControlWorld();
    const good = await run("audit verify", { control });
    expect([good.code, good.out]).toEqual([0, expect.stringContaining("the audit log is intact")]);
    const cut = await run(`audit verify --head 99:${"a".repeat(64)}`, { control });
    expect([cut.code, cut.error]).toEqual([1, expect.stringContaining("rows up to 99 are cut off")]);
    expect((await run("audit verify --head 99", { control })).code).toBe(2);
    expect((await run("audit verify", { control, who: "blue" })).code).toBe(1);
  });

  test("its options are its own, though `audit` has some of the same names", async () => {
    const control = new ControlWorld();
    const { code, out, connected } = await run(
      "audit verify --control https://c.example:1234 --identity i -o json",
      { control, files: { t: "x" } },
    );
    expect([code, connected[0]?.server]).toEqual([0, { host: "c.example", port: 1234 }]);
    expect(JSON.parse(out)).toMatchObject({ intact: true });
    const parent = await run("audit --control https://c.example:1234 --identity i -o json", {
      control,
      files: { t: "x" },
    });
    expect([parent.code, parent.connected[0]?.server.port]).toEqual([0, 1234]);
  });

  test("read here, row by row, it is compared with what hosts were sent, and no answer of the control plane is believed", async () => {
    const control = new ControlWorld();
    for (let n = 1; n <= 5; n++) await run("audit verify --output json", { control });
    const entry = {
      atMs: 1,
      actor: "a",
      action: "x",
      target: "t",
      outcome: "ok",
      before: null,
      after: null,
    } as const;
    for (let n = 1; n <= 5; n++) control.append({ ...entry, detail: `did ${n}` });
    const honest = await run("audit verify --independent", { control });
    expect([honest.code, honest.out]).toEqual([0, expect.stringContaining("5 rows, 0 heads")]);
    const [, id = "", hash = ""] = /the last row (\d+):(\w+)/.exec(honest.out) ?? [];
    const head = { id: Number(id), hash };
    const files = {
      "node.json": JSON.stringify({
        heads: [head],
        conflicts: [{ before: head, after: { ...head, hash: "00" } }],
      }),
      "control.json": JSON.stringify([head]),
      "none.json": "{}",
      "bad.json": '[{"id":"1"}]',
    };
    const verify = (more: string) => run(`audit verify ${more}`, { control, files });
    for (const name of ["node.json", "control.json"])
      expect((await verify(`--independent --heads ${name}`)).code).toBe(0);
    expect((await verify("--heads bad.json")).code).toBe(2);
    // Written again: the chain holds, and is not the one that was.
    const row = control.audit.find((one) => one.detail === "did 3");
    if (row === undefined) throw new Error("a row");
    control.audit[control.audit.indexOf(row)] = { ...row, detail: "did nothing" };
    expect((await verify("--independent")).code).toBe(0);
    const found = await verify("--independent --heads node.json");
    expect([found.code, found.error]).toEqual([
      1,
      expect.stringContaining("row 5 is not the one that the signed head names"),
    ]);
    control.audit.splice(
      control.audit.findIndex((one) => one.id === 5),
      1,
    );
    expect((await verify("--independent --heads control.json")).error).toContain("rows 5 to 5 are cut off");
    expect((await run("audit verify --independent", { control, who: "blue" })).code).toBe(1);
  });

  test("room is made by who may have the whole state, and it is written down", async () => {
    const control = new ControlWorld();
    const { code, error } = await run("prune --audit-rows 100 --versions 5", { control });
    expect([code, error]).toEqual([0, expect.stringContaining("at most 100 rows")]);
    expect(control.audit.map(({ action }) => action)).toEqual(["state.prune"]);
    expect((await run("prune --audit-rows 1 --versions 1", { control, who: "blue" })).code).toBe(1);
  });
});

describe("backup and restore", () => {
  test("a file for its owner, never over another", async () => {
    const control = world();
    const { code, written } = await run("backup b.db", { control });
    expect([code, new TextDecoder().decode(written.get("b.db"))]).toEqual([0, "SQLite of red-secret"]);
    expect((await run("backup b.db", { control, files: { "b.db": "" } })).code).toBe(2);
    expect((await run("backup b.db", { control, who: "blue" })).written.size).toBe(0);
  });

  test("restore is offline and overwrites only when told to", async () => {
    expect((await run("restore b.db --state-directory /s")).code).toBe(1);
    const { code, error, connected } = await run("restore b.db --state-directory /s --overwrite");
    expect([code, connected]).toEqual([0, []]);
    expect(error).toContain("documents at version 7, last audit entry 1970-01-01T00:00:00Z");
    expect(error).toContain(
      "2 revocations of the replaced state were kept\n1 unused join tokens are no longer valid",
    );
    const lost = await run("restore lost.db --state-directory /s --overwrite");
    expect(lost.error).toContain("revoke it again");
  });
});

test("every command has its help, with examples where it changes anything", async () => {
  for (const command of [
    "control",
    "join-token create",
    "apply",
    "delete",
    "diff",
    "rollback",
    "history",
    "revoke",
    "ca rotate",
    "ca root-key",
    "audit",
    "backup",
    "restore",
  ]) {
    const { code, out } = await run(`${command} --help`);
    expect([command, code, out.includes("Examples:")]).toEqual([command, 0, true]);
  }
});
