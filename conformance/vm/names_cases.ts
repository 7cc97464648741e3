/**
 * Names: two VMs, capture on, a service that has no address, and a resolver outside of the mesh. glibc (`getent`, `curl`) and c-ares are
 * the judges. Each VM has an `/etc` of its own, so that this machine's is not touched.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unavailable } from "../namespaces/available.ts";
import { workload } from "../namespaces/documents.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { original, outsideAddress, World } from "./world.ts";

function service(name: string, host: string, rest: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${host}]
  ports: [{number: 80, name: http, protocol: TCP, targetPort: 8080}]
  location: MESH_INTERNAL
  ${rest}
---
`;
}

const many = Array.from({ length: 120 }, (_, index) => `10.97.0.${index + 1}`);
const documents = [
  workload("cart", "10.78.0.11"),
  workload("cart-main", "10.78.0.1", "cart"),
  workload("db", "10.78.0.21"),
  service("backend", "backend.shop", "resolution: STATIC\n  workloadSelector: {labels: {app: db}}"),
  service(
    "many",
    "many.shop",
    `addresses: [${many.join(", ")}]\n  resolution: STATIC\n  workloadSelector: {labels: {app: db}}`,
  ),
].join("");

const cases = {
  curl: "curl http://backend.shop/ just works: a service without an address, captured, by mutual TLS",
  relative: "a name is looked for in the caller's namespace, and behind the host's search domain",
  family: "AAAA has its virtual address; a name with addresses of one family has none of the other",
  tcp: "an answer too large for UDP comes over TCP, by c-ares",
  outside: "names of the outside are answered by the resolver that the host had",
  port: "the proxy is at 15053 over UDP, as ztunnel's",
  rewritten: "a resolv.conf that another program writes is set up again, with its servers behind us",
  failover: "with its first server down a name is answered by the next",
  stopped: "stopping puts resolv.conf back, byte for byte, and leaves no file",
  killed: "after kill -9 `fairlead names remove` puts it back; a second time there is nothing to do",
  link: "a resolv.conf that is a link is one again",
  mounted: "a resolv.conf that is mounted alone, as in containers, is written in place and put back",
  readOnly: "with /etc read-only the node goes on, is not ready, and says why",
} as const;

export const names: Group = {
  cases: Object.values(cases),
  whyNot: () =>
    unavailable ?? ["unshare", "mount", "getent", "curl"].find((tool) => Bun.which(tool) === null) ?? null,
  run: async (directory, check) => {
    const world = new World(directory, documents);
    try {
      await world.open();
      await whileRunning(world, check);
      await setups(world, check);
    } finally {
      await world.close();
    }
  },
};

async function whileRunning(world: World, check: Check): Promise<void> {
  const node = await world.node().ready();
  await check(cases.curl, async () => {
    const { out } = world.run("curl", "-sS", "-m", "10", "http://backend.shop/");
    equal(out, "hello from the backend");
    await eventually("its record", () =>
      node.records.some((line) => line["dst.service"] === "backend.shop" && "dst.identity" in line),
    );
  });
  await check(cases.relative, async () => {
    for (const name of ["backend", "backend.shop.corp.example", "BACKEND.Shop"])
      equal(world.run("curl", "-sS", "-m", "10", `http://${name}/`).out, "hello from the backend", name);
  });
  await check(cases.family, async () => {
    holds(
      JSON.stringify(world.lookup("127.0.0.153:53", "backend.shop", "AAAA")).startsWith('["2001:2::'),
      "no AAAA",
    );
    // Bun says the same of a name that has none of the type and of one that is not there; glibc tells them apart.
    equal(world.lookup("127.0.0.153:53", "many.shop", "AAAA"), "ENOTFOUND");
    equal(world.run("getent", "ahostsv4", "many.shop").code, 0, "the same name for IPv4");
  });
  await check(cases.tcp, async () => equal(world.lookup("127.0.0.153:53", "many.shop"), [...many].sort()));
  await check(cases.outside, async () => {
    holds(
      world.run("getent", "ahostsv4", "www.example.org").out.startsWith(outsideAddress),
      "not the outside's answer",
    );
  });
  await check(cases.port, async () => {
    holds(
      JSON.stringify(world.lookup("127.0.0.1:15053", "backend.shop")).startsWith('["240.240.'),
      "no virtual address",
    );
  });
  await check(cases.rewritten, async () => {
    await world.resolver("10.78.0.22", "192.0.2.88");
    world.resolvConf = "nameserver 10.78.0.22\n";
    await eventually("ours again", () => world.resolvConf.includes("127.0.0.153"));
    equal(world.lookup("127.0.0.153:53", "www.example.org"), ["192.0.2.88"]);
    equal(world.run("curl", "-sS", "-m", "10", "http://backend.shop/").out, "hello from the backend");
  });
  await check(cases.failover, async () => {
    world.resolvConf = "nameserver 10.78.0.200\nnameserver 10.78.0.2\n";
    await eventually("ours again", () => world.resolvConf.includes("127.0.0.153"));
    equal(world.lookup("127.0.0.153:53", "www.example.org"), [outsideAddress]);
    world.resolvConf = original;
    await eventually("ours again", () => world.resolvConf.includes("127.0.0.153"));
  });
  await check(cases.stopped, async () => {
    node.process.signal("SIGTERM");
    equal(await node.process.exited, 0, "exit code");
    equal([world.resolvConf, world.hasSaved], [original, false]);
    holds(
      world.run("getent", "ahostsv4", "www.example.org").out.startsWith(outsideAddress),
      "not the outside's answer",
    );
  });
}

async function setups(world: World, check: Check): Promise<void> {
  await check(cases.killed, async () => {
    const node = await world.node().ready();
    node.process.signal("SIGKILL");
    await node.process.exited;
    equal(world.fairlead("names", "status").out, "resolv-conf");
    equal(world.fairlead("names", "remove"), { code: 0, out: "this host resolves names as it did before" });
    equal([world.resolvConf, world.hasSaved], [original, false]);
    equal(world.fairlead("names", "remove").out, "nothing of this host's resolver was set up");
    world.fairlead("capture", "remove");
  });
  await check(cases.link, async () => {
    writeFileSync(join(world.etc, "stub.conf"), original);
    rmSync(join(world.etc, "resolv.conf"));
    world.run("ln", "-s", "stub.conf", "/etc/resolv.conf");
    const node = await world.node().ready();
    equal(world.run("curl", "-sS", "-m", "10", "http://backend.shop/").out, "hello from the backend");
    node.process.signal("SIGTERM");
    await node.process.exited;
    equal([world.run("readlink", "/etc/resolv.conf").out, world.hasSaved], ["stub.conf", false]);
    equal(readFileSync(join(world.etc, "stub.conf"), "utf8"), original, "what it leads to");
    world.resolvConf = original;
  });
  await check(cases.mounted, async () => {
    world.mount = "file";
    const savedHere = "/etc/resolv.conf.before-fairlead";
    try {
      const node = await world.node().ready();
      holds(
        world.resolvConf.includes("127.0.0.153"),
        `it was not written: ${node.process.log().slice(-800)}`,
      );
      node.process.signal("SIGTERM");
      await node.process.exited;
      equal([world.resolvConf, existsSync(savedHere)], [original, false]);
    } finally {
      rmSync(savedHere, { force: true });
      world.mount = "directory";
    }
  });
  await check(cases.readOnly, async () => {
    world.mount = "read-only";
    const node = world.node();
    await eventually(
      "what it says",
      () =>
        node.log.some(
          (line) => line.message === "programs of this host are not led to the names of the mesh",
        ),
      () => node.process.log().slice(-1500),
    );
    const readiness = (): string =>
      world.run("curl", "-s", "-m", "5", "http://127.0.0.1:15021/healthz/ready").out;
    await eventually("to be said by readiness", () => readiness().includes("names of the mesh"));
    equal(world.lookup("127.0.0.1:15053", "many.shop", "A"), [...many].sort());
    node.process.signal("SIGTERM");
    equal(await node.process.exited, 0, "exit code");
    world.mount = "directory";
    equal([world.resolvConf, world.hasSaved], [original, false]);
  });
}
