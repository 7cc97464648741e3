/** A real ztunnel joins our control plane and carries traffic both ways with a node of ours. */

import { join } from "node:path";
import { comesTrue } from "../peer/lab/eventually.ts";
import { namespacesUnavailable } from "../peer/lab/place.ts";
import { findPythonWithH2, findZtunnel } from "../peer/lab/tools.ts";
import { Tally } from "../peer/tally.ts";
import { type Direction, denial, strict, ZtunnelLab } from "./ztunnel_lab.ts";

const prefix = "ztunnel ← control plane";
const cart = "spiffe://cluster.local/ns/shop/sa/cart";
const db = "spiffe://cluster.local/ns/shop/sa/db";
const bothWays: readonly Direction[] = ["cart to db", "db to cart"];

export async function ztunnelSuite(tally: Tally, directory: string): Promise<void> {
  const ztunnel = findZtunnel();
  if ("missing" in ztunnel) return tally.skip(prefix, ztunnel.missing);
  const unavailable = namespacesUnavailable();
  if (unavailable !== null) return tally.skip(prefix, unavailable);
  const python = findPythonWithH2();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const lab = await ZtunnelLab.open(join(directory, "ztunnel"), ztunnel.path, python.path);
  try {
    await lab.startNode();
    await lab.startZtunnel();
    tally.pass(`${prefix}: it joins by a token of an issuer, and is ready`);
    for (const check of [
      traffic,
      policyOnZtunnel,
      policyOnOurs,
      strictOnZtunnel,
      restart,
      rotation,
      reconnect,
      onDemand,
    ])
      await check(tally, lab);
  } finally {
    await lab.close();
  }
}

async function traffic(tally: Tally, lab: ZtunnelLab): Promise<void> {
  for (const direction of bothWays)
    tally.check(`${prefix}: traffic ${direction}`, await lab.exchange(direction));
  const issued: { identity: string }[] = JSON.parse(
    await lab.control.must("get", "certificates", "-o", "json"),
  );
  tally.check(
    `${prefix}: its SVID is on record`,
    issued.some(({ identity }) => identity === db) ? null : JSON.stringify(issued),
  );
  for (const of of ["our node", "ztunnel"] as const)
    for (const direction of ["inbound", "outbound"] as const) {
      const isCartToDb = (of === "our node") === (direction === "outbound");
      const [source, destination] = isCartToDb ? [cart, db] : [db, cart];
      const found = (): boolean =>
        lab
          .accessRecords(of)
          .some(
            (one) =>
              one.direction === direction &&
              one.error === null &&
              one.sourceIdentity === source &&
              one.destinationIdentity === destination,
          );
      const problem = (await comesTrue(found)) ? null : lastRecords(lab, of);
      tally.check(`${prefix}: ${of} logs both identities of what is ${direction}`, problem);
    }
}

/**
 * ztunnel looks at open connections again when policies change, with the workload as it was when they began
 * (`src/proxy/connection_manager.rs`): a policy that newly names a workload by selector ends none of them. One for the
 * namespace does, and so does another content of one that is there.
 */
async function policyOnZtunnel(tally: Tally, lab: ZtunnelLab): Promise<void> {
  await denied(tally, lab, "cart to db", "it denies by our policy", denial(null, "cart"));
  await lab.control.apply(denial("db", "nobody"));
  const known = await comesTrue(() => lab.ztunnelState().includes("ns/shop/sa/nobody"));
  if (!known) tally.fail(`${prefix}: it takes a policy by selector`, "it does not have it");
  await denied(tally, lab, "cart to db", "it denies by a policy that was changed", denial("db", "cart"));
}

async function policyOnOurs(tally: Tally, lab: ZtunnelLab): Promise<void> {
  await denied(tally, lab, "db to cart", "it is denied by our policy", denial("cart", "db"));
}

async function denied(
  tally: Tally,
  lab: ZtunnelLab,
  direction: Direction,
  what: string,
  document: string,
): Promise<void> {
  const open = lab.call(direction);
  const before = await open.exchange();
  if (before !== null) return tally.fail(`${prefix}: ${what}`, before);
  await lab.control.apply(document);
  const isOver = await open.ended();
  await open.close();
  tally.check(`${prefix}: ${what}: the open connection is cut`, !isOver ? "it goes on" : null);
  const after = await lab.exchange(direction);
  tally.check(`${prefix}: ${what}: a new connection is refused`, after === null ? "it was carried" : null);
  await lab.control.must("delete", "--yes", "AuthorizationPolicy", "shop/denial");
  const again = await comesTrue(async () => (await lab.exchange(direction)) === null);
  tally.check(`${prefix}: ${what}: and carries again without it`, again ? null : "it does not");
}

async function strictOnZtunnel(tally: Tally, lab: ZtunnelLab): Promise<void> {
  const plain = "cart to db in plain text";
  tally.check(`${prefix}: plain text is taken without PeerAuthentication`, await lab.exchange(plain));
  await lab.control.apply(strict);
  const refused = await comesTrue(async () => (await lab.exchange(plain)) !== null);
  tally.check(`${prefix}: STRICT refuses plain text`, refused ? null : "it was carried");
  for (const direction of bothWays)
    tally.check(`${prefix}: STRICT carries ${direction}`, await lab.exchange(direction));
  await lab.control.must("delete", "--yes", "PeerAuthentication", "shop/default");
  const again = await comesTrue(async () => (await lab.exchange(plain)) === null);
  tally.check(`${prefix}: plain text is taken again without STRICT`, again ? null : "it is not");
}

/** Traffic goes on while the control plane is dead; what changed meanwhile, removals too, arrives when it is back. */
async function restart(tally: Tally, lab: ZtunnelLab): Promise<void> {
  const held = bothWays.map((direction) => lab.call(direction));
  for (const one of held) await one.exchange();
  const hadGhost = lab.ztunnelState().includes("10.77.0.99");
  await lab.control.kill();
  for (const [index, one] of held.entries())
    tally.check(`${prefix}: open ${bothWays[index]} outlives our death`, await one.exchange());
  for (const direction of bothWays)
    tally.check(`${prefix}: new ${direction} while we are dead`, await lab.exchange(direction));
  lab.meshFile("ghost.yaml", null);
  lab.meshFile("late.yaml", denial(null, "cart"));
  await lab.control.start();
  const cut = await held[0]?.ended();
  tally.check(
    `${prefix}: it reconnects and gets the policy made meanwhile`,
    cut !== true ? "the connection goes on" : null,
  );
  const isGone = await comesTrue(() => !lab.ztunnelState().includes("10.77.0.99"));
  tally.check(
    `${prefix}: and loses the workload removed meanwhile`,
    hadGhost && isGone ? null : `it had it: ${hadGhost}, it lost it: ${isGone}`,
  );
  tally.check(`${prefix}: what was not changed goes on`, (await held[1]?.exchange()) ?? null);
  for (const one of held) await one.close();
  lab.meshFile("late.yaml", null);
  const again = await comesTrue(async () => (await lab.exchange("cart to db")) === null);
  tally.check(`${prefix}: and carries again without that policy`, again ? null : "it does not");
}

interface RotationStatus {
  readonly rotation: {
    readonly phase: string;
    readonly waiting: { readonly what: string; readonly names: readonly string[] } | null;
  };
}

/** The root is replaced while connections are made all the time: none may fail (ztunnel has a root no sooner than with its next SVID). */
async function rotation(tally: Tally, lab: ZtunnelLab): Promise<void> {
  const rootsBefore = await lab.control.must("ca", "export-root");
  const failures: string[] = [];
  let calls = 0;
  let over = false;
  const caller = (async () => {
    for (let turn = 0; !over; turn++) {
      const direction = bothWays[turn % 2] ?? "cart to db";
      const problem = await lab.exchange(direction);
      calls++;
      if (problem !== null) failures.push(`${direction}: ${problem}`);
      await Bun.sleep(100);
    }
  })();
  await lab.control.must("ca", "rotate", "start");
  await lab.giveRoots();
  const phases = new Set<string>();
  const ready = await comesTrue(async () => {
    const { rotation } = await rotationStatus(lab);
    phases.add(
      `${rotation.phase} ${rotation.waiting?.what ?? ""} ${rotation.waiting?.names.join(",") ?? ""}`,
    );
    return rotation.waiting?.what === "finish";
  });
  tally.check(`${prefix}: a new root is taken over by all`, ready ? null : [...phases].join("; "));
  if (ready) {
    await lab.control.must("ca", "rotate", "finish");
    const rootsAfter = await lab.control.must("ca", "export-root");
    tally.check(
      `${prefix}: the old root is gone`,
      rootsAfter !== rootsBefore && !rootsAfter.includes(rootsBefore.trim()) ? null : "it is still there",
    );
    // Two more renewals of ztunnel, by the new authority alone.
    await Bun.sleep(12_000);
  }
  over = true;
  await caller;
  tally.check(
    `${prefix}: ${calls} connections during the rotation, none failed`,
    failures.length === 0 && calls > 0
      ? null
      : `${failures.length} failed: ${failures.slice(0, 3).join("; ")}`,
  );
}

/** After the old root is gone ztunnel finds the control plane again, by the roots that its file has now. */
async function reconnect(tally: Tally, lab: ZtunnelLab): Promise<void> {
  await lab.giveRoots();
  await lab.control.kill();
  await lab.control.start();
  await lab.control.apply(denial(null, "cart"));
  const arrived = await comesTrue(async () => (await lab.exchange("cart to db")) !== null);
  tally.check(`${prefix}: it reconnects by the new root`, arrived ? null : "a policy does not arrive");
  await lab.control.must("delete", "--yes", "AuthorizationPolicy", "shop/denial");
}

async function rotationStatus(lab: ZtunnelLab): Promise<RotationStatus> {
  return JSON.parse(await lab.control.must("ca", "rotate", "status", "-o", "json"));
}

/**
 * A lookup by address waits until a response carries the very name that was asked for (`notify_on_demand` of
 * `src/xds/client.rs`).
 */
async function onDemand(tally: Tally, lab: ZtunnelLab): Promise<void> {
  await lab.stopZtunnel();
  await lab.startZtunnel({ XDS_ON_DEMAND: "true" });
  for (const direction of bothWays)
    tally.check(`${prefix}: on demand, ${direction}`, await lab.exchange(direction));
  const state = lab.ztunnelState();
  tally.check(
    `${prefix}: on demand it has what it asked for`,
    state.includes(lab.place.client.address) ? null : state.slice(0, 500),
  );
}

function lastRecords(lab: ZtunnelLab, of: "our node" | "ztunnel"): string {
  return lab
    .accessRecords(of)
    .slice(-4)
    .map(({ line }) => line)
    .join("\n");
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../peer/lab/cleanup.ts");
  cleanUpOnExit();
  const tally = new Tally(true);
  await ztunnelSuite(tally, scratchDirectory("ztunnel"));
  console.log(tally.summary());
  process.exit(tally.count("failed") === 0 ? 0 : 1);
}
