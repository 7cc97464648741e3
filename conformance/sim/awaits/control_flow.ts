/**
 * A host at its control plane: it joins by a token, and renews its certificate. The whole of `src/app/control/` is there, with its state on a
 * disk that outlives it; calls come as bytes of HTTP/2.
 */
import type { ControlSources } from "../../../src/admin/control/sources.ts";
import { type RunningControl, startControl } from "../../../src/app/control/control.ts";
import { controlSources } from "../../../src/app/control/sources.ts";
import type { CallPeer } from "../../../src/control/identity/call_credentials.ts";
import { LogWriter } from "../../../src/host/log_writer.ts";
import type { MemoryHost } from "../../../src/host/memory/process.ts";
import { type MemoryMachine, MemoryWorld } from "../../../src/host/memory/world.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { peculiarProvider } from "../../../src/pki/crypto/peculiar_provider.ts";
import { decodePemLabel } from "../../../src/pki/der/pem.ts";
import { parseCertificate } from "../../../src/pki/x509/certificate.ts";
import { createCertificateRequest } from "../../../src/pki/x509/csr.ts";
import { GrpcClient } from "../../../src/wire/grpc/client.ts";
import { GrpcService } from "../../../src/wire/grpc/server.ts";
import { join } from "../../../src/wire/grpc/services.ts";
import { GrpcError } from "../../../src/wire/grpc/status.ts";
import { Pair } from "../../../src/wire/h2/testing/wired.ts";
import type { JoinResponse } from "../../../src/wire/messages/fairlead.gen.ts";
import { address } from "../address.ts";
import { controlAddress, controlConfig } from "../control_config.ts";
import { trustDomain } from "../workloads.ts";
import type { Flow, Scene } from "./everywhere.ts";

const node = "edge-1";
const killed = "the control plane is killed";
/** How often bytes go from one end of a call to the other. */
const pollMs = 0.05;
const settledMs = 2_000;
const wholeAuditLog = 500;
/** As the API for administrators writes it down. */
const revoking = "revocations.create";

/** One call on its way to its answer. */
interface Call {
  answer: JoinResponse | null;
  refused: string | null;
  /** Between two turns it was answered. */
  atMs: number;
}

/** What a host has, once it has joined. */
interface Holder {
  readonly chain: readonly Uint8Array[];
  readonly serialNumber: string;
}

class ControlScene implements Scene {
  readonly world: MemoryWorld;
  readonly #machine: MemoryMachine;
  readonly #calls: Call[] = [];
  readonly #flow: "join" | "renewal";
  #host: MemoryHost;
  #control: RunningControl;
  #sources: ControlSources;
  #service = new GrpcService<CallPeer>();
  #csr = "";
  #token = "";
  #tokenId = "";
  #replacement = "";
  #holder: Holder | null = null;
  #main: Call | null = null;

  private constructor(
    world: MemoryWorld,
    machine: MemoryMachine,
    host: MemoryHost,
    control: RunningControl,
    flow: "join" | "renewal",
  ) {
    this.world = world;
    this.#machine = machine;
    this.#host = host;
    this.#control = control;
    this.#flow = flow;
    this.#sources = sourcesOf(host, control);
    control.parts.identity.register(this.#service);
  }

  static async make(flow: "join" | "renewal"): Promise<ControlScene> {
    const world = new MemoryWorld(1);
    const machine = world.machine("control", { addresses: [controlAddress] });
    const host = machine.start();
    const scene = new ControlScene(world, machine, host, await start(world, host), flow);
    await scene.#prepare();
    return scene;
  }

  seen(): number {
    return this.#host.ended ? 0 : 10_000_000 * this.#control.parts.state.audit.head().id;
  }

  begin(): void {
    this.#main = this.#flow === "join" ? this.#join(this.#token) : this.#renew();
  }

  isOver(): boolean {
    return this.#host.ended || (this.#main !== null && isDone(this.#main));
  }

  act(event: string): void {
    switch (event) {
      case "the host is revoked":
        void this.#sources.revocations.revoke({ kind: "node", value: node }, "stolen", "operator", "");
        this.#control.parts.state.audit.append({
          atMs: this.#host.clock.wallMs(),
          actor: "operator",
          action: revoking,
          target: node,
          outcome: "ok",
          detail: "stolen",
          before: null,
          after: null,
        });
        return;
      case "another host takes its place":
        this.#join(this.#replacement);
        return;
      case "another host joins by the same token":
        this.#join(this.#token);
        return;
      case "its token is revoked":
        this.#control.parts.state.tokens.revoke(this.#tokenId);
        return;
      case killed:
        this.#host.kill();
        return;
      default:
        throw new Error(event);
    }
  }

  async judge(event: string | null): Promise<readonly string[]> {
    await this.world.run(this.world.nowMs + settledMs);
    if (this.#host.ended) await this.#startAgain();
    const found = [...this.#judgeRegistration(), ...this.#judgeCertificates(event), ...this.#judgeOrder()];
    if (event === null && this.#main?.answer == null)
      found.push(`convergence: nothing was wrong, and the call came to ${this.#main?.refused}`);
    await this.world.settle(this.#control.stop());
    if (this.#host.openDescriptors > 0)
      found.push(`leak: ${this.#host.openDescriptors} descriptors are open`);
    return found;
  }

  /** Token, registration and audit log say the same, and who was answered is in all three. */
  #judgeRegistration(): readonly string[] {
    const { state } = this.#control.parts;
    const found: string[] = [];
    const joins = this.#audit("node.join");
    const spent = state.tokens.list().filter(({ usedAtMs }) => usedAtMs !== null).length;
    if (joins.length !== spent)
      found.push(`durability: ${spent} tokens are spent, ${joins.length} joins are recorded`);
    if ((state.registrations.byNode(node) !== null) !== joins.length > 0)
      found.push("durability: the registration and the audit log do not agree");
    const answered = this.#calls.filter(({ answer }) => answer !== null).length;
    const recorded = joins.length + this.#audit("node.renew").length;
    if (answered > recorded) found.push(`records: ${answered} calls were answered, ${recorded} are recorded`);
    const uses = new Map<string, number>();
    for (const { actor } of joins) uses.set(actor, (uses.get(actor) ?? 0) + 1);
    for (const [token, count] of uses)
      if (count > 1) found.push(`authorization: ${count} hosts joined by ${token}`);
    return found;
  }

  /** Whatever was signed for the host and is neither what it has nor what it may take up is on a list. */
  #judgeCertificates(event: string | null): readonly string[] {
    const { state } = this.#control.parts;
    const registration = state.registrations.byNode(node);
    // It came to no host, and what was signed has not left: whoever joins or renews is answered after that is written down.
    if (registration === null || event === killed) return [];
    const isRevoked = registration.revokedAtMs !== null;
    const good = isRevoked ? [] : [registration.currentSerial, registration.pendingSerial];
    return state.certificates
      .list({ limit: wholeAuditLog })
      .filter(({ requestedBy }) => requestedBy === node)
      .filter(({ serial }) => !good.includes(serial))
      .filter(({ serial, issuerKey }) => !state.revocations.isRevokedSerial(serial, issuerKey))
      .map(
        ({ serial }) =>
          `identity: certificate ${serial} was signed for a host that is gone, and is on no list`,
      );
  }

  /** Nothing is granted to a host that was thrown out before. */
  #judgeOrder(): readonly string[] {
    const { state } = this.#control.parts;
    const found: string[] = [];
    if (state.audit.read({ limit: wholeAuditLog }).some(({ detail }) => detail.includes("is in two places")))
      found.push("records: an alarm says that a key is in two places, and it is not");
    const rows = [...state.audit.read({ limit: wholeAuditLog })].sort((a, b) => a.id - b.id);
    let thrownOut: string | null = null;
    let replaced = false;
    for (const { action, target, outcome, before } of rows) {
      if (outcome !== "ok" || !target.includes(node)) continue;
      if (action === "node.join") {
        replaced = before !== null;
        thrownOut = null;
      } else if (
        action === "node.renew" &&
        (thrownOut !== null || (replaced && before === this.#holder?.serialNumber))
      )
        found.push(`authorization: the host renewed its certificate after it was ${thrownOut ?? "replaced"}`);
      else if (action === revoking) thrownOut = "revoked";
    }
    return found;
  }

  #audit(action: string) {
    return this.#control.parts.state.audit
      .read({ limit: wholeAuditLog, action })
      .filter(({ outcome }) => outcome === "ok");
  }

  async #prepare(): Promise<void> {
    const { settle } = { settle: <T>(work: Promise<T>) => this.world.settle(work) };
    this.#csr = (
      await createCertificateRequest(peculiarProvider(), new SpiffeId(trustDomain, "x", "y"))
    ).csrPem;
    const { joinTokens } = this.#control.parts.identity;
    const binding = { kind: "node", node } as const;
    const first = await settle(joinTokens.create({ binding, createdBy: "operator" }));
    this.#token = first.token;
    this.#tokenId = first.id;
    this.#replacement = (
      await settle(joinTokens.create({ binding, createdBy: "operator", replace: true }))
    ).token;
    if (this.#flow === "join") return;
    const joined = this.#join(this.#token);
    await this.world.runUntil(() => isDone(joined), this.world.nowMs + settledMs);
    this.#holder = heldBy(joined);
  }

  async #startAgain(): Promise<void> {
    this.#host = this.#machine.start();
    this.#control = await start(this.world, this.#host);
    this.#sources = sourcesOf(this.#host, this.#control);
  }

  #join(token: string): Call {
    return this.#call([], (client) =>
      client.unary(join.join, {
        $typeName: "fairlead.v1.JoinRequest",
        token,
        csr: this.#csr,
        nodeName: "",
        addresses: [],
        version: "",
        labels: {},
        network: "",
      }),
    );
  }

  #renew(): Call {
    return this.#call(this.#holder?.chain ?? [], (client) =>
      client.unary(join.renew, { $typeName: "fairlead.v1.RenewRequest", csr: this.#csr }),
    );
  }

  #call(chain: readonly Uint8Array[], ask: (client: GrpcClient) => Promise<JoinResponse>): Call {
    const call: Call = { answer: null, refused: null, atMs: Number.POSITIVE_INFINITY };
    this.#calls.push(call);
    const pair = new Pair();
    const service = this.#service;
    const peer: CallPeer = { remote: address("192.0.2.1", 40_000), chain };
    pair.serverEvents.handler = (stream, headers) => {
      service.handle(stream, headers, false, peer);
    };
    const client = new GrpcClient(pair.client, {
      authority: "control",
      scheme: "https",
      clock: this.#host.clock,
      userAgent: "test",
    });
    ask(client).then(
      (answer) => Object.assign(call, { answer, atMs: this.world.nowMs }),
      (error: unknown) => {
        if (!(error instanceof GrpcError)) this.world.schedule.fail(error);
        else Object.assign(call, { refused: error.message, atMs: this.world.nowMs });
      },
    );
    // The wire ends with the process.
    const poll = (): void => {
      pair.settle();
      if (!isDone(call)) this.world.schedule.timer(pollMs, this.#host, poll);
    };
    poll();
    return call;
  }
}

function isDone({ answer, refused }: Call): boolean {
  return answer !== null || refused !== null;
}

function heldBy({ answer, refused }: Call): Holder {
  if (answer === null) throw new Error(`the host did not join: ${refused}`);
  const chain = answer.certChain.slice(0, -1).flatMap((item) => decodePemLabel(item, "CERTIFICATE"));
  return { chain, serialNumber: parseCertificate(chain[0] ?? new Uint8Array()).serialNumber };
}

function start(world: MemoryWorld, host: MemoryHost): Promise<RunningControl> {
  return world.settle(
    startControl(host, controlConfig, new LogWriter(host.clock, () => true, "text", "info")),
  );
}

function sourcesOf(host: MemoryHost, control: RunningControl): ControlSources {
  const logger = new LogWriter(host.clock, () => true, "text", "info");
  return controlSources(host, control.parts, logger, () => control.pending());
}

const always: readonly string[] = ["the host is revoked", "another host takes its place", killed];

export const controlFlows: readonly Flow[] = [
  {
    name: "a host joins",
    events: [...always, "another host joins by the same token", "its token is revoked"],
    make: () => ControlScene.make("join"),
  },
  { name: "a host renews its certificate", events: always, make: () => ControlScene.make("renewal") },
];
