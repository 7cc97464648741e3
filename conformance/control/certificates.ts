/** The CA and the join service under an independent client: python's grpcio, with requests and certificates by `cryptography`. Rule by rule. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Subprocess } from "../peer/lab/subprocess.ts";
import { type Found, findPython } from "../peer/lab/tools.ts";
import { Tally } from "../peer/tally.ts";
import { IdentityLab } from "./identity_lab.ts";

/** Long enough to be used, short enough to wait for. */
const nodeLifetimeMs = 4_000;

export function findPythonWithGrpc(): Found {
  return findPython("grpc", "cryptography", "h2", "hpack");
}

export async function certificateSuite(tally: Tally): Promise<void> {
  const prefix = "python grpcio → CA";
  const python = findPythonWithGrpc();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const lab = await IdentityLab.start(nodeLifetimeMs);
  try {
    const facts = join(lab.directory, "facts.json");
    writeFileSync(facts, JSON.stringify(await factsOf(lab)));
    const script = join(import.meta.dir, "python", "certificates.py");
    const logPath = join(lab.directory, "python.log");
    const client = Subprocess.start({ name: "python", argv: [python.path, script, facts], logPath });
    const code = await client.exited;
    const outcomes = client
      .lines()
      .filter((line) => line.startsWith("{"))
      .map((line): { case: string; ok: boolean; detail: string } => JSON.parse(line));
    for (const outcome of outcomes)
      tally.check(`${prefix}: ${outcome.case}`, outcome.ok ? null : outcome.detail);
    if (code !== 0 || outcomes.length === 0) tally.fail(prefix, `exit ${code}\n${client.log()}`);
    checkRecords(tally, prefix, lab);
  } finally {
    lab.close();
  }
}

/** What is said on the wire is half of it: the state must know of every certificate that left. */
function checkRecords(tally: Tally, prefix: string, lab: IdentityLab): void {
  const serials = join(lab.directory, "serials.json");
  const seen: string[] = existsSync(serials) ? JSON.parse(readFileSync(serials, "utf8")) : [];
  const unknown = seen.filter((serial) => lab.state.certificates.bySerial(serial) === null);
  tally.check(
    `${prefix}: every certificate that left is recorded`,
    seen.length > 0 && unknown.length === 0 ? null : `${unknown.length} of ${seen.length} are not`,
  );
  const verdict = lab.state.audit.verify();
  tally.check(`${prefix}: the audit log holds`, verdict.intact ? null : verdict.reason);
  const secrets = lab.state.audit.read({ limit: 1000 }).filter((row) => /fjt_|eyJ/.test(JSON.stringify(row)));
  tally.check(
    `${prefix}: the audit log has no secrets`,
    secrets.length === 0 ? null : JSON.stringify(secrets[0]),
  );
}

async function factsOf(lab: IdentityLab): Promise<Record<string, unknown>> {
  const seconds = Math.floor(Date.now() / 1000);
  const joinToken = async (node: string, replace = false) =>
    (
      await lab.identity.joinTokens.create({
        binding: { kind: "node", node },
        createdBy: "conformance",
        replace,
      })
    ).token;
  lab.placements.set("shop/cart", "edge-1");
  lab.placements.set("shop/db", "edge-2");
  const first = await lab.identity.joinTokens.create({
    binding: { kind: "node", node: "edge-1" },
    createdBy: "conformance",
  });
  return {
    target: `127.0.0.1:${lab.port}`,
    roots: lab.authority.bundle.value.rootsPem,
    pin: first.line.split(" ").at(-1),
    serials: join(lab.directory, "serials.json"),
    tokens: {
      good: await lab.token(),
      expired: await lab.token({ exp: seconds - 3600 }),
      audience: await lab.token({ aud: ["somebody-else"] }),
      issuer: await lab.token({ iss: "https://evil.example" }),
      node: await lab.token({ sub: "system:serviceaccount:fairlead-nodes:edge-1" }),
    },
    join: {
      first: first.token,
      again: await joinToken("edge-1"),
      replace: await joinToken("edge-1", true),
      other: await joinToken("edge-9"),
    },
    nodeLifetimeMs,
  };
}

if (import.meta.main) {
  const tally = new Tally(process.argv.includes("--verbose"));
  await certificateSuite(tally);
  console.log(tally.summary());
  process.exit(tally.count("failed") === 0 ? 0 : 1);
}
