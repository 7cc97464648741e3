/** A control plane in memory for tests of its administration: two tenants, and everything there is of each, marked with its name. */
import { chainRow, chainStart } from "../../../base/audit_chain.ts";
import { parseSocketAddress } from "../../../base/ip.ts";
import { silentLogger } from "../../../base/log.ts";
import type { AuditEntry, StoredAuditEntry } from "../../../control/records/audit.ts";
import type { IssuedCertificate } from "../../../control/records/certificates.ts";
import { parseDocument, parseDocuments } from "../../../mesh/documents/parse.ts";
import { splitDocuments } from "../../../mesh/documents/yaml.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { createControlApp } from "../app.ts";
import type { AdminPeer } from "../route.ts";
import type {
  AuditRecords,
  ChangeRequest,
  ChangeResult,
  ControlSources,
  DocumentDiff,
  NodeEntry,
  RevocationEntry,
  RootKeyStatus,
  RotationProgress,
  StoredDocument,
  Subject,
  TokenEntry,
} from "../sources.ts";

export const rootNamespace = "istio-system";

/** Somebody's name is their credentials here: `authorization: alice`. */
export const people: Readonly<Record<string, string>> = {
  root: "role: mesh-admin",
  blue: "role: namespace-admin\n  namespaces: [blue]",
  red: "role: namespace-admin\n  namespaces: [red]",
  watcher: "role: viewer",
  bluewatcher: "role: viewer\n  namespaces: [blue]",
  auditor: "role: auditor",
  blueauditor: "role: auditor\n  namespaces: [blue]",
};

export function uriOf(name: string): string {
  return `spiffe://cluster.local/ns/${rootNamespace}/sa/${name}`;
}

function administrator(name: string, role: string, uri: string): string {
  return `apiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: ${name}}\nspec:\n  ${role}\n  subjects: [{identity: "${uri}"}]\n`;
}

function administrators(): string {
  return Object.entries(people)
    .map(([name, role]) => `---\n${administrator(name, role, uriOf(name))}`)
    .join("");
}

export function policy(namespace: string, name: string, marker = "x"): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec:\n  rules:\n  - from:\n    - source: {namespaces: [${marker}]}\n`;
}

const idle: RotationProgress = {
  phase: "idle",
  active: "1",
  next: null,
  retiring: [],
  waiting: null,
  problem: null,
};

function subjectOf(name: string): Subject | null {
  const id = SpiffeId.parse(uriOf(name));
  return id === null ? null : { kind: "identity", name: id.uri, id };
}

export class ControlWorld {
  /** Monotonic; goes when a test says so: rates are by the second, and a busy machine has longer ones. */
  nowMs = 0;
  readonly audit: StoredAuditEntry[] = [];
  strangers: StoredAuditEntry[] = [];
  versions: {
    version: number;
    actor: string;
    action: "apply" | "delete" | "rollback";
    documents: StoredDocument[];
    diff: DocumentDiff[];
  }[] = [{ version: 0, actor: "", action: "apply", documents: [], diff: [] }];
  tokens: TokenEntry[] = [];
  nodes: NodeEntry[] = [];
  certificates: IssuedCertificate[] = [];
  revocations: RevocationEntry[] = [];
  rotation: RotationProgress = idle;
  rootKey: RootKeyStatus = { place: "here", path: "/state/root-key.pem" };
  applied: string | null = null;
  firstRetired = false;
  /** What `apply` answers instead of doing it. */
  result: ChangeResult | null = null;
  failure: Error | null = null;
  #given: { path: string; text: string }[] = [{ path: "administrators.yaml", text: administrators() }];
  readonly sources: ControlSources;
  readonly app: ReturnType<typeof createControlApp>;

  constructor() {
    this.sources = this.#sources();
    this.app = createControlApp(this.sources);
  }

  /** As a control plane that was just made. */
  giveFirst(): void {
    this.#given = [
      ...this.#given,
      {
        path: "built in",
        text: administrator("first", "role: mesh-admin", uriOf("fairlead-admin")),
      },
    ];
  }

  get peer(): AdminPeer {
    const remote = parseSocketAddress("10.0.0.9:4000");
    if (remote === null) throw new Error("address");
    return { chain: [], remote };
  }

  /** As `who`, from an address of this host. */
  async ask(
    who: string | null,
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) {
    const request = new Request(`https://control.example:15012${path}`, {
      method,
      headers: {
        ...(who === null ? {} : { authorization: who }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const response = await this.app.fetch(request, this.peer);
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: (): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>,
    };
  }

  /** Everything there can be of one tenant; every free text holds `marker`. */
  addTenant(namespace: string, marker: string): void {
    const key = `AuthorizationPolicy ${namespace}/${marker}-policy`;
    this.put(
      [
        {
          key,
          kind: "AuthorizationPolicy",
          namespace,
          name: `${marker}-policy`,
          text: policy(namespace, `${marker}-policy`, marker),
          source: `${marker}.yaml`,
          line: 1,
        },
        {
          key: `Namespace ${namespace}`,
          kind: "Namespace",
          namespace: "",
          name: namespace,
          text: `# ${marker}\napiVersion: v1\nkind: Namespace\nmetadata: {name: ${namespace}}\n`,
          source: `${marker}.yaml`,
          line: 9,
        },
      ],
      `${marker}-actor`,
    );
    const workload = `${namespace}/${marker}-workload`;
    const base = {
      createdAtMs: 1,
      expiresAtMs: 2,
      createdBy: `${marker}-actor`,
      replace: false,
      usedAtMs: null,
      usedBy: null,
      revokedAtMs: null,
    };
    this.tokens.push({ id: `${marker}-token`, binding: { kind: "workload", workload }, ...base });
    this.tokens.push({
      id: `${marker}-used`,
      binding: { kind: "group", group: workload },
      ...base,
      usedAtMs: 5,
      usedBy: `${marker}-node`,
    });
    this.nodes.push(this.node(`${marker}-node`, { kind: "workload", workload }, marker));
    const identity = `spiffe://cluster.local/ns/${namespace}/sa/${marker}`;
    const serial = [...marker].map((letter) => letter.charCodeAt(0).toString(16)).join("");
    this.certificates.unshift({
      serial,
      identity,
      issuerKey: "k",
      notBeforeMs: 1,
      notAfterMs: 9,
      requestedBy: `${marker}-node`,
      issuedAtMs: this.certificates.length,
    });
    this.revocations.push({
      kind: "identity",
      value: identity,
      reason: marker,
      byWhom: `${marker}-actor`,
      byNamespace: marker,
      atMs: 3,
    });
    this.revocations.push({
      kind: "serial",
      value: serial,
      reason: marker,
      byWhom: `${marker}-actor`,
      byNamespace: marker,
      atMs: 3,
    });
    this.revocations.push({
      kind: "node",
      value: `${marker}-node`,
      reason: marker,
      byWhom: `${marker}-actor`,
      byNamespace: marker,
      atMs: 3,
    });
    this.append({
      atMs: 1,
      actor: `${marker}-actor`,
      action: "documents.apply",
      target: key,
      namespace,
      outcome: "ok",
      detail: marker,
      before: marker,
      after: marker,
    });
  }

  node(name: string, binding: NodeEntry["binding"], marker: string): NodeEntry {
    return {
      node: name,
      binding,
      addresses: ["10.1.1.1"],
      network: marker,
      labels: { app: marker },
      joinedAtMs: 1,
      lastSeenMs: 2,
      revokedAtMs: null,
      revokeReason: null,
      connected: true,
      programVersion: "1",
      versionSkew: null,
      subscriptions: [
        {
          typeUrl: "t",
          sent: "1",
          acknowledged: "1",
          queued: 0,
          nacks: [{ atMs: 1, resources: ["red/secret"], message: "red-secret is wrong" }],
        },
      ],
    };
  }

  /** As the state has them: chained, with salts. */
  #records(afterId: number): AuditRecords {
    let hash = chainStart;
    const records = [...this.audit]
      .sort((a, b) => a.id - b.id)
      .map((row) => {
        const salt = new Uint8Array(16).fill(row.id);
        hash = chainRow(hash, row, salt);
        return { ...row, salt: salt.toHex(), hash: hash.toHex() };
      });
    return {
      start: { id: 0, hash: "00".repeat(32) },
      records: records.filter(({ id }) => id > afterId).slice(0, 2),
    };
  }

  append(entry: AuditEntry): void {
    this.audit.push({ namespace: null, ...entry, id: this.audit.length + 1 });
  }

  get current(): StoredDocument[] {
    return this.versions.at(-1)?.documents ?? [];
  }

  put(documents: readonly StoredDocument[], actor: string): void {
    const keys = new Set(documents.map(({ key }) => key));
    this.#commit([...this.current.filter(({ key }) => !keys.has(key)), ...documents], actor, "apply");
  }

  #commit(next: StoredDocument[], actor: string, action: "apply" | "delete" | "rollback"): DocumentDiff[] {
    const diff = this.#diff(next);
    this.versions.push({ version: this.versions.length, actor, action, documents: next, diff });
    return diff;
  }

  #diff(next: readonly StoredDocument[]): DocumentDiff[] {
    const before = new Map(this.current.map((one) => [one.key, one]));
    const after = new Map(next.map((one) => [one.key, one]));
    return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((key) => {
      const old = before.get(key) ?? null;
      const now = after.get(key) ?? null;
      const some = now ?? old;
      if (some === null || old?.text === now?.text) return [];
      const { kind, namespace, name } = some;
      const change = old === null ? "added" : now === null ? "removed" : "changed";
      return [
        { key, kind, namespace, name, change, before: old?.text ?? null, after: now?.text ?? null } as const,
      ];
    });
  }

  /** What the real one does, without conversion. */
  async #change(
    next: StoredDocument[],
    request: ChangeRequest,
    action: "apply" | "delete" | "rollback",
  ): Promise<ChangeResult> {
    if (this.failure !== null) throw this.failure;
    if (this.result !== null) return this.result;
    const version = this.versions.length - 1;
    const refused = { outcome: "refused" as const, version, errors: [], lockOuts: [] };
    if (request.expectedVersion !== undefined && request.expectedVersion !== version)
      return { ...refused, because: "conflict", message: "moved on" };
    const diff = this.#diff(next);
    const foreign = diff.find((one) => !request.mayChange(one));
    if (foreign !== undefined)
      return { ...refused, because: "forbidden", message: `${foreign.key} is not yours` };
    const plan = { diff, warnings: [], lockOuts: [] };
    if (request.dryRun === true || diff.length === 0) return { outcome: "planned", version, plan };
    this.#commit(next, request.actor, action);
    for (const { key, namespace, before, after } of diff)
      this.append({
        atMs: 0,
        actor: request.actor,
        action: `documents.${action}`,
        target: key,
        namespace,
        outcome: "ok",
        detail: "",
        before,
        after,
      });
    return { outcome: "applied", version: version + 1, plan };
  }

  #sources(): ControlSources {
    return {
      clock: { wallMs: () => 1_000, now: () => this.nowMs, defer: (work) => void setTimeout(work, 0) },
      logger: silentLogger,
      rootNamespace,
      trustDomain: "cluster.local",
      controlIdentity: uriOf("fairlead-control"),
      authenticate: async ({ authorization }) =>
        authorization === null
          ? "unauthenticated"
          : authorization === "flood"
            ? "too_many"
            : (subjectOf(authorization) ?? "unauthenticated"),
      recordRefusal: (entry) => this.append(entry),
      transaction: (work) => work(),
      administrators: {
        given: () => this.#given,
        isFirstRetired: () => this.firstRetired,
        retireFirst: () => {
          this.firstRetired = true;
        },
        read: () => this.applied,
        write: (text) => {
          this.applied = text;
        },
      },
      documents: {
        current: () => ({ version: this.versions.length - 1, documents: this.current }),
        get: (key) => this.current.find((one) => one.key === key) ?? null,
        at: async (version) => this.versions[version] ?? null,
        history: (limit, before = Number.MAX_SAFE_INTEGER) =>
          this.versions
            .filter(({ version }) => version > 0 && version < before)
            .reverse()
            .slice(0, limit)
            .map(({ version, actor, action }) => ({
              version,
              atMs: 0,
              actor,
              action,
              detail: `detail of ${actor}`,
            })),
        namesChanged: (version, afterKey) =>
          (this.versions[version]?.diff ?? [])
            .filter(({ key }) => key > afterKey)
            .map(({ after, ...one }) => ({ ...one, isRemoved: after === null })),
        apply: async (texts, request) => {
          for (const { source, text } of texts) {
            const parts = splitDocuments(source, text);
            if ("message" in parts) continue;
            for (const { key } of parts.flatMap(parseDocument)) if (key !== null) request.onNamed?.(key);
          }
          const { documents, errors } = parseDocuments(
            texts.map(({ source, text }) => ({ path: source, text })),
          );
          if (errors.length > 0)
            return { outcome: "refused", because: "invalid", version: 0, message: "", errors, lockOuts: [] };
          const put = documents.map(({ metadata: { key, namespace, name }, kind }, index) => ({
            key,
            namespace,
            name,
            kind,
            text: texts[index]?.text ?? "",
            source: texts[index]?.source ?? "",
            line: 1,
          }));
          const keys = new Set(put.map(({ key }) => key));
          const pruned = (one: StoredDocument) =>
            request.prune === "all" ||
            (request.prune ?? []).includes(one.kind === "Namespace" ? one.name : one.namespace);
          return this.#change(
            [...this.current.filter((one) => !keys.has(one.key) && !pruned(one)), ...put],
            request,
            "apply",
          );
        },
        delete: (keys, request) =>
          this.#change(
            this.current.filter(({ key }) => !keys.includes(key)),
            request,
            "delete",
          ),
        rollback: (version, request) =>
          this.#change([...(this.versions[version]?.documents ?? [])], request, "rollback"),
      },
      tokens: {
        list: () => this.tokens,
        create: async ({ binding, createdBy, replace, ttlMs = 60 }) => {
          const id = `t${this.tokens.length}`;
          this.tokens.push({
            id,
            binding,
            createdBy,
            replace,
            createdAtMs: 0,
            expiresAtMs: ttlMs,
            usedAtMs: null,
            usedBy: null,
            revokedAtMs: null,
          });
          return {
            id,
            expiresAtMs: ttlMs,
            token: `fjt_${id}_SECRET`,
            line: `fairlead node --join-token fjt_${id}_SECRET`,
          };
        },
        revoke: (id) => {
          this.tokens = this.tokens.map((one) => (one.id === id ? { ...one, revokedAtMs: 7 } : one));
        },
      },
      nodes: () => this.nodes,
      node: (name) => this.nodes.find(({ node }) => node === name) ?? null,
      nodeCounts: () => ({
        joined: this.nodes.length,
        connected: this.nodes.filter(({ connected }) => connected).length,
      }),
      removeNode: async (name, entry) => {
        const count = this.nodes.length;
        this.nodes = this.nodes.filter(({ node }) => node !== name);
        if (this.nodes.length === count) return false;
        this.append(entry);
        return true;
      },
      bindingOf: (name) => this.nodes.find(({ node }) => node === name)?.binding ?? null,
      certificates: {
        list: ({ limit, after, identity }) =>
          this.certificates
            .filter(
              (one) =>
                (identity === undefined || one.identity === identity) &&
                (after === undefined ||
                  one.issuedAtMs < after.issuedAtMs ||
                  (one.issuedAtMs === after.issuedAtMs && one.serial < after.serial)),
            )
            .slice(0, limit),
        bySerial: (serial) => this.certificates.find((one) => one.serial === serial) ?? null,
      },
      revocations: {
        page: (after, limit) =>
          this.revocations
            .map((revocation, row) => ({ revocation, cursor: { atMs: revocation.atMs, row } }))
            .filter(({ cursor }) => after === null || cursor.row > after.row)
            .slice(0, limit),
        find: ({ kind, value }) =>
          this.revocations.find((one) => one.kind === kind && one.value === value) ?? null,
        revoke: async ({ kind, value }, reason, byWhom, byNamespace) => {
          if (this.failure !== null) throw this.failure;
          this.revocations.push({ kind, value, reason, byWhom, byNamespace, atMs: 0 });
          return { serialNumbers: ["1"], pending: null };
        },
        lift: async (target) => {
          const before = this.revocations.length;
          this.revocations = this.revocations.filter(
            (one) => one.kind !== target.kind || one.value !== target.value,
          );
          return this.revocations.length < before;
        },
      },
      authority: {
        keyPlace: "local",
        list: () => [
          {
            id: "1",
            kind: "root",
            state: "active",
            subject: "CN=root",
            notBeforeMs: 0,
            notAfterMs: 1,
            pin: "sha256:00",
            role: "issues",
            unavailable: null,
          },
        ],
        rootsPem: () => "-----BEGIN CERTIFICATE-----\n",
        rotation: {
          progress: () => this.rotation,
          start: async () => {
            const waiting = { what: "root" as const, names: ["red-secret-node"], count: 1 };
            this.rotation = { ...idle, phase: "preparing", next: "2", waiting };
            return this.rotation;
          },
          finish: (abandon = false) => {
            if (abandon) this.rotation = idle;
            return { done: abandon, progress: this.rotation };
          },
          abort: () => {
            const done = this.rotation.phase === "preparing";
            this.rotation = idle;
            return { done, progress: idle };
          },
        },
        rootKey: {
          status: () => this.rootKey,
          export: async () => {
            if (this.failure !== null) throw this.failure;
            this.rootKey = { ...this.rootKey, place: "file" };
            return this.rootKey;
          },
          import: async () => {
            this.rootKey = { ...this.rootKey, place: "here" };
            return this.rootKey;
          },
        },
      },
      makeRoom: () => false,
      audit: {
        records: (afterId) => this.#records(afterId),
        strangers: () => this.strangers,
        check: async (known) => {
          const cut = known.find(({ id }) => id > this.audit.length);
          const head = { id: this.audit.length, hash: "aa" };
          const reason = cut === undefined ? null : `rows up to ${cut.id} are cut off`;
          return {
            intact: cut === undefined,
            rows: this.audit.length,
            heads: known.length,
            older: 0,
            head,
            reason,
          };
        },
        append: (entry) => this.append(entry),
        read: ({ afterId, beforeId = Number.MAX_SAFE_INTEGER, namespace, actor, action, limit }) => {
          const rows = this.audit.filter(
            (one) =>
              one.id > (afterId ?? 0) &&
              one.id < beforeId &&
              (namespace === undefined || one.namespace === namespace) &&
              (actor === undefined || one.actor === actor) &&
              (action === undefined || one.action === action),
          );
          return (afterId === undefined ? rows.reverse() : rows).slice(0, limit);
        },
      },
      explain: async ({ from, to, port }) =>
        from === "shop/nobody"
          ? { kind: "unclear", message: "no workload of the mesh is called shop/nobody or runs as it" }
          : { kind: "answer", answer: { verdict: "allowed", from, to, port } },
      status: () => ({
        version: { version: "1" },
        startedAtMs: 0,
        pending: [],
        readOnly: null,
        auditExports: [],
      }),
      backup: () => {
        const copy = new Blob(["SQLite of red-secret"]);
        return { bytes: copy.size, stream: copy.stream() as ReadableStream<Uint8Array> };
      },
    };
  }
}
