/** One real control plane, an administrator of its mesh, and two tenants, each with a token of their own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ControlMembership } from "../../src/agent/join/membership.ts";
import { connectControl } from "../../src/app/command/control_client.ts";
import { MeshError } from "../../src/base/errors.ts";
import { stateLimits } from "../../src/base/limits/control.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { ControlConnection } from "../../src/cli/control/bindings.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { ControlState } from "../../src/control/state/control_state.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { ControlProcess } from "../control/control_process.ts";
import { freePort } from "../control/free_port.ts";

const ip = "127.0.0.1";
const people = "https://people.example";
const host = createBunHost();

const issuers = `apiVersion: fairlead.dev/v1
kind: TokenIssuer
metadata: {name: people}
spec: {issuer: "${people}", audiences: [fairlead], jwksFile: KEYS, subject: operator}
`;

function tenantAdministrator(namespace: string): string {
  return `apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: ${namespace}}
spec:
  role: namespace-admin
  namespaces: [${namespace}]
  subjects: [{issuer: "${people}", value: ${namespace}}]
`;
}

export interface Answer {
  readonly status: number;
  readonly json: Record<string, unknown>;
  readonly text: string;
}

/** Whoever asks something of the control plane. */
export class Person {
  readonly name: string;
  readonly #open: () => Promise<ControlConnection>;
  #connection: Promise<ControlConnection> | null = null;

  constructor(name: string, open: () => Promise<ControlConnection>) {
    this.name = name;
    this.#open = open;
  }

  async ask(method: "GET" | "POST" | "DELETE", path: string, body: unknown = null): Promise<Answer> {
    this.#connection ??= this.#open();
    const connection = await this.#connection;
    const answer = await connection.request({
      method,
      path,
      body: body === null ? null : JSON.stringify(body),
      maxBytes: 64 * 1024 * 1024,
    });
    const text = new TextDecoder().decode(answer.body);
    return { status: answer.status, text, json: text.startsWith("{") ? JSON.parse(text) : {} };
  }

  apply(...texts: readonly string[]): Promise<Answer> {
    const documents = texts.map((text, index) => ({ path: `${this.name}_${index}.yaml`, text }));
    return this.ask("POST", "/v1/apply", { documents });
  }

  delete(...keys: readonly string[]): Promise<Answer> {
    return this.ask("POST", "/v1/delete", { keys });
  }

  /** Page after page. */
  async revocations(): Promise<readonly string[]> {
    const values: string[] = [];
    for (let after = ""; ; ) {
      const { json } = await this.ask("GET", `/v1/revocations?limit=1000${after}`);
      values.push(...(json.revocations as { value: string }[]).map(({ value }) => value));
      if (typeof json.next !== "string") return values;
      after = `&after=${json.next}`;
    }
  }

  async close(): Promise<void> {
    (await this.#connection?.catch(() => null))?.close();
  }
}

/** A host that has joined, and the mesh as it sees it. */
export interface JoinedHost {
  readonly node: string;
  readonly store: MeshStore;
  readonly membership: ControlMembership;
}

export class World {
  readonly control: ControlProcess;
  readonly root: Person;
  /** Came first; last by alphabet. */
  readonly shop: Person;
  readonly apes: Person;
  readonly #hosts: ControlMembership[] = [];
  readonly #strange: () => Promise<ControlConnection>;
  #joins = 0;

  private constructor(
    control: ControlProcess,
    persons: readonly [Person, Person, Person],
    strange: () => Promise<ControlConnection>,
  ) {
    this.control = control;
    this.#strange = strange;
    [this.root, this.shop, this.apes] = persons;
  }

  static async start(directory: string): Promise<World> {
    const port = freePort();
    await seed(join(directory, "control/state"));
    const control = await ControlProcess.start({
      directory: join(directory, "control"),
      ip,
      port,
      issuers,
      administrators: `${tenantAdministrator("shop")}---\n${tenantAdministrator("apes")}`,
    });
    const rootPath = join(directory, "roots.pem");
    writeFileSync(rootPath, await control.must("ca", "export-root"));
    const open = (files: { identityPath: string | null; tokenPath: string | null }) => () =>
      connectControl(host, { server: { host: ip, port }, name: null, rootPath, ...files });
    const root = new Person("root", open({ identityPath: control.identityPath, tokenPath: null }));
    const tenants: Person[] = [];
    for (const name of ["shop", "apes"]) {
      const tokenPath = join(directory, `${name}.jwt`);
      writeFileSync(tokenPath, await operatorToken(control, name, `${name}-1`));
      tenants.push(new Person(name, open({ identityPath: null, tokenPath })));
    }
    const [shop = root, apes = root] = tenants;
    const nothing = join(directory, "nothing.jwt");
    writeFileSync(nothing, "worth.nothing.atall");
    return new World(control, [root, shop, apes], open({ identityPath: null, tokenPath: nothing }));
  }

  /** @returns the host, or in words why it could not join. */
  async join(
    who: Person,
    binding: Readonly<Record<string, string>>,
    about: {
      readonly addresses?: readonly string[];
      readonly node?: string;
      readonly replace?: boolean;
    } = {},
  ): Promise<JoinedHost | string> {
    const made = await who.ask("POST", "/v1/join-tokens", { binding, replace: about.replace ?? false });
    if (made.status !== 201) return made.text;
    const words = String(made.json.line).split(" ");
    const after = (flag: string): string[] => [words[words.indexOf(flag) + 1] ?? ""];
    const flags = new Map<SettingName, readonly string[]>([
      ["control", [this.control.url]],
      ["joinToken", after("--join-token")],
      ["caPin", after("--ca-pin")],
      ["stateDirectory", [join(this.control.directory, `host-${++this.#joins}`)]],
      ...(about.addresses === undefined ? [] : ([["joinAddresses", about.addresses]] as const)),
      ...(about.node === undefined ? [] : ([["nodeName", [about.node]]] as const)),
    ]);
    const { config, errors } = loadConfig({ flags, environment: {}, file: null });
    if (config?.control == null) throw new Error(JSON.stringify(errors));
    const { nodeName, network, clusterId, trustDomain, rootNamespace } = config;
    try {
      const membership = await ControlMembership.join({
        host,
        logger: silentLogger,
        provider: runtimeProvider(),
        settings: config.control,
        facts: { nodeName, network, clusterId, trustDomain, rootNamespace },
        version: "test",
      });
      this.#hosts.push(membership);
      return await follow(membership);
    } catch (thrown) {
      if (!(thrown instanceof MeshError)) throw thrown;
      return thrown.message;
    }
  }

  /** Behind the same address as everybody else, with a token that is none. */
  stranger(): Person {
    return new Person("stranger", this.#strange);
  }

  async close(): Promise<void> {
    for (const one of this.#hosts) await one.close();
    for (const person of [this.root, this.shop, this.apes]) await person.close();
    await this.control.stop();
  }
}

/** What a tenant had days for: nearly its whole share of join tokens, and of revocations of identities that never were. */
async function seed(directory: string): Promise<void> {
  const state = await ControlState.open(host, directory, silentLogger);
  const atMs = host.clock.wallMs();
  const made = { createdBy: "apes", byNamespace: "apes", replace: false };
  state.transaction(() => {
    for (let index = 0; index < seeded.tokens; index++)
      state.tokens.create({
        id: `seeded${index}`,
        secretHash: new Uint8Array(32),
        binding: { kind: "group", group: "apes/batch" },
        expiresAtMs: atMs + 24 * 60 * 60_000,
        ...made,
      });
    state.revocations.addAll(
      Array.from({ length: seeded.revocations }, (_, index) => ({
        kind: "identity" as const,
        value: `spiffe://cluster.local/ns/apes/sa/invented-${index}`,
        reason: "",
        byWhom: "apes",
        byNamespace: "apes",
        atMs,
      })),
    );
  });
  state.close();
}

export const seeded = {
  tokens: stateLimits.tokenShares.each - 20,
  revocations: stateLimits.revocationShares.each - 1,
};

async function follow(membership: ControlMembership): Promise<JoinedHost> {
  const store = new MeshStore();
  await membership.follow({
    store,
    refusedPolicies: "deny",
    setRoots: () => {},
    setCrls: async () => [],
    onConnected: () => {},
  });
  return { node: membership.facts.nodeName ?? "", store, membership };
}

function operatorToken(control: ControlProcess, sub: string, jti: string): Promise<string> {
  return control.tokenOf({ iss: people, aud: ["fairlead"], sub, jti });
}

export const issuerOfPeople = people;
