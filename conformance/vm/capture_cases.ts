/**
 * Capture by each method, program and family: an application calls, another on a second VM answers and says whom it sees. Judged by that
 * answer, by what crosses the cable, by both nodes' records, and by the rules that the kernel lists: they must be of that method and of
 * that program alone, or another one would have done the work.
 */
import { unitText } from "../../src/cli/install/unit.ts";
import type { BackendName, CaptureMethod } from "../../src/host/capture/options.ts";
import { unavailable } from "../namespaces/available.ts";
import { workload } from "../namespaces/documents.ts";
import type { Host } from "../namespaces/hosts.ts";
import { cart, db, dbService, Lab, shop } from "../namespaces/lab.ts";
import { fromSource, type NodeProcess } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { runToEnd } from "../peer/lab/subprocess.ts";
import { type Check, equal, type Group, holds } from "./group.ts";

interface Way {
  readonly method: CaptureMethod;
  readonly backend: BackendName;
  readonly programs: readonly string[];
}

const ways: readonly Way[] = (["redirect", "tproxy"] as const).flatMap((method) => [
  { method, backend: "nftables", programs: ["nft"] },
  { method, backend: "iptables", programs: ["iptables-save", "ip6tables-save"] },
  { method, backend: "iptables-legacy", programs: ["iptables-legacy-save", "ip6tables-legacy-save"] },
]);

const families = [
  { family: "IPv4", from: cart.ip, workload: db.ip, service: dbService.ip, outside: "10.78.0.1" },
  { family: "IPv6", from: cart.ip6, workload: db.ip6, service: dbService.ip6, outside: "fd78::1" },
] as const;
type Family = (typeof families)[number];

const meshed = ({ method, backend }: Way, { family }: Family): string =>
  `${method} by ${backend}, ${family}: a captured call goes through both nodes, and the application sees its caller's address`;
const plain = ({ method, backend }: Way, { family }: Family): string =>
  `${method} by ${backend}, ${family}: a plain call is captured inbound, and the application sees its caller's address`;
const alone = ({ method, backend }: Way): string =>
  `${method} by ${backend}: the rules of both nodes are of that method and program alone, and go with them`;

const crashed = ({ method, backend }: Way): string =>
  `${method} by ${backend}: of a node that was killed (-9) the commands of the unit leave no rule and no route`;

const unit = unitText({ binary: "fairlead", user: "fairlead", words: ["node", "--capture", "redirect"] });
const plainPort = 15433;

export const capture: Group = {
  cases: ways.flatMap((way) => [
    alone(way),
    crashed(way),
    ...families.flatMap((family) => [meshed(way, family), plain(way, family)]),
  ]),
  whyNot: () =>
    unavailable ??
    ["nft", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy"].find(
      (tool) => Bun.which(tool) === null,
    ) ??
    null,
  run: async (_directory, check) => {
    for (const way of ways) {
      const lab = new Lab(
        `vm-capture-${way.method}-${way.backend}`,
        [shop, workload("outside", "10.78.0.12")].join(""),
      );
      try {
        await judge(lab, way, check);
      } finally {
        await lab.close();
      }
    }
  },
};

async function judge(lab: Lab, way: Way, check: Check): Promise<void> {
  const { client, server } = lab.hosts;
  const caller = lab.application(client);
  const answering = lab.application(server);
  for (const ip of [db.ip, db.ip6])
    for (const port of [dbService.targetPort, plainPort]) await answering.listen(ip, port, { kind: "greet" });
  const start = (host: Host): NodeProcess =>
    lab.node(host, ["--capture", way.method, "--capture-backend", way.backend, "--original-source", "on"]);
  const nodes = [start(client), start(server)] as const;
  await Promise.all(nodes.map((node) => node.ready()));
  const [outbound, inbound] = nodes;
  for (const family of families)
    await check(meshed(way, family), async () => {
      const { from, workload: to, service } = family;
      const before = { packets: lab.hosts.crossing(), records: inbound.records.length };
      equal(
        await caller.call(to, dbService.targetPort, from),
        `you are ${from}`,
        "by the workload's address",
      );
      equal(await caller.call(service, dbService.port, from), `you are ${from}`, "by the service's address");
      await eventually("their records", () => inbound.records.length >= before.records + 2);
      for (const record of inbound.records.slice(before.records))
        equal(
          [record.direction, record["src.identity"], record["dst.identity"], record.error],
          ["inbound", cart.id, db.id, undefined],
          "the record at the destination",
        );
      await eventually(
        "a record at the source",
        () =>
          outbound.records.some((record) => `${record["src.addr"]}`.replace(/[[\]]/g, "").startsWith(from)),
        () => outbound.process.log().slice(-1500),
      );
      const { hbone, other } = lab.hosts.crossing();
      equal(other - before.packets.other, 0, "packets beside HBONE");
      holds(hbone > before.packets.hbone, "nothing crossed by HBONE");
    });
  await check(alone(way), async () => {
    for (const node of nodes) judgeRules(way, node);
    equal(await outbound.stop(), 0, "exit code");
    equal(loadedBy(client), [], "rules afterwards");
    equal(outbound.captureRules(), [], "routes afterwards");
  });
  // The client's node is gone: what its programs send now is plain text.
  for (const family of families)
    await check(plain(way, family), async () => {
      const before = inbound.records.length;
      const { outside, workload: to } = family;
      equal(await caller.call(to, plainPort, outside), `you are ${outside}`, "a plain call");
      await eventually("its record", () => inbound.records.length > before);
      const [record] = inbound.records.slice(before);
      equal([record?.direction, record?.["src.identity"]], ["inbound", undefined], "its record");
    });
  await check(crashed(way), async () => {
    inbound.process.signal("SIGKILL");
    await inbound.process.exited;
    equal(loadedBy(server), way.programs, "who has rules right after it");
    const commands = [...unit.matchAll(/^ExecStopPost=\+-fairlead (capture .*)$/gm)].map(
      ([, words = ""]) => words,
    );
    equal(commands.length, 1, "commands about capture after its end");
    for (const words of commands) runToEnd(server.command([...fromSource, ...words.split(" ")]));
    equal(loadedBy(server), [], "rules afterwards");
    equal(inbound.captureRules(), [], "routes afterwards");
  });
}

function save(host: Host, program: string): string {
  const argv = program === "nft" ? ["nft", "list", "ruleset"] : [program];
  const { stdout } = Bun.spawnSync(host.command(argv));
  return stdout.toString();
}

const allPrograms = [
  "nft",
  ...["iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"],
];

/** What iptables keeps in nf_tables is iptables' own. */
function loadedBy(host: Host): readonly string[] {
  return allPrograms.filter((program) =>
    program === "nft"
      ? runToEnd(host.command(["nft", "list", "tables"])).includes("inet fairlead")
      : save(host, program).includes("FAIRLEAD_"),
  );
}

function judgeRules(way: Way, { host }: NodeProcess): void {
  equal(loadedBy(host), way.programs, `who has rules on ${host.name}`);
  for (const program of way.programs) {
    const listed = save(host, program);
    const words = {
      redirect: /redirect to :15001|-j REDIRECT --to-ports 15001/,
      tproxy: /tproxy to :15001|-j TPROXY --on-port 15001/,
    } as const;
    for (const [method, pattern] of Object.entries(words))
      equal(pattern.test(listed), method === way.method, `${program} of ${host.name} has rules of ${method}`);
  }
}
