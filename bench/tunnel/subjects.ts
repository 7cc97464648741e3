/** What is measured beside real nodes: nothing in between, and the least that could be. */
import { join } from "node:path";
import { appPorts, type Lab } from "../../conformance/peer/lab/lab.ts";
import type { Side } from "../../conformance/peer/lab/place.ts";
import { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import type { NodeSubject, RunningNode } from "../../conformance/peer/subjects/subject.ts";

/** A pair of nodes as the bench sees them; plain TCP has none. */
export interface Tunnel {
  readonly outbound: RunningNode | null;
  readonly inbound: RunningNode | null;
  dial(port: number): string;
}

export interface TunnelSubject {
  readonly name: string;
  readonly missing: string | null;
  readonly root: NodeSubject["root"];
  start(lab: Lab): Promise<Tunnel>;
}

export const plainTcp: TunnelSubject = {
  name: "plain TCP",
  missing: null,
  root: null,
  start: async (lab) => ({
    outbound: null,
    inbound: null,
    dial: (port) => `${lab.place.server.address}:${port}`,
  }),
};

const relayPairs = [
  { application: appPorts.http, captured: 15101, between: 15201 },
  { application: appPorts.bulk, captured: 15102, between: 15202 },
];

/** Two processes that copy bytes on Bun's sockets; with TLS between them, of the same version and ciphers as a tunnel's, or without. */
function relay(name: string, hasTls: boolean): TunnelSubject {
  return {
    name,
    missing: null,
    root: null,
    async start(lab) {
      const { client, server } = lab.place;
      const run = async (side: Side, words: readonly string[]): Promise<RunningNode> => {
        const process = Subprocess.start({
          name: `relay ${side.name}`,
          argv: side.command([globalThis.process.execPath, join(import.meta.dir, "relay.ts"), ...words]),
          logPath: join(lab.directory, `relay_${side.name}.log`),
        });
        await process.waitForLine((line) => line === "relay ready", 5000);
        return { process, dial: (port) => `${server.address}:${port}`, accessRecords: () => [] };
      };
      for (const pair of relayPairs) lab.place.capture([pair.application], pair.captured);
      const { certPath, keyPath } = lab.authority.issueFor("spiffe://cluster.local/ns/shop/sa/db", "relay");
      const inbound = await run(server, [
        ...(hasTls ? ["--tls-from", certPath, keyPath] : []),
        ...relayPairs.map(
          (pair) => `${server.address}:${pair.between}=${server.address}:${pair.application}`,
        ),
      ]);
      const outbound = await run(client, [
        ...(hasTls ? ["--tls-to"] : []),
        ...relayPairs.map((pair) => `0.0.0.0:${pair.captured}=${server.address}:${pair.between}`),
      ]);
      return { outbound, inbound, dial: outbound.dial };
    },
  };
}

export const bunRelay = relay("Bun relay", false);

/** The floor of one connection's requests and of bulk in this runtime. Each connection has TLS of its own, where a tunnel has one for all. */
export const tlsRelay = relay("Bun TLS relay", true);

/** A mesh node with itself on the other side. */
export function meshSubject(node: NodeSubject): TunnelSubject {
  return {
    name: node.name,
    missing: node.missing,
    root: node.root,
    async start(lab) {
      const inbound = await node.startInbound(lab);
      const outbound = await node.startOutbound(lab);
      return { outbound, inbound, dial: outbound.dial };
    },
  };
}
