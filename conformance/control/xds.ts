/** Delta xDS of a running `fairlead control`, rule by rule, under a client that shares nothing with ours: grpcio, protobuf and h2. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bulkHangMs } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { repository } from "../peer/lab/tools.ts";
import { Tally } from "../peer/tally.ts";
import { ControlProcess } from "./control_process.ts";
import { freePort } from "./free_port.ts";
import { findPythonWithProtobuf } from "./python_peer.ts";

const prefix = "python grpcio → xDS";
const deadlineMs = 2 * bulkHangMs;

/** What the client has done that it cannot do itself. */
type Wish =
  | { readonly what: "apply"; readonly documents: string }
  | { readonly what: "delete"; readonly keys: readonly string[] }
  | { readonly what: "command" | "join"; readonly words: readonly string[] }
  | { readonly what: "restart" | "memory" };

type Line = { readonly ask: Wish } | { readonly case: string; readonly ok: boolean; readonly detail: string };

export async function xdsSuite(tally: Tally, directory: string): Promise<void> {
  const python = findPythonWithProtobuf();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const own = join(directory, "xds");
  mkdirSync(own, { recursive: true });
  const control = await ControlProcess.start({
    directory: join(own, "control"),
    ip: "127.0.0.1",
    port: freePort(),
  });
  try {
    const facts = join(own, "facts.json");
    writeFileSync(facts, JSON.stringify(await factsOf(control, own)));
    const client = Subprocess.start({
      name: "xds client",
      argv: [python.path, join(import.meta.dir, "python/xds.py"), facts],
      logPath: join(own, "client.log"),
    });
    await serve(client, control, tally);
  } finally {
    await control.stop();
  }
}

async function factsOf(control: ControlProcess, directory: string): Promise<Record<string, unknown>> {
  const seconds = Math.floor(Date.now() / 1000);
  const db = (claims: Readonly<Record<string, unknown>>): Promise<string> => control.token("shop:db", claims);
  return {
    target: control.url.slice("https://".length),
    roots: await control.must("ca", "export-root"),
    descriptors: await descriptors(directory),
    tokens: {
      db: await db({}),
      cart: await control.token("shop:cart"),
      expired: await db({ exp: seconds - 3600 }),
      audience: await db({ aud: ["somebody-else"] }),
      issuer: await db({ iss: "https://evil.example" }),
    },
  };
}

/** Of all our .proto files, as protoc would make them: what the client decodes by. */
export async function descriptors(directory: string): Promise<string> {
  const path = join(directory, "messages.binpb");
  const buf = join(repository, "node_modules/.bin/buf");
  const child = Bun.spawn(
    [
      process.execPath,
      buf,
      "build",
      join(repository, "src/wire/proto"),
      "--as-file-descriptor-set",
      "-o",
      path,
    ],
    { stdin: "ignore", stdout: "inherit", stderr: "inherit" },
  );
  if ((await child.exited) !== 0) throw new Error("buf build failed");
  return path;
}

/** Does what the client asks for until it is through. */
async function serve(client: Subprocess, control: ControlProcess, tally: Tally): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  let read = 0;
  let checks = 0;
  for (let wasRunning = true; wasRunning; ) {
    wasRunning = client.running;
    const lines = client.log().split("\n").slice(0, -1);
    for (const text of lines.slice(read)) {
      if (!text.startsWith("{")) continue;
      const line: Line = JSON.parse(text);
      if ("ask" in line) client.writeLine(JSON.stringify(await answer(line.ask, control)));
      else {
        checks++;
        tally.check(`${prefix}: ${line.case}`, line.ok ? null : line.detail);
      }
    }
    read = lines.length;
    if (performance.now() > deadline) {
      client.kill();
      tally.fail(prefix, `not through after ${deadlineMs} ms`);
    }
    await Bun.sleep(5);
  }
  const code = await client.exited;
  if (code !== 0 || checks === 0) tally.fail(prefix, `exit ${code}\n${client.log().slice(-4000)}`);
}

const done = { answer: null };

async function answer(
  wish: Wish,
  control: ControlProcess,
): Promise<{ readonly answer: unknown } | { readonly error: string }> {
  try {
    switch (wish.what) {
      case "apply":
        await control.post("/v1/apply", { documents: [{ path: "mesh.yaml", text: wish.documents }] });
        return done;
      case "delete":
        await control.post("/v1/delete", { keys: wish.keys });
        return done;
      case "command":
        return { answer: await control.must(...wish.words) };
      case "join":
        return { answer: await control.joinWords(...wish.words) };
      case "restart":
        await control.kill();
        await control.start();
        return done;
      case "memory":
        return { answer: control.process.memory().anonymousBytes };
    }
  } catch (thrown) {
    return { error: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../peer/lab/cleanup.ts");
  cleanUpOnExit();
  const tally = new Tally(true);
  await xdsSuite(tally, scratchDirectory("xds"));
  console.log(tally.summary());
  process.exit(tally.count("failed") === 0 ? 0 : 1);
}
