/** What nodes and their control plane know, laid side by side. */
import { authorizationKey, emptyMatch } from "../../src/mesh/authorization.ts";
import { encodeService, encodeWorkload } from "../../src/mesh/codec/encode_address.ts";
import { encodeAuthorization } from "../../src/mesh/codec/encode_authorization.ts";
import { serviceKey } from "../../src/mesh/service.ts";
import type { MeshStore } from "../../src/mesh/store/store.ts";
import type { SimulatedControl } from "./control.ts";
import type { SimulatedMachine } from "./node.ts";
import type { Unpolicied } from "./observed.ts";

/** One policy that no node takes, for its port is none, and one that it must not take along. */
export const badResources = {
  policies: {
    upsert: [99_999, 9].map((port, index) => ({
      name: index === 0 ? "unreadable" : "readable",
      namespace: "nobody",
      scope: "NAMESPACE" as const,
      action: "DENY" as const,
      dryRun: false,
      rules: [{ clauses: [{ matches: [{ ...emptyMatch, destinationPorts: [port] }] }], location: null }],
      location: null,
    })),
  },
};

/** Workloads that name a policy which is not there. */
export function policiesLacking(store: MeshStore): readonly Pick<Unpolicied, "workload" | "policy">[] {
  return [...store.workloads()].flatMap(({ name, authorizationPolicies }) =>
    authorizationPolicies
      .filter((policy) => store.policy(policy) === null)
      .map((policy) => ({ workload: name, policy })),
  );
}

export function compareMeshes(
  { running }: SimulatedControl,
  machines: readonly SimulatedMachine[],
  revoked: ReadonlyMap<number, number>,
): readonly string[] {
  if (running === null) return ["the control plane does not run"];
  const { store, authority, xds } = running.parts;
  const wanted = describeMesh(store);
  const found: string[] = [];
  for (const { index, plan, node } of machines) {
    const say = (what: string) => found.push(`${plan.name} ${what}`);
    const isSubscribed = xds.status().some(({ caller }) => caller.endsWith(`/sa/${plan.name}`));
    if (revoked.has(index)) {
      if (isSubscribed) say("was thrown out and is told of the mesh");
      continue;
    }
    if (!isSubscribed) say("is no subscriber");
    if (node === null) {
      say("does not run");
      continue;
    }
    const { pending } = node;
    if (pending().length > 0) say(`waits for ${pending().join(", ")}`);
    const stream = node.control()?.xds;
    if (stream?.current !== true) say("does not call itself current");
    for (const { refused } of stream?.types ?? [])
      for (const { name, reason } of refused) say(`refuses ${name}: ${reason}`);
    const own = describeMesh(node.context.store);
    for (const [name, bytes] of wanted) if (own.get(name) !== bytes) say(`has another ${name}, or none`);
    for (const name of own.keys()) if (!wanted.has(name)) say(`has ${name}, which is gone`);
    if (node.context.trust.rootsPem.trim() !== authority.bundle.value.rootsPem.trim())
      say("believes other roots");
  }
  return found;
}

export function describeMesh(store: MeshStore): ReadonlyMap<string, string> {
  return new Map([
    ...[...store.workloads()].map((one) => [`workload ${one.uid}`, encodeWorkload(one).toHex()] as const),
    ...[...store.services()].map(
      (one) => [`service ${serviceKey(one)}`, encodeService(one).toHex()] as const,
    ),
    ...[...store.policies()].map(
      (one) => [`policy ${authorizationKey(one)}`, encodeAuthorization(one).toHex()] as const,
    ),
  ]);
}
