/** Our waypoint under a real ztunnel (`ZTUNNEL=path`): the ztunnel sends through it, and is sent to by it. */
import { comesTrue } from "../../peer/lab/eventually.ts";
import { namespacesUnavailable } from "../../peer/lab/place.ts";
import { findPython, findZtunnel } from "../../peer/lab/tools.ts";
import { type Answer, ZtunnelStage } from "./stage.ts";

type Tell = (name: string, fault: string | null) => void;

const id = (account: string) => `spiffe://cluster.local/ns/shop/sa/${account}`;

/** @param isStandIn a node of ours in the ztunnel's place: tries the suite, not a ztunnel. @returns why it was skipped; null when it was not. */
export async function tryUnderZtunnel(
  directory: string,
  tell: Tell,
  isStandIn = false,
): Promise<string | null> {
  const ztunnel = isStandIn ? null : findZtunnel();
  if (ztunnel !== null && "missing" in ztunnel) return ztunnel.missing;
  const unavailable = namespacesUnavailable();
  if (unavailable !== null) return unavailable;
  const python = findPython("json");
  if ("missing" in python) return python.missing;
  const stage = await ZtunnelStage.open(directory, ztunnel?.path ?? null, python.path);
  try {
    await sends(stage, tell);
    await isSentTo(stage, tell);
    await byWorkload(stage, tell);
  } finally {
    await stage.close();
  }
  return null;
}

const answered = ({ status, name }: Answer, wanted: number, by: string | null): string | null =>
  status === wanted && name === by ? null : `${status} by ${name}`;

/** The CONNECT of a ztunnel names the service's address; the waypoint chooses, and is who the workload sees. */
async function sends(stage: ZtunnelStage, tell: Tell): Promise<void> {
  tell(
    "a ztunnel sends to a service through the waypoint",
    answered(await stage.ask("db", "web"), 200, "cart"),
  );
  tell("and is told what policy denies", answered(await stage.ask("db", "web", "-X", "POST"), 403, null));
  const ofDb = await comesTrue(() => ofPeer(stage, "db").length >= 2);
  const [first] = ofPeer(stage, "db");
  tell(
    "the waypoint knows it by its identity",
    ofDb && first?.method === "GET" ? null : JSON.stringify(first),
  );
  const others = stage.lines("cart").filter((line) => line.includes('"inbound"') && line.includes(id("db")));
  tell("the workload is not called around it", others.length === 0 ? null : `${others[0]}`);
}

async function isSentTo(stage: ZtunnelStage, tell: Tell): Promise<void> {
  tell(
    "the waypoint sends to a workload behind a ztunnel",
    answered(await stage.ask("cart", "store"), 200, "db"),
  );
  tell("whose policies it enforces", answered(await stage.ask("cart", "store", "-X", "POST"), 403, null));
  const around = await stage.ask("cart", "db itself");
  tell(
    "a call around it is refused there: the workload insists on it",
    around.status === 0 ? null : JSON.stringify(around),
  );
  // Lines come with the next write of the log.
  await comesTrue(() => ofPeer(stage, "cart").length >= 2);
  const own = ofPeer(stage, "cart").map(({ status }) => status);
  tell("each request was decided once", String(own) === "200,403" ? null : String(own));
}

/** The workload's own address is bound to the waypoint as well: the CONNECT names it, and goes on to it. */
async function byWorkload(stage: ZtunnelStage, tell: Tell): Promise<void> {
  await stage.bindWorkload();
  const isThrough = await comesTrue(async () => (await stage.ask("cart", "db itself")).name === "db");
  tell("a workload's own address is reached through the waypoint", isThrough ? null : "it is not");
  const last = () => ofPeer(stage, "cart").at(-1);
  const isOnRecord = await comesTrue(() => last()?.status === 200 && last()?.["dst.workload"] === "db");
  tell("and is on its record", isOnRecord ? null : JSON.stringify(last()));
}

function ofPeer(stage: ZtunnelStage, account: string): readonly Readonly<Record<string, unknown>>[] {
  return stage.requests().filter((one) => one["src.identity"] === id(account));
}

if (import.meta.main) {
  const { cleanUpOnExit, scratchDirectory } = await import("../../peer/lab/cleanup.ts");
  cleanUpOnExit();
  let failed = 0;
  const tell: Tell = (name, fault) => {
    if (fault !== null) failed++;
    console.log(`${fault === null ? "ok  " : "FAIL"} ${name}${fault === null ? "" : `: ${fault}`}`);
  };
  const missing = await tryUnderZtunnel(
    scratchDirectory("waypoint_ztunnel"),
    tell,
    process.argv.includes("--stand-in"),
  );
  if (missing !== null) console.log(`skipped: ${missing}`);
  process.exit(failed === 0 ? 0 : 1);
}
