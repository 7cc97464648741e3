/** A root is replaced under traffic, with real nodes, the real services and the real keys, on machines in memory. */
import { describe, expect, test } from "bun:test";
import { assert } from "../../src/base/assert.ts";
import { silentLogger } from "../../src/base/log.ts";
import { OwnCertifier } from "../../src/control/keys/authority_certificate.ts";
import { SealedKeys } from "../../src/control/keys/key_place.ts";
import { MeshAuthority } from "../../src/control/keys/mesh_authority.ts";
import { StateAuthorities } from "../../src/control/keys/state_authorities.ts";
import { MemoryRecords } from "../../src/control/keys/testing/memory_records.ts";
import { Rotation } from "../../src/control/rotation/rotation.ts";
import type { Clock } from "../../src/host/host.ts";
import { importKeyEncryptionKey, KeyVault } from "../../src/pki/crypto/at_rest.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { ControlLab, type JoinedHost } from "./control_lab.ts";
import { serviceEntry, strictMutualTls, workloadEntry } from "./lab.ts";

const provider = peculiarProvider();
const trustDomain = "cluster.local";
const on = (node: string, entry: string): string =>
  entry.replace("  annotations: {", `  annotations: {fairlead.dev/node: ${node}, `);
const documents =
  on("one", workloadEntry("cart", "10.0.0.1")) +
  on("two", workloadEntry("db", "10.0.0.2")) +
  serviceEntry("db", "10.88.0.2", 5432, 15432) +
  strictMutualTls;

interface Keys {
  readonly clock: Clock;
  readonly records: MemoryRecords;
  readonly authorities: StateAuthorities;
  readonly mesh: MeshAuthority;
}

async function openKeys(clock: Clock): Promise<Keys> {
  const records = new MemoryRecords();
  const common = { clock, provider, trustDomain, logger: silentLogger };
  const key = await importKeyEncryptionKey(new Uint8Array(32).fill(7), "the lab", provider);
  const authorities = await StateAuthorities.open({
    ...common,
    records: records.authorities,
    places: [new SealedKeys(new KeyVault(provider, key), provider)],
    certifier: new OwnCertifier(common),
    firstKind: "root",
  });
  const mesh = await MeshAuthority.open({ ...common, records, authorities: authorities.view });
  return { clock, records, authorities, mesh };
}

interface Bench {
  readonly lab: ControlLab;
  readonly keys: Keys;
  readonly rotation: Rotation;
  readonly cart: JoinedHost;
  readonly db: JoinedHost;
  /** One request over a connection of its own. */
  ask(): Promise<string>;
}

async function makeBench(): Promise<Bench> {
  let keys: Keys | null = null;
  const lab = await ControlLab.create(documents, async (clock, world) => {
    keys = await world.settle(openKeys(clock));
    return keys.mesh;
  });
  const opened: Keys | null = keys;
  assert(opened !== null, "the lab asks for its keys");
  const { world } = lab.flows;
  const one = world.machine("one", { addresses: ["10.0.0.1"] });
  const two = world.machine("two", { addresses: ["10.0.0.2"] });
  const cart = await lab.host(one, { ...(await lab.token("one")), localPorts: "10.0.0.1:8080=db.shop:5432" });
  const db = await lab.host(two, await lab.token("two"));
  await world.settle(Promise.all([cart.node.listening, db.node.listening]));
  await lab.flows.until(() => cart.node.pending().length + db.node.pending().length === 0, "readiness");
  lab.flows.application(db.host, "10.0.0.2:15432", (peer) =>
    peer.socket.write(new TextEncoder().encode("welcome")),
  );
  return { lab, keys: opened, rotation: rotate(lab, opened), cart, db, ask: () => ask(lab, cart) };
}

function rotate(lab: ControlLab, keys: Keys): Rotation {
  const acknowledged = (): ReadonlyMap<string, string> =>
    new Map(
      lab.running.xds
        .trustHolders()
        .flatMap(({ caller, version }) =>
          caller.kind === "node" && version !== null ? [[caller.node, version] as const] : [],
        ),
    );
  return new Rotation({
    ...keys,
    logger: silentLogger,
    knowledge: { nodes: () => ["one", "two"], acknowledged },
  });
}

async function ask(lab: ControlLab, { host }: JoinedHost): Promise<string> {
  const client = await lab.flows.connect(host, "10.0.0.1:8080");
  client.socket.write(new TextEncoder().encode("hello"));
  await lab.flows.until(() => client.text !== "" || client.closes + client.ends > 0, "an answer");
  const { text } = client;
  client.socket.close();
  return text;
}

test("a root is replaced under traffic without a request that fails, and the old one is believed no more", async () => {
  const { lab, keys, rotation, cart, db, ask } = await makeBench();
  const old = keys.mesh.bundle.value.rootsPem;
  const answers: string[] = [];
  const during = async (until: () => boolean, what: string): Promise<void> => {
    for (let turn = 0; !until(); turn++) {
      assert(turn < 60, `${what}: ${JSON.stringify(rotation.progress())}`);
      answers.push(await ask());
      await lab.flows.run(500);
    }
  };
  await during(() => answers.length >= 2, "before");
  await lab.flows.world.settle(rotation.start("root"));
  await during(() => rotation.progress().phase === "reissuing", "every node holds the new root");
  await during(() => rotation.progress().waiting?.what === "finish", "every leaf is renewed");
  expect(rotation.finish()).toMatchObject({ done: true });
  await during(() => !db.node.context.trust.rootsPem.includes(old.trim()), "the old root is gone");
  await during(() => answers.length >= 20, "after");
  expect(answers).toEqual(answers.map(() => "welcome"));
  for (const { node } of [cart, db]) {
    expect(node.context.trust.rootsPem.trim()).toBe(keys.mesh.bundle.value.rootsPem.trim());
    expect(node.control()?.xds).toMatchObject({ connected: true, current: true });
  }
  // The control plane itself is known by the new root, also to a host that starts now.
  await lab.flows.world.settle(db.node.stop());
  const again = await lab.host(db.machine, {});
  await lab.flows.world.settle(again.node.listening);
  await lab.flows.until(() => again.node.control()?.xds?.current === true, "the control plane", 20_000);
  rotation.close();
});

describe("a stream that is open on a certificate of the old root is cut when the root leaves", () => {
  test.each([
    ["the caller's", "two", ({ cart }: Bench) => cart, ({ db }: Bench) => db],
    ["the called one's", "one", ({ db }: Bench) => db, ({ cart }: Bench) => cart],
  ] as const)(
    "by %s node, where that one hears first, and its record says so",
    async (_, away, first, other) => {
      const bench = await makeBench();
      const { lab, rotation, cart } = bench;
      const open = await lab.flows.connect(cart.host, "10.0.0.1:8080");
      await lab.flows.until(() => open.text === "welcome", "the application");
      await lab.flows.world.settle(rotation.start("root"));
      await lab.flows.until(() => rotation.progress().waiting?.what === "finish", "the new leaves", 60_000);
      expect(open.closes + open.ends).toBe(0);
      lab.flows.world.partition("control", away);
      expect(rotation.finish()).toMatchObject({ done: true });
      await lab.flows.until(() => open.closes + open.ends > 0, "the cut", 1000);
      await lab.flows.run(100);
      expect(recordedErrors(first(bench))).toEqual([
        expect.stringMatching(/^certificate_untrusted: the trust root of spiffe:\S+ was removed$/),
      ]);
      // The other one knows no more than that it was cut, and does not call that a good end.
      expect(recordedErrors(other(bench))).toEqual([expect.stringMatching(/^(h2|connection)_/)]);
      rotation.close();
    },
  );
});

function recordedErrors(host: JoinedHost): readonly string[] {
  return host
    .log()
    .split("\n")
    .filter((line) => line.includes("connection complete"))
    .map((line) => String(JSON.parse(line).error ?? "no error"));
}

test("a node that is away holds up a rotation by its name, and does so no longer once it is back", async () => {
  const { lab, rotation, db } = await makeBench();
  await lab.flows.world.settle(db.node.stop());
  await lab.flows.world.settle(rotation.start("root"));
  await lab.flows.run(20_000);
  expect(rotation.finish()).toMatchObject({
    done: false,
    progress: { phase: "preparing", waiting: { what: "root", names: ["two"] } },
  });
  const again = await lab.host(db.machine, {});
  await lab.flows.world.settle(again.node.listening);
  await lab.flows.until(() => rotation.progress().waiting?.what === "finish", "the rest", 40_000);
  expect(rotation.finish().done).toBe(true);
  rotation.close();
});

test("revoked by node, what is open is cut within a second", async () => {
  const { lab, keys, cart, ask } = await makeBench();
  const open = await lab.flows.connect(cart.host, "10.0.0.1:8080");
  await lab.flows.until(() => open.text === "welcome", "the application");
  const outcome = await lab.flows.world.settle(
    keys.mesh.revoke({ kind: "node", node: "one" }, "stolen", "ops"),
  );
  expect(outcome).toMatchObject({ pending: null });
  expect(outcome.serialNumbers.length).toBe(2);
  await lab.flows.until(() => open.closes + open.ends > 0, "the cut", 1_000);
  expect(await ask()).toBe("");
});
