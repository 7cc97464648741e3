/**
 * Capture on trial (`--confirm`): whoever does not come back gets his host back, whatever became of the node. What is judged is what the
 * kernel has loaded, the resolver's file, and what a plain client outside of the mesh can reach.
 */
import { join } from "node:path";
import { unavailable } from "../namespaces/available.ts";
import { workload } from "../namespaces/documents.ts";
import type { NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { original, World } from "./world.ts";

/** The shortest. */
const trialTime = "5s";
const documents = [workload("cart", "10.78.0.11"), workload("cart-main", "10.78.0.1", "cart")].join("");

const cases = {
  reverted:
    "unconfirmed capture is reverted at the deadline: rules, routing and resolver, and the node says so",
  killed: "with the node killed (-9) before it, they are put back at the deadline all the same",
  port: "SSH's port is never captured, nor dropped, while capture is on trial",
  confirmed: "confirmed capture stays, and its guard goes",
  remembered: "what was confirmed is not asked for again by the next start, until the settings change",
  stopped: "a node that stops before its deadline leaves no rule and no guard",
} as const;

export const trial: Group = {
  cases: Object.values(cases),
  whyNot: () => unavailable ?? ["unshare", "mount", "pgrep"].find((tool) => Bun.which(tool) === null) ?? null,
  run: async (directory, check) => {
    const world = new World(directory, documents);
    try {
      await judge(world, directory, check);
    } finally {
      await world.close();
    }
  },
};

async function judge(world: World, directory: string, check: Check): Promise<void> {
  const { lab } = world;
  const { client, server } = lab.hosts;
  const state = join(directory, "state");
  const start = (...settings: readonly string[]): NodeProcess =>
    lab.node(
      client,
      ["--capture", "redirect", "--dns-setup", "resolv-conf", "--confirm", trialTime, ...settings],
      { wrap: (argv) => world.inside(argv), env: { XDG_STATE_HOME: state } },
    );
  const guards = (node: NodeProcess): readonly string[] => {
    const { stdout } = Bun.spawnSync(["ip", "netns", "pids", node.host.namespace]);
    return stdout
      .toString()
      .split("\n")
      .filter((pid) => {
        const shown = Bun.spawnSync(["ps", "-o", "args=", "-p", pid || "0"]).stdout.toString();
        return shown.includes(" capture guard ");
      });
  };
  const isBack = (node: NodeProcess): boolean =>
    node.captureRules().length === 0 && world.resolvConf === original && !world.hasSaved;
  const back = (node: NodeProcess) =>
    eventually(
      "everything as before",
      () => isBack(node),
      () => `${node.captureRules().join("\n")}\n${world.resolvConf}`,
    );

  await check(cases.reverted, async () => {
    const node = await start().ready();
    holds(node.captureRules().length > 0, "nothing is captured");
    holds(world.resolvConf !== original, "the resolver is as before");
    equal(guards(node).length, 1, "guards");
    await node.line({ scope: "capture", message: /was not confirmed in time/ });
    await back(node);
    holds(node.process.running, "the node has ended");
    const readiness = client.command(["curl", "-s", "-m", "10", "http://127.0.0.1:15021/healthz/ready"]);
    holds(
      Bun.spawnSync(readiness).stdout.toString().includes("which were not confirmed"),
      "readiness does not say it",
    );
    const { code, out } = confirm(world);
    equal([code, out.includes("too late")], [1, true], out);
    await eventually("no guard", () => guards(node).length === 0);
    await node.stop();
    holds(isBack(node), "something is left");
  });
  await check(cases.killed, async () => {
    const node = await start().ready();
    node.process.signal("SIGKILL");
    await node.process.exited;
    holds(node.captureRules().length > 0, "the rules went with the node");
    await back(node);
    await eventually("no guard", () => guards(node).length === 0);
  });
  await check(cases.port, async () => {
    const program =
      'Bun.listen({hostname: "0.0.0.0", port: 22, socket: {open(s) { s.end("SSH-2.0-here\\n"); }, data() {}}}); console.log("listening")';
    const ssh = world.start("ssh", client.command([process.execPath, "-e", program]));
    await eventually("the SSH port", () => ssh.log().includes("listening"));
    const node = await start().ready();
    const dial = server.command(["bash", "-c", "exec 3<>/dev/tcp/10.78.0.1/22; head -1 <&3"]);
    const banner = (): string => Bun.spawnSync(dial).stdout.toString().trim();
    equal(banner(), "SSH-2.0-here", "under capture");
    node.process.signal("SIGKILL");
    await node.process.exited;
    equal(banner(), "SSH-2.0-here", "with rules and no node");
    await back(node);
    equal(banner(), "SSH-2.0-here", "after capture");
  });
  await check(cases.stopped, async () => {
    const node = await start().ready();
    equal(await node.stop(), 0, "exit code");
    holds(isBack(node), "something is left");
    await eventually("no guard", () => guards(node).length === 0);
  });
  await check(cases.confirmed, async () => {
    const node = await start().ready();
    const { code, out } = confirm(world);
    equal(code, 0, out);
    await eventually("no guard", () => guards(node).length === 0);
    // Longer than the trial and its guard's grace.
    await Bun.sleep(6_500);
    holds(node.captureRules().length > 0, "the rules are gone");
    holds(!node.log.some(({ message }) => message.includes("not confirmed")), "it was taken back");
    equal(confirm(world).code, 1, "a second confirmation");
    await node.stop();
  });
  await check(cases.remembered, async () => {
    const node = await start().ready();
    equal(guards(node).length, 0, "guards of a second start");
    await node.stop();
    const changed = await start("--capture-exclude-port", "9999").ready();
    equal(guards(changed).length, 1, "guards of a changed start");
    await changed.stop();
    holds(isBack(changed), "something is left");
  });
}

function confirm(world: World): { readonly code: number; readonly out: string } {
  return world.fairlead("capture", "confirm");
}
