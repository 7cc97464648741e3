/** Go at both ends of a real waypoint: net/http by HTTP/1.1 and by HTTP/2's prior knowledge, x/net's WebSocket, and grpc-go. */
import { join } from "node:path";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { buildGo } from "../../peer/lab/tools.ts";
import { openSmallStage, type SmallStage } from "../small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

interface Program {
  readonly name: string;
  readonly source: string;
  readonly binary: string;
  readonly number: number;
  readonly cases: number;
  /** Its name in a line of what the client prints, and what was wrong; null for nothing. */
  readonly line: RegExp;
}

const programs: readonly Program[] = [
  {
    ...{ name: "Go", source: "conformance/waypoint/clients/go", binary: "fairlead-go-clients", number: 40 },
    ...{ cases: 29, line: /^(.+)\t(.+)$/ },
  },
  {
    ...{ name: "grpc-go", source: "conformance/http/interop", binary: "fairlead-grpc-interop", number: 41 },
    ...{ cases: 14, line: /^(\w+) (.+)$/ },
  },
];

/** @returns the reasons for which some were skipped. */
export async function tryGoClients(directory: string, tell: Tell): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const program of programs) {
    const built = buildGo(program.source, program.binary);
    if ("missing" in built) missing.push(`${program.name}: ${built.missing}`);
    else await tryProgram(program, built.path, join(directory, program.binary), tell);
  }
  return missing;
}

async function tryProgram(
  { name, number, cases, line }: Program,
  path: string,
  directory: string,
  tell: Tell,
): Promise<void> {
  let stage: SmallStage | null = null;
  let application: Subprocess | null = null;
  try {
    stage = await openSmallStage(directory, { number, flags: [], documents: "" });
    const { address, port } = stage.application;
    const argv = [path, "serve", `${address}:${port}`];
    application = Subprocess.start({ name, argv, logPath: join(directory, "application.log") });
    await application.waitForLine((said) => said === "ready");
    const client = Bun.spawn([path, "call", stage.url.replace("http://", "")], { stdout: "pipe" });
    const lines = (await new Response(client.stdout).text()).trim().split("\n");
    for (const said of lines) {
      const [, what, outcome] = line.exec(said) ?? [];
      tell(`${name}: ${what ?? said}`, outcome === "ok" ? null : (outcome ?? "no line of a case"));
    }
    if (lines.length !== cases) tell(`${name}: all cases`, `${lines.length}, not ${cases}`);
  } finally {
    await application?.stop();
    await stage?.stop();
  }
}
