/** Kubernetes' API server, by its REST interface: documents applied, changed and taken away, tokens asked for. */
import { parseAllDocuments } from "yaml";
import { eventually } from "../peer/lab/eventually.ts";

export interface KubernetesDocument {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

interface Kind {
  readonly plural: string;
  readonly namespaced: boolean;
}

/** Those that every API server has. */
const builtIn: Readonly<Record<string, Kind>> = {
  "v1/Namespace": { plural: "namespaces", namespaced: false },
  "v1/Pod": { plural: "pods", namespaced: true },
  "v1/ConfigMap": { plural: "configmaps", namespaced: true },
  "v1/Secret": { plural: "secrets", namespaced: true },
  "v1/Service": { plural: "services", namespaced: true },
  "v1/ServiceAccount": { plural: "serviceaccounts", namespaced: true },
  "apiextensions.k8s.io/v1/CustomResourceDefinition": {
    plural: "customresourcedefinitions",
    namespaced: false,
  },
};

export class Kubernetes {
  readonly #url: string;
  readonly #caPem: string;
  readonly #token: string;
  readonly #kinds = new Map<string, Kind>(Object.entries(builtIn));

  constructor(url: string, caPem: string, token: string) {
    this.#url = url;
    this.#caPem = caPem;
    this.#token = token;
  }

  /** @throws with what the server says, unless it is 2xx. */
  async request(method: string, path: string, body?: unknown, type = "application/json"): Promise<unknown> {
    const response = await fetch(`${this.#url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#token}`, "content-type": type },
      tls: { ca: this.#caPem },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text.startsWith("{") ? JSON.parse(text) : text;
  }

  async isReady(): Promise<boolean> {
    return (await this.request("GET", "/readyz").catch(() => null)) === "ok";
  }

  /** Kinds of others, from files of CustomResourceDefinitions; resolves when the server serves them. What else is in the files is left. */
  async define(yaml: string): Promise<void> {
    const definitions = documentsOf(yaml).filter(({ kind }) => kind === "CustomResourceDefinition");
    for (const definition of definitions) {
      await this.apply(definition);
      const { group, names, scope, versions } = definition.spec as Definition;
      for (const { name } of versions)
        this.#kinds.set(`${group}/${name}/${names.kind}`, {
          plural: names.plural,
          namespaced: scope === "Namespaced",
        });
    }
    for (const { metadata } of definitions) {
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}`;
      await eventually(`${metadata.name} is served`, async () => {
        const { status } = (await this.request("GET", path)) as { readonly status?: Status };
        return status?.conditions?.some((one) => one.type === "Established" && one.status === "True");
      });
    }
  }

  /** Makes it, or makes it so. */
  async apply(document: KubernetesDocument): Promise<void> {
    const query = "?fieldManager=fairlead&force=true";
    await this.request("PATCH", `${this.#path(document)}${query}`, document, "application/apply-patch+yaml");
  }

  /** What is not there. */
  async create(document: KubernetesDocument): Promise<void> {
    await this.request("POST", this.#folder(document), document);
  }

  /** What is there takes these fields. */
  async merge(document: KubernetesDocument): Promise<void> {
    await this.request("PATCH", this.#path(document), document, "application/merge-patch+json");
  }

  /** What a kubelet would say of it. */
  async report(of: KubernetesDocument, status: unknown): Promise<void> {
    await this.request("PATCH", `${this.#path(of)}/status`, { status }, "application/merge-patch+json");
  }

  async applyAll(yaml: string): Promise<void> {
    for (const document of documentsOf(yaml)) await this.apply(document);
  }

  async get(of: KubernetesDocument): Promise<unknown> {
    return await this.request("GET", this.#path(of));
  }

  async remove(of: KubernetesDocument): Promise<void> {
    await this.request("DELETE", this.#path(of));
  }

  async removeAll(yaml: string): Promise<void> {
    for (const document of documentsOf(yaml)) await this.remove(document);
  }

  /** For istiod, of a service account, which is made. */
  async token(namespace: string, serviceAccount: string, seconds = 3600): Promise<string> {
    await this.apply({
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: serviceAccount, namespace },
    });
    const answer = (await this.request(
      "POST",
      `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
      {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { audiences: ["istio-ca"], expirationSeconds: seconds },
      },
    )) as { readonly status: { readonly token: string } };
    return answer.status.token;
  }

  #path(document: KubernetesDocument): string {
    return `${this.#folder(document)}/${document.metadata.name}`;
  }

  #folder({ apiVersion, kind, metadata: { namespace } }: KubernetesDocument): string {
    const known = this.#kinds.get(`${apiVersion}/${kind}`);
    if (known === undefined) throw new Error(`the API server was not told of ${apiVersion} ${kind}`);
    const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    return `${root}${known.namespaced ? `/namespaces/${namespace}` : ""}/${known.plural}`;
  }
}

interface Definition {
  readonly group: string;
  readonly names: { readonly kind: string; readonly plural: string };
  readonly scope: "Namespaced" | "Cluster";
  readonly versions: readonly { readonly name: string }[];
}

interface Status {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
}

export function documentsOf(yaml: string): readonly KubernetesDocument[] {
  return parseAllDocuments(yaml)
    .map((each) => each.toJS({ maxAliasCount: -1 }))
    .filter((each) => each !== null);
}
