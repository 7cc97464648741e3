/** A node whose captured connections two workers carry: what one has passed on to the other is still the connection that was captured. */
import type { Listening, Peer } from "../namespaces/application.ts";
import type { NodeProcess } from "../namespaces/node_process.ts";
import { equal, type Group } from "./group.ts";
import { outside, vm } from "./place.ts";
import { applicationPort, type Stage } from "./stage.ts";

const cases = {
  outbound: "what a worker passed on to another arrives where it was going, in both families",
  inbound: "what came from outside and was passed on has its caller's address",
} as const;

const families = [
  [outside.ip, vm.ip],
  [outside.ip6, vm.ip6],
] as const;
const ports = [7000, 7001, 7002] as const;
/** A worker passes on all that it has too many of while both have few; of more, it keeps a part. Chance leaves one time in eight even. */
const callsAtOnce = 6;
const maxTries = 20;

export const carriedByWorkers: Group = {
  cases: Object.values(cases),
  async run(stage, check) {
    const { place } = stage;
    await stage.serve();
    const destinations = await listenOutside(stage);
    const node = await stage.node(place.vm, "--workers", "2").ready();
    await check(cases.outbound, async () => {
      const inside = stage.application(place.vm);
      const { open, tries } = await callUntilPassed(node, () =>
        destinations.map(({ ip, port }) => inside.connect(ip, port)),
      );
      for (const [at, peer] of open.entries()) {
        const { own = "", ip, port } = destinations[at % destinations.length] ?? {};
        equal(await peer.line(), `you are ${own}`, `to ${ip}, port ${port}`);
      }
      for (const { ip, port, listening } of destinations)
        equal(listening.accepted, tries, `connections that arrived at ${ip}, port ${port}`);
      for (const peer of open) peer.end();
    });
    await check(cases.inbound, async () => {
      const caller = stage.application(place.outside);
      const { open } = await callUntilPassed(node, () =>
        Array.from({ length: callsAtOnce }, () => caller.connect(vm.ip, applicationPort)),
      );
      for (const peer of open) equal(await peer.line(), `you are ${outside.ip}`, "who the application sees");
    });
  },
};

interface Destination {
  readonly own: string;
  readonly ip: string;
  readonly port: number;
  readonly listening: Listening;
}

async function listenOutside(stage: Stage): Promise<readonly Destination[]> {
  const destinations: Destination[] = [];
  for (const [ip, own] of families)
    for (const port of ports) {
      const listening = await stage.application(stage.place.outside).listen(ip, port, { kind: "greet" });
      destinations.push({ own, ip, port, listening });
    }
  return destinations;
}

interface Passed {
  readonly open: readonly Peer[];
  readonly tries: number;
}

/** Each try begins with nothing open. */
async function callUntilPassed(node: NodeProcess, callAll: () => readonly Peer[]): Promise<Passed> {
  const passed = (): number => node.metric("fairlead_worker_connections_passed_total");
  const before = passed();
  for (let tries = 1; tries <= maxTries; tries++) {
    const open = callAll();
    for (const peer of open) {
      equal(await peer.opened(), null, "a call");
      await peer.line();
    }
    if (passed() > before) return { open, tries };
    for (const peer of open) peer.end();
    for (const peer of open) await peer.untilClosed();
  }
  throw new Error(`${maxTries} times, no connection was passed on`);
}
