/** What of a mesh is not yet as it should be when nothing is wrong: for `liveness.ts`, which says until when it may be so. */
import type { MemoryHost } from "../../src/host/memory/process.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { serviceKey } from "../../src/mesh/service.ts";
import type { MeshStore } from "../../src/mesh/store/store.ts";
import type { CrlStatus } from "../../src/pki/trust/revocation.ts";
import { parseRevocationList } from "../../src/pki/x509/crl.ts";
import { controlAddress, relayAddress } from "./control_config.ts";
import { compareMeshes, describeMesh } from "./control_view.ts";
import type { MeshState } from "./documents.ts";
import type { SimulatedMachine } from "./node.ts";
import type { Simulation } from "./simulation.ts";
import { trustDomain, type WorkloadPlan } from "./workloads.ts";

/** To a control plane a node has a stream, and at times a call to its CA. */
const maxControlSockets = 2;

/** Empty: everybody runs, knows the newest documents, roots and lists, can show who it is, and waits for nothing. */
export function unsettled(simulation: Simulation): readonly string[] {
  const { control, machines, plan, state, model, observed } = simulation;
  if (model.newest !== state) return ["the operator's documents are not in force"];
  const found: string[] = [];
  if (control !== null) {
    const { running } = control;
    if (running === null) return ["the control plane does not run"];
    for (const what of running.pending()) found.push(`the control plane waits for ${what}`);
    found.push(...compareMeshes(control, machines, observed.revokedNodes));
  }
  const wanted = wantedNames(state, plan.workloads);
  for (const machine of machines) {
    if (observed.revokedNodes.has(machine.index)) continue;
    const say = (what: string): void => void found.push(`${machine.plan.name} ${what}`);
    const { node } = machine;
    if (node === null) {
      say("does not run");
      continue;
    }
    for (const what of node.pending()) say(`waits for ${what}`);
    for (const what of differences(wanted, namesOf(node.context.store))) say(what);
    for (const what of unshown(machine)) say(what);
    for (const what of unknownRevocations(simulation, machine)) say(what);
  }
  return [...found, ...differentMeshes(simulation)];
}

/** Empty: nothing is in use, and nothing is kept of what was. For a mesh without connections for as long as tunnels are kept. */
export function leftOver(simulation: Simulation, listeners: readonly number[]): readonly string[] {
  const { machines, control, observed } = simulation;
  const found: string[] = [];
  for (const { index, plan, node, host, applications } of machines) {
    if (observed.revokedNodes.has(index) || node === null || host === null) continue;
    const say = (what: string): void => void found.push(`${plan.name} ${what}`);
    const { connections, secrets, locals } = node.context;
    if (connections.size > 0) say(`has ${connections.size} connections open`);
    const { inbound, outbound } = node.tunnel.tunnelCount;
    if (inbound + outbound > 0) say(`has ${inbound} tunnels in and ${outbound} out`);
    const { poolEntries } = node.tunnel;
    if (poolEntries > 0) say(`has ${poolEntries} entries in its pool and no tunnel`);
    const sockets = [...host.sockets].map(({ remote }) => remote);
    const toControl = sockets.filter(({ ip }) => ip.text === controlAddress || ip.text === relayAddress);
    const others = sockets.filter((remote) => !toControl.includes(remote));
    if (toControl.length > maxControlSockets) say(`has ${toControl.length} sockets to its control plane`);
    for (const { ip, port } of others) say(`has a socket to ${ip.text}:${port}`);
    const listens = host.openDescriptors - host.sockets.size;
    if (listens !== listeners[index]) say(`has ${listens} other descriptors, not ${listeners[index]}`);
    const own = new Set(locals.all.map(({ identity }) => identity.uri));
    for (const { id } of secrets.entries()) if (!own.has(id.uri)) say(`keeps the key of ${id.uri}`);
    for (const { remote } of applications.sockets)
      say(`runs an application with a socket to ${remote.ip.text}:${remote.port}`);
  }
  const nodes = machines.length - observed.revokedNodes.size;
  const subscribers = control?.running?.parts.xds.status().length ?? nodes;
  if (subscribers !== nodes) found.push(`the control plane has ${subscribers} subscribers, not ${nodes}`);
  return found;
}

export function describeOpen({ openDescriptors, sockets }: MemoryHost): string {
  const each = [...sockets].map(({ local, remote }) => `${local.port}→${remote.ip.text}:${remote.port}`);
  return `${openDescriptors} descriptors (${each.join(", ")})`;
}

/** What the operator wants there to be, by name: of the documents' meaning the oracle of connections is the judge. */
function wantedNames(state: MeshState, workloads: readonly WorkloadPlan[]): ReadonlySet<string> {
  const present = workloads.filter(({ name }) => !state.removed.has(name));
  return new Set([
    ...present.map(({ namespace, name }) => `workload ${namespace}/${name}`),
    ...present.map(({ namespace, name }) => `service ${namespace}/${name}.${namespace}`),
    ...workloads
      .filter(({ name }) => (state.policies.get(name)?.kind ?? "none") !== "none")
      .map(({ namespace, name }) => `policy ${namespace}/${name}`),
  ]);
}

/** Policies that PeerAuthentications come to have names of their own, and are compared as a whole from node to node. */
function namesOf(store: MeshStore): ReadonlySet<string> {
  return new Set([
    ...[...store.workloads()].map(({ namespace, name }) => `workload ${namespace}/${name}`),
    ...[...store.services()].map((one) => `service ${serviceKey(one)}`),
    ...[...store.policies()]
      .map(({ namespace, name }) => `policy ${namespace}/${name}`)
      .filter((name) => /^policy [a-z]+\/w\d+$/.test(name)),
  ]);
}

function differences(wanted: ReadonlySet<string>, own: ReadonlySet<string>): readonly string[] {
  return [
    ...[...wanted].filter((name) => !own.has(name)).map((name) => `lacks ${name}`),
    ...[...own].filter((name) => !wanted.has(name)).map((name) => `still has ${name}`),
  ];
}

/** With a control plane each node is compared with that; here, each with the first. */
function differentMeshes({ control, machines }: Simulation): readonly string[] {
  if (control !== null) return [];
  const [first, ...rest] = machines.flatMap(({ plan, node }) =>
    node === null ? [] : [{ name: plan.name, mesh: describeMesh(node.context.store) }],
  );
  if (first === undefined) return [];
  return rest.flatMap(({ name, mesh }) =>
    [...new Set([...first.mesh.keys(), ...mesh.keys()])]
      .filter((key) => first.mesh.get(key) !== mesh.get(key))
      .map((key) => `${name} and ${first.name} have each another ${key}`),
  );
}

/** Workloads of the machine that cannot show, by its own clock, who they are. */
function unshown({ plan, machine, node }: SimulatedMachine): readonly string[] {
  if (node === null) return [];
  const known = new Set(node.context.locals.all.map(({ identity }) => identity.uri));
  return plan.workloads.flatMap(({ name, namespace, identity }) => {
    if (!known.has(identity)) return [`does not know that ${name} runs there`];
    const svid = node.context.secrets.current(new SpiffeId(trustDomain, namespace, name));
    const now = machine.wallMs();
    if (svid === null || svid.notAfterMs <= now || svid.notBeforeMs > now) return [`has no SVID for ${name}`];
    return [];
  });
}

/** A list whose issuer no peer has shown yet waits for that, and nothing is believed that it names. */
function unknownRevocations(
  { control, observed }: Simulation,
  { node }: SimulatedMachine,
): readonly string[] {
  const lists = node?.context.trust.crlStatus() ?? [];
  const problems = lists
    .filter(({ state }) => state !== "in_force" && state !== "pending")
    .map(({ state, source, message }) => `has a list that is ${state}: ${source}: ${message}`);
  const known = lists.reduce((sum, { entries }) => sum + entries, 0);
  const wanted = observed.revoked.length;
  if (control === null)
    return known === wanted ? problems : [...problems, `knows ${known} revocations of ${wanted}`];
  const published = control.running?.parts.authority.bundle.value.crls ?? [];
  const lacking = published.filter((bytes) => !lists.some((list) => isOf(list, bytes)));
  return lacking.length === 0
    ? problems
    : [...problems, `lacks ${lacking.length} lists of ${published.length}`];
}

function isOf({ thisUpdateMs, entries }: CrlStatus, bytes: Uint8Array): boolean {
  const list = parseRevocationList(bytes);
  return list.thisUpdateMs === thisUpdateMs && list.serialNumbers.size === entries;
}
