/**
 * A call from one node to another: a connection is taken in, routed, given a tunnel, asked for by CONNECT, decided, dialled and carried.
 * Both ends are real nodes, and everything of either can happen to it meanwhile.
 */
import type { MemoryHost } from "../../../src/host/memory/process.ts";
import { Recorder } from "../../../src/host/testing/recorder.ts";
import type { Svid } from "../../../src/pki/svid/svid.ts";
import { at, FlowLab, type LabNode, shopId } from "../../flows/lab.ts";
import { HbonePeer, svidOf, tlsWith } from "../../flows/peer.ts";
import { windowFault } from "../window_check.ts";
import {
  denial,
  events,
  eventsByHand,
  eventsOfHandshake,
  forbids,
  forbidsAtOnce,
  mesh,
  removal,
} from "./call_events.ts";
import { type Calling, callByHand, callNode, describe } from "./calling.ts";
import type { Flow, Scene } from "./everywhere.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const handshakeMs = 2;
const drainMs = 1_000;
/** In which whatever an event means has come to pass. */
const settledMs = 1_500;
/** What was on its way when it happened. */
const underWayMs = 5;

class CallScene implements Scene {
  readonly lab: FlowLab;
  readonly cart: LabNode;
  readonly db: LabNode;
  readonly #client: MemoryHost;
  readonly #application: MemoryHost;
  readonly #accepted: { readonly atMs: number; readonly peer: Recorder }[] = [];
  readonly #otherRoots: string;
  /** By the workload whose SVID is on it. */
  readonly #lists = new Map<string, Uint8Array>();
  readonly #listeners: { readonly cart: number; readonly db: number };
  readonly #calls: Calling[] = [];
  /** Calls in place of the calling node, and says what it has to say before it is answered. */
  #hand: HbonePeer | null = null;
  /** It has yet to make its handshake, with this. */
  #handshake: Svid | null = null;
  #recordedBefore = { cart: 0, db: 0 };
  #bytesAfter = 0;
  #writtenAfter = 0;
  #acted: string | null = null;
  #actedMs = Number.POSITIVE_INFINITY;
  #failed = false;

  private constructor(lab: FlowLab, cart: LabNode, db: LabNode, otherRoots: string) {
    this.lab = lab;
    this.cart = cart;
    this.db = db;
    this.#otherRoots = otherRoots;
    this.#client = cart.machine.start();
    this.#application = db.machine.start();
    this.#application.net.listen({ address: at("10.0.0.2:15432") }, (socket) =>
      this.#serve(new Recorder(socket)),
    );
    this.world.onSegment = ({ machines }, from, { length }) => {
      const isToApplication = machines.client === "two" && machines.server === "two" && from === "client";
      if (isToApplication && this.#acted !== null) this.#writtenAfter += length;
    };
    this.#listeners = { cart: cart.host.openDescriptors, db: db.host.openDescriptors };
  }

  static async make(how: "cold" | "warm" | "by hand" | "slowly by hand"): Promise<CallScene> {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, {
      localPorts: "10.0.0.1:8080=db.shop:5432",
      drainDeadline: `${drainMs}ms`,
    });
    const db = await lab.node("two", ["10.0.0.2"], mesh, { drainDeadline: `${drainMs}ms` });
    const scene = new CallScene(lab, cart, db, await otherRoots());
    // What was signed just now is not renewed at once (`pkiLimits.backoffStartMs`).
    await lab.run(settledMs);
    if (how === "warm") await scene.#warmUp();
    if (how.endsWith("by hand")) await scene.#takeInHand(how.startsWith("slowly"));
    for (const [node, name] of [
      [cart, "cart"],
      [db, "db"],
    ] as const)
      if (!scene.#lists.has(name)) scene.#lists.set(name, await scene.#listOfNode(node, name));
    return scene;
  }

  get world() {
    return this.lab.world;
  }

  seen(): number {
    const count = ({ node: { context, tunnel } }: LabNode): number =>
      context.connections.size + 100 * (tunnel.tunnelCount.inbound + tunnel.tunnelCount.outbound);
    return 10_000_000 * (count(this.cart) + 7 * count(this.db) + 3 * this.#accepted.length);
  }

  begin(): void {
    if (this.#handshake === null) void this.#call();
    else void this.#callSlowly(this.#handshake);
  }

  isOver(): boolean {
    const [call] = this.#calls;
    return this.#failed || (call !== undefined && (call.text() === "welcome" || call.isClosed()));
  }

  act(event: string): void {
    this.#actedMs = this.world.nowMs;
    this.#happen(event);
    this.#acted = event;
  }

  #happen(event: string): void {
    const { cart, db } = this;
    switch (event) {
      case "the caller is revoked":
        this.#revoke(db, "cart");
        return;
      case "the called one is revoked":
        this.#revoke(cart, "db");
        return;
      case "a policy denies":
        db.node.context.store.apply(denial);
        return;
      case "the called workload is removed":
        db.node.context.store.apply(removal);
        return;
      case "roots are replaced at the called end":
        this.#replaceRoots(db);
        return;
      case "roots are replaced at the calling end":
        this.#replaceRoots(cart);
        return;
      case "the called node drains":
        void db.node.drain();
        return;
      case "the calling node drains":
        void cart.node.drain();
        return;
      case "the calling node is killed":
        cart.host.kill();
        return;
      case "the called node is killed":
        db.host.kill();
        return;
      case "the client leaves":
        for (const call of this.#calls) call.reset();
        return;
      case "the application leaves":
        this.#application.kill();
        return;
      case "the caller's SVID is renewed":
        cart.node.context.secrets.renewAll("as drawn");
        return;
      case "the called one's SVID is renewed":
        db.node.context.secrets.renewAll("as drawn");
        return;
      default:
        throw new Error(event);
    }
  }

  async judge(event: string | null): Promise<readonly string[]> {
    await this.lab.run(settledMs);
    const found: string[] = [];
    const [first] = this.#calls;
    const wentThrough = first?.text() === "welcome" && !first.isClosed();
    const isForbidden = event !== null && forbids.includes(event);
    if (isForbidden) found.push(...(await this.#judgeForbidden()));
    if (event === null || event.endsWith("SVID is renewed")) {
      if (!wentThrough) found.push(`convergence: nothing was wrong, and the call came to ${describe(first)}`);
      found.push(...(await this.#judgeAnother()));
    }
    if (event === "the client leaves") found.push(...(await this.#judgeAnother()));
    for (const call of this.#calls) call.close();
    await this.lab.run(drainMs + settledMs);
    return [...found, ...this.#judgeLeaks(event), ...this.#judgeRecords(event)];
  }

  /** It is over, and nothing of it comes any more; neither does another. */
  async #judgeForbidden(): Promise<readonly string[]> {
    const found: string[] = [];
    const open = this.#accepted.filter(({ peer }) => peer.closes === 0);
    if (open.length > 0) found.push("authorization: it is open at the workload, and may not be any more");
    for (const [{ node }, name] of [
      [this.cart, "the calling node"],
      [this.db, "the called node"],
    ] as const)
      if (node.tunnel.tunnels.some(({ peer }) => node.context.trust.recheck(peer, "ignore") !== null))
        found.push(`authorization: ${name} has a tunnel open whose peer it does not trust any more`);
    if (this.#acted !== null && forbidsAtOnce.includes(this.#acted) && this.#writtenAfter > 0)
      found.push(
        `authorization: ${this.#writtenAfter} bytes were written to the workload after it was forbidden`,
      );
    if (this.#bytesAfter > 0)
      found.push(`authorization: ${this.#bytesAfter} bytes came after it was forbidden`);
    if (this.#accepted.some(({ atMs }) => atMs > this.#actedMs + underWayMs))
      found.push("authorization: the workload was dialled after it was forbidden");
    const before = this.#accepted.length;
    const call = await this.world.settle(this.#call());
    await this.lab.run(settledMs);
    if (call?.text() === "welcome" || this.#accepted.length > before)
      found.push("authorization: another call went through");
    return found;
  }

  /** A later call goes through, over tunnels of the certificates that there are by now. */
  async #judgeAnother(): Promise<readonly string[]> {
    for (const call of this.#calls) call.close();
    await this.lab.run(200);
    const call = await this.world.settle(this.#call());
    // A tunnel that takes no more calls, as it should: a real caller makes another.
    if (call === null && this.#hand !== null) return [];
    await this.lab.run(settledMs);
    const found = call?.text() === "welcome" ? [] : [`convergence: a later call came to ${describe(call)}`];
    for (const [{ node }, name] of [
      [this.cart, "cart"],
      [this.db, "db"],
    ] as const) {
      const current = node.context.secrets.current(shopId(name));
      if (node.tunnel.tunnels.some(({ openStreams, svid }) => openStreams > 0 && svid !== current))
        found.push(`identity: a call that was made later is carried under ${name}'s earlier SVID`);
    }
    return found;
  }

  #judgeLeaks(event: string | null): readonly string[] {
    const found: string[] = [];
    for (const [{ node, host }, name, listeners] of [
      [this.cart, "the calling node", this.#listeners.cart],
      [this.db, "the called node", this.#listeners.db],
    ] as const) {
      if (host.ended) continue;
      const { inbound, outbound } = node.tunnel.tunnelCount;
      const isDrained = event === `${name} drains`;
      const extra = host.openDescriptors - (isDrained ? 0 : listeners + inbound + outbound);
      if (extra > 0) found.push(`leak: ${name} holds ${extra} descriptors that belong to nothing`);
      if (node.context.connections.size > 0)
        found.push(`leak: ${name} has a connection registered that is over`);
      const fault = windowFault(node);
      if (fault !== null) found.push(`leak: the window of a tunnel of ${name}: ${fault}`);
    }
    const left = this.#accepted.filter(({ peer }) => peer.closes === 0);
    if (left.length > 0 && !this.#application.ended)
      found.push(`leak: the workload holds ${left.length} connections whose caller has left`);
    return found;
  }

  /** One on each side for what the node took in, and never two. */
  #judgeRecords(event: string | null): readonly string[] {
    const found: string[] = [];
    const calls = this.#calls.length;
    const inbound = completed(this.db) - this.#recordedBefore.db;
    if (!this.db.host.ended && inbound < this.#accepted.length)
      found.push(
        `records: the called node dialled the workload ${this.#accepted.length} times and recorded ${inbound}`,
      );
    if (inbound > calls) found.push(`records: ${calls} calls, and ${inbound} inbound records`);
    if (this.#hand !== null || this.#handshake !== null) return found;
    const outbound = completed(this.cart) - this.#recordedBefore.cart;
    // A node that drains closes what the kernel has accepted for it meanwhile.
    const mayMiss = event === "the calling node drains";
    if (!this.cart.host.ended && (mayMiss ? outbound > calls : outbound !== calls))
      found.push(`records: ${calls} calls were taken in by the calling node, ${outbound} are recorded`);
    return found;
  }

  async #warmUp(): Promise<void> {
    const call = await this.lab.world.settle(this.#call());
    await this.lab.until(() => call?.text() === "welcome", "the first call");
    call?.close();
    await this.lab.run(settledMs);
    this.#recordedBefore = { cart: completed(this.cart), db: completed(this.db) };
    this.#calls.length = 0;
    this.#accepted.length = 0;
  }

  async #takeInHand(isSlow: boolean): Promise<void> {
    const svid = await svidOf(this.lab, this.#client, shopId("cart"));
    this.#lists.set("cart", await this.#listOf(svid.serialNumber));
    if (isSlow) this.#handshake = svid;
    else this.#hand = await HbonePeer.dial(this.lab, this.#client, "10.0.0.2:15008", svid);
  }

  /** A peer that is far away, or busy: between its connection and its handshake there is time. */
  async #callSlowly(svid: Svid): Promise<void> {
    const { net, clock } = this.#client;
    try {
      const socket = await net.connect({ to: at("10.0.0.2:15008"), timeoutMs: 1_000 });
      await new Promise<void>((resolve) => void clock.setTimer(handshakeMs, resolve));
      const tls = await net.tlsClient(socket, tlsWith(this.lab, svid));
      this.#hand = HbonePeer.over(this.#client, tls);
      await this.#call();
    } catch {
      this.#failed = true;
    }
  }

  /** @returns null when it was not taken in. */
  async #call(): Promise<Calling | null> {
    try {
      if (this.#handshake !== null && this.#hand === null) throw new Error("there is no tunnel");
      const call = this.#hand === null ? await callNode(this.#client) : callByHand(this.#hand);
      this.#calls.push(call);
      return call;
    } catch {
      this.#failed = true;
      return null;
    }
  }

  #serve(peer: Recorder): void {
    this.#accepted.push({ atMs: this.world.nowMs, peer });
    const onData = peer.onData.bind(peer);
    peer.onData = (chunk) => {
      if (this.world.nowMs > this.#actedMs + underWayMs) this.#bytesAfter += chunk.length;
      onData(chunk);
      if (peer.text === "hello") peer.socket.write(bytes("welcome"));
    };
    const onEnd = peer.onEnd.bind(peer);
    peer.onEnd = () => {
      onEnd();
      peer.socket.end();
    };
  }

  async #listOfNode({ node }: LabNode, name: string): Promise<Uint8Array> {
    const { serialNumber } = await this.lab.world.settle(node.context.secrets.svid(shopId(name)));
    return await this.#listOf(serialNumber);
  }

  #listOf(serialNumber: string): Promise<Uint8Array> {
    const nowMs = this.#client.clock.wallMs();
    const revoked = [{ serialNumber, revokedAtMs: nowMs, reason: "keyCompromise" as const }];
    return this.lab.authority.revocationList(revoked, 1n, nowMs + 86_400_000);
  }

  /** Its peer has the list. */
  #revoke({ node }: LabNode, name: string): void {
    const list = this.#lists.get(name);
    if (list !== undefined) void node.context.trust.setCrls([{ name: "drawn", bytes: list }]);
  }

  #replaceRoots({ node }: LabNode): void {
    for (const source of ["configured", "signer"]) node.context.trust.setRoots(this.#otherRoots, source);
  }
}

/** Connections that a node has recorded. */
function completed({ access }: LabNode): number {
  return access().filter(({ message }) => message === "connection complete").length;
}

let kept: Promise<string> | null = null;

/** Of a CA that has signed nothing here. */
function otherRoots(): Promise<string> {
  kept ??= FlowLab.create(2).then(({ authority }) => authority.rootsPem);
  return kept;
}

export const callFlows: readonly Flow[] = [
  { name: "a call over a new tunnel", events, make: () => CallScene.make("cold") },
  { name: "a call over a tunnel that is there", events, make: () => CallScene.make("warm") },
  { name: "a CONNECT with its data", events: eventsByHand, make: () => CallScene.make("by hand") },
  {
    name: "a handshake that takes its time",
    events: eventsOfHandshake,
    make: () => CallScene.make("slowly by hand"),
  },
];
