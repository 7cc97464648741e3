/** What attacks act upon: a real node and a real control plane on loopback, with callers that mean well all the while. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../src/base/errors.ts";
import { IpAddress, type SocketAddress } from "../../src/base/ip.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import type { Socket, TlsCredentials, TlsSocket } from "../../src/host/host.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { authorityFile } from "../../src/pki/issue/ca_files.ts";
import { SecretManager } from "../../src/pki/svid/secrets.ts";
import { keySet, signToken, type TestKey, testKey } from "../../src/pki/testing/token_issuer.ts";
import { TrustVerifier } from "../../src/pki/trust/verifier.ts";
import { freePort } from "../control/free_port.ts";
import { hangMs } from "../peer/lab/eventually.ts";
import { RawPeer } from "./raw_peer.ts";
import { SubjectProcess } from "./subject_process.ts";

export type DoorName = "node" | "control";

const trustDomain = "cluster.local";
const loopback = "127.0.0.1";
const people = "https://people.example";
/** No application listens there, and policy allows no caller. */
export const deniedPort = 9;

export const host = createBunHost();
const provider = runtimeProvider();

export class Stage {
  readonly node: SubjectProcess;
  readonly control: SubjectProcess;
  readonly ports: { readonly node: number; readonly control: number; readonly application: number };
  /** Of a member of the mesh. */
  readonly member: TlsCredentials;
  /** Of another mesh. */
  readonly foreign: TlsCredentials;
  readonly issuer: TestKey;
  readonly #application: { stop(): void };

  private constructor(
    parts: Omit<Stage, "process" | "tcp" | "tls" | "peer" | "token" | "operatorToken" | "close"> & {
      application: { stop(): void };
    },
  ) {
    this.node = parts.node;
    this.control = parts.control;
    this.ports = parts.ports;
    this.member = parts.member;
    this.foreign = parts.foreign;
    this.issuer = parts.issuer;
    this.#application = parts.application;
  }

  static async open(directory: string): Promise<Stage> {
    const authority = await newAuthority();
    const member = await credentialsOf(authority, "cart");
    const foreign = await credentialsOf(await newAuthority(), "cart");
    const issuer = await testKey("one", "RS256");
    const application = Bun.listen({
      hostname: loopback,
      port: 0,
      socket: { data: (socket, bytes) => void socket.write(bytes) },
    });
    const ports = { node: freePort(), control: freePort(), application: application.port };
    const quiet = { admin: "off", metrics: "off", readiness: "off", logLevel: "error" };
    const [node, control] = await Promise.all([
      SubjectProcess.start("node", {
        ...quiet,
        ...nodeSettings(join(directory, "node"), authority, ports.node),
      }),
      SubjectProcess.start("control", controlSettings(join(directory, "control"), issuer, ports.control)),
    ]);
    return new Stage({ node, control, ports, member, foreign, issuer, application });
  }

  process(door: DoorName): SubjectProcess {
    return door === "node" ? this.node : this.control;
  }

  /** A TCP connection to a door, from an address of 127.0.0.0/8 of the caller's choice. */
  tcp(door: DoorName, from: string | null = null): Promise<Socket> {
    const ip = from === null ? null : parse(from);
    return host.net.connect({
      to: this.#address(door),
      timeoutMs: hangMs,
      ...(ip === null ? {} : { from: { ip, port: 0, transparent: false } }),
    });
  }

  /** @param credentials null: shows none. @throws MeshError as the door refuses it. */
  async tls(
    door: DoorName,
    credentials: TlsCredentials | null,
    from: string | null = null,
  ): Promise<TlsSocket> {
    const socket = await this.tcp(door, from);
    return await host.net.tlsClient(socket, {
      credentials: credentials ?? { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: "" },
      alpn: ["h2"],
      timeoutMs: hangMs,
    });
  }

  /** An attacker: a member of the mesh at the node, a stranger at the control plane. */
  async peer(door: DoorName, hello = true): Promise<RawPeer> {
    return new RawPeer(await this.tls(door, door === "node" ? this.member : null), hello);
  }

  token(claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    return signToken(this.issuer, Date.now(), claims);
  }

  /** Of an administrator of the mesh, or of the namespace `shop`. */
  operatorToken(name: "root" | "shop"): Promise<string> {
    return signToken(this.issuer, Date.now(), {
      iss: people,
      aud: ["fairlead"],
      sub: name,
      jti: `${name}-1`,
    });
  }

  close(): void {
    this.node.stop();
    this.control.stop();
    this.#application.stop();
  }

  #address(door: DoorName): SocketAddress {
    return { ip: parse(loopback), port: this.ports[door] };
  }
}

function parse(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  if (ip === null) throw new Error(text);
  return ip;
}

function newAuthority(): Promise<CertificateAuthority> {
  return CertificateAuthority.create({ clock: host.clock, provider, trustDomain });
}

async function credentialsOf(authority: CertificateAuthority, account: string): Promise<TlsCredentials> {
  const { clock, random } = host;
  const trust = new TrustVerifier({ clock, provider, trustDomain });
  const lifetimeMs = 3_600_000;
  const logger = silentLogger;
  const secrets = new SecretManager({
    clock,
    random,
    provider,
    signer: authority,
    lifetimeMs,
    trust,
    logger,
  });
  const { certificateChainPem, privateKeyPem } = await secrets.svid(
    new SpiffeId(trustDomain, "shop", account),
  );
  secrets.close();
  return { certificateChainPem, privateKeyPem, trustedRootsPem: authority.rootsPem };
}

function nodeSettings(
  directory: string,
  authority: CertificateAuthority,
  port: number,
): Readonly<Record<string, string>> {
  const state = join(directory, "state");
  const mesh = join(directory, "mesh");
  for (const path of [state, mesh]) mkdirSync(path, { recursive: true, mode: 0o700 });
  const pem = authority.exportPem();
  writeFileSync(join(state, authorityFile), `${pem.privateKeyPem}${pem.certificatePem}`, { mode: 0o600 });
  writeFileSync(join(mesh, "mesh.yaml"), documents);
  return {
    mesh,
    stateDirectory: state,
    workloads: "shop/db",
    hbonePort: String(port),
    outboundPort: String(freePort()),
    inboundPlaintextPort: String(freePort()),
  };
}

function controlSettings(directory: string, issuer: TestKey, port: number): Readonly<Record<string, string>> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "keys.json"), keySet(issuer));
  writeFileSync(
    join(directory, "issuers.yaml"),
    `apiVersion: fairlead.dev/v1
kind: TokenIssuer
metadata:
  name: test
spec:
  issuer: https://issuer.example
  audiences: [istio-ca]
  jwksFile: ${join(directory, "keys.json")}
---
apiVersion: fairlead.dev/v1
kind: TokenIssuer
metadata:
  name: people
spec:
  issuer: ${people}
  audiences: [fairlead]
  subject: operator
  jwksFile: ${join(directory, "keys.json")}
`,
  );
  writeFileSync(
    join(directory, "administrators.yaml"),
    `apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: root}
spec: {role: mesh-admin, subjects: [{issuer: "${people}", value: root}]}
---
apiVersion: fairlead.dev/v1
kind: Administrator
metadata: {name: shop}
spec: {role: namespace-admin, namespaces: [shop], subjects: [{issuer: "${people}", value: shop}]}
`,
  );
  return {
    controlListen: `${loopback}:${port}`,
    servingNames: loopback,
    stateDirectory: join(directory, "state"),
    issuers: join(directory, "issuers.yaml"),
    administrators: join(directory, "administrators.yaml"),
    metrics: "off",
    readiness: "off",
    logLevel: "error",
  };
}

/** One workload, everything allowed but one port. */
const documents = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: db
  namespace: shop
  labels:
    app: db
spec:
  address: ${loopback}
  serviceAccount: db
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: nothing-there
  namespace: shop
spec:
  action: DENY
  rules:
    - to:
        - operation:
            ports: ["${deniedPort}"]
`;

/** Whether a failure is a door's own: refused, reset, or a handshake that was ended. */
export function isTurnedAway(error: unknown): boolean {
  return error instanceof MeshError;
}
