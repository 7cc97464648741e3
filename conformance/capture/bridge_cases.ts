/** What comes in by a bridge of the host while bridges call netfilter, as Docker and Kubernetes have it: br_netfilter. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { workload } from "../namespaces/documents.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { equal, type Group, holds } from "./group.ts";
import { container, vm } from "./place.ts";
import { applicationPort } from "./stage.ts";

const settings = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"] as const;
const container6 = "fd30::2";

const cases = {
  called:
    "A10 while bridges call netfilter, REDIRECT takes what comes in by one; TPROXY refuses it, and tells",
  mended: "A10 with what is told done, both take it, in both families",
} as const;

export const bridged: Group = {
  cases: Object.values(cases),
  whyNot: () =>
    existsSync(`/proc/sys/${settings[0].replaceAll(".", "/")}`) ? null : "the kernel has no br_netfilter",
  async run(stage, check) {
    const { place, method } = stage;
    const on = (namespace: string, words: string) => runToEnd(["ip", "-n", namespace, ...words.split(" ")]);
    on(place.vm.namespace, "-6 addr add fd30::1/64 dev docker0 nodad");
    on(place.container.namespace, `-6 addr add ${container6}/64 dev eth0 nodad`);
    on(place.container.namespace, "-6 route add default via fd30::1");
    writeFileSync(join(stage.directory, "mesh", "six.yaml"), workload("six", vm.ip6));
    await stage.serve();
    for (const name of settings) runToEnd(place.vm.command(["sysctl", "-q", "-w", `${name}=1`]));
    const inside = stage.application(place.container);
    const families = [
      [vm.ip, container.ip],
      [vm.ip6, container6],
    ] as const;
    await stage.node(place.vm, "--workload", "shop/six", "--capture-containers", "capture").ready();
    const isTaken = async ([to, from]: (typeof families)[number]): Promise<boolean> => {
      // By the kernel's choice it is refused, or there is no answer to wait for.
      const at = to.includes(":") ? `[${to}]` : to;
      const argv = ["curl", "-sN", "-g", "-m", "5", "--http0.9", `telnet://${at}:${applicationPort}`];
      const child = Bun.spawn(place.container.command(argv), { stdio: ["ignore", "pipe", "inherit"] });
      const decoder = new TextDecoder();
      let said = "";
      for await (const chunk of child.stdout) {
        said += decoder.decode(chunk, { stream: true });
        // The line is the whole answer, and the connection stays open.
        if (said.includes("\n")) child.kill();
      }
      await child.exited;
      return said.startsWith(`you are ${from}\n`);
    };
    const answers = (): Promise<readonly boolean[]> => Promise.all(families.map(isTaken));
    await check(cases.called, async () => {
      const isRedirect = method === "redirect";
      equal(await answers(), [isRedirect, isRedirect], "whether it is taken, by family");
      const { text } = stage.fairlead("capture", "status");
      equal(/bridges of this host \(docker0\)/.test(text), !isRedirect, text);
      if (!isRedirect) for (const name of settings) holds(text.includes(`sysctl -w ${name}=0`), text);
    });
    for (const name of settings) runToEnd(place.vm.command(["sysctl", "-q", "-w", `${name}=0`]));
    await check(cases.mended, async () => {
      await eventually("taken", async () => (await answers()).every((taken) => taken));
      holds(!/bridges of this host/.test(stage.fairlead("capture", "status").text), "told again");
      for (const [to, from] of families)
        equal(await inside.call(to, applicationPort), `you are ${from}`, `a call to ${to}`);
    });
  },
};
