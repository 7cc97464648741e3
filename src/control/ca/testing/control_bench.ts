/** A control plane's identity services over HTTP/2 in memory: state, authority, issuer of tokens and clock in the test's hands. */
import { IpAddress } from "../../../base/ip.ts";
import { silentLogger } from "../../../base/log.ts";
import { MetricRegistry } from "../../../base/metrics.ts";
import { SeededRandom } from "../../../host/memory/random.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { runtimeProvider } from "../../../pki/crypto/provider.ts";
import { decodePemLabel, encodePem } from "../../../pki/der/pem.ts";
import { createSelfSignedRoot } from "../../../pki/issue/authority.ts";
import { CertificateAuthority } from "../../../pki/issue/ca.ts";
import { FakeClock } from "../../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../../pki/testing/memory_files.ts";
import { FakeHttp, keySet, signToken, type TestKey, testKey } from "../../../pki/testing/token_issuer.ts";
import { parseJwtIssuer } from "../../../pki/token/token_issuer.ts";
import { TrustVerifier } from "../../../pki/trust/verifier.ts";
import { type Certificate, parseCertificate } from "../../../pki/x509/certificate.ts";
import { createCertificateRequest } from "../../../pki/x509/csr.ts";
import { GrpcClient } from "../../../wire/grpc/client.ts";
import type { MethodDescription } from "../../../wire/grpc/method.ts";
import { GrpcService } from "../../../wire/grpc/server.ts";
import { istioCertificate, join } from "../../../wire/grpc/services.ts";
import { GrpcError, grpcCodeName } from "../../../wire/grpc/status.ts";
import { Pair } from "../../../wire/h2/testing/wired.ts";
import type { CallPeer } from "../../identity/call_credentials.ts";
import type { PlacedWorkload } from "../../identity/entitlement.ts";
import type { WorkloadSource } from "../../identity/mesh_facts.ts";
import type { RateSettings } from "../../identity/rate_limits.ts";
import { MemoryAuthority } from "../../identity/testing/memory_authority.ts";
import { MemoryState } from "../../identity/testing/memory_state.ts";
import type { JoinClaims } from "../../records/join_claims.ts";
import { type ControlIdentity, createControlIdentity } from "../control_identity.ts";

export const provider = runtimeProvider();
export const startMs = Date.parse("2026-11-22T12:00:00Z");
export const trustDomain = "cluster.local";
export const hour = 3_600_000;

export const id = (text: string): SpiffeId => {
  const [namespace = "", name = ""] = text.split("/");
  return new SpiffeId(trustDomain, namespace, name);
};

/** What a caller shows, besides what it asks. */
export interface Shown {
  readonly chain?: readonly Uint8Array[];
  readonly token?: string;
  /** The whole header, or several. */
  readonly authorization?: readonly string[];
  readonly address?: string;
}

/** How a call ended: its answer, or `CODE: message`. */
export type Outcome<T> =
  | { readonly answer: T; readonly refused: null }
  | { readonly answer: null; readonly refused: string };

export interface CreateCall {
  readonly csr: string;
  readonly seconds?: number;
  readonly impersonate?: unknown;
  readonly certSigner?: string;
}

export interface BenchOptions {
  readonly rates?: RateSettings;
  readonly maxLifetimeMs?: number;
}

export class ControlBench {
  readonly clock: FakeClock;
  readonly state: MemoryState;
  readonly metrics = new MetricRegistry();
  readonly authority: MemoryAuthority;
  readonly trust: TrustVerifier;
  readonly identity: ControlIdentity;
  readonly key: TestKey;
  /** By `namespace/name`; bump `version` after a change. */
  readonly workloads = new Map<string, PlacedWorkload>();
  readonly groups = new Map<string, SpiffeId>();
  version = 1;
  /** What tenants' hosts may claim: everything, unless a test says otherwise. */
  checkClaims: JoinClaims["check"] = async ({ addresses }) => ({
    nameRefusal: null,
    addresses,
    refusals: [],
  });
  readonly #service = new GrpcService<CallPeer>();

  private constructor(clock: FakeClock, key: TestKey, authority: MemoryAuthority, options: BenchOptions) {
    this.clock = clock;
    this.key = key;
    this.authority = authority;
    this.state = authority.state;
    this.trust = new TrustVerifier({ clock, provider, trustDomain });
    this.trust.setRoots(authority.ca.rootsPem);
    const bench = this;
    const store = {
      get version() {
        return bench.version;
      },
      workloads: () => [...bench.workloads].map(([name, placed]) => storedWorkload(name, placed)),
    } as unknown as WorkloadSource;
    this.identity = createControlIdentity({
      claims: { check: (host) => this.checkClaims(host) },
      host: {
        clock: this.clock,
        random: new SeededRandom(1, "control"),
        files: new MemoryFiles(),
        http: new FakeHttp(),
      },
      logger: silentLogger,
      metrics: this.metrics,
      provider,
      state: this.state,
      authority: this.authority,
      trust: this.trust,
      store,
      groupIdentity: (group) => this.groups.get(group) ?? null,
      issuers: [
        parseJwtIssuer({ issuer: "https://issuer.example", jwks: keySet(key) }),
        parseJwtIssuer({ issuer: "https://people.example", jwks: keySet(key), subject: "operator" }),
      ],
      settings: {
        trustDomain,
        clusterId: "edge",
        rootNamespace: "istio-system",
        network: "net-1",
        nodeLifetimeMs: 24 * hour,
        version: "0.4.0",
      },
      controlId: id("istio-system/fairlead-control"),
      reserved: [id("istio-system/fairlead-admin")],
      controlUrl: () => "https://control.example:15012",
      maxLifetimeMs: options.maxLifetimeMs ?? 48 * hour,
      ...(options.rates === undefined ? {} : { rates: options.rates }),
    });
    this.identity.register(this.#service);
  }

  static async start(options: BenchOptions = {}): Promise<ControlBench> {
    const { certificate, key } = await createSelfSignedRoot(provider, trustDomain, startMs - 365 * 24 * hour);
    const rootPem = encodePem("CERTIFICATE", certificate.der);
    const privateKeyPem = encodePem("PRIVATE KEY", key.pkcs8);
    const pem = { certificatePem: rootPem, privateKeyPem, chainPem: "", rootsPem: rootPem };
    const clock = new FakeClock(startMs);
    const ca = await CertificateAuthority.load({ clock, provider, trustDomain, pem });
    const authority = new MemoryAuthority(ca, { certificate, key, provider }, new MemoryState());
    return new ControlBench(clock, await testKey("one"), authority, options);
  }

  token(claims: Record<string, unknown> = {}): Promise<string> {
    return signToken(this.key, this.clock.wallMs(), claims);
  }

  async csr(text = "shop/cart"): Promise<{ readonly csr: string; readonly keys: CryptoKeyPair }> {
    const { csrPem, keys } = await createCertificateRequest(provider, id(text));
    return { csr: csrPem, keys };
  }

  create(
    shown: Shown,
    { csr, seconds = 0, impersonate, certSigner }: CreateCall,
  ): Promise<Outcome<{ certChain: string[] }>> {
    const metadata = {
      ...(impersonate === undefined ? {} : { ImpersonatedIdentity: impersonate as string }),
      ...(certSigner === undefined ? {} : { CertSigner: certSigner }),
    };
    return this.call(shown, istioCertificate.createCertificate, {
      $typeName: "istio.v1.auth.IstioCertificateRequest",
      csr,
      validityDuration: BigInt(seconds),
      metadata,
    });
  }

  join(
    token: string,
    csr: string,
    about: {
      readonly nodeName?: string;
      readonly addresses?: string[];
      readonly network?: string;
      readonly labels?: Record<string, string>;
      readonly version?: string;
    } = {},
    shown: Shown = {},
  ): ReturnType<typeof this.renew> {
    return this.call(shown, join.join, {
      $typeName: "fairlead.v1.JoinRequest",
      token,
      csr,
      nodeName: "",
      addresses: [],
      version: "0.4.0",
      labels: {},
      network: "",
      ...about,
    });
  }

  renew(
    shown: Shown,
    csr: string,
  ): Promise<
    Outcome<{
      certChain: string[];
      nodeName: string;
      workloads: string[];
      network: string;
      trustDomain: string;
      clusterId: string;
      rootNamespace: string;
    }>
  > {
    return this.call(shown, join.renew, { $typeName: "fairlead.v1.RenewRequest", csr });
  }

  /** Joins with a new token and gives the node's credentials. */
  async joined(node: string, replace = false): Promise<Shown & { readonly leaf: Certificate }> {
    const { token } = await this.identity.joinTokens.create({
      binding: { kind: "node", node },
      createdBy: "ada",
      replace,
    });
    const { csr } = await this.csr();
    const { answer, refused } = await this.join(token, csr);
    if (answer === null) throw new Error(refused);
    return shownBy(answer.certChain);
  }

  async call<Req, Res>(
    shown: Shown,
    method: MethodDescription<Req, Res>,
    request: Req,
  ): Promise<Outcome<Res>> {
    const pair = new Pair();
    const ip = IpAddress.parse(shown.address ?? "192.0.2.1");
    if (ip === null) throw new Error("no address");
    const peer: CallPeer = { remote: { ip, port: 40_000 }, chain: shown.chain ?? [] };
    pair.serverEvents.handler = (stream, headers) => {
      this.#service.handle(stream, headers, false, peer);
    };
    const client = new GrpcClient(pair.client, {
      authority: "control.example:15012",
      scheme: "https",
      clock: this.clock,
      userAgent: "test",
    });
    const authorization = shown.authorization ?? (shown.token === undefined ? [] : [`Bearer ${shown.token}`]);
    const metadata = authorization.flatMap((value) => ["authorization", value]);
    let over = false;
    const ending = client
      .unary(method, request, { metadata })
      .then(
        (answer): Outcome<Res> => ({ answer, refused: null }),
        (error: unknown): Outcome<Res> => {
          if (!(error instanceof GrpcError)) throw error;
          return { answer: null, refused: `${grpcCodeName(error.code)}: ${error.message}` };
        },
      )
      .finally(() => {
        over = true;
      });
    while (!over) {
      pair.settle();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return await ending;
  }

  /** What the audit log says of refusals, newest last. */
  get refusals(): readonly string[] {
    return this.state.auditRows
      .filter((row) => row.outcome !== "ok")
      .map((row) => `${row.action} ${row.detail}`);
  }
}

/** What a node shows from now on: its chain without the roots. */
export function shownBy(certChain: readonly string[]): Shown & { readonly leaf: Certificate } {
  const chain = certChain.slice(0, -1).flatMap((item) => decodePemLabel(item, "CERTIFICATE"));
  return { chain, leaf: parseCertificate(chain[0] ?? new Uint8Array()) };
}

export function certificates(items: readonly string[]): readonly Certificate[] {
  return items.flatMap((item) => decodePemLabel(item, "CERTIFICATE")).map(parseCertificate);
}

function storedWorkload(key: string, { identity, node }: PlacedWorkload): object {
  const [namespace = "", name = ""] = key.split("/");
  return { namespace, name, identity, node };
}
