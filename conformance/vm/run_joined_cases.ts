/** `fairlead run` on a host that has nothing but a control plane's address and its programs' tokens, from source and by the built binary. */
import { join } from "node:path";
import { ControlProcess } from "../control/control_process.ts";
import { fromSource } from "../namespaces/node_process.ts";
import { eventually } from "../peer/lab/eventually.ts";
import { findBinary } from "../upgrade/stage.ts";
import { type Check, equal, holds } from "./group.ts";
import { documents, type RunLab } from "./run_lab.ts";

export const joinedCases = {
  joined:
    "joined by --control and a token, without a document here: caller and callee are whom their tokens name",
  again: "started again it needs no token; with a spent one, or without any, 125 and the reason",
  binary: "the built binary does the same, by documents and by --control",
} as const;

/** A program's node is silent otherwise. */
const toldInJson = ["--log-format", "json", "--log-level", "info"];

export async function joined(lab: RunLab, check: Check): Promise<void> {
  const { world } = lab;
  const { client } = world.lab.hosts;
  const directory = join(lab.directory, "control");
  const control = await ControlProcess.start({
    directory,
    ip: "127.0.0.1",
    port: 15_012,
    place: (argv) => client.command(argv),
  });
  const hello = ["curl", "-sS", "-m", "20", "http://api.shop/"];
  /** @param words of joining, or of a host that has joined. */
  const words = (
    name: string,
    fairlead: readonly string[],
    settings: readonly string[],
    command: readonly string[],
  ) => [
    ...fairlead,
    ...["run", "--as", `shop/${name}`, "--state-directory", join(directory, name), ...settings],
    "--",
    ...command,
  ];
  const token = async (workload: string): Promise<readonly string[]> =>
    (await control.joinWords("--workload", `shop/${workload}`)).slice(1);
  /** The callee, and a call of the caller, each by its token. */
  const call = async (fairlead: readonly string[], callee: readonly string[], caller: readonly string[]) => {
    const serve =
      'Bun.serve({hostname: "0.0.0.0", port: 9000, fetch: (request, server) => new Response("called by " + server.requestIP(request).address)}); console.log("serving")';
    const argv = words("api-1", fairlead, [...callee, ...toldInJson], [process.execPath, "-e", serve]);
    const program = world.start("joined", world.inside(client.command(argv)));
    await eventually(
      "the server",
      () => program.log().includes("serving"),
      () => program.log(),
    );
    const answer = world.run(...words("reports", fairlead, caller, hello));
    program.signal("SIGTERM");
    await program.exited;
    const identities = program
      .log()
      .split("\n")
      .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : []))
      .flatMap((line) => line["src.identity"] ?? []);
    return { ...answer, identities };
  };
  const wanted = {
    code: 0,
    out: "called by 10.78.0.11",
    identities: ["spiffe://cluster.local/ns/shop/sa/reports"],
  };
  let spent: readonly string[] = [];
  const withoutToken = ["--control", control.url];
  try {
    await control.apply(documents);
    await check(joinedCases.joined, async () => {
      spent = await token("reports");
      equal(await call(fromSource, await token("api-1"), spent), wanted);
    });
    await check(joinedCases.again, async () => {
      equal(await call(fromSource, withoutToken, withoutToken), wanted);
      const refused = (name: string, settings: readonly string[], reason: RegExp): void => {
        const { code, out } = world.run(...words(name, fromSource, settings, hello));
        equal(code, 125, out);
        holds(reason.test(out), out);
      };
      refused("fresh", withoutToken, /join/);
      refused("stranger", spent, /refused the join token \(/);
    });
    await check(joinedCases.binary, async () => {
      const binary = [findBinary()];
      const found = world.run(
        ...lab.words("shop/reports", hello.with(-1, "http://backend.shop/"), [], binary),
      );
      equal(found, { code: 0, out: "hello from the backend" }, "by documents");
      equal(await call(binary, withoutToken, withoutToken), wanted, "joined");
    });
  } finally {
    await control.stop();
  }
}
