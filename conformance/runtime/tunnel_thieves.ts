/**
 * Who has a good certificate of the mesh and not its key. The runtime is told to judge no certificate, so that nothing but the handshake's own
 * signature stands between a thief and the identity that it shows; in both roles, and each beside one who has the key.
 */
import { join } from "node:path";
import { eventually } from "../peer/lab/eventually.ts";
import type { TunnelNode, TunnelWorld } from "./tunnel_world.ts";

type Check = (what: string, holds: () => Promise<unknown>) => Promise<void>;

/** @param node the program of Node. */
export async function judgeThieves(
  world: TunnelWorld,
  victim: TunnelNode,
  node: string,
  check: Check,
): Promise<void> {
  const script = join(import.meta.dir, "thief.mjs");
  const other = world.issue("stranger", "thief").keyPath;
  const attack = (
    role: string,
    account: string,
    more: readonly string[],
    at: { host: string; port: number },
  ) => {
    const { certPath, keyPath } = world.issue(account, `${role}-${account}-${more.length}`);
    const name = `${role} with ${more.length === 0 ? "its key" : "a stolen certificate"}`;
    const command = [node, script, role, at.host, String(at.port), certPath, keyPath, ...more];
    return world.processes.start(name, command);
  };
  await check(
    "a caller with a stolen certificate and not its key hears nothing; with the key it does",
    async () => {
      const at = world.hboneOf(victim);
      const said = async (more: readonly string[]): Promise<string> => {
        const { lines } = attack("client", "second", more, at);
        return await eventually("how it went", () => lines.find((line) => !line.startsWith("(")));
      };
      const [owner, thief] = [await said([]), await said([other])];
      if (!owner.startsWith("heard")) throw new Error(`with the key: ${owner}`);
      if (thief.startsWith("heard")) throw new Error(`without the key: ${thief}`);
      await world.line(victim, '"direction":"inbound"', "tls_handshake");
    },
  );
  await check(
    "a server with a stolen certificate and not its key is told nothing; with the key it is",
    async () => {
      const at = world.absentHbone;
      const hears = async (more: readonly string[], told: string): Promise<void> => {
        const running = attack("server", "absent", more, at);
        await eventually("it listens", () => running.lines.includes("listening"));
        const calling = world.bySocksToAbsent(victim).then(
          (caller) => caller.close(),
          () => {},
        );
        const line = await eventually("how it went", () =>
          running.lines.find((one) => one.startsWith("heard") || one.startsWith("refused")),
        );
        world.processes.kill(running.name, "SIGKILL");
        await calling;
        await eventually("it is gone", () => running.lines.some((one) => one.startsWith("(ended")));
        if (!line.startsWith(told)) throw new Error(`${running.name}: ${line}`);
      };
      await hears([other], "refused");
      await world.line(victim, '"direction":"outbound"', "tls_handshake");
      await hears([], "heard");
    },
  );
}
