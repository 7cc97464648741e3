/** go-spiffe, SPIFFE's own library, as client of our Workload API: identities, rotation, bundles, strangers. */
import { join } from "node:path";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { buildGo } from "../../peer/lab/tools.ts";
import type { Tally } from "../../peer/tally.ts";
import { cart, IdentitySocket, until, web } from "./identity_socket.ts";

type Line = Readonly<Record<string, unknown>>;

const stranger = 54_321;

/** @param directory an empty one, of this suite alone. */
export async function spiffeClientSuite(tally: Tally, directory: string): Promise<void> {
  const go = buildGo("conformance/control/go", "fairlead-control-peer");
  if ("missing" in go) {
    tally.skip("go-spiffe", go.missing);
    return;
  }
  const uid = process.getuid?.() ?? 0;
  const socket = await IdentitySocket.open(directory, [`uid=${uid}=shop/cart`, `uid=${uid}=shop/web`]);
  let started = 0;
  const start = (command: string, flags: readonly string[] = [], before: readonly string[] = []) =>
    Subprocess.start({
      name: `go-spiffe ${command}`,
      argv: [...before, go.path, command, "-socket", `unix://${socket.path}`, ...flags],
      logPath: join(directory, `${command}_${started++}.log`),
    });
  try {
    await check(tally, "go-spiffe: SVIDs, rotation, roots, revocation lists", () =>
      watchSvids(socket, start("watch")),
    );
    await check(tally, "go-spiffe: bundles", () => watchBundles(socket, start("bundles")));
    await check(tally, "go-spiffe: mutual TLS goes on over a rotation", () =>
      mutualTls(socket, start("tls", ["-identity", cart.uri])),
    );
    await check(tally, "go-spiffe: a JWT-SVID is Unimplemented", () => ends(start("jwt"), "Unimplemented"));
    await check(tally, "go-spiffe: without the header it is InvalidArgument", () =>
      ends(start("headerless"), "InvalidArgument"),
    );
    if (uid !== 0) tally.skip("go-spiffe: another user is refused", "only root can be another user");
    else {
      const as = ["setpriv", `--reuid=${stranger}`, `--regid=${stranger}`, "--clear-groups"];
      await check(tally, "go-spiffe: another user is refused and audited", () =>
        refusesStranger(socket, start("watch", [], as)),
      );
    }
  } finally {
    socket.close();
  }
}

async function check(tally: Tally, name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
    tally.pass(name);
  } catch (error) {
    tally.fail(name, error instanceof Error ? error.message : String(error));
  }
}

async function watchSvids(socket: IdentitySocket, process: Subprocess): Promise<void> {
  const updates = () => linesOf(process).filter((line) => line.event === "svids");
  await update(process, 1);
  const first = updates()[0];
  const ids = svidsOf(first).map((svid) => svid.id);
  equal(ids, [cart.uri, web.uri], "identities");
  equal(first?.default, cart.uri, "the default identity");
  equal(
    svidsOf(first).map((svid) => svid.problem),
    ["", ""],
    "verification by go-spiffe",
  );
  const before = svidsOf(first)[0]?.serial;
  const { serialNumber } = await socket.rotate(cart);
  await update(process, 2);
  const rotated = svidsOf(updates()[1]);
  equal(sameSerial(rotated[0]?.serial, serialNumber), true, "the serial number that was issued");
  if (rotated[0]?.serial === before) throw new Error("the rotated SVID is the old one");
  const other = await socket.foreignAuthority();
  socket.bundle.set({ ...socket.bundle.value, rootsPem: `${socket.bundle.value.rootsPem}${other.rootsPem}` });
  await update(process, 3);
  equal(
    svidsOf(updates()[2]).map((svid) => svid.roots),
    [2, 2],
    "roots",
  );
  socket.bundle.set({ ...socket.bundle.value, crls: [await socket.revocationList([])] });
  await update(process, 4);
  await process.stop();
  await until(() => socket.api.status().openStreams === 0, "the stream's end");

  async function update(watching: Subprocess, count: number): Promise<void> {
    await until(() => {
      if (!watching.running) throw new Error(`it ended early: ${watching.log()}`);
      return updates().length >= count;
    }, `update ${count}: ${watching.log()}`);
  }
}

async function watchBundles(socket: IdentitySocket, process: Subprocess): Promise<void> {
  const roots = () =>
    linesOf(process)
      .map((line) => line["cluster.local"])
      .filter(Array.isArray);
  await until(() => roots().length === 1, "the bundle");
  const before = roots()[0]?.length ?? 0;
  const other = await socket.foreignAuthority();
  socket.bundle.set({ ...socket.bundle.value, rootsPem: `${socket.bundle.value.rootsPem}${other.rootsPem}` });
  await until(() => roots().length === 2, "the new bundle");
  equal(roots()[1]?.length, before + 1, "roots");
  await process.stop();
}

async function mutualTls(socket: IdentitySocket, process: Subprocess): Promise<void> {
  const connections = () => linesOf(process).filter((line) => line.event === "connection");
  const connect = async (): Promise<Line> => {
    const count = connections().length;
    process.writeLine("connect");
    await until(() => connections().length > count, "a connection");
    return connections()[count] ?? {};
  };
  await until(() => linesOf(process).some((line) => line.event === "ready"), "the first identity");
  equal((await connect()).problem, "", "the first connection");
  const { serialNumber } = await socket.rotate(cart);
  await until(async () => {
    const line = await connect();
    equal(line.problem, "", "a connection during the rotation");
    return sameSerial(line.serial, serialNumber);
  }, "a connection with the new certificate");
  await process.stop();
}

async function ends(process: Subprocess, code: string): Promise<void> {
  await until(() => !process.running, `its end: ${process.log()}`);
  equal(
    linesOf(process).map((line) => line.code),
    [code],
    "how it ended",
  );
}

async function refusesStranger(socket: IdentitySocket, process: Subprocess): Promise<void> {
  await ends(process, "PermissionDenied");
  const actor = `uid=${stranger},gid=${stranger}`;
  const audited = socket.audit.filter((entry) => entry.actor === actor);
  equal(
    audited.map(({ action, outcome }) => [action, outcome]),
    [["svid.x509", "refused"]],
    "the audit log",
  );
}

function linesOf(process: Subprocess): Line[] {
  return process
    .lines()
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

function svidsOf(line: Line | undefined): readonly Line[] {
  return Array.isArray(line?.svids) ? line.svids : [];
}

/** Go writes no leading zero. */
function sameSerial(shown: unknown, issued: string): boolean {
  return shown === issued.replace(/^0+/, "");
}

function equal(found: unknown, expected: unknown, what: string): void {
  if (!Bun.deepEquals(found, expected, true))
    throw new Error(`${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}
