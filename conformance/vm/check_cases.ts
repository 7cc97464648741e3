/** `fairlead check`: each finding provoked on real hosts, found, and gone when what it says is done. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unavailable } from "../namespaces/available.ts";
import { strictMutualTls, workload } from "../namespaces/documents.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { World } from "./world.ts";

const cases = {
  clean: "a host that is fit for the mesh has no finding before installation",
  FL103: "FL103: a user who may not change the network",
  FL104: "FL104: a port that another program has",
  FL106: "FL106: a resolver that is down",
  FL107: "FL107 and FL108: what a killed node leaves behind, each gone by its own fix",
  FL109: "FL109: few descriptors",
  FL110: "FL110: a read-only /etc",
  FL111: "FL111: an installation by half",
  FL112: "FL112: a firewall that drops what is captured",
  FL201: "FL201: no node",
  well: "a node with STRICT, a peer that answers and all documents good has no finding",
  FL205: "FL205 and FL206: a document that is refused, and one that selects nothing",
  FL209: "FL209: a peer that is not there",
  FL301: "FL301: a workload that accepts plain text, until STRICT",
  FL302: "FL302: an ALLOW policy for every caller",
  FL303: "FL303: a service without an endpoint",
  exit: "exit codes, --strict, and JSON with the fix as a command",
} as const;

export const checks: Group = {
  cases: Object.values(cases),
  whyNot: () => unavailable ?? ["unshare", "setpriv", "nft"].find((tool) => Bun.which(tool) === null) ?? null,
  run: async (directory, check) => {
    const world = new World(directory, documents);
    try {
      await world.open();
      await before(world, check);
      await running(world, check);
    } finally {
      await world.close();
    }
  },
};

const documents = [workload("cart", "10.78.0.11"), workload("db", "10.78.0.21"), strictMutualTls].join("");

interface Report {
  readonly code: number;
  readonly found: readonly string[];
  readonly fixes: readonly string[];
  readonly out: string;
}

function ask(world: World, words: readonly string[] = [], wrap: readonly string[] = []): Report {
  const { code, out } = world.run(...wrap, ...world.program, "check", "--json", ...words);
  const start = out.indexOf("{");
  holds(start !== -1, out);
  const report = JSON.parse(out.slice(start)) as {
    readonly findings: readonly { readonly code: string; readonly fix: string }[];
  };
  return {
    code,
    out,
    found: report.findings.map((finding) => finding.code),
    fixes: report.findings.map(({ fix }) => fix),
  };
}

async function before(world: World, check: Check): Promise<void> {
  const pre = (...wrap: readonly string[]) => ask(world, ["--pre"], wrap);
  await check(cases.clean, async () => equal([pre().found, pre().code], [[], 0]));
  await check(cases.FL103, async () =>
    equal(pre("setpriv", "--reuid", "65534", "--bounding-set", "-all", "--inh-caps", "-all").found, [
      "FL103",
    ]),
  );
  await check(cases.FL104, async () => {
    const script =
      'const taken = Bun.listen({ hostname: "0.0.0.0", port: 15008, socket: { data() {} } }); await Bun.sleep(600_000);';
    const holder = world.start("holder", world.lab.hosts.client.command([process.execPath, "-e", script]));
    try {
      const found = await eventually("FL104", () => {
        const report = pre();
        return report.found.length > 0 ? report : null;
      });
      equal([found.found, found.fixes, found.code], [["FL104"], ["ss -ltnp 'sport = :15008'"], 1]);
    } finally {
      await holder.stop();
    }
  });
  await check(cases.FL106, async () => {
    const good = world.resolvConf;
    world.resolvConf = "nameserver 10.78.0.2\nnameserver 10.78.0.99\n";
    equal([pre().found, pre().code], [["FL106"], 0]);
    world.resolvConf = good;
  });
  await check(cases.FL109, async () => equal(pre("prlimit", "--nofile=1024:1024").found, ["FL109"]));
  await check(cases.FL110, async () => {
    world.mount = "read-only";
    const { found } = pre();
    world.mount = "directory";
    equal(found, ["FL110"]);
  });
  await check(cases.FL111, async () => {
    world.run("mkdir", "-p", "/etc/systemd/system");
    writeFileSync(join(world.etc, "systemd/system/fairlead.service"), "");
    const { found, fixes } = pre();
    rmSync(join(world.etc, "systemd"), { recursive: true });
    equal([found, fixes], [["FL111"], ["fairlead install"]]);
  });
  await check(cases.FL107, async () => {
    const node = await world.node().ready();
    node.process.signal("SIGKILL");
    await node.process.exited;
    const left = pre();
    equal(
      [left.found, left.fixes, left.code],
      [["FL107", "FL108"], ["fairlead capture remove", "fairlead names remove"], 1],
    );
    for (const fix of left.fixes) equal(world.fairlead(...fix.split(" ").slice(1)).code, 0, fix);
    equal(pre().found, []);
  });
  await check(cases.FL201, async () => equal(ask(world).found, ["FL201"]));
}

async function running(world: World, check: Check): Promise<void> {
  await world.node().ready();
  const found = (): readonly string[] => ask(world).found;
  const comes = (codes: readonly string[]) =>
    eventually(
      codes.join(" "),
      () => JSON.stringify(found()) === JSON.stringify(codes),
      () => ask(world).out,
    );
  await check(cases.well, async () => void (await comes([])));
  await check(cases.FL112, async () => {
    const rules =
      "table inet theirs { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; tcp dport 22 accept; tcp dport 15008 accept; meta l4proto udp accept; meta l4proto icmpv6 accept; } }";
    const path = join(world.etc, "theirs.nft");
    writeFileSync(path, rules.replaceAll("; }", ";\n}\n"));
    equal(world.run("nft", "-f", "/etc/theirs.nft"), { code: 0, out: "" });
    holds(found().includes("FL112"), JSON.stringify(found()));
    world.run("nft", "delete", "table", "inet", "theirs");
    rmSync(path);
    await comes([]);
  });
  await check(cases.FL205, async () => {
    world.lab.publish(
      "bad",
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: bad, namespace: other}\nspec: {rulez: []}\n",
    );
    await comes(["FL205"]);
    world.lab.publish(
      "bad",
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: bad, namespace: other}\nspec: {selector: {matchLabels: {app: none}}, action: DENY, rules: [{}]}\n",
    );
    await comes(["FL206"]);
    world.lab.withdraw("bad");
    await comes([]);
  });
  await check(cases.FL209, async () => {
    world.lab.publish("away", workload("away", "10.78.0.200"));
    await comes(["FL209"]);
    equal(ask(world).fixes, ["nc -vz 10.78.0.200 15008"]);
    world.lab.withdraw("away");
    await comes([]);
  });
  await check(cases.FL302, async () => {
    const policy = (rule: string) =>
      `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: wide, namespace: shop}\nspec: {rules: [${rule}]}\n`;
    world.lab.publish("wide", policy("{to: [{operation: {ports: ['80']}}]}"));
    await comes(["FL302"]);
    world.lab.publish("wide", policy("{from: [{source: {namespaces: [shop]}}]}"));
    await comes([]);
    world.lab.withdraw("wide");
  });
  await check(cases.FL303, async () => {
    const lonely =
      "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: lonely, namespace: shop}\nspec: {hosts: [lonely.shop], addresses: [10.96.0.1], ports: [{number: 80, name: a, protocol: TCP}], resolution: STATIC, workloadSelector: {labels: {app: none}}}\n";
    world.lab.publish("lonely", lonely);
    await comes(["FL206", "FL303"]);
    world.lab.withdraw("lonely");
    await comes([]);
  });
  await check(cases.FL301, async () => {
    world.lab.publish("mesh", documents.replace("mode: STRICT", "mode: PERMISSIVE"));
    await comes(["FL301"]);
  });
  await check(cases.exit, async () => {
    const lines = world.fairlead("check");
    equal([lines.code, lines.out.includes("FL301 warning")], [0, true], lines.out);
    equal(ask(world, ["--strict"]).code, 1);
    const [fix = ""] = ask(world).fixes;
    holds(world.fairlead(...fix.split(" ").slice(1)).out.startsWith("allowed: "), fix);
    world.lab.publish("mesh", documents);
    await comes([]);
    equal(ask(world, ["--strict"]).code, 0);
  });
}
