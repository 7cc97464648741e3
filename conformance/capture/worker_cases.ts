/** A node whose captured connections two workers carry: what one has passed on to the other is still the connection that was captured. */
import type { Listening, Peer } from "../namespaces/application.ts";
import type { NodeProcess } from "../namespaces/node_process.ts";
import { equal, type Group, holds } from "./group.ts";
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
/** Chance decides where the kernel puts each; that it puts them evenly so often in a row does not happen. */
const maxRounds = 20;

export const carriedByWorkers: Group = {
  cases: Object.values(cases),
  async run(stage, check) {
    const { place } = stage;
    await stage.serve();
    const destinations = await listenOutside(stage);
    const node = await stage.node(place.vm, "--workers", "2").ready();
    await check(cases.outbound, async () => {
      const inside = stage.application(place.vm);
      const open = await callUntilPassed(node, () =>
        destinations.map(({ ip, port }) => inside.connect(ip, port)),
      );
      const rounds = open.length / destinations.length;
      for (const [at, peer] of open.entries()) {
        const { own = "", ip, port } = destinations[at % destinations.length] ?? {};
        equal(await peer.line(), `you are ${own}`, `to ${ip}, port ${port}`);
      }
      for (const { ip, port, listening } of destinations)
        equal(listening.accepted, rounds, `connections that arrived at ${ip}, port ${port}`);
      for (const peer of open) peer.end();
    });
    await check(cases.inbound, async () => {
      const caller = stage.application(place.outside);
      const open = await callUntilPassed(node, () => ports.map(() => caller.connect(vm.ip, applicationPort)));
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

/** Whole rounds, all of them left open. */
async function callUntilPassed(node: NodeProcess, round: () => readonly Peer[]): Promise<readonly Peer[]> {
  const passed = (): number => node.metric("fairlead_worker_connections_passed_total");
  const before = passed();
  const open: Peer[] = [];
  for (let rounds = 0; rounds < maxRounds && passed() === before; rounds++)
    for (const peer of round()) {
      equal(await peer.opened(), null, "a call");
      await peer.line();
      open.push(peer);
    }
  holds(passed() > before, `of ${open.length} connections none was passed on`);
  return open;
}
