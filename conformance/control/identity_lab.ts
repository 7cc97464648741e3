/** A control plane's identity services as they run: state on disk, keys sealed, TLS on loopback, an issuer of tokens with its keys in a file. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IpAddress } from "../../src/base/ip.ts";
import { silentLogger } from "../../src/base/log.ts";
import { MetricRegistry } from "../../src/base/metrics.ts";
import { type ControlIdentity, createControlIdentity } from "../../src/control/ca/control_identity.ts";
import { ServingCertificates } from "../../src/control/ca/serving_certificates.ts";
import type { RateSettings } from "../../src/control/identity/rate_limits.ts";
import { OwnCertifier } from "../../src/control/keys/authority_certificate.ts";
import { makeKeyFile, openKeyVault } from "../../src/control/keys/key_encryption.ts";
import { SealedKeys } from "../../src/control/keys/key_place.ts";
import { MeshAuthority } from "../../src/control/keys/mesh_authority.ts";
import { StateAuthorities } from "../../src/control/keys/state_authorities.ts";
import { ControlState } from "../../src/control/state/control_state.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { keySet, signToken, type TestKey, testKey } from "../../src/pki/testing/token_issuer.ts";
import { parseJwtIssuer } from "../../src/pki/token/token_issuer.ts";
import { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import { type RpcPeer, RpcServer } from "../../src/transport/rpc/server.ts";
import { GrpcService } from "../../src/wire/grpc/server.ts";

const trustDomain = "cluster.local";

export class IdentityLab {
  readonly directory: string;
  readonly identity: ControlIdentity;
  readonly state: ControlState;
  readonly authority: MeshAuthority;
  readonly key: TestKey;
  readonly port: number;
  /** `namespace/name` → the node it runs on; its service account has its name. */
  readonly placements: Map<string, string>;
  readonly #close: () => void;

  private constructor(parts: Omit<IdentityLab, "close" | "token"> & { readonly end: () => void }) {
    this.directory = parts.directory;
    this.identity = parts.identity;
    this.state = parts.state;
    this.authority = parts.authority;
    this.key = parts.key;
    this.port = parts.port;
    this.placements = parts.placements;
    this.#close = parts.end;
  }

  /**
   * @param nodeLifetimeMs of nodes' certificates: short ones end while a check waits.
   * @param rates the product's own unless given.
   */
  static async start(nodeLifetimeMs: number, rates?: RateSettings): Promise<IdentityLab> {
    const host = createBunHost();
    const provider = runtimeProvider();
    const logger = silentLogger;
    const { clock } = host;
    const directory = mkdtempSync(join(tmpdir(), "fairlead-identity-"));
    mkdirSync(join(directory, "state"));
    const state = await ControlState.open(host, join(directory, "state"), logger);
    const keyFile = join(directory, "key");
    await makeKeyFile(host, keyFile);
    const sealed = new SealedKeys(
      await openKeyVault(host, provider, { kind: "file", path: keyFile }),
      provider,
    );
    const common = { clock, provider, trustDomain, logger };
    const certifier = new OwnCertifier(common);
    const records = state.authorities;
    const authorities = await StateAuthorities.open({
      ...common,
      records,
      places: [sealed],
      certifier,
      firstKind: "root",
    });
    const authority = await MeshAuthority.open({ ...common, records: state, authorities: authorities.view });
    const trust = new TrustVerifier({ clock, provider, trustDomain });
    const follow = ({ rootsPem, crls }: typeof authority.bundle.value): void => {
      trust.setRoots(rootsPem);
      void trust.setCrls(crls.map((bytes, index) => ({ name: `list ${index}`, bytes })));
    };
    follow(authority.bundle.value);
    const endFollowing = authority.bundle.subscribe(follow);

    const key = await testKey("one", "RS256");
    const jwksFile = join(directory, "keys.json");
    writeFileSync(jwksFile, keySet(key));
    const placements = new Map<string, string>();
    const controlId = new SpiffeId(trustDomain, "istio-system", "fairlead-control");
    let port = 0;
    const identity = createControlIdentity({
      claims: { check: async ({ addresses }) => ({ nameRefusal: null, addresses, refusals: [] }) },
      host,
      logger,
      metrics: new MetricRegistry(),
      provider,
      state,
      authority,
      trust,
      store: {
        get version() {
          return placements.size;
        },
        workloads: () => [...placements].map(placed),
      },
      groupIdentity: () => null,
      issuers: [parseJwtIssuer({ issuer: "https://issuer.example", jwksFile })],
      settings: {
        trustDomain,
        clusterId: "edge",
        rootNamespace: "istio-system",
        network: "",
        nodeLifetimeMs,
        version: "test",
      },
      controlId,
      controlUrl: () => `https://127.0.0.1:${port}`,
      maxLifetimeMs: 48 * 3_600_000,
      ...(rates === undefined ? {} : { rates }),
    });
    const service = new GrpcService<RpcPeer>();
    identity.register(service);
    const serving = await ServingCertificates.start({
      clock,
      logger,
      authority,
      id: controlId,
      hosts: ["127.0.0.1", "localhost"],
    });
    const server = new RpcServer({ host, logger, service, credentials: () => serving.credentials });
    const ip = IpAddress.parse("127.0.0.1");
    if (ip === null) throw new Error("no loopback");
    const listener = server.listen({ ip, port: 0 });
    port = listener.address.port;
    const end = (): void => {
      listener.close();
      server.close();
      serving.close();
      endFollowing();
      authority.close();
      authorities.close();
      state.close();
      rmSync(directory, { recursive: true });
    };
    return new IdentityLab({ directory, identity, state, authority, key, port, placements, end });
  }

  token(claims: Record<string, unknown> = {}): Promise<string> {
    return signToken(this.key, Date.now(), claims);
  }

  close(): void {
    this.#close();
  }
}

type StoredWorkload = Parameters<typeof createControlIdentity>[0]["store"] extends {
  workloads(): Iterable<infer Row>;
}
  ? Row
  : never;

/** Of a workload, what entitlement looks at. */
function placed([key, node]: readonly [string, string]): StoredWorkload {
  const [namespace = "", name = ""] = key.split("/");
  return { namespace, name, node, identity: new SpiffeId(trustDomain, namespace, name) } as StoredWorkload;
}
