import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { policyLimits } from "../../src/base/limits/policy.ts";
import { outcomeOf } from "../../src/base/testing/rejection.ts";
import type { WatchSource } from "../../src/base/watch.ts";
import { SeededRandom } from "../../src/host/memory/random.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { CertificateAuthority } from "../../src/pki/issue/ca.ts";
import { ControlLab, type JoinedHost } from "./control_lab.ts";
import { allowOnly, serviceEntry, strictMutualTls, workloadEntry } from "./lab.ts";

// Of a machine that is busy; what is waited for is simulated time.
setDefaultTimeout(60_000);

const on = (node: string, entry: string): string =>
  entry.replace("  annotations: {", `  annotations: {fairlead.dev/node: ${node}, `);
const documents =
  on("one", workloadEntry("cart", "10.0.0.1")) +
  on("two", workloadEntry("db", "10.0.0.2")) +
  serviceEntry("db", "10.88.0.2", 5432, 15432) +
  strictMutualTls;
const bytes = (text: string) => new TextEncoder().encode(text);

interface Mesh {
  readonly lab: ControlLab;
  readonly cart: JoinedHost;
  readonly db: JoinedHost;
  /** What the application answers to a client of cart that says `text`; "" when it is refused. */
  ask(text: string): Promise<string>;
}

async function mesh(): Promise<Mesh> {
  const lab = await ControlLab.create(documents);
  const { world } = lab.flows;
  const one = world.machine("one", { addresses: ["10.0.0.1"] });
  const two = world.machine("two", { addresses: ["10.0.0.2"] });
  const cart = await lab.host(one, { ...(await lab.token("one")), localPorts: "10.0.0.1:8080=db.shop:5432" });
  const db = await lab.host(two, await lab.token("two"));
  await world.settle(Promise.all([cart.node.listening, db.node.listening]));
  await lab.flows.until(() => cart.node.pending().length + db.node.pending().length === 0, "readiness");
  serve(lab, db);
  return { lab, cart, db, ask: (text) => ask(lab, cart, text) };
}

function serve(lab: ControlLab, { host }: JoinedHost): void {
  lab.flows.application(host, "10.0.0.2:15432", (peer) => peer.socket.write(bytes("welcome")));
}

async function ask(lab: ControlLab, { host }: JoinedHost, text: string): Promise<string> {
  const client = await lab.flows.connect(host, "10.0.0.1:8080");
  client.socket.write(bytes(text));
  await lab.flows.until(() => client.text !== "" || client.closes + client.ends > 0, "an answer");
  const { text: answer } = client;
  client.socket.close();
  return answer;
}

/** Whether the host "two" has been sent what it has not acknowledged yet. */
function isUnanswered(lab: ControlLab): boolean {
  return lab.running.xds
    .status()
    .filter(({ caller }) => caller.includes("two"))
    .flatMap(({ types }) => types)
    .some(({ unansweredSinceMs, behind }) => unansweredSinceMs !== null || behind);
}

function cutLinks(lab: ControlLab, machine: string): void {
  for (const link of lab.flows.world.links) if (Object.values(link.machines).includes(machine)) link.cut();
}

describe("hosts that have joined", () => {
  test("join by a token and a pin, take the mesh, and carry traffic by identities that were signed for them", async () => {
    const { lab, cart, db, ask } = await mesh();
    expect(await ask("hello")).toBe("welcome");
    expect(cart.node.control()?.node?.identity).toBe("spiffe://cluster.local/ns/fairlead-nodes/sa/one");
    expect(lab.kept.authority.issued.map(({ uri, requestedBy }) => `${requestedBy} ${uri}`).sort()).toEqual([
      "one spiffe://cluster.local/ns/fairlead-nodes/sa/one",
      "one spiffe://cluster.local/ns/shop/sa/cart",
      "two spiffe://cluster.local/ns/fairlead-nodes/sa/two",
      "two spiffe://cluster.local/ns/shop/sa/db",
    ]);
    expect(db.node.pending()).toEqual([]);
    expect(db.node.control()?.xds).toMatchObject({ connected: true, current: true, ready: true });
    const held = (db.node.control()?.xds?.types ?? []).map(
      ({ typeUrl, resources }) => [typeUrl.split(".").at(-1), resources] as const,
    );
    expect(Object.fromEntries(held)).toMatchObject({ Address: 3, Authorization: 1 });
  });

  test("a policy reaches the nodes and is enforced; when it is taken back, it no longer is", async () => {
    const { lab, ask, db } = await mesh();
    lab.apply(documents + allowOnly("db", "nobody"));
    await lab.flows.until(() => db.node.context.store.policy("shop/db-callers") !== null, "the policy");
    expect(await ask("hello")).toBe("");
    lab.apply(documents);
    await lab.flows.until(() => db.node.context.store.policy("shop/db-callers") === null, "its end");
    expect(await ask("hello")).toBe("welcome");
  });

  test("many policies are compiled in turns, decide about all that is open, and are acknowledged then", async () => {
    const { lab, cart, db } = await mesh();
    const client = await lab.flows.connect(cart.host, "10.0.0.1:8080");
    client.socket.write(bytes("hello"));
    await lab.flows.until(() => client.text === "welcome", "an answer");
    const many = Array.from({ length: 3 }, (_, at) =>
      allowOnly(
        "db",
        ...Array.from({ length: policyLimits.maxValuesAtOnce / 2 }, (_, n) => `other-${at}-${n}`),
      ).replace("db-callers", `db-callers-${at}`),
    );
    const { engine, store, connections } = db.node.context;
    let wasCompiling = false;
    await lab.flows.until(() => !isUnanswered(lab), "that all is acknowledged");
    lab.apply(`${documents}${many.join("")}`);
    await lab.flows.until(() => {
      wasCompiling ||= engine.preparing > 0;
      return store.policy("shop/db-callers-2") !== null && !isUnanswered(lab);
    }, "that it is acknowledged");
    expect([wasCompiling, engine.preparing, connections.size]).toEqual([true, 0, 0]);
    await lab.flows.until(() => client.closes + client.ends > 0, "the end");
  });

  test("policies are not acknowledged while they are being compiled, however long that takes", async () => {
    const { lab, db } = await mesh();
    const { engine, store } = db.node.context;
    await lab.flows.until(() => !isUnanswered(lab), "that all is acknowledged");
    let isCompiling = true;
    Object.defineProperty(engine, "preparing", { get: () => (isCompiling ? 1 : 0) });
    lab.apply(documents + allowOnly("db", "nobody"));
    await lab.flows.until(() => store.policy("shop/db-callers") !== null, "the policy");
    await lab.flows.run(5_000);
    expect(isUnanswered(lab)).toBe(true);
    isCompiling = false;
    (engine.prepared as WatchSource<number>).set(engine.prepared.value + 1);
    await lab.flows.until(() => !isUnanswered(lab), "that it is acknowledged");
  });

  test("traffic flows with the control plane dead; that is said once; what changed meanwhile comes when it is back", async () => {
    const { lab, ask, db } = await mesh();
    lab.kill();
    await lab.flows.run(120_000);
    expect(await ask("hello")).toBe("welcome");
    expect(db.node.control()?.xds).toMatchObject({ connected: false, current: false, ready: true });
    expect(db.log().match(/the control plane is away/g)).toHaveLength(1);
    lab.apply(`${documents}${allowOnly("db", "nobody")}`);
    await lab.start();
    await lab.flows.until(() => db.node.control()?.xds?.current === true, "the control plane again", 40_000);
    expect(db.node.context.store.policy("shop/db-callers")).not.toBeNull();
    expect(await ask("hello")).toBe("");
  });

  test("a host starts again without a token; with the control plane dead it knows the mesh it last knew", async () => {
    const { lab, db } = await mesh();
    await lab.flows.run(10_000);
    await lab.flows.world.settle(db.node.stop());
    lab.kill();
    const again = await lab.host(db.machine, {});
    await lab.flows.world.settle(again.node.listening);
    expect([...again.node.context.store.workloads()].map(({ name }) => name).sort()).toEqual(["cart", "db"]);
    expect(again.node.control()?.xds).toMatchObject({ connected: false, current: false, ready: true });
    expect(again.node.pending()).toEqual(["certificate of shop/db"]);
    await lab.start();
    await lab.flows.until(() => again.node.pending().length === 0, "its certificate", 40_000);
    expect(again.node.control()?.xds?.current).toBe(true);
  });

  test("a host whose certificate has expired in a long absence renews it and nothing is lost", async () => {
    const { lab, db } = await mesh();
    await lab.flows.world.settle(db.node.stop());
    await lab.flows.run(3 * 24 * 3_600_000);
    const again = await lab.host(db.machine, {});
    await lab.flows.world.settle(again.node.listening);
    expect(again.node.control()?.node?.error).toBeNull();
    await lab.flows.until(() => again.node.pending().length === 0, "its certificate");
  }, 300_000);

  test("a second start by the same token says that it is not needed", async () => {
    const { lab, db } = await mesh();
    await lab.flows.world.settle(db.node.stop());
    const again = await lab.host(db.machine, await lab.token("two"));
    await lab.flows.world.settle(again.node.listening);
    expect(again.log()).toContain("the join token is not used: this host has joined already");
  });

  test("a token that was used is refused with what to do, and a pin of another root before it is shown", async () => {
    const { lab } = await mesh();
    const machine = lab.flows.world.machine("three", { addresses: ["10.0.0.3"] });
    const line = await lab.token("three");
    const wrong = lab.host(machine, { ...line, caPin: `sha256:${"0".repeat(64)}` });
    expect(await outcomeOf(wrong)).toThrow(/no root with the pin/);
    await lab.flows.world.settle((await lab.host(machine, line)).node.listening);
    const other = lab.flows.world.machine("four", { addresses: ["10.0.0.4"] });
    expect(await outcomeOf(lab.host(other, line))).toThrow(/refused the join token.*join-token create/);
  });

  test("a revocation reaches the nodes by push, cuts what is open and refuses what is new", async () => {
    const { lab, cart, db, ask } = await mesh();
    const open = await lab.flows.connect(cart.host, "10.0.0.1:8080");
    await lab.flows.until(() => open.text === "welcome", "the application");
    const { authority, bundle } = lab.kept;
    const serial = authority.issued.find(({ uri }) => uri.endsWith("/sa/cart"))?.serial ?? "";
    const nowMs = db.host.clock.wallMs();
    const revoked = [{ serialNumber: serial, revokedAtMs: nowMs, reason: "keyCompromise" as const }];
    const list = await authority.ca.revocationList(revoked, 1n, nowMs + 86_400_000);
    bundle.set({ rootsPem: bundle.value.rootsPem, crls: [list] });
    await lab.flows.until(() => open.closes + open.ends > 0, "the cut", 1_000);
    expect(await ask("hello")).toBe("");
    const holders = lab.running.xds.trustHolders();
    expect(holders.map(({ version }) => version)).toEqual(holders.map(() => lab.running.xds.trustVersion));
    expect(holders).toHaveLength(2);
  });

  test("a root that leaves the bundle is trusted by no node any more, also not after a restart", async () => {
    const { lab, db } = await mesh();
    const other = await CertificateAuthority.create({
      clock: db.host.clock,
      provider: peculiarProvider(),
      trustDomain: "cluster.local",
    });
    const { bundle } = lab.kept;
    const both = `${bundle.value.rootsPem}${other.rootsPem}`;
    const roots = (): number => db.node.context.trust.rootsPem.match(/BEGIN/g)?.length ?? 0;
    const old = bundle.value.rootsPem;
    bundle.set({ rootsPem: both, crls: [] });
    await lab.flows.until(() => roots() === 2, "two roots");
    bundle.set({ rootsPem: old, crls: [] });
    await lab.flows.until(() => roots() === 1, "one root");
    await lab.flows.run(10_000);
    await lab.flows.world.settle(db.node.stop());
    lab.kill();
    const again = await lab.host(db.machine, {});
    await lab.flows.world.settle(again.node.listening);
    expect(again.node.context.trust.rootsPem.trim()).toBe(old.trim());
  });

  test("roots that came right before a host was killed are known after its restart, though the mesh was kept before", async () => {
    const { lab, db } = await mesh();
    await lab.flows.run(10_000);
    const { clock } = db.host;
    const other = await CertificateAuthority.create({
      clock,
      provider: peculiarProvider(),
      trustDomain: "cluster.local",
    });
    const { bundle } = lab.kept;
    bundle.set({ rootsPem: `${bundle.value.rootsPem}${other.rootsPem}`, crls: [] });
    const roots = (host: JoinedHost): number => host.node.context.trust.rootsPem.match(/BEGIN/g)?.length ?? 0;
    await lab.flows.until(() => roots(db) === 2, "two roots");
    await lab.flows.run(1_000);
    db.host.kill();
    lab.kill();
    const again = await lab.host(db.machine, {});
    await lab.flows.world.settle(again.node.listening);
    expect(roots(again)).toBe(2);
  });

  for (let seed = 1; seed <= 6; seed++)
    test(`whatever happens to the control plane, traffic flows and the nodes agree in the end (seed ${seed})`, async () => {
      const { lab, cart, db, ask } = await mesh();
      const random = new SeededRandom(seed, "faults");
      const { world } = lab.flows;
      let dead = false;
      for (let step = 0; step < 12; step++) {
        const fault = Math.floor(random.float() * 5);
        const on = random.float() < 0.5 ? cart : db;
        if (fault === 0 && !dead) lab.kill();
        else if (fault === 1 && dead) await lab.start();
        else if (fault === 2) world.partition(on.machine.machine, "control");
        else if (fault === 3) cutLinks(lab, "control");
        else lab.apply(documents + workloadEntry(`w${step}`, `10.0.1.${step + 1}`));
        dead = (fault === 0 && !dead) || (dead && fault !== 1);
        await lab.flows.run(random.float() * 20_000);
        if (random.float() < 0.5) world.heal();
        expect(await ask("hello")).toBe("welcome");
      }
      if (dead) await lab.start();
      world.heal();
      await lab.flows.run(90_000);
      const wanted = [...lab.kept.store.workloads()].map(({ uid }) => uid).sort();
      for (const { node } of [cart, db]) {
        expect(node.control()?.xds?.current).toBe(true);
        expect([...node.context.store.workloads()].map(({ uid }) => uid).sort()).toEqual(wanted);
      }
    }, 300_000);
});
