import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { type LogFields, type Logger, silentLogger } from "../../base/log.ts";
import type { Clock, FileEntry, Files } from "../../host/host.ts";
import { formatLocation } from "../../mesh/location.ts";
import { type MeshChange, MeshStore } from "../../mesh/store/store.ts";
import { MeshIngest } from "./ingest.ts";

/** Files in memory that tell of changes only when asked to, and a clock that stands still until it is moved. */
class World {
  readonly texts = new Map<string, string>();
  readonly broken = new Set<string>();
  readonly #watchers = new Map<string, () => void>();
  readonly #timers: { readonly at: number; readonly callback: () => void }[] = [];
  now = 0;

  readonly clock: Clock = {
    now: () => this.now,
    wallMs: () => this.now,
    setTimer: (delayMs, callback) => {
      const timer = { at: this.now + delayMs, callback };
      this.#timers.push(timer);
      return { cancel: () => void this.#timers.splice(this.#timers.indexOf(timer), 1) };
    },
    defer: (callback) => queueMicrotask(callback),
  };

  readonly files: Files = {
    readText: async (path) => {
      const text = this.texts.get(path);
      if (text === undefined || this.broken.has(path))
        throw new MeshError("io", "local", `cannot read ${path}`);
      return text;
    },
    list: async (path) => {
      if (this.broken.has(path)) throw new MeshError("io", "local", `cannot list ${path}`);
      const below = [...this.texts.keys()].filter((name) => name.startsWith(`${path}/`));
      if (below.length === 0) return null;
      const names = new Set(below.map((name) => name.slice(path.length + 1).split("/")[0] ?? ""));
      return [...names]
        .sort()
        .map(
          (name): FileEntry => ({ path: `${path}/${name}`, isDirectory: !this.texts.has(`${path}/${name}`) }),
        );
    },
    exists: async (path) =>
      this.texts.has(path) || [...this.texts.keys()].some((name) => name.startsWith(`${path}/`)),
    watch: (path, onChange) => {
      this.#watchers.set(path, onChange);
      return () => void this.#watchers.delete(path);
    },
    identity: () => Promise.reject(new Error("not used")),
    readBytes: () => Promise.reject(new Error("not used")),
    writeAtomic: () => Promise.reject(new Error("not used")),
    writeStream: () => Promise.reject(new Error("not used")),
    appendLines: () => Promise.reject(new Error("not used")),
    makeDirectory: () => Promise.reject(new Error("not used")),
    remove: () => Promise.reject(new Error("not used")),
  };

  get watchers(): number {
    return this.#watchers.size;
  }

  notify(): void {
    for (const onChange of this.#watchers.values()) onChange();
  }

  /** Lets everything that is ready happen, then moves time on by one settling. */
  async pass(settlings = 1): Promise<void> {
    for (let round = 0; round < settlings; round++) {
      await flush();
      this.now += meshLimits.fileSettleMs;
      for (const timer of this.#timers.filter(({ at }) => at <= this.now)) {
        this.#timers.splice(this.#timers.indexOf(timer), 1);
        timer.callback();
      }
      await flush();
    }
  }
}

async function flush(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await Promise.resolve();
}

const common = {
  meshPaths: ["conf"],
  trustDomain: "cluster.local",
  clusterId: "c",
  rootNamespace: "istio-system",
  network: "",
} as const;

interface Running {
  readonly world: World;
  readonly store: MeshStore;
  readonly ingest: MeshIngest;
  readonly changes: MeshChange[];
  readonly lines: string[];
  /** Names of workloads, sorted. */
  workloads(): string[];
  policies(): string[];
  write(path: string, text: string | null): Promise<void>;
  errors(): string[];
}

async function start(
  texts: Readonly<Record<string, string>>,
  paths: readonly string[] = ["conf"],
  refusedPolicies: "deny" | "skip" = "deny",
): Promise<Running> {
  const world = new World();
  for (const [path, text] of Object.entries(texts)) world.texts.set(path, text);
  const store = new MeshStore();
  const changes: MeshChange[] = [];
  store.subscribe((change) => changes.push(change));
  const lines: string[] = [];
  const logger: Logger = {
    log: (level, _target, message, fields: LogFields = {}) =>
      lines.push(`${level} ${message} ${fields.at ?? fields.error ?? ""}`.trim()),
  };
  const settings = { ...common, meshPaths: paths, refusedPolicies };
  const ingest = new MeshIngest(world, store, settings, logger);
  await ingest.ready;
  return {
    world,
    store,
    ingest,
    changes,
    lines,
    workloads: () => [...store.workloads()].map((workload) => workload.name).sort(),
    policies: () => [...store.policies()].map((policy) => `${policy.namespace}/${policy.name}`).sort(),
    write: async (path, text) => {
      if (text === null) world.texts.delete(path);
      else world.texts.set(path, text);
      world.notify();
      await world.pass();
    },
    errors: () => {
      const { documents, errors } = ingest.status();
      return [...documents.flatMap(({ error }) => error ?? []), ...errors].map(
        (error) => `${formatLocation(error.location)} ${error.message}`,
      );
    },
  };
}

const entry = (name: string, address: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}, namespace: shop, labels: {app: ${name}}}\nspec: {address: ${address}}\n`;
const policy = (name: string, spec: string): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`;

describe("the first reading", () => {
  test("is over with one look at each file, as long as nothing is told of", async () => {
    const world = new World();
    world.texts.set("conf/a.yaml", entry("a", "10.0.0.1"));
    let looks = 0;
    const readText = (path: string): Promise<string> => {
      // One that looks for ever is ended, so that it is seen.
      if (++looks === 5) ingest.close();
      return world.files.readText(path);
    };
    const host = { clock: world.clock, files: { ...world.files, readText } };
    const ingest = new MeshIngest(host, new MeshStore(), common, silentLogger);
    await ingest.ready;
    expect(looks).toBe(1);
  });

  test("takes files and folders, sorted, without hidden files and others", async () => {
    const running = await start(
      {
        "conf/b.yaml": entry("b", "10.0.0.2"),
        "conf/a/deep.yml": entry("a", "10.0.0.1"),
        "conf/c.json": JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } }),
        "conf/.b.yaml.swp": "garbage: [",
        "conf/..data/b.yaml": entry("hidden", "10.0.0.9"),
        "conf/readme.md": "# words",
        single: entry("single", "10.0.0.3"),
      },
      ["single", "conf"],
    );
    expect(running.workloads()).toEqual(["a", "b", "single"]);
    expect(running.ingest.status().files).toEqual([
      { path: "single", documents: 1, error: null },
      { path: "conf/a/deep.yml", documents: 1, error: null },
      { path: "conf/b.yaml", documents: 1, error: null },
      { path: "conf/c.json", documents: 1, error: null },
    ]);
    expect(running.changes).toHaveLength(1);
    expect(running.errors()).toEqual([]);
  });

  test("is ready with nothing, and with a bad document among good ones", async () => {
    expect((await start({}, [])).ingest.status()).toEqual({ files: [], documents: [], errors: [] });
    expect((await start({}, ["missing"])).workloads()).toEqual([]);
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${entry("b", "nonsense!")}---\n${entry("c", "10.0.0.3")}`,
    });
    expect(running.workloads()).toEqual(["a", "c"]);
    expect(running.errors()).toEqual([
      'conf/a.yaml:9:17 spec.address: "nonsense!" is neither an IP address nor a host name',
    ]);
    expect(running.ingest.status().documents.map(({ resource, accepted }) => [resource, accepted])).toEqual([
      ["WorkloadEntry shop/a", true],
      ["WorkloadEntry shop/c", true],
      ["WorkloadEntry shop/b", false],
    ]);
    expect(running.lines).toEqual(["error document refused conf/a.yaml:9:17"]);
  });
});

describe("a change", () => {
  test("is one swap that holds what changed", async () => {
    const running = await start({
      "conf/a.yaml": entry("a", "10.0.0.1"),
      "conf/b.yaml": entry("b", "10.0.0.2"),
    });
    running.world.texts.set("conf/b.yaml", entry("b", "10.0.0.3"));
    await running.write("conf/c.yaml", entry("c", "10.0.0.4"));
    expect(running.changes).toHaveLength(2);
    expect(running.changes[1]?.workloads?.upsert?.map((workload) => workload.name)).toEqual(["b", "c"]);
    expect(running.changes[1]?.policies).toBeUndefined();
  });

  test("a document that is gone, a file that is gone", async () => {
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${entry("b", "10.0.0.2")}`,
      "conf/c.yaml": entry("c", "10.0.0.3"),
    });
    await running.write("conf/a.yaml", entry("b", "10.0.0.2"));
    expect(running.workloads()).toEqual(["b", "c"]);
    await running.write("conf/c.yaml", null);
    expect(running.workloads()).toEqual(["b"]);
  });

  test("a touched file changes nothing", async () => {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    let told = 0;
    running.ingest.statusChanges.subscribe(() => told++);
    await running.write("conf/a.yaml", entry("a", "10.0.0.1"));
    expect([running.changes.length, told]).toEqual([1, 0]);
    await running.write("conf/a.yaml", `${entry("a", "10.0.0.1")}\n# a word at the end\n`);
    expect([running.changes.length, told]).toEqual([1, 1]);
  });

  test("after close nothing is read any more", async () => {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    const notify = () => running.world.notify();
    notify();
    running.ingest.close();
    await running.write("conf/a.yaml", entry("b", "10.0.0.1"));
    expect(running.workloads()).toEqual(["a"]);
    expect(running.world.watchers).toBe(0);
  });
});

describe("a document that became bad", () => {
  test("keeps its last good version in force, and is alone in that", async () => {
    const good = policy("p", "{selector: {matchLabels: {app: a}}, rules: [{}]}");
    const running = await start({ "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${good}` });
    await running.write(
      "conf/a.yaml",
      `${entry("b", "10.0.0.2")}---\n${policy("p", "{acton: DENY, rules: [{}]}")}`,
    );
    expect(running.workloads()).toEqual(["b"]);
    expect(running.policies()).toEqual(["shop/p"]);
    expect(running.store.policy("shop/p")?.location?.line).toBe(6);
    const [, status] = running.ingest.status().documents;
    expect(status).toMatchObject({
      resource: "AuthorizationPolicy shop/p",
      accepted: false,
      lastGoodInForce: true,
    });
    expect(running.lines).toContain(
      "error document refused, its last good version stays in force conf/a.yaml:9:8",
    );
    // And again, from that state, and back to good.
    await running.write("conf/a.yaml", policy("p", "{rules: 7}"));
    expect(running.policies()).toEqual(["shop/p"]);
    await running.write("conf/a.yaml", policy("p", "{action: DENY, rules: [{}]}"));
    expect(running.store.policy("shop/p")?.action).toBe("DENY");
    expect(running.errors()).toEqual([]);
  });

  test("a bad document that is removed is gone", async () => {
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${policy("p", "{rules: [{}]}")}`,
    });
    await running.write("conf/a.yaml", `${entry("a", "10.0.0.1")}---\n${policy("p", "{rules: 7}")}`);
    await running.write("conf/a.yaml", entry("a", "10.0.0.1"));
    expect(running.policies()).toEqual([]);
    expect(running.errors()).toEqual([]);
  });

  test("a file that cannot be understood keeps all it held; what can be read of it counts", async () => {
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${entry("b", "10.0.0.2")}`,
      "conf/c.yaml": entry("c", "10.0.0.3"),
    });
    await running.write("conf/a.yaml", `${entry("a", "10.0.0.9")}---\nkind: Work`);
    expect(running.workloads()).toEqual(["a", "b", "c"]);
    expect(running.store.workloadsByName("shop", "a")[0]?.addresses[0]?.text).toBe("10.0.0.9");
    await running.write("conf/a.yaml", `a: ${"x".repeat(meshLimits.maxFileBytes)}`);
    expect(running.workloads()).toEqual(["a", "b", "c"]);
    expect(running.errors().join()).toContain("conf/a.yaml:1:1 the file is larger than");
    await running.write("conf/a.yaml", entry("b", "10.0.0.2"));
    expect(running.workloads()).toEqual(["b", "c"]);
  });

  test("a document that moved out of a file that cannot be understood is not there twice", async () => {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    running.world.texts.set("conf/b.yaml", entry("a", "10.0.0.5"));
    await running.write("conf/a.yaml", "kind: [");
    expect(running.store.workloadsByName("shop", "a").map((workload) => workload.addresses[0]?.text)).toEqual(
      ["10.0.0.5"],
    );
  });

  test("one that claims another's address keeps its own", async () => {
    const running = await start({
      "conf/a.yaml": entry("a", "10.0.0.1"),
      "conf/b.yaml": entry("b", "10.0.0.2"),
    });
    await running.write("conf/b.yaml", entry("b", "10.0.0.1"));
    expect(running.store.workloadsByName("shop", "b")[0]?.addresses[0]?.text).toBe("10.0.0.2");
    expect(running.errors()).toEqual([
      "conf/b.yaml:4:17 the address 10.0.0.1 is claimed by WorkloadEntry shop/a at conf/a.yaml:1:1",
    ]);
    expect(running.ingest.status().documents[1]?.lastGoodInForce).toBe(true);
    // Whoever now claims what b still holds comes too late or too early, but never both are in force.
    await running.write("conf/c.yaml", entry("c", "10.0.0.2"));
    expect(running.workloads()).toEqual(["a", "b"]);
  });

  test("the second of a name is refused and the first stays; when the first goes, the second takes its place", async () => {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    await running.write("conf/b.yaml", entry("a", "10.0.0.2"));
    expect(running.store.workloadsByName("shop", "a")[0]?.addresses[0]?.text).toBe("10.0.0.1");
    expect(running.errors().join()).toContain("is given twice; the first is at conf/a.yaml:1:1");
    await running.write("conf/a.yaml", null);
    expect(running.store.workloadsByName("shop", "a")[0]?.addresses[0]?.text).toBe("10.0.0.2");
    expect(running.errors()).toEqual([]);
  });
});

test("a broken second of a name does not hold the first back", async () => {
  const running = await start({ "conf/b.yaml": entry("a", "10.0.0.1") });
  running.world.texts.set("conf/a.yaml", entry("a", "nonsense!"));
  await running.write("conf/b.yaml", entry("a", "10.0.0.2"));
  expect(running.store.workloadsByName("shop", "a")[0]?.addresses[0]?.text).toBe("10.0.0.2");
  expect(running.errors()).toHaveLength(1);
});

describe("a policy that was never good", () => {
  test("denies what it may have been about, pointing at itself", async () => {
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${policy("p", "{selector: {matchLabels: {app: a}}, acton: DENY}")}---\n${policy("q", "{acton: DENY}")}`,
    });
    expect(running.policies()).toEqual([
      "shop/fairlead_refused_authorizationpolicy_p",
      "shop/fairlead_refused_authorizationpolicy_q",
    ]);
    expect(running.store.policy("shop/fairlead_refused_authorizationpolicy_q")).toMatchObject({
      scope: "NAMESPACE",
      action: "DENY",
      rules: [{ clauses: [], location: { line: 11 } }],
    });
    expect(running.store.workloadsByName("shop", "a")[0]?.authorizationPolicies).toEqual([
      "shop/fairlead_refused_authorizationpolicy_p",
    ]);
    await running.write("conf/a.yaml", `${entry("a", "10.0.0.1")}---\n${policy("p", "{rules: [{}]}")}`);
    expect(running.policies()).toEqual(["shop/p"]);
  });

  test("a PeerAuthentication counts as STRICT, of the root namespace for the mesh", async () => {
    const peer =
      "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d, namespace: istio-system}\nspec: {mtls: {mode: STRIKT}}\n";
    const running = await start({ "conf/a.yaml": peer });
    expect(running.store.policy("istio-system/fairlead_refused_peerauthentication_d")).toMatchObject({
      scope: "GLOBAL",
      action: "DENY",
      rules: [{ clauses: [{ matches: [{ notPrincipals: [{ kind: "presence" }] }] }] }],
    });
  });

  test("or nothing, when it is switched so", async () => {
    expect(
      (await start({ "conf/a.yaml": policy("p", "{acton: DENY}") }, ["conf"], "skip")).policies(),
    ).toEqual([]);
  });
});

describe("files under way", () => {
  test("a file is taken when it stopped changing, and never half", async () => {
    const whole = `${entry("a", "10.0.0.1")}---\n${entry("b", "10.0.0.2")}`;
    // Truncated, then written in two steps: both states in between are valid YAML.
    const running = await start({ "conf/a.yaml": whole });
    running.world.texts.set("conf/a.yaml", "");
    running.world.notify();
    await flush();
    running.world.texts.set("conf/a.yaml", entry("a", "10.0.0.1"));
    await running.world.pass();
    expect(running.workloads()).toEqual(["a", "b"]);
    running.world.texts.set("conf/a.yaml", whole.replace("10.0.0.2", "10.0.0.3"));
    await running.world.pass(3);
    expect(running.changes).toHaveLength(2);
    expect(running.store.workloadsByName("shop", "b")[0]?.addresses[0]?.text).toBe("10.0.0.3");
  });

  test("a file that stands empty keeps all it held, but for what another has; a line, or its removal, ends that", async () => {
    const deny = policy("p", "{action: DENY, rules: [{}]}");
    const running = await start({
      "conf/a.yaml": `${entry("a", "10.0.0.1")}---\n${entry("b", "10.0.0.2")}---\n${deny}`,
      "conf/never.yaml": "",
    });
    expect(running.errors()).toEqual([]);
    running.world.texts.set("conf/c.yaml", entry("b", "10.0.0.3"));
    await running.write("conf/a.yaml", " \n");
    expect([running.workloads(), running.policies()]).toEqual([["a", "b"], ["shop/p"]]);
    expect(running.store.workloadsByName("shop", "b")[0]?.addresses[0]?.text).toBe("10.0.0.3");
    const complaint =
      "conf/a.yaml:1:1 the file is empty; what it held (documents: 2) stays in force until it has a line, or is removed";
    expect(running.errors()).toContain(complaint);
    // It stays so, whatever else changes.
    await running.write("conf/c.yaml", `${entry("b", "10.0.0.3")}---\n${entry("d", "10.0.0.4")}`);
    expect([running.workloads(), running.policies()]).toEqual([["a", "b", "d"], ["shop/p"]]);
    expect(running.errors()).toContain(complaint);
    await running.write("conf/a.yaml", "# nothing any more\n");
    expect([running.workloads(), running.policies(), running.errors()]).toEqual([["b", "d"], [], []]);
    await running.write("conf/c.yaml", "");
    expect(running.workloads()).toEqual(["b", "d"]);
    await running.write("conf/c.yaml", null);
    expect([running.workloads(), running.errors()]).toEqual([[], []]);
  });

  test("a file that never rests keeps its last state, and is looked at again", async () => {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    running.world.texts.set("conf/a.yaml", entry("b", "10.0.0.2"));
    running.world.notify();
    for (let round = 0; round <= meshLimits.maxSettleAttempts + 1; round++) {
      // After one look and before the next.
      await flush();
      running.world.texts.set("conf/a.yaml", entry(`b${round}`, "10.0.0.2"));
      await running.world.pass();
    }
    expect(running.workloads()).toEqual(["a"]);
    expect(running.lines).toContain(
      "warn files keep changing; the documents that were read last stay in force",
    );
    running.world.texts.set("conf/a.yaml", entry("rest", "10.0.0.2"));
    await running.world.pass(meshLimits.maxSettleAttempts + 4);
    expect(running.workloads()).toEqual(["rest"]);
  });

  test("what cannot be read stays in force: a file, a folder, a configured folder that is gone", async () => {
    const running = await start({
      "conf/a.yaml": entry("a", "10.0.0.1"),
      "conf/sub/b.yaml": entry("b", "10.0.0.2"),
    });
    running.world.broken.add("conf/a.yaml");
    await running.write("conf/sub/b.yaml", entry("b", "10.0.0.3"));
    expect(running.workloads()).toEqual(["a", "b"]);
    expect(running.errors()).toContain("conf/a.yaml:1:1 cannot read conf/a.yaml");
    running.world.broken.clear();
    running.world.broken.add("conf/sub");
    await running.write("conf/a.yaml", entry("a", "10.0.0.4"));
    expect(running.workloads()).toEqual(["a", "b"]);
    running.world.texts.clear();
    await running.write("elsewhere", "");
    expect(running.workloads()).toEqual(["a", "b"]);
    expect(running.errors()).toContain("conf:1:1 the folder conf is gone; its documents stay in force");
  });

  test("too many files, too deep folders", async () => {
    const many = Object.fromEntries(
      Array.from({ length: meshLimits.maxFiles + 1 }, (_, index) => [
        `conf/${String(index).padStart(6, "0")}.yaml`,
        "",
      ]),
    );
    const running = await start(many);
    expect(running.ingest.status().files).toHaveLength(meshLimits.maxFiles + 1);
    expect(running.errors()).toEqual([
      `conf/${meshLimits.maxFiles}.yaml:1:1 there are more than ${meshLimits.maxFiles} files; this one is ignored`.replace(
        "/10000",
        "/010000",
      ),
    ]);
    const deep = await start({
      [`conf/${"d/".repeat(meshLimits.maxFolderDepth + 1)}a.yaml`]: entry("a", "10.0.0.1"),
    });
    expect(deep.errors().join()).toContain("folders are nested more than");
  });
});

test("complaints are told once, and again when they come back", async () => {
  const running = await start({ "conf/a.yaml": policy("p", "{action: AUDIT, rules: [{}]}") });
  expect(running.lines).toEqual(["warn document accepted with a warning conf/a.yaml:4:16"]);
  await running.write("conf/b.yaml", entry("b", "10.0.0.1"));
  expect(running.lines).toHaveLength(1);
  await running.write("conf/a.yaml", policy("p", "{rules: [{}]}"));
  await running.write("conf/a.yaml", policy("p", "{action: AUDIT, rules: [{}]}"));
  expect(running.lines).toHaveLength(2);
});

describe("what waypoints go by", () => {
  const tokens = (rules: string) =>
    `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: tokens, namespace: shop}\nspec: {targetRefs: [{kind: Service, group: "", name: cart}], ${rules}}\n`;
  const good = 'jwtRules: [{issuer: "https://i.example", jwksUri: "https://i.example/keys"}]';

  test("is what is in force, and what was refused and never good, unless that is to count for nothing", async () => {
    const first = await start({ "conf/a.yaml": tokens(good) });
    expect(first.ingest.inForce.value?.documents.map(({ kind }) => kind)).toEqual(["RequestAuthentication"]);
    expect(first.ingest.inForce.value?.refused).toEqual([]);
    // The last good one stays in force: nothing is refused in its place.
    await first.write("conf/a.yaml", tokens("jwtRulez: []"));
    expect(first.ingest.inForce.value).toMatchObject({
      documents: [{ kind: "RequestAuthentication" }],
      refused: [],
    });
    const never = await start({ "conf/a.yaml": tokens("jwtRulez: []") });
    expect(never.ingest.inForce.value?.documents).toEqual([]);
    expect(never.ingest.inForce.value?.refused.length).toBe(1);
    const skipped = await start({ "conf/a.yaml": tokens("jwtRulez: []") }, ["conf"], "skip");
    expect(skipped.ingest.inForce.value).toEqual({ documents: [], refused: [] });
    // A broken second of a name is no reason to refuse what the first says.
    const second = await start({ "conf/a.yaml": `${tokens(good)}---\n${tokens("jwtRulez: []")}` });
    expect(second.ingest.inForce.value).toMatchObject({
      documents: [{ kind: "RequestAuthentication" }],
      refused: [],
    });
  });
});

test("a document that is read elsewhere, broken, is that one, and not what an unclear file held", async () => {
  const running = await start({
    "conf/a.yaml": entry("a", "10.0.0.1"),
    "conf/b.yaml": entry("b", "10.0.0.2"),
  });
  running.world.texts.set("conf/b.yaml", entry("a", "nonsense!"));
  await running.write("conf/a.yaml", "kind: [");
  // Of the name there is one, refused with its last good version, once.
  const { documents } = running.ingest.status();
  expect(
    documents.map(({ resource, accepted, lastGoodInForce }) => [resource, accepted, lastGoodInForce]),
  ).toEqual([["WorkloadEntry shop/a", false, true]]);
  expect(running.workloads()).toEqual(["a"]);
});

test("closed while it reads, it changes nothing, and a change that comes then is not read", async () => {
  for (const closes of ["before it has settled", "while it settles"] as const) {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    running.world.texts.set("conf/a.yaml", entry("b", "10.0.0.2"));
    running.world.notify();
    if (closes === "while it settles") await flush();
    running.ingest.close();
    await running.world.pass(3);
    expect([closes, running.workloads()]).toEqual([closes, ["a"]]);
  }
});

test("files that rest at the last look that is taken are read, and one look later they are not", async () => {
  for (const [looks, expected] of [
    [meshLimits.maxSettleAttempts - 1, "late"],
    [meshLimits.maxSettleAttempts, "a"],
  ] as const) {
    const running = await start({ "conf/a.yaml": entry("a", "10.0.0.1") });
    running.world.texts.set("conf/a.yaml", entry("x0", "10.0.0.9"));
    running.world.notify();
    await flush();
    for (let look = 1; look <= looks; look++) {
      running.world.texts.set("conf/a.yaml", entry(look === looks ? "late" : `x${look}`, "10.0.0.9"));
      await running.world.pass();
    }
    await running.world.pass();
    expect([looks, running.workloads()]).toEqual([looks, [expected]]);
  }
});

test("of two of one name the first is in force, and neither of them is a last good version", async () => {
  const entry = (address: string) =>
    `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: one, namespace: shop}\nspec: {address: ${address}}\n`;
  const { world, ingest, lines } = await start({
    "conf/a.yaml": entry("10.0.0.1"),
    "conf/b.yaml": entry("10.0.0.2"),
  });
  expect(ingest.inForce.value?.documents.map(({ location }) => location.file)).toEqual(["conf/a.yaml"]);
  expect(
    ingest.status().documents.map(({ accepted, lastGoodInForce }) => [accepted, lastGoodInForce]),
  ).toEqual([
    [true, false],
    [false, false],
  ]);
  // A word that something changed where nothing did is none.
  const before = lines.length;
  world.notify();
  await world.pass(3);
  expect(lines.length).toBe(before);
});

describe("a reading that is under way", () => {
  const entry = (address: string) =>
    `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: one, namespace: shop}\nspec: {address: ${address}}\n`;

  test("changes nothing once it is closed, and nothing is read any more", async () => {
    const { world, ingest, changes } = await start({ "conf/a.yaml": entry("10.0.0.1") });
    world.texts.set("conf/a.yaml", entry("10.0.0.2"));
    world.notify();
    ingest.close();
    await world.pass(5);
    expect([changes.length, world.watchers]).toEqual([1, 0]);
  });

  test("is not joined by another one: what changes meanwhile is looked at when it is through", async () => {
    const { world, changes } = await start({ "conf/a.yaml": entry("10.0.0.1") });
    let reads = 0;
    const read = world.files.readText;
    (world.files as { readText: typeof read }).readText = (path) => {
      reads++;
      return read(path);
    };
    world.texts.set("conf/a.yaml", entry("10.0.0.2"));
    world.notify();
    world.notify();
    await world.pass(5);
    // Twice until it rests, and once more for the second word.
    expect([reads, changes.length]).toEqual([3, 2]);
  });
});
