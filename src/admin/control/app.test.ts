import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { cpuTimer } from "../../base/testing/cpu_time.ts";
import { ControlWorld, people, policy, uriOf } from "./testing/control_world.ts";

function world(): ControlWorld {
  const made = new ControlWorld();
  made.addTenant("blue", "bluemark");
  made.addTenant("red", "red-secret");
  return made;
}

const asDocument = (namespace: string, name: string, marker?: string) => ({
  documents: [{ path: "p.yaml", text: policy(namespace, name, marker) }],
});

/** Every route, with what `blue` would put into it; `red` stands for the other tenant's. */
const reads = [
  "/v1/documents",
  "/v1/documents?output=yaml",
  "/v1/documents?namespace=red",
  "/v1/documents?kind=AuthorizationPolicy",
  "/v1/documents?kind=Administrator",
  "/v1/documents/AuthorizationPolicy/red/red-secret-policy",
  "/v1/documents/Namespace/red",
  "/v1/history",
  "/v1/diff?from=0",
  "/v1/diff?from=1&to=2",
  "/v1/join-tokens",
  "/v1/nodes",
  "/v1/nodes/red-secret-node",
  "/v1/nodes/bluemark-node",
  "/v1/certificates",
  "/v1/certificates?limit=1",
  "/v1/certificates?identity=spiffe://cluster.local/ns/red/sa/red-secret",
  "/v1/certificates/7265642d736563726574",
  "/v1/revocations",
  "/v1/ca",
  "/v1/ca/roots",
  "/v1/ca/rotation",
  "/v1/ca/root-key",
  "/v1/audit",
  "/v1/audit?namespace=red",
  "/v1/audit?after=0",
  "/v1/audit?actor=red-secret-actor",
  "/v1/status",
  "/v1/explain?from=red/red-secret&to=red/x",
  "/v1/administrators",
  "/v1/backup",
];

/** What of these paths holds the other tenant's name was said by the caller. */
function told(text: string, said: string): string {
  return text
    .replaceAll(decodeURIComponent(said), "")
    .replaceAll("node red-secret-node", "")
    .replaceAll("red/red-secret-policy", "");
}

describe("a tenant never sees a byte of another's", () => {
  for (const who of ["blue", "bluewatcher", "blueauditor", "stranger"])
    test(`${who}, whatever is read`, async () => {
      const control = world();
      for (const path of reads) {
        const answer = await control.ask(who, "GET", path);
        expect([path, told(answer.text, path).includes("red-secret")]).toEqual([path, false]);
        expect(answer.text).not.toContain('7265642d736563726574",');
        expect(JSON.stringify([...answer.headers])).not.toContain("red-secret");
      }
    });

  test("root sees all of it: the markers are really there", async () => {
    const control = world();
    let seen = 0;
    for (const path of reads)
      if (told((await control.ask("root", "GET", path)).text, path).includes("red-secret")) seen++;
    expect(seen).toBeGreaterThan(15);
  });

  test("no caller can tell another's thing from one that does not exist", async () => {
    const control = world();
    for (const [real, none] of [
      [
        "/v1/documents/AuthorizationPolicy/red/red-secret-policy",
        "/v1/documents/AuthorizationPolicy/red/none",
      ],
      ["/v1/nodes/red-secret-node", "/v1/nodes/none"],
      ["/v1/certificates/7265642d736563726574", "/v1/certificates/aa"],
      ["/v1/documents/Namespace/red", "/v1/documents/Namespace/none"],
    ] as const) {
      const one = await control.ask("blue", "GET", real);
      const other = await control.ask("blue", "GET", none);
      expect([real, one.status, other.status]).toEqual([real, 404, 404]);
      const last = (path: string) => path.split("/").at(-1) ?? "";
      expect(one.text.replaceAll(last(real), "*")).toBe(other.text.replaceAll(last(none), "*"));
      expect([...one.headers]).toEqual([...other.headers]);
    }
  });

  test("nor changes it, however it is asked; and each refusal is written down", async () => {
    const control = world();
    const before = JSON.stringify([control.versions, control.tokens, control.revocations, control.applied]);
    const attempts: readonly (readonly [string, string, unknown?])[] = [
      ["POST", "/v1/apply", asDocument("red", "new")],
      ["POST", "/v1/apply", asDocument("red", "red-secret-policy", "red-secret")],
      ["POST", "/v1/apply", { ...asDocument("red", "new"), dryRun: true }],
      ["POST", "/v1/apply", asDocument("istio-system", "all")],
      ["POST", "/v1/apply", asDocument("fairlead-nodes", "all")],
      [
        "POST",
        "/v1/apply",
        { documents: [{ text: "apiVersion: v1\nkind: Namespace\nmetadata: {name: red}\n" }] },
      ],
      [
        "POST",
        "/v1/apply",
        {
          documents: [
            {
              text: `apiVersion: v1\nkind: List\nitems:\n- ${policy("red", "in-a-list").trim().replaceAll("\n", "\n  ")}\n`,
            },
          ],
        },
      ],
      ["POST", "/v1/apply", { documents: [], prune: ["red"] }],
      ["POST", "/v1/apply", { documents: [], prune: true }],
      ["POST", "/v1/apply", { ...asDocument("blue", "x"), force: true }],
      ["POST", "/v1/delete", { keys: ["AuthorizationPolicy red/red-secret-policy"] }],
      ["DELETE", "/v1/documents/AuthorizationPolicy/red/red-secret-policy"],
      ["DELETE", "/v1/documents/Namespace/red"],
      ["DELETE", "/v1/documents/Administrator/root"],
      ["POST", "/v1/rollback", { version: 0 }],
      ["POST", "/v1/rollback", { version: 0, namespaces: ["red"] }],
      ["POST", "/v1/rollback", { version: 0, namespaces: ["blue", "red"] }],
      ["POST", "/v1/join-tokens", { binding: { kind: "workload", workload: "red/x" } }],
      ["POST", "/v1/join-tokens", { binding: { kind: "group", group: "red/x" } }],
      ["POST", "/v1/join-tokens", { binding: { kind: "node", node: "edge" } }],
      ["DELETE", "/v1/join-tokens/red-secret-token"],
      ["POST", "/v1/revocations", { kind: "identity", value: "spiffe://cluster.local/ns/red/sa/x" }],
      ["POST", "/v1/revocations", { kind: "identity", value: "spiffe://other/ns/istio-system/sa/x" }],
      ["POST", "/v1/revocations", { kind: "serial", value: "7265642d736563726574" }],
      ["POST", "/v1/revocations", { kind: "serial", value: "aa" }],
      ["POST", "/v1/revocations", { kind: "node", value: "red-secret-node" }],
      [
        "DELETE",
        `/v1/revocations/identity/${encodeURIComponent("spiffe://cluster.local/ns/red/sa/red-secret")}`,
      ],
      ["POST", "/v1/ca/rotation", { kind: "root" }],
      ["POST", "/v1/ca/rotation/finish"],
      ["DELETE", "/v1/ca/rotation"],
      ["POST", "/v1/ca/root-key/export"],
      ["POST", "/v1/ca/root-key/import"],
    ];
    for (const [method, path, body] of attempts) {
      const rows = control.audit.length;
      const answer = await control.ask("blue", method, path, body);
      expect([method, path, JSON.stringify(body), [403, 404].includes(answer.status)]).toEqual([
        method,
        path,
        JSON.stringify(body),
        true,
      ]);
      expect(answer.headers.get("content-type")).toBe("application/problem+json");
      const row = control.audit.at(-1);
      expect([path, control.audit.length, row?.outcome, row?.actor]).toEqual([
        path,
        rows + 1,
        "refused",
        uriOf("blue"),
      ]);
      // What was tried is for the mesh's auditors: neither tenant reads of it.
      expect(row?.namespace).toBeNull();
    }
    expect(JSON.stringify([control.versions, control.tokens, control.revocations, control.applied])).toBe(
      before,
    );
  });

  test("ten thousand errors beside as many documents of others are told in linear time", async () => {
    const control = world();
    const others = Array.from({ length: 5_000 }, (_, index) => ({
      key: `ServiceEntry red/s${index}`,
      kind: "ServiceEntry",
      namespace: "red",
      name: `s${index}`,
      text: "x",
      source: `red-secret-${index}.yaml`,
      line: 1,
    }));
    control.put(others, "red");
    const errors = Array.from({ length: 10_000 }, (_, index) => ({
      location: { file: "p.yaml", line: index, column: 2 },
      resource: null,
      message: `it is taken at red-secret-${index % 6_000}.yaml:1:${index}`,
    }));
    control.result = {
      outcome: "refused",
      because: "invalid",
      version: 2,
      message: "",
      lockOuts: [],
      errors,
    };
    const cpuMs = cpuTimer();
    const answer = await control.ask("blue", "POST", "/v1/apply", asDocument("blue", "a"));
    // Errors times documents took many times as long.
    expect(cpuMs()).toBeLessThan(3_000);
    expect(answer.text).not.toMatch(/red-secret-[0-4][0-9]{3}\.yaml/);
    expect(answer.text).toContain("red-secret-5999.yaml");
  });

  test("words of a conversion that name another's documents stay here", async () => {
    const control = world();
    control.result = {
      outcome: "refused",
      because: "invalid",
      version: 2,
      message: "",
      lockOuts: [],
      errors: [
        {
          location: { file: "p.yaml", line: 3, column: 2 },
          resource: "ServiceEntry blue/a",
          message: "the host x is claimed by ServiceEntry red/red-secret-db",
        },
        {
          location: { file: "red-secret.yaml", line: 1, column: 1 },
          resource: "ServiceEntry red/red-secret-db",
          message: "is in the way",
        },
        {
          location: { file: "p.yaml", line: 5, column: 2 },
          resource: "ServiceEntry blue/b",
          message: "spec.hosts is missing",
        },
      ],
    };
    const mine = await control.ask("blue", "POST", "/v1/apply", asDocument("blue", "a"));
    expect([mine.status, mine.text.includes("red-secret")]).toEqual([422, false]);
    expect(mine.json().errors).toHaveLength(2);
    expect(mine.text).toContain("spec.hosts is missing");
    const all = await control.ask("root", "POST", "/v1/apply", asDocument("blue", "a"));
    expect(all.json().errors).toHaveLength(3);
    control.result = {
      outcome: "refused",
      because: "lock_out",
      version: 2,
      message: "",
      errors: [],
      lockOuts: [
        { reason: "AuthorizationPolicy red/red-secret denies it", resource: null, kind: "unreachable" },
      ],
    };
    const lockOut = await control.ask("blue", "POST", "/v1/apply", asDocument("blue", "a"));
    expect([lockOut.status, lockOut.text.includes("red-secret"), lockOut.json().canForce]).toEqual([
      409,
      false,
      false,
    ]);
    expect((await control.ask("root", "POST", "/v1/apply", asDocument("blue", "a"))).json().canForce).toBe(
      true,
    );
  });
});

describe("who comes in", () => {
  test("no caller without credentials, without a role, or from a page", async () => {
    const control = world();
    for (const path of [...reads, "/v1/none", "/"]) {
      const answer = await control.ask(null, "GET", path);
      expect([path, answer.status, answer.headers.get("www-authenticate")]).toEqual([path, 401, "Bearer"]);
    }
    expect((await control.ask("stranger", "GET", "/v1/status")).status).toBe(403);
    expect((await control.ask("flood", "GET", "/v1/status")).status).toBe(429);
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }])
      expect(
        (await control.ask("root", "GET", "/v1/status", undefined, headers as Record<string, string>)).status,
      ).toBe(403);
    expect((await control.ask("root", "GET", "/v1/none")).status).toBe(404);
  });

  test("everybody is told who they are", async () => {
    const control = world();
    for (const who of Object.keys(people)) {
      const { you } = (await control.ask(who, "GET", "/v1/status")).json() as {
        you: { name: string; roles: unknown[] };
      };
      expect([you.name, you.roles.length]).toEqual([uriOf(who), 1]);
    }
  });

  test("who may read and not write is refused every change", async () => {
    for (const who of ["watcher", "bluewatcher", "auditor", "blueauditor"]) {
      const control = world();
      for (const [method, path, body] of [
        ["POST", "/v1/apply", asDocument("blue", "x")],
        ["DELETE", "/v1/documents/AuthorizationPolicy/blue/bluemark-policy", undefined],
        ["POST", "/v1/rollback", { version: 0, namespaces: ["blue"] }],
        ["POST", "/v1/join-tokens", { binding: { kind: "workload", workload: "blue/x" } }],
        ["DELETE", "/v1/join-tokens/bluemark-token", undefined],
        ["POST", "/v1/revocations", { kind: "identity", value: "spiffe://cluster.local/ns/blue/sa/x" }],
        ["POST", "/v1/ca/rotation", { kind: "root" }],
        ["POST", "/v1/ca/root-key/export", undefined],
        ["GET", "/v1/backup", undefined],
      ] as const)
        expect([who, path, (await control.ask(who, method, path, body)).status]).toEqual([who, path, 403]);
      expect(control.versions).toHaveLength(3);
    }
  });
});

test("what takes its time is written down before it is done, and not done where that cannot be", async () => {
  const control = world();
  const body = { kind: "identity", value: "spiffe://cluster.local/ns/blue/sa/a", reason: "stolen" };
  const held = control.sources.audit.append;
  const seen: number[] = [];
  control.sources.audit.append = (entry) => {
    seen.push(control.revocations.length);
    held(entry);
  };
  const before = control.revocations.length;
  expect((await control.ask("root", "POST", "/v1/revocations", body)).status).toBeLessThan(300);
  expect(seen).toEqual([before, before + 1]);
  control.sources.audit.append = () => {
    throw new MeshError("disk_full", "local", "no room");
  };
  const other = { ...body, value: "spiffe://cluster.local/ns/blue/sa/b" };
  expect((await control.ask("root", "POST", "/v1/revocations", other)).status).toBe(507);
  expect(control.revocations.length).toBe(before + 1);
});

test("refusals of strangers are for the mesh's auditors alone", async () => {
  const control = world();
  expect((await control.ask("auditor", "GET", "/v1/audit/strangers")).json()).toEqual({ entries: [] });
  for (const who of ["blue", "blueauditor", "watcher"])
    expect((await control.ask(who, "GET", "/v1/audit/strangers")).status).toBe(403);
});

describe("the shared first administrator", () => {
  const path = "/v1/documents/Administrator/first";

  test("is retired by a named one alone; then it has no role, and its name is not given again", async () => {
    const control = world();
    control.giveFirst();
    expect((await control.ask("fairlead-admin", "GET", "/v1/status")).status).toBe(200);
    // By itself it would leave the mesh to whoever else there is, if there is anybody.
    expect((await control.ask("fairlead-admin", "DELETE", path)).status).toBe(409);
    expect((await control.ask("blue", "DELETE", path)).status).toBe(403);
    expect((await control.ask("root", "DELETE", `${path}?dryRun=true`)).json()).toMatchObject({
      applied: false,
    });
    expect(control.firstRetired).toBe(false);
    expect((await control.ask("root", "DELETE", path)).json()).toMatchObject({ applied: true });
    expect((await control.ask("fairlead-admin", "GET", "/v1/status")).status).toBe(403);
    expect((await control.ask("root", "DELETE", path)).status).toBe(404);
    const again = `apiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: first}\nspec:\n  role: viewer\n  subjects: [{identity: "spiffe://cluster.local/ns/a/sa/b"}]\n`;
    const body = { documents: [{ path: "a", text: again }] };
    expect((await control.ask("root", "POST", "/v1/apply", body)).status).toBe(422);
    expect(
      control.audit.filter(({ action }) => action === "administrators.delete").map(({ outcome }) => outcome),
    ).toEqual(["refused", "ok"]);
  });
});

describe("documents", () => {
  test("apply: shown first, then done, and written down with before and after", async () => {
    const control = world();
    const body = asDocument("blue", "bluemark-policy", "new");
    const plan = await control.ask("blue", "POST", "/v1/apply", { ...body, dryRun: true });
    expect(plan.json()).toMatchObject({
      version: 2,
      dryRun: true,
      applied: false,
      changes: [{ key: "AuthorizationPolicy blue/bluemark-policy", change: "changed" }],
    });
    expect(control.versions).toHaveLength(3);
    const done = await control.ask("blue", "POST", "/v1/apply", { ...body, expectedVersion: 2 });
    expect(done.json()).toMatchObject({ version: 3, applied: true });
    expect(control.audit.at(-1)).toMatchObject({
      actor: uriOf("blue"),
      target: "AuthorizationPolicy blue/bluemark-policy",
      outcome: "ok",
      before: policy("blue", "bluemark-policy", "bluemark"),
      after: policy("blue", "bluemark-policy", "new"),
    });
    expect((await control.ask("blue", "POST", "/v1/apply", { ...body, expectedVersion: 2 })).status).toBe(
      409,
    );
    const again = await control.ask("blue", "POST", "/v1/apply", body);
    expect(again.json()).toMatchObject({ applied: false, changes: [] });
  });

  test("errors have their place", async () => {
    const control = world();
    const answer = await control.ask("root", "POST", "/v1/apply", {
      documents: [{ path: "bad.yaml", text: policy("blue", "x").replace("namespaces:", "namespacs:") }],
    });
    expect([answer.status, answer.json().errors]).toMatchObject([
      422,
      [{ location: { file: "bad.yaml", line: 7 }, suggestion: "namespaces" }],
    ]);
  });

  test("shown as JSON and as YAML that can be applied again", async () => {
    const control = world();
    const one = await control.ask(
      "blue",
      "GET",
      "/v1/documents/AuthorizationPolicy/blue/bluemark-policy?output=yaml",
    );
    expect([one.headers.get("content-type"), one.text]).toEqual([
      "application/yaml",
      `---\n${policy("blue", "bluemark-policy", "bluemark")}`,
    ]);
    const all = (await control.ask("blue", "GET", "/v1/documents")).json();
    expect((all.documents as { key: string }[]).map(({ key }) => key).sort()).toEqual([
      "AuthorizationPolicy blue/bluemark-policy",
      "Namespace blue",
    ]);
    // Of one kind, of one namespace, and of both.
    const keys = async (query: string): Promise<readonly string[]> => {
      const { documents } = (await control.ask("root", "GET", `/v1/documents?${query}`)).json();
      return (documents as { key: string }[]).map(({ key }) => key).sort();
    };
    expect(await keys("kind=Namespace")).toEqual(["Namespace blue", "Namespace red"]);
    expect(await keys("kind=ServiceEntry")).toEqual([]);
    expect(await keys("kind=AuthorizationPolicy&namespace=blue")).toEqual([
      "AuthorizationPolicy blue/bluemark-policy",
    ]);
  });

  test("a tenant's history and its way back touch nothing else", async () => {
    const control = world();
    await control.ask("blue", "POST", "/v1/apply", asDocument("blue", "second"));
    await control.ask("red", "POST", "/v1/apply", asDocument("red", "other"));
    const history = (await control.ask("blue", "GET", "/v1/history")).json() as {
      versions: { version: number; detail: string }[];
    };
    expect(history.versions.map(({ version }) => version)).toEqual([3, 1]);
    const page = (await control.ask("blue", "GET", "/v1/history?limit=1")).json();
    expect([(page.versions as unknown[]).length, page.next]).toEqual([1, 3]);
    const back = await control.ask("blue", "POST", "/v1/rollback", { version: 2, namespaces: ["blue"] });
    expect(back.json()).toMatchObject({
      version: 5,
      changes: [{ key: "AuthorizationPolicy blue/second", change: "removed" }],
    });
    expect(control.current.map(({ key }) => key)).toContain("AuthorizationPolicy red/other");
    expect(
      (await control.ask("blue", "POST", "/v1/rollback", { version: 99, namespaces: ["blue"] })).status,
    ).toBe(404);
    expect((await control.ask("root", "POST", "/v1/rollback", { version: 1, namespaces: [] })).status).toBe(
      400,
    );
  });

  test("a body past its bound is refused before it is kept, and one byte less is read", async () => {
    const control = world();
    const { maxBodyBytes } = controlAdminLimits;
    const fill = (length: number) => `{"kind":"${"x".repeat(length - 11)}"}`;
    expect((await control.ask("root", "POST", "/v1/ca/rotation", fill(maxBodyBytes))).status).toBe(400);
    expect((await control.ask("root", "POST", "/v1/ca/rotation", fill(maxBodyBytes + 1))).status).toBe(413);
    let pulled = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        pulled += 1 << 16;
        controller.enqueue(new Uint8Array(1 << 16));
      },
    });
    const remote = { chain: [], remote: { ip: null, port: 1 } } as never;
    const init = {
      method: "POST",
      headers: { authorization: "root", "content-type": "application/json" },
      body: endless,
      duplex: "half",
    };
    const answer = await control.app.fetch(new Request("https://c/v1/apply", init as RequestInit), remote);
    expect(answer.status).toBe(413);
    expect(pulled).toBeLessThan(controlAdminLimits.maxApplyBytes + (1 << 18));
  });

  test.each([
    ["{", 400],
    ["[]", 400],
    ['{"documents": 1}', 400],
    ['{"documents": [{"path": "x"}]}', 400],
    ['{"documents": [{"text": "", "x": 1}]}', 400],
    ['{"documents": [], "dryRun": "yes"}', 400],
    ['{"documents": [], "expectedVersion": -1}', 400],
    ['{"documents": [], "prune": "all"}', 400],
    ['{"__proto__": []}', 400],
  ])("a wrong body %s is %d", async (body, status) => {
    expect((await world().ask("root", "POST", "/v1/apply", body)).status).toBe(status);
  });

  test("only JSON is read", async () => {
    expect(
      (await world().ask("root", "POST", "/v1/apply", "{}", { "content-type": "text/plain" })).status,
    ).toBe(415);
  });
});

describe("administrators", () => {
  const spec = (name: string, role: string, who: string) =>
    `apiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: ${name}}\nspec: {role: ${role}, subjects: [{identity: "${uriOf(who)}"}]}\n`;
  const apply = (control: ControlWorld, who: string, text: string, rest = {}) =>
    control.ask(who, "POST", "/v1/apply", { documents: [{ path: "a.yaml", text }], ...rest });

  test("are applied like documents, at once in force, and written down", async () => {
    const control = world();
    expect((await control.ask("carol", "GET", "/v1/status")).status).toBe(403);
    const plan = await apply(control, "root", spec("carol", "viewer", "carol"), { dryRun: true });
    expect([plan.status, control.applied]).toEqual([200, null]);
    const done = await apply(control, "root", spec("carol", "viewer", "carol"));
    expect(done.json()).toMatchObject({
      applied: true,
      changes: [{ key: "Administrator carol", change: "added" }],
    });
    expect(control.audit.at(-1)).toMatchObject({
      action: "administrators.apply",
      target: "Administrator carol",
      before: null,
      namespace: null,
    });
    expect((await control.ask("carol", "GET", "/v1/documents")).status).toBe(200);
    expect((await control.ask("root", "DELETE", "/v1/documents/Administrator/carol")).status).toBe(200);
    expect((await control.ask("carol", "GET", "/v1/status")).status).toBe(403);
  });

  test("only a mesh administrator makes one, and none takes it from themselves", async () => {
    const control = world();
    for (const who of ["blue", "watcher", "auditor"])
      expect((await apply(control, who, spec("me", "mesh-admin", who))).status).toBe(403);
    expect((await apply(control, "root", spec("carol", "mesh-admin", "carol"))).status).toBe(200);
    for (const [method, path, body] of [
      ["DELETE", "/v1/documents/Administrator/carol", undefined],
      ["POST", "/v1/apply", { documents: [{ text: spec("carol", "viewer", "carol") }] }],
    ] as const) {
      const answer = await control.ask("carol", method, path, body);
      expect([answer.status, control.audit.at(-1)?.outcome]).toEqual([409, "refused"]);
    }
    expect((await control.ask("root", "DELETE", "/v1/documents/Administrator/carol")).status).toBe(200);
  });

  test("given ones are not changed here, and mesh documents not together with them", async () => {
    const control = world();
    expect((await control.ask("root", "DELETE", "/v1/documents/Administrator/blue")).status).toBe(409);
    expect((await control.ask("root", "DELETE", "/v1/documents/Administrator/absent")).status).toBe(404);
    expect((await apply(control, "root", spec("blue", "mesh-admin", "blue"))).status).toBe(422);
    expect(
      (await apply(control, "root", `${spec("x", "viewer", "x")}---\n${policy("blue", "x")}`)).status,
    ).toBe(400);
    const wrong = await apply(control, "root", spec("x", "vieweer", "x"));
    expect([wrong.status, wrong.json().errors]).toMatchObject([
      422,
      [{ location: { file: "a.yaml", line: 4 }, suggestion: "viewer" }],
    ]);
  });
});

test("a problem's title is the phrase of its status (RFC 9457 §4.2.1)", async () => {
  const control = new ControlWorld();
  const of = async (...asked: Parameters<ControlWorld["ask"]>) => {
    const { status, json } = await control.ask(...asked);
    return `${status} ${json().title} ${json().type}`;
  };
  expect(await of(null, "GET", "/v1/status")).toBe("401 Unauthorized about:blank");
  expect(await of("root", "GET", "/v1/nothing")).toBe("404 Not Found about:blank");
  expect(await of("flood", "GET", "/v1/status")).toBe("429 Too Many Requests about:blank");
  expect(await of("blue", "DELETE", "/v1/ca/rotation")).toBe("403 Forbidden about:blank");
});

describe("what the mesh revoked", () => {
  const value = "spiffe://cluster.local/ns/blue/sa/x";
  const path = `/v1/revocations/identity/${encodeURIComponent(value)}`;

  test("a tenant does not lift; what a tenant revoked, who administers the mesh does", async () => {
    const control = new ControlWorld();
    await control.ask("root", "POST", "/v1/revocations", { kind: "identity", value });
    expect(control.revocations.at(-1)).toMatchObject({ value, byNamespace: "" });
    const refused = await control.ask("blue", "DELETE", path);
    expect([refused.status, refused.json().detail]).toEqual([
      403,
      `identity ${value} was revoked by an administrator of the mesh; whoever lifts that needs the same right`,
    ]);
    expect(control.audit.at(-1)).toMatchObject({ action: "revocations.delete", outcome: "refused" });
    expect((await control.ask("root", "DELETE", path)).status).toBe(204);
    await control.ask("blue", "POST", "/v1/revocations", { kind: "identity", value });
    expect(control.revocations.at(-1)).toMatchObject({ value, byNamespace: "blue" });
    expect((await control.ask("root", "DELETE", path)).status).toBe(204);
    await control.ask("blue", "POST", "/v1/revocations", { kind: "identity", value });
    expect((await control.ask("blue", "DELETE", path)).status).toBe(204);
  });

  test("an operator and a token are revoked by the mesh alone, and lifted again", async () => {
    const control = new ControlWorld();
    const operator = { kind: "operator", value: "https://login.example#ada" };
    expect((await control.ask("blue", "POST", "/v1/revocations", operator)).status).toBe(404);
    expect((await control.ask("root", "POST", "/v1/revocations", { ...operator, value: "ada" })).status).toBe(
      400,
    );
    expect((await control.ask("root", "POST", "/v1/revocations", operator)).status).toBe(201);
    expect(control.revocations.at(-1)).toMatchObject(operator);
    const token = { kind: "token", value: "https://login.example#jti-1" };
    expect((await control.ask("root", "POST", "/v1/revocations", token)).status).toBe(201);
    const lifting = `/v1/revocations/operator/${encodeURIComponent(operator.value)}`;
    expect((await control.ask("root", "DELETE", lifting)).status).toBe(204);
  });

  test("is listed in pages, a tenant's own in pages of their own", async () => {
    const control = new ControlWorld();
    for (let index = 0; index < 25; index++)
      for (const namespace of ["blue", "red"])
        control.revocations.push({
          kind: "identity",
          value: `spiffe://cluster.local/ns/${namespace}/sa/w${index}`,
          reason: "",
          byWhom: "root",
          byNamespace: "",
          atMs: 5,
        });
    const walk = async (who: string): Promise<readonly string[]> => {
      const seen: string[] = [];
      for (let query = "?limit=10", pages = 0; pages < 20; pages++) {
        const page = (await control.ask(who, "GET", `/v1/revocations${query}`)).json();
        const found = page.revocations as { value: string }[];
        expect(found.length).toBeLessThanOrEqual(10);
        seen.push(...found.map((one) => one.value));
        if (page.next === null) return seen;
        query = `?limit=10&after=${page.next}`;
      }
      throw new Error("there is no end");
    };
    const all = control.revocations.map((one) => one.value);
    expect(await walk("root")).toEqual(all);
    const blue = await walk("blue");
    expect(blue).toEqual(blue.filter((one) => !one.includes("red")));
    expect(blue.length).toBe(25);
    expect((await control.ask("root", "GET", "/v1/revocations?after=x")).status).toBe(400);
    expect((await control.ask("root", "GET", "/v1/revocations?limit=1001")).status).toBe(400);
  });
});

describe("hosts that leave", () => {
  test("are removed by who administers their namespace, and written down; others' are not there", async () => {
    const control = world();
    const before = control.nodes.length;
    const own = "/v1/nodes/bluemark-node";
    expect((await control.ask("red", "DELETE", own)).status).toBe(404);
    expect(control.nodes.length).toBe(before);
    control.revocations.length = 0;
    expect((await control.ask("blue", "DELETE", own)).status).toBe(204);
    expect(control.audit.at(-1)).toMatchObject({ action: "nodes.remove", outcome: "ok", namespace: "blue" });
    expect((await control.ask("blue", "DELETE", own)).status).toBe(404);
  });

  test("whose revocation is the mesh's are the mesh's to remove", async () => {
    const control = world();
    control.revocations.length = 0;
    const value = "bluemark-node";
    await control.ask("root", "POST", "/v1/revocations", { kind: "node", value });
    expect((await control.ask("blue", "DELETE", `/v1/nodes/${value}`)).status).toBe(403);
    expect((await control.ask("root", "DELETE", `/v1/nodes/${value}`)).status).toBe(204);
  });
});

describe("join tokens, revocations, the CA", () => {
  test("a token's secret is told once and written nowhere", async () => {
    const control = world();
    const made = await control.ask("blue", "POST", "/v1/join-tokens", {
      binding: { kind: "workload", workload: "blue/cart" },
      ttlMs: 5_000,
    });
    expect([made.status, made.json().line]).toEqual([201, "fairlead node --join-token fjt_t4_SECRET"]);
    expect(JSON.stringify(control.audit)).not.toContain("SECRET");
    expect(control.audit.at(-1)).toMatchObject({
      action: "tokens.create",
      target: "workload blue/cart",
      namespace: "blue",
    });
    expect((await control.ask("blue", "GET", "/v1/join-tokens")).text).not.toContain("SECRET");
  });

  test("a stored token's hash is never shown", async () => {
    const control = world();
    const [first] = control.tokens;
    if (first !== undefined) control.tokens[0] = { ...first, secretHash: "HASH" } as typeof first;
    expect((await control.ask("root", "GET", "/v1/join-tokens")).text).not.toContain("HASH");
  });

  test("a token is revoked once, and a used one not at all", async () => {
    const control = world();
    expect((await control.ask("blue", "DELETE", "/v1/join-tokens/bluemark-token")).status).toBe(204);
    expect((await control.ask("blue", "DELETE", "/v1/join-tokens/bluemark-used")).status).toBe(409);
    expect(control.audit.map(({ outcome }) => outcome).slice(-2)).toEqual(["ok", "refused"]);
    expect((await control.ask("root", "DELETE", "/v1/join-tokens/none")).status).toBe(404);
  });

  test("no caller revokes itself or the control plane", async () => {
    const control = world();
    for (const value of [uriOf("root"), uriOf("fairlead-control")]) {
      const answer = await control.ask("root", "POST", "/v1/revocations", { kind: "identity", value });
      expect([value, answer.status]).toEqual([value, 409]);
    }
    const one = control.certificates[0];
    if (one !== undefined)
      control.certificates.push({ ...one, serial: "cc", identity: uriOf("fairlead-control") });
    expect(
      (await control.ask("root", "POST", "/v1/revocations", { kind: "serial", value: "CC" })).status,
    ).toBe(409);
  });

  test("a revocation is made, lifted, and written down; a failed one too", async () => {
    const control = world();
    const value = "spiffe://cluster.local/ns/blue/sa/x";
    expect(
      (await control.ask("blue", "POST", "/v1/revocations", { kind: "identity", value, reason: "lost" }))
        .status,
    ).toBe(201);
    expect(control.audit.at(-1)).toMatchObject({
      action: "revocations.create",
      detail: "lost",
      namespace: "blue",
    });
    const path = `/v1/revocations/identity/${encodeURIComponent(value)}`;
    expect((await control.ask("blue", "DELETE", path)).status).toBe(204);
    expect((await control.ask("blue", "DELETE", path)).status).toBe(404);
    expect((await control.ask("blue", "DELETE", "/v1/revocations/serial/626c75656d61726b")).status).toBe(409);
    control.failure = new MeshError("authority_unavailable", "upstream", "the vault is away");
    const failed = await control.ask("blue", "POST", "/v1/revocations", { kind: "identity", value });
    expect([failed.status, control.audit.at(-1)?.outcome]).toEqual([503, "failed"]);
  });

  test("a rotation is started, not finished while a node lacks the root, and aborted", async () => {
    const control = world();
    expect((await control.ask("root", "POST", "/v1/ca/rotation", { kind: "root" })).status).toBe(201);
    const early = await control.ask("root", "POST", "/v1/ca/rotation/finish");
    expect([early.status, early.json().waitingFor]).toEqual([409, ["red-secret-node"]]);
    expect(control.audit.at(-1)).toMatchObject({ action: "authority.rotation.finish", outcome: "refused" });
    expect((await control.ask("root", "DELETE", "/v1/ca/rotation")).status).toBe(200);
    expect((await control.ask("root", "DELETE", "/v1/ca/rotation")).status).toBe(409);
    expect((await control.ask("root", "GET", "/v1/ca/rotation")).json()).toMatchObject({
      rotation: { phase: "idle" },
    });
  });

  test("the root's key goes out of the state and back, by who administers the mesh, each with its row", async () => {
    const control = world();
    const word = async (method: string, path: string): Promise<string> => {
      const { text } = await control.ask("root", method, `/v1/ca/root-key${path}`);
      return /"place":"(\w+)"/.exec(text)?.[1] ?? text;
    };
    expect([await word("GET", ""), await word("POST", "/export"), await word("GET", "")]).toEqual([
      "here",
      "file",
      "file",
    ]);
    expect(control.audit.at(-1)).toMatchObject({
      action: "authority.root-key.export",
      target: "/state/root-key.pem",
      before: "here",
      after: "file",
    });
    expect(await word("POST", "/import")).toBe("here");
    control.failure = new MeshError("authority_unavailable", "local", "the file is not there");
    expect((await control.ask("root", "POST", "/v1/ca/root-key/export")).status).toBe(503);
    expect(control.audit.at(-1)?.outcome).toBe("failed");
  });

  test("a full disk, a bug: told as what they are, without inner words", async () => {
    const control = world();
    control.failure = new MeshError("disk_full", "local", "the disk is full");
    expect((await control.ask("root", "POST", "/v1/apply", asDocument("blue", "x"))).status).toBe(507);
    control.failure = new Error("inner words");
    const bug = await control.ask("root", "POST", "/v1/apply", asDocument("blue", "x"));
    expect([bug.status, bug.text.includes("inner words")]).toEqual([500, false]);
  });
});

describe("pages", () => {
  test("certificates page by page are all there once, and a tenant's pages pass over the others'", async () => {
    const control = world();
    for (let index = 0; index < 50; index++)
      control.certificates.unshift({
        serial: index.toString(16).padStart(4, "0"),
        identity: `spiffe://cluster.local/ns/${index % 2 === 0 ? "blue" : "red"}/sa/x`,
        issuerKey: "k",
        notBeforeMs: 0,
        notAfterMs: 1,
        requestedBy: "n",
        issuedAtMs: 100 + index,
      });
    for (const [who, count] of [
      ["root", 52],
      ["blue", 26],
    ] as const) {
      const serials: string[] = [];
      let next: string | null = null;
      do {
        const path: string = `/v1/certificates?limit=7${next === null ? "" : `&after=${next}`}`;
        const page = (await control.ask(who, "GET", path)).json() as {
          certificates: { serial: string }[];
          next: string | null;
        };
        serials.push(...page.certificates.map(({ serial }) => serial));
        next = page.next;
      } while (next !== null);
      expect([who, serials.length, new Set(serials).size]).toEqual([who, count, count]);
    }
    expect((await control.ask("root", "GET", "/v1/certificates?after=x")).status).toBe(400);
    expect(
      (await control.ask("root", "GET", `/v1/certificates?limit=${controlAdminLimits.maxPage + 1}`)).status,
    ).toBe(400);
    expect((await control.ask("root", "GET", "/v1/certificates?limit=0")).status).toBe(400);
  });

  test("an audit log of several namespaces is one, in order", async () => {
    const control = world();
    const entries = (await control.ask("auditor", "GET", "/v1/audit?after=0")).json().entries as {
      id: number;
    }[];
    expect(entries.map(({ id }) => id)).toEqual([1, 2]);
    const mine = (await control.ask("blueauditor", "GET", "/v1/audit")).json().entries as {
      namespace: string;
    }[];
    expect(mine.map(({ namespace }) => namespace)).toEqual(["blue"]);
  });
});

test("pages of the audit log are whole and in order, also when they are read in pieces", async () => {
  const control = world();
  const rows = controlAdminLimits.auditRowsPerRead * 3 + 7;
  for (let row = 0; row < rows; row++)
    control.append({
      atMs: row,
      actor: "a",
      action: "x",
      target: `${row}`,
      namespace: row % 2 === 0 ? "red" : "blue",
      outcome: "ok",
      detail: "",
      before: null,
      after: null,
    });
  const idsOf = async (who: string, query: string): Promise<readonly number[]> =>
    ((await control.ask(who, "GET", `/v1/audit?${query}`)).json().entries as { id: number }[]).map(
      ({ id }) => id,
    );
  const all = control.audit.map(({ id }) => id);
  expect(await idsOf("auditor", "limit=1000&after=0")).toEqual(all);
  expect(await idsOf("auditor", "limit=1000")).toEqual([...all].reverse());
  expect(await idsOf("auditor", "limit=60&after=10")).toEqual(all.filter((id) => id > 10).slice(0, 60));
  expect(await idsOf("auditor", "limit=60&before=100")).toEqual(
    all
      .filter((id) => id < 100)
      .reverse()
      .slice(0, 60),
  );
  expect(await idsOf("blueauditor", "limit=1000&after=0")).toEqual(
    control.audit.filter(({ namespace }) => namespace === "blue").map(({ id }) => id),
  );
});

describe("explanations", () => {
  test("are for those who may read all documents: a part of them would give a wrong answer", async () => {
    const control = world();
    const ask = (who: string, query: string) => control.ask(who, "GET", `/v1/explain?${query}`);
    const found = await ask("root", "from=shop/a&to=shop/b&port=80");
    expect([found.status, found.json()]).toMatchObject([200, { verdict: "allowed", port: 80 }]);
    expect((await ask("blue", "from=blue/a&to=blue/b")).status).toBe(403);
    expect((await ask("root", "from=shop/nobody&to=shop/b")).status).toBe(422);
    expect((await ask("root", "from=shop/a")).status).toBe(400);
    expect((await ask("root", "from=shop/a&to=b&port=x")).status).toBe(400);
  });
});
