/** A whole istiod with the benchmark's mesh in its Kubernetes API server; changes are made there, as an operator would make them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { IstiodFolder } from "../../conformance/istiod/folder.ts";
import type { Kubernetes, KubernetesDocument } from "../../conformance/istiod/kubernetes.ts";
import { WholeIstiod } from "../../conformance/istiod/whole_istiod.ts";
import { scratchDirectory } from "../../conformance/peer/lab/cleanup.ts";
import type { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { createCertificateRequest } from "../../src/pki/x509/csr.ts";
import { RpcChannel } from "../../src/transport/rpc/channel.ts";
import { istioCertificate } from "../../src/wire/grpc/services.ts";
import { documentsOfMesh, policyDocument, serviceDocument, workloadDocument } from "./documents.ts";
import type { ControlPlane } from "./measure.ts";
import type { MeshSize } from "./mesh.ts";
import { type Usage, wallMs } from "./words.ts";

/** Requests to the API server at a time. */
const writers = 32;

export class IstiodControlPlane implements ControlPlane {
  /** An API server takes them one by one: it, and not istiod, would be measured. */
  readonly takesAllAtOnce = false;
  readonly address: ControlPlane["address"];
  readonly started: ControlPlane["started"];
  readonly #istiod: WholeIstiod;
  readonly #size: MeshSize;

  private constructor(
    istiod: WholeIstiod,
    size: MeshSize,
    address: ControlPlane["address"],
    started: ControlPlane["started"],
  ) {
    this.#istiod = istiod;
    this.#size = size;
    this.address = address;
    this.started = started;
  }

  static async start(folder: IstiodFolder, size: MeshSize): Promise<IstiodControlPlane> {
    let beganMs = 0;
    const istiod = await WholeIstiod.start({
      folder,
      directory: scratchDirectory("bench-istiod"),
      // By itself 25 a second on two cores: the nodes would wait for that. Rates are lifted on our side, too.
      env: { PILOT_MAX_REQUESTS_PER_SECOND: "100000" },
      beforeIstiod: async (kubernetes) => {
        for (const document of documentsOfMesh(size, "Namespace")) await kubernetes.create(document);
        await inTurns(documentsOfMesh(size, "others"), (document) => kubernetes.create(document));
        beganMs = wallMs();
      },
    });
    try {
      const usage = usageOf(istiod.istiod);
      const address = await certified(istiod);
      return new IstiodControlPlane(istiod, size, address, {
        tookMs: usage.atMs - beganMs,
        cpuMs: usage.cpuMs,
        usage,
      });
    } catch (error) {
      await istiod.stop();
      throw error;
    }
  }

  async usage(): Promise<Usage> {
    return usageOf(this.#istiod.istiod);
  }

  /** When the API server has answered for the last of them. */
  async change(what: "workload" | "service" | "policy", count: number, revision: number): Promise<number> {
    const [of, make] = {
      workload: [this.#size.workloads, workloadDocument] as const,
      service: [this.#size.services, serviceDocument] as const,
      policy: [this.#size.policies, policyDocument] as const,
    }[what];
    const documents = Array.from({ length: count }, (_, index) =>
      make((revision * 37 + index) % of, this.#size, revision),
    );
    await inTurns(documents, (document) => this.#istiod.kubernetes.merge(document));
    return wallMs();
  }

  /** Resident memory of what istiod does not run without. */
  besideBytes(): number {
    return this.#istiod.beside.reduce((sum, process) => sum + process.memory().rssBytes, 0);
  }

  async end(): Promise<void> {
    await this.#istiod.stop();
  }
}

async function inTurns(
  documents: readonly KubernetesDocument[],
  write: (document: KubernetesDocument) => Promise<void>,
): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < documents.length) {
      const document = documents[next++];
      if (document !== undefined) await write(document);
    }
  };
  await Promise.all(Array.from({ length: Math.min(writers, documents.length) }, writer));
}

/** A certificate of istiod's CA for all nodes: a token would have the API server asked for each stream. */
async function certified(istiod: WholeIstiod): Promise<ControlPlane["address"]> {
  const { kubernetes, port, rootPath } = istiod;
  const trustedRootsPem = readFileSync(rootPath, "utf8");
  const token = await tokenOf(kubernetes);
  const { csrPem, keys } = await createCertificateRequest(
    runtimeProvider(),
    new SpiffeId("cluster.local", "bench", "bench"),
  );
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const privateKeyPem = encodePem("PRIVATE KEY", pkcs8);
  const channel = new RpcChannel({
    host: createBunHost(),
    logger: silentLogger,
    target: { host: "127.0.0.1", port },
    tls: () => ({
      credentials: { certificateChainPem: "", privateKeyPem: "", trustedRootsPem },
      serverName: "localhost",
      verify: async () => {},
    }),
  });
  try {
    const { certChain } = await channel.unary(
      istioCertificate.createCertificate,
      { $typeName: "istio.v1.auth.IstioCertificateRequest", csr: csrPem, validityDuration: 86_400n },
      { metadata: ["authorization", `Bearer ${token}`] },
    );
    return {
      port,
      rootsPem: trustedRootsPem,
      certificateChainPem: certChain.slice(0, -1).join("\n"),
      privateKeyPem,
    };
  } finally {
    channel.close();
  }
}

async function tokenOf(kubernetes: Kubernetes): Promise<string> {
  await kubernetes.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } });
  return await kubernetes.token("bench", "bench");
}

/** CPU time from the scheduler, which counts finer than /proc/PID/stat. Go ends no thread. */
function usageOf(process: Subprocess): Usage {
  const tasks = `/proc/${process.pid}/task`;
  const cpuMs = readdirSync(tasks).reduce((sum, task) => {
    const [nanoseconds = "0"] = readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ");
    return sum + Number(nanoseconds) / 1e6;
  }, 0);
  return { atMs: wallMs(), cpuMs, rssBytes: process.memory().rssBytes, heapBytes: 0 };
}
