/** `npm run conformance -- peer` */
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "./lab/cleanup.ts";
import { namespacesUnavailable } from "./lab/place.ts";
import { buildGo, findEnvoy, findZtunnel } from "./lab/tools.ts";
import { envoySubject } from "./subjects/envoy.ts";
import { fairleadSubject } from "./subjects/fairlead.ts";
import type { NodeSubject } from "./subjects/subject.ts";
import { ztunnelSubject } from "./subjects/ztunnel.ts";
import { badClientSuite, badServerSuite } from "./suites/certificates.ts";
import { goClientSuite } from "./suites/inbound.ts";
import { goServerSuite, scriptedServerSuite } from "./suites/outbound.ts";
import { pairSuite } from "./suites/pairs.ts";
import { pythonClientSuite, pythonServerSuite } from "./suites/python.ts";
import type { SuiteContext } from "./suites/suite.ts";
import { Tally } from "./tally.ts";

const usage = `usage: npm run conformance -- peer [--only TEXT] [--place namespaces|loopback] [--verbose] [--calibrate]

Envoy, Go and Python as HBONE peers on either side; with ZTUNNEL=path the real ztunnel as well.

  --only TEXT   suites whose name contains TEXT
  --place KIND  where to run; default: network namespaces when root, else loopback addresses
  --verbose     also say what passed
  --calibrate   run the suites on the peers themselves as well: the measure of the measure
`;

interface NamedSuite {
  readonly name: string;
  run(context: SuiteContext): Promise<void>;
}

/** @returns the exit code. */
export async function peerConformance(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", default: "" },
      place: { type: "string" },
      verbose: { type: "boolean", default: false },
      calibrate: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const tally = new Tally(values.verbose);
  const go = buildGo("conformance/peer/go", "fairlead-peer");
  if ("missing" in go) {
    tally.skip("all suites", go.missing);
    console.log(tally.summary());
    return 0;
  }
  const unavailable = namespacesUnavailable();
  if (unavailable !== null) console.log(`on loopback addresses: ${unavailable}`);
  const placeKind = values.place === "loopback" || unavailable !== null ? "loopback" : "namespaces";
  const context: SuiteContext = { tally, placeKind, directory: scratchDirectory("peer"), goPath: go.path };
  const chosen = suites(values.calibrate).filter((suite) => suite.name.includes(values.only));
  for (const suite of chosen) {
    const before = tally.summary();
    await suite.run(context);
    if (tally.summary() === before) tally.fail(suite.name, "no check ran");
  }
  if (tally.count("passed") + tally.count("failed") === 0)
    tally.fail("peer", `nothing ran for --only ${values.only}`);
  console.log(tally.summary());
  return tally.count("failed") === 0 ? 0 : 1;
}

function suites(calibrate: boolean): NamedSuite[] {
  const envoy = envoySubject(findEnvoy());
  const ztunnel = ztunnelSubject(findZtunnel());
  const peers = [envoy, ztunnel];
  const fairlead = fairleadSubject();
  const under: NodeSubject[] = calibrate ? [fairlead, ztunnel] : [fairlead];
  const ours = [
    [fairlead, fairlead],
    ...peers.flatMap((peer) => [
      [fairlead, peer],
      [peer, fairlead],
    ]),
  ] as const;
  const theirs = calibrate ? peers.flatMap((one) => peers.map((other) => [one, other] as const)) : [];
  const pairs = [...ours, ...theirs];
  return [
    ...pairs.map(([one, other]) =>
      named(`${one.name} → ${other.name}`, (context) => pairSuite(context, one, other)),
    ),
    ...under.flatMap((subject) => [
      named(`go client → ${subject.name}`, (context) => goClientSuite(context, subject)),
      named(`${subject.name} → go server`, (context) => goServerSuite(context, subject)),
      named(`${subject.name} → scripted server`, (context) => scriptedServerSuite(context, subject)),
      named(`python client → ${subject.name}`, (context) => pythonClientSuite(context, subject)),
      named(`${subject.name} → python server`, (context) => pythonServerSuite(context, subject)),
      named(`bad client certificate → ${subject.name}`, (context) => badClientSuite(context, subject)),
      named(`${subject.name} → bad server certificate`, (context) => badServerSuite(context, subject)),
    ]),
  ];
}

function named(name: string, run: NamedSuite["run"]): NamedSuite {
  return { name, run };
}
