/**
 * `fairlead run`: one program in the mesh, in a network of its own. The judges are curl and the resolver of the C library inside, a node
 * with capture on the other host, and what the kernel lists of this host before, meanwhile and after.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { unavailable } from "../namespaces/available.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { joined, joinedCases } from "./run_joined_cases.ts";
import { documents, RunLab } from "./run_lab.ts";
import { original, World } from "./world.ts";

const cases = {
  mesh: "a program reaches a service by its name, by mutual TLS, as the workload that it was named",
  network: "its network is its own: loopback, its own resolv.conf, all else refused at once",
  outside: "what is no service of the mesh is reached by the host, and names of the outside are answered",
  exit: "its exit code, its input and its output are the program's; a signal ends it as a shell says",
  signals: "signals are passed on, and the program ends as it likes",
  inbound: "as a service with an endpoint here it is reached by peers, and sees their address",
  host: "nothing else is touched: rules, routes, addresses, mounts and /etc of the host",
  killed: "with fairlead killed (-9), the program, its network and every trace are gone",
  prison: "root in there can neither leave nor change the rules; --user is another user",
  readOnly: "with /etc read-only it works as well",
  iptables: "without nftables iptables does it; without either it is said, and nothing is run",
  refusals: "without root, as nobody of the mesh, with a port in use: 125, the reason, and nothing is run",
} as const;

export const run: Group = {
  cases: [...Object.values(cases), ...Object.values(joinedCases)],
  whyNot: () =>
    unavailable ??
    ["unshare", "mount", "setpriv", "getent", "curl", "nsenter"].find((tool) => Bun.which(tool) === null) ??
    null,
  run: async (directory, check) => {
    const world = new World(directory, documents);
    try {
      await world.open();
      const lab = new RunLab(world, directory);
      await asClient(lab, check);
      await asServer(lab, check);
      await joined(lab, check);
      await badInput(lab, check);
    } finally {
      await world.close();
    }
  },
};

/** Lines that one of the two has more often. */
function difference(one: string, other: string): readonly string[] {
  const [lines, others] = [one.split("\n"), other.split("\n")];
  const times = (line: string, all: readonly string[]) => all.filter((each) => each === line).length;
  return [...new Set([...lines, ...others])].filter((line) => times(line, lines) !== times(line, others));
}

async function asClient(lab: RunLab, check: Check): Promise<void> {
  const { world } = lab;
  const before = lab.traces();
  await check(cases.mesh, async () => {
    const found = lab.run("shop/reports", ["curl", "-sS", "-m", "20", "http://backend.shop/"]);
    equal(found, { code: 0, out: "hello from the backend" });
    const [server] = world.nodes;
    await eventually(
      "its record",
      () =>
        server?.records.some((line) => `${line["src.identity"]}`.endsWith("/ns/shop/sa/reports")) ?? false,
      () => server?.process.log() ?? "",
    );
  });
  await check(cases.network, async () => {
    const script = `cat /etc/resolv.conf; ip -o -4 addr show | tr -s ' ' | cut -d' ' -f4; getent ahostsv4 backend.shop | head -1 | cut -d. -f1
exec 3<>/dev/udp/192.0.2.1/4433; { echo x >&3 && sleep 0.1 && echo y >&3; } 2>/dev/null; echo "udp=$?"`;
    const { out } = lab.run("shop/reports", ["bash", "-c", script]);
    const [server, search, options, ...rest] = out.split("\n");
    equal(
      [server, search, options],
      ["nameserver 127.0.0.1", "search corp.example", "options timeout:2 attempts:1"],
    );
    equal(rest.slice(0, 3), ["127.0.0.1/8", "10.78.0.11/32", "240"]);
    equal(rest.at(-1), "udp=1", out);
  });
  await check(cases.outside, async () => {
    const command = ["getent", "ahostsv4", "www.example.org"];
    holds(lab.run("shop/reports", command).out.startsWith("192.0.2.77"), "not the outside's answer");
    // Not of the mesh, and not on the program's network: the other host itself.
    const plain = world.start(
      "plain",
      world.lab.hosts.server.command([
        process.execPath,
        "-e",
        'Bun.serve({hostname: "10.78.0.2", port: 22, fetch: () => new Response("plain")}); console.log("listening")',
      ]),
    );
    await eventually("a server outside of the mesh", () => plain.log().includes("listening"));
    equal(lab.run("shop/reports", ["curl", "-sS", "-m", "10", "http://10.78.0.2:22/"]).out, "plain");
  });
  await check(cases.exit, async () => {
    equal(lab.run("shop/reports", ["sh", "-c", "exit 7"]).code, 7);
    equal(lab.run("shop/reports", ["sh", "-c", "kill -9 $$"]).code, 137);
    equal(lab.run("shop/reports", ["/no/such/program"]).code, 127);
    const argv = world.inside(
      world.lab.hosts.client.command(lab.words("shop/reports", ["tr", "a-z", "A-Z"])),
    );
    const { stdout } = Bun.spawnSync(argv, { stdin: new TextEncoder().encode("piped through") });
    equal(stdout.toString(), "PIPED THROUGH");
  });
  await check(cases.signals, async () => {
    const script = 'trap "echo heard; exit 5" TERM; echo up; while :; do sleep 0.05; done';
    const program = lab.start("signals", "shop/reports", ["sh", "-c", script]);
    await eventually("the program", () => program.log().includes("up"));
    program.signal("SIGTERM");
    equal([await program.exited, program.log().includes("heard")], [5, true]);
  });
  await check(cases.host, async () => {
    const marker = `fairlead-run-${process.pid}`;
    const program = lab.start("host", "shop/reports", ["sh", "-c", `echo up; exec sleep 600 # ${marker}`]);
    await eventually("the program", () => program.log().includes("up"));
    // Compared when it has ended: what runs on has the address that the next cases need.
    const meanwhile = lab.traces();
    program.signal("SIGTERM");
    equal(await program.exited, 143, "exit code");
    equal(difference(meanwhile, before), [], "while it runs");
    equal(difference(lab.traces(), before), [], "after it");
  });
  await check(cases.killed, async () => {
    const marker = `fairlead-killed-${process.pid}`;
    const script = `echo up; exec -a ${marker} sleep 600`;
    const program = lab.start("killed", "shop/reports", ["bash", "-c", script]);
    await eventually("the program", () => lab.isRunning(`^${marker}`));
    program.signal("SIGKILL");
    await program.exited;
    await eventually("its end", () => !lab.isRunning(`^${marker}`));
    // The kernel takes a network apart behind its last process, and until then names a peer that is not there.
    await eventually(
      "the end of its network",
      () => difference(lab.traces(), before).length === 0,
      () => difference(lab.traces(), before).join("\n"),
    );
  });
}

async function asServer(lab: RunLab, check: Check): Promise<void> {
  const { world } = lab;
  await check(cases.inbound, async () => {
    const serve =
      'Bun.serve({hostname: "0.0.0.0", port: 9000, fetch: (request, server) => new Response("called by " + server.requestIP(request).address)}); console.log("serving")';
    const program = lab.start("inbound", "shop/api", [process.execPath, "-e", serve]);
    await eventually(
      "the server",
      () => program.log().includes("serving"),
      () => program.log(),
    );
    const call = (...argv: readonly string[]) => {
      const { stdout, stderr } = Bun.spawnSync(world.lab.hosts.server.command(argv));
      return `${stdout}${stderr}`;
    };
    // The other host's node captures it; its program is the workload there.
    const url = "http://10.78.0.12:9000/";
    equal(call("curl", "-sS", "-m", "20", "--interface", "10.78.0.21", url), "called by 10.78.0.21");
    // Past the tunnel there is nothing: the host itself does not listen.
    const past = Bun.spawnSync(
      world.lab.hosts.client.command(["curl", "-sS", "-m", "5", "http://10.78.0.12:9000/"]),
    );
    equal(past.exitCode, 7, "a plain call on the host");
    program.signal("SIGTERM");
    await program.exited;
  });
}

async function badInput(lab: RunLab, check: Check): Promise<void> {
  const { world } = lab;
  const hello = ["curl", "-sS", "-m", "20", "http://backend.shop/"];
  await check(cases.prison, async () => {
    const script = `nft list ruleset >/dev/null 2>&1; echo "rules=$?"; nsenter --net=/proc/1/ns/net true 2>/dev/null; echo "leave=$?"; id -u`;
    const asRoot = lab.run("shop/reports", ["sh", "-c", script]).out.split("\n");
    holds(asRoot[0] !== "rules=0" && asRoot[1] !== "leave=0", asRoot.join("; "));
    equal(asRoot[2], "0");
    equal(
      lab.run("shop/reports", ["sh", "-c", 'id -u; echo "$HOME"'], ["--user", "nobody"]).out.split("\n")[0],
      "65534",
    );
  });
  await check(cases.readOnly, async () => {
    world.mount = "read-only";
    try {
      equal(lab.run("shop/reports", hello), { code: 0, out: "hello from the backend" });
      equal(world.resolvConf, original);
    } finally {
      world.mount = "directory";
    }
  });
  await check(cases.iptables, async () => {
    const forced = lab.run("shop/reports", hello, ["--capture-backend", "iptables"]);
    equal(forced, { code: 0, out: "hello from the backend" }, "iptables");
    // As where neither is installed: each is a file that cannot be run.
    const hide = `for tool in nft iptables-restore iptables-legacy-restore; do path=$(command -v $tool) && mount --bind /dev/null "$(readlink -f "$path")"; done; exec "$@"`;
    const words = lab.words("shop/reports", ["touch", join(lab.directory, "ran")]);
    const { code, out } = world.run("sh", "-c", hide, "sh", ...words);
    equal([code, existsSync(join(lab.directory, "ran"))], [125, false], out);
    holds(out.includes("nft could not be run") && out.includes("iptables-restore could not be run"), out);
  });
  await check(cases.refusals, async () => {
    const touch = ["touch", join(lab.directory, "ran")];
    const refusal = (
      wanted: RegExp,
      { code, out }: { readonly code: number; readonly out: string },
    ): void => {
      equal([code, existsSync(join(lab.directory, "ran"))], [125, false], out);
      holds(wanted.test(out), out);
    };
    const asNobody = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--"];
    // A path that this user may read.
    refusal(/needs root/, world.run(...asNobody, ...lab.words("shop/reports", touch)));
    refusal(/no workload shop\/nothing/, lab.run("shop/nothing", touch));
    refusal(/no workload shop\/db|no service shop\/backend/, lab.run("shop/backend", touch));
    const holder = world.start(
      "holder",
      world.lab.hosts.client.command([
        process.execPath,
        "-e",
        'Bun.listen({hostname: "10.78.0.11", port: 15008, socket: {data() {}}}); console.log("listening")',
      ]),
    );
    await eventually("the port", () => holder.log().includes("listening"));
    refusal(/10\.78\.0\.11:15008.*address_in_use/, lab.run("shop/reports", touch));
    equal(lab.run("shop/reports", hello, ["--no-inbound"]), { code: 0, out: "hello from the backend" });
    await holder.stop();
  });
}
