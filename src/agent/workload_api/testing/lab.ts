/** For tests: the API on a machine of memory, with identities that come and go as a test says, and callers of any user. */
import { assert } from "../../../base/assert.ts";
import { MeshError } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/log.ts";
import { WatchSource } from "../../../base/watch.ts";
import type { AuditEntry } from "../../../control/records/audit.ts";
import { type MemoryMachine, MemoryWorld } from "../../../host/memory/world.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { parseIdentityRule } from "../../../mesh/identity_rule.ts";
import { encodePem } from "../../../pki/der/pem.ts";
import type { Svid } from "../../../pki/svid/svid.ts";
import type { TrustBundle } from "../../../pki/trust/trust_bundle.ts";
import { Drive } from "../../../transport/drive.ts";
import { GrpcClient } from "../../../wire/grpc/client.ts";
import type { ClientStream } from "../../../wire/grpc/client_stream.ts";
import type { MethodDescription } from "../../../wire/grpc/method.ts";
import type { GrpcError } from "../../../wire/grpc/status.ts";
import { H2Connection } from "../../../wire/h2/connection.ts";
import { type ServedWorkloadApi, serveWorkloadApi } from "../serve.ts";

export const trustDomain = "cluster.local";
export const cart = new SpiffeId(trustDomain, "shop", "cart");
export const web = new SpiffeId(trustDomain, "shop", "web");
export const socketPath = "/run/identity.sock";

/** In place of `SecretManager`: an SVID is there when the test has put it there. */
export class TestSecrets {
  readonly #svids = new Map<string, Svid>();
  readonly #listeners = new Set<(svid: Svid) => void>();
  readonly #waiting = new Map<string, PromiseWithResolvers<Svid>>();
  asked = 0;

  /** A new SVID: its bytes say whose and which one. */
  put(id: SpiffeId, serialNumber: string): void {
    const leaf = new TextEncoder().encode(`leaf ${id.uri} ${serialNumber}`);
    const svid: Svid = {
      id,
      chain: [leaf, new TextEncoder().encode("intermediate")],
      certificateChainPem: encodePem("CERTIFICATE", leaf),
      privateKeyPem: encodePem("PRIVATE KEY", new TextEncoder().encode(`key ${id.uri} ${serialNumber}`)),
      serialNumber,
      notBeforeMs: 0,
      notAfterMs: Number.POSITIVE_INFINITY,
    };
    this.#svids.set(id.uri, svid);
    this.#waiting.get(id.uri)?.resolve(svid);
    this.#waiting.delete(id.uri);
    for (const listener of this.#listeners) listener(svid);
  }

  fail(id: SpiffeId): void {
    this.#waiting.get(id.uri)?.reject(new MeshError("identity_unavailable", "local", "the CA is away"));
    this.#waiting.delete(id.uri);
  }

  svid(id: SpiffeId): Promise<Svid> {
    this.asked++;
    const waiting = this.#waiting.get(id.uri) ?? Promise.withResolvers<Svid>();
    this.#waiting.set(id.uri, waiting);
    return waiting.promise;
  }

  current(id: SpiffeId): Svid | null {
    return this.#svids.get(id.uri) ?? null;
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  get subscriptions(): number {
    return this.#listeners.size;
  }
}

export function bundleOf(...roots: readonly string[]): TrustBundle {
  const rootsPem = roots.map((root) => encodePem("CERTIFICATE", new TextEncoder().encode(root))).join("");
  return { rootsPem, crls: [new TextEncoder().encode(`list of ${roots.join()}`)] };
}

/** A call whose answers are kept. */
export interface OpenCall<Req, Res> {
  readonly stream: ClientStream<Req>;
  readonly answers: Res[];
  /** Undefined while it is open; null for OK. */
  end: GrpcError | null | undefined;
}

export class IdentityLab {
  readonly world = new MemoryWorld(1);
  readonly machine: MemoryMachine;
  readonly secrets = new TestSecrets();
  readonly bundle = new WatchSource<TrustBundle>(bundleOf("root 1"));
  readonly audit: AuditEntry[] = [];
  readonly api: ServedWorkloadApi;

  constructor(rules: readonly string[]) {
    this.machine = this.world.machine("a", { addresses: ["10.0.0.1"] });
    this.machine.disk.makeFolder("/run");
    const host = this.machine.start();
    const sources = { secrets: this.secrets, bundle: this.bundle };
    this.api = serveWorkloadApi({
      ...sources,
      host,
      logger: silentLogger,
      path: socketPath,
      rules: rules.map((text) => {
        const rule = parseIdentityRule(text, trustDomain);
        assert(typeof rule !== "string", String(rule));
        return rule;
      }),
      audit: { append: (entry) => void this.audit.push(entry) },
      trustDomain,
    });
  }

  /** A program of that user, connected. */
  async connect(uid: number, gid = uid): Promise<GrpcClient> {
    const host = this.machine.start({ user: { uid, gid } });
    const socket = await this.world.settle(host.net.connectUnix(socketPath, 1_000));
    const { clock } = host;
    let drive: Drive | null = null;
    const connection = new H2Connection(
      { role: "client", now: clock.now() },
      { onRequest() {}, onOutputReady: () => drive?.outputReady(), onClose() {} },
    );
    drive = new Drive(clock, socket, connection, () => {});
    drive.start();
    await this.pass(10);
    return new GrpcClient(connection, { authority: "localhost", scheme: "http", clock, userAgent: "test" });
  }

  open<Req, Res>(
    client: GrpcClient,
    method: MethodDescription<Req, Res>,
    request: Req | null,
    metadata: readonly string[] = ["workload.spiffe.io", "true"],
  ): OpenCall<Req, Res> {
    const answers: Res[] = [];
    const call: { end: GrpcError | null | undefined } = { end: undefined };
    const stream = client.stream<Req, Res>(
      method,
      {
        onMessage: (message) => void answers.push(message),
        onEnd: (error) => {
          call.end = error;
        },
      },
      { metadata },
    );
    if (request !== null) stream.send(request);
    return Object.assign(call, { stream, answers });
  }

  pass(milliseconds: number): Promise<void> {
    return this.world.run(this.world.nowMs + milliseconds);
  }
}
