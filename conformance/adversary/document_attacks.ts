/** Documents by the thousand, by those who may write them: one change at one time costs the others nothing. */
import { HttpConnection } from "../../src/transport/http/client_connection.ts";
import { readAll } from "../../src/transport/http/request.ts";
import type { Attack } from "./attack.ts";
import { host, type Stage } from "./stage.ts";

const documents = 9_000;
/** Whatever an attempt applies differs from what the one before has left. */
let round = 0;

/** Who writes for the whole mesh, or for the namespace `shop` alone. */
type Writer = "root" | "shop";

class Administration {
  readonly #connection: HttpConnection;
  readonly #token: string;

  private constructor(connection: HttpConnection, token: string) {
    this.#connection = connection;
    this.#token = token;
  }

  static async open(stage: Stage, writer: Writer): Promise<Administration> {
    const connection = await HttpConnection.open(host, {
      server: { host: "127.0.0.1", port: stage.ports.control },
      credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: "" },
      verify: async () => {},
    });
    return new Administration(connection, await stage.operatorToken(writer));
  }

  /** @throws Error for an answer that is no success. */
  async ask(method: string, path: string, body: unknown = null): Promise<Readonly<Record<string, unknown>>> {
    const { status, body: answer } = await this.#connection.request({
      method,
      path,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body === null ? {} : { "content-type": "application/json" }),
      },
      body: body === null ? null : new TextEncoder().encode(JSON.stringify(body)),
    });
    const bytes = await readAll(answer, 512 * 1024 * 1024);
    const text = new TextDecoder().decode(bytes);
    if (status !== 200) throw new Error(`${method} ${path}: ${status} ${text.slice(0, 1_000)}`);
    return text.startsWith("{") ? JSON.parse(text) : {};
  }

  apply(
    text: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): Promise<Readonly<Record<string, unknown>>> {
    return this.ask("POST", "/v1/apply", { documents: [{ path: "many.yaml", text }], ...fields });
  }

  close(): void {
    this.#connection.close();
  }
}

/** Workloads, services over them, and policies that select them: what makes every part of a change work. */
function mesh(count: number, mark: string, address: (index: number) => string = everyAddress): string {
  const texts: string[] = [];
  for (let index = 0; index < count; index++) texts.push(document(index, mark, address(index)));
  return texts.join("---\n");
}

function document(index: number, mark: string, address: string): string {
  const app = `app${index % 500}`;
  if (index % 10 === 0)
    return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: policy-${index}, namespace: shop}
spec: {selector: {matchLabels: {app: ${app}}}, rules: [{from: [{source: {namespaces: [${mark}]}}]}]}
`;
  if (index % 10 === 1)
    return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: service-${index}, namespace: shop, annotations: {mark: ${mark}}}
spec:
  hosts: [service-${index}.shop.example]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  workloadSelector: {labels: {app: ${app}}}
`;
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: entry-${index}, namespace: shop, labels: {app: ${app}}}
spec: {address: ${address}, serviceAccount: ${mark}}
`;
}

function everyAddress(index: number): string {
  return `10.77.${index >> 8}.${index & 255}`;
}

function attack(
  name: string,
  writer: Writer,
  run: (administration: Administration, mark: string) => Promise<void>,
): Attack {
  return {
    name: `control: documents, ${name}`,
    door: "control",
    run: async (stage) => {
      const administration = await Administration.open(stage, writer);
      try {
        await run(administration, `mark-${round++}`);
      } finally {
        administration.close();
      }
    },
  };
}

export const documentAttacks: readonly Attack[] = [
  attack(`${documents} at once`, "shop", async (administration, mark) => {
    await administration.apply(mesh(documents, mark));
  }),
  attack(`${documents} as a dry run`, "shop", async (administration, mark) => {
    await administration.apply(mesh(documents, mark), { dryRun: true });
  }),
  attack(
    `${documents} read, as JSON and as YAML, and the last two versions compared`,
    "shop",
    async (administration) => {
      await administration.ask("GET", "/v1/documents");
      await administration.ask("GET", "/v1/documents?output=yaml");
      await administration.ask("GET", "/v1/diff");
    },
  ),
  attack("ten changes of 900 at one time", "shop", async (administration, mark) => {
    await Promise.all(
      Array.from({ length: 10 }, (_none, at) =>
        administration.apply(mesh(900, `${mark}-${at}`)).catch((thrown: unknown) => {
          // Whoever asks for so much at one time may be told to wait.
          if (!String(thrown).includes(" 429 ")) throw thrown;
        }),
      ),
    );
  }),
  attack(`${documents} taken away, and back again by a rollback`, "root", async (administration, mark) => {
    await administration.apply(mesh(documents, mark));
    const { version } = await administration.apply("", { prune: ["shop"] });
    await administration.ask("POST", "/v1/rollback", { version: Number(version) - 1 });
    await administration.apply("", { prune: ["shop"] });
  }),
  attack("2,000 workloads at the control plane's own address", "root", async (administration, mark) => {
    const ownAddress = (index: number) => `127.0.0.1, network: net-${index}`;
    await administration.apply(mesh(2_200, mark, ownAddress), { dryRun: true, force: true });
  }),
  attack(
    "2,000 workloads that 2,000 policies and 1,000 services select",
    "shop",
    async (administration, mark) => {
      const refused = await administration
        .apply(crowd(2_000, mark))
        .catch((thrown: unknown) => String(thrown));
      if (!String(refused).includes("policies select")) throw new Error(`it was taken: ${refused}`);
    },
  ),
];

/** Each is named with each: what is a megabyte as documents would be some two hundred in the mesh. */
function crowd(count: number, mark: string): string {
  const texts: string[] = [];
  for (let index = 0; index < count; index++) {
    texts.push(`apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: entry-${index}, namespace: shop, labels: {app: same}}
spec: {address: ${everyAddress(index)}, serviceAccount: ${mark}}
`);
    texts.push(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: policy-${index}, namespace: shop}
spec: {selector: {matchLabels: {app: same}}, rules: [{from: [{source: {namespaces: [${mark}]}}]}]}
`);
    if (index % 2 === 0)
      texts.push(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: service-${index}, namespace: shop}
spec:
  hosts: [service-${index}.shop.example]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  workloadSelector: {labels: {app: same}}
`);
  }
  return texts.join("---\n");
}
