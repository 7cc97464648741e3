/** A control plane of ours in memory, with its real services on a machine of its own, and hosts that join it. */
import "../../src/app/testing/loaded.ts";
import { type PreparedNode, prepareNode } from "../../src/app/node/node.ts";
import { assert } from "../../src/base/assert.ts";
import { silentLogger } from "../../src/base/log.ts";
import { MetricRegistry } from "../../src/base/metrics.ts";
import { WatchSource } from "../../src/base/watch.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { type ControlIdentity, createControlIdentity } from "../../src/control/ca/control_identity.ts";
import { ServingCertificates } from "../../src/control/ca/serving_certificates.ts";
import type { CallPeer } from "../../src/control/identity/call_credentials.ts";
import { MemoryAuthority } from "../../src/control/identity/testing/memory_authority.ts";
import { MemoryState } from "../../src/control/identity/testing/memory_state.ts";
import type { AuthoritySource } from "../../src/control/keys/authority_source.ts";
import { XdsServer } from "../../src/control/xds/server.ts";
import type { Clock } from "../../src/host/host.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine, MemoryWorld } from "../../src/host/memory/world.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { diffStates, emptyState, type MeshState } from "../../src/mesh/store/change.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { createSelfSignedRoot } from "../../src/pki/issue/authority.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import type { TrustBundle } from "../../src/pki/trust/trust_bundle.ts";
import { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import { type RpcPeer, RpcServer } from "../../src/transport/rpc/server.ts";
import { GrpcService } from "../../src/wire/grpc/server.ts";
import { at, FlowLab, labConfig, withPort } from "./lab.ts";

const provider = peculiarProvider();
const trustDomain = "cluster.local";
const controlId = new SpiffeId(trustDomain, "istio-system", "fairlead-control");
const address = "10.0.0.100";

/** What a control plane has on its disk: it outlives the process. */
interface Kept {
  readonly authority: MemoryAuthority;
  readonly bundle: WatchSource<TrustBundle>;
  readonly store: MeshStore;
  /** In place of `authority` and `bundle`, where keys are the matter. */
  readonly source: AuthoritySource | null;
}

interface Running {
  readonly host: MemoryHost;
  readonly server: RpcServer;
  readonly xds: XdsServer;
  readonly identity: ControlIdentity;
  close(): void;
}

export interface JoinedHost {
  readonly machine: MemoryMachine;
  readonly host: MemoryHost;
  readonly node: PreparedNode;
  log(): string;
}

export class ControlLab {
  readonly flows: FlowLab;
  readonly machine: MemoryMachine;
  readonly kept: Kept;
  #state: MeshState = emptyState;
  #running: Running | null = null;

  private constructor(flows: FlowLab, machine: MemoryMachine, kept: Kept) {
    this.flows = flows;
    this.machine = machine;
    this.kept = kept;
  }

  /** @param makeSource the real thing in place of an authority that is played. */
  static async create(
    documents: string,
    makeSource: ((clock: Clock, world: MemoryWorld) => Promise<AuthoritySource>) | null = null,
  ): Promise<ControlLab> {
    const flows = await FlowLab.create();
    const machine = flows.world.machine("control", { addresses: [address] });
    const { clock } = machine.start();
    const { certificate, key } = await createSelfSignedRoot(provider, trustDomain, clock.wallMs());
    const rootPem = encodePem("CERTIFICATE", certificate.der);
    const privateKeyPem = encodePem("PRIVATE KEY", key.pkcs8);
    const pem = { certificatePem: rootPem, privateKeyPem, chainPem: "", rootsPem: rootPem };
    const ca = await CertificateAuthority.load({ clock, provider, trustDomain, pem });
    const kept: Kept = {
      authority: new MemoryAuthority(ca, { certificate, key, provider }, new MemoryState()),
      bundle: new WatchSource<TrustBundle>({ rootsPem: rootPem, crls: [] }),
      store: new MeshStore(),
      source: makeSource === null ? null : await makeSource(clock, flows.world),
    };
    const lab = new ControlLab(flows, machine, kept);
    lab.apply(documents);
    await lab.start();
    return lab;
  }

  get running(): Running {
    assert(this.#running !== null, "the control plane runs");
    return this.#running;
  }

  /** All documents of the mesh from now on. */
  apply(documents: string): void {
    const context = { trustDomain, clusterId: "edge", network: "", rootNamespace: "istio-system" };
    const conversion = convertDocuments(
      parseDocuments([{ path: "mesh.yaml", text: documents }]).documents,
      context,
    );
    const change = diffStates(this.#state, conversion);
    this.#state = conversion;
    if (change !== null) this.kept.store.apply(change);
  }

  async start(): Promise<void> {
    const host = this.machine.start();
    const { store } = this.kept;
    const { state } = this.kept.authority;
    const authority = this.kept.source ?? this.kept.authority;
    const bundle = this.kept.source?.bundle ?? this.kept.bundle;
    const { clock } = host;
    const metrics = new MetricRegistry();
    const trust = new TrustVerifier({ clock, provider, trustDomain });
    trust.setRoots(bundle.value.rootsPem);
    const unsubscribe = bundle.subscribe(({ rootsPem }) => trust.setRoots(rootsPem));
    const identity = createControlIdentity({
      claims: { check: async ({ addresses }) => ({ nameRefusal: null, addresses, refusals: [] }) },
      host,
      logger: silentLogger,
      metrics,
      provider,
      state,
      authority,
      trust,
      store,
      groupIdentity: () => null,
      issuers: [],
      settings: {
        trustDomain,
        clusterId: "edge",
        rootNamespace: "istio-system",
        network: "",
        nodeLifetimeMs: 24 * 3_600_000,
        version: "test",
      },
      controlId,
      controlUrl: () => `https://${withPort(address, 15012)}`,
      maxLifetimeMs: 48 * 3_600_000,
    });
    const xds = new XdsServer({
      clock,
      logger: silentLogger,
      store,
      bundle,
      authenticator: identity.authenticator,
      version: "test",
    });
    const service = new GrpcService<RpcPeer>();
    identity.register(service);
    // It reads no more of a peer than every peer has.
    xds.register(service as unknown as GrpcService<CallPeer>);
    const serving = await this.flows.world.settle(
      ServingCertificates.start({ clock, logger: silentLogger, authority, id: controlId, hosts: [address] }),
    );
    const server = new RpcServer({
      host,
      logger: silentLogger,
      service,
      credentials: () => serving.credentials,
    });
    server.listen(at(withPort(address, 15012)));
    const close = (): void => {
      unsubscribe();
      serving.close();
      xds.close();
      server.close();
    };
    this.#running = { host, server, xds, identity, close };
  }

  /** SIGKILL. */
  kill(): void {
    const { host, close } = this.running;
    host.kill();
    close();
    this.#running = null;
  }

  /** The words of the join line, as settings. */
  async token(node: string): Promise<Partial<Record<SettingName, string>>> {
    const { line } = await this.running.identity.joinTokens.create({
      binding: { kind: "node", node },
      createdBy: "ada",
      replace: true,
    });
    const words = line.split(" ");
    const after = (flag: string): string => words[words.indexOf(flag) + 1] ?? "";
    return { control: after("--control"), joinToken: after("--join-token"), caPin: after("--ca-pin") };
  }

  /** A process of a node; it may still wait for its mesh. */
  async host(machine: MemoryMachine, settings: Partial<Record<SettingName, string>>): Promise<JoinedHost> {
    let output = "";
    const host = machine.start({
      onOutput: (_stream, text) => {
        output += text;
      },
    });
    const logger = new LogWriter(host.clock, (text) => host.process.writeOut(text), "json", "info");
    const node = await this.flows.world.settle(
      prepareNode(host, labConfig({ control: `https://${withPort(address, 15012)}`, ...settings }), logger),
    );
    return {
      machine,
      host,
      node,
      log: () => {
        logger.flush();
        return output;
      },
    };
  }
}
