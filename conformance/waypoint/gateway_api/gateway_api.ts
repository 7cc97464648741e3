/**
 * The same routes of the Gateway API for Envoy, by Envoy Gateway's own `egctl`, and for our waypoint; the same requests to both. One more
 * judge of how the specification is to be read than Istio's translation (`../envoy_routes.ts`), and none of its lines are ours.
 */
import { comesTrue } from "../../peer/lab/eventually.ts";
import { findEnvoy, findPython } from "../../peer/lab/tools.ts";
import { ask, type Seen } from "../asked.ts";
import { filterCases } from "./filter_cases.ts";
import type { GatewayCase, GatewayRequest } from "./gateway_case.ts";
import { type GrpcCall, type GrpcCase, grpcCases } from "./grpc_cases.ts";
import { matchCases } from "./match_cases.ts";
import { type GatewayStage, openGatewayStage } from "./stage.ts";
import { findEgctl } from "./translation.ts";

const gatewayCases = [...matchCases, ...filterCases];

type Tell = (name: string, fault: string | null) => void;

/** @returns why it was skipped; null when it was not. */
export async function tryGatewayApi(directory: string, tell: Tell): Promise<string | null> {
  const [egctl, envoy, python] = [findEgctl(), findEnvoy(), findPython("grpc")];
  if ("missing" in egctl) return egctl.missing;
  if ("missing" in envoy) return envoy.missing;
  if ("missing" in python) return python.missing;
  const placed = [
    ...gatewayCases.map(({ documents }) => ({ protocol: "http" as const, documents })),
    ...grpcCases.map(({ documents }) => ({ protocol: "grpc" as const, documents })),
  ];
  const tools = { egctl: egctl.path, envoy: envoy.path, python: python.path };
  const stage = await openGatewayStage(directory, placed, tools);
  try {
    for (const [index, one] of gatewayCases.entries()) await tryCase(stage, stage.port(index), one, tell);
    const calls = grpcCases.map((one, index) => ({ one, port: stage.port(gatewayCases.length + index) }));
    await tryCalls(stage, python.path, calls, tell);
  } finally {
    await stage.stop();
  }
  return null;
}

async function tryCase(stage: GatewayStage, port: number, one: GatewayCase, tell: Tell): Promise<void> {
  for (const request of one.requests) {
    const title = `${one.name}: ${request.line}${request.headers === undefined ? "" : ` ${JSON.stringify(request.headers)}`}`;
    const { expect, envoy } = request;
    const ours = await ask(stage.ours, port, request);
    tell(title, unlike(expect, ours));
    await tellMirrored(stage, request, `${title}, mirrored`, tell);
    const theirs = await ask(stage.envoy, port, request);
    if (envoy === undefined) tell(`${title}, as Envoy Gateway`, difference(ours, theirs));
    else {
      const { location = theirs.answered.location } = envoy;
      const fault = theirs.answered.location === location ? null : `${theirs.answered.location}`;
      tell(`${title}, Envoy Gateway otherwise: ${envoy.reason}`, unlike(envoy.expect, theirs) ?? fault);
    }
    await tellMirrored(stage, request, `${title}, mirrored by Envoy Gateway`, tell);
  }
  const { share } = one;
  if (share === undefined) return;
  for (const [who, address] of [
    ["ours", stage.ours],
    ["Envoy Gateway", stage.envoy],
  ] as const) {
    let two = 0;
    for (let i = 0; i < share.times; i++) {
      const { version, status } = await ask(address, port, { line: "GET /", expect: 200 });
      if (status !== 200) throw new Error(`${one.name}: ${status}`);
      if (version === "v2") two++;
    }
    // Five standard deviations: once in two million runs chance goes beyond.
    const spread = 5 * Math.sqrt(share.times * share.v2 * (1 - share.v2));
    const off = Math.abs(two - share.times * share.v2);
    tell(`${one.name}, ${share.v2} of ${share.times}, ${who}`, off <= spread ? null : `${two} went to v2`);
  }
}

async function tellMirrored(
  stage: GatewayStage,
  { line, mirrored, headers }: GatewayRequest,
  title: string,
  tell: Tell,
): Promise<void> {
  if (mirrored === undefined) return;
  const wanted = `${line} ${headers?.["x-a"]}`;
  const came = await comesTrue(() => stage.seenByTwo.includes(wanted));
  tell(title, came ? null : `v2 saw ${stage.seenByTwo.join("; ")}`);
  stage.seenByTwo.length = 0;
}

function unlike(expect: GatewayRequest["expect"], { status, version }: Seen): string | null {
  const came = typeof expect === "number" ? status : version;
  return came === expect ? null : `${came} (status ${status}), not ${expect}`;
}

/** What a proxy's own answers say in words is for it to say. */
function difference(ours: Seen, theirs: Seen): string | null {
  // Space after a comma of a list means nothing (RFC 9110 §5.6.1).
  const parts = ({ body: _, answered, ...rest }: Seen): string =>
    JSON.stringify({
      ...rest,
      answered: Object.fromEntries(
        Object.entries(answered).map(([name, value]) => [name, value.replaceAll(", ", ",")]),
      ),
    });
  return parts(ours) === parts(theirs) ? null : `ours ${parts(ours)}, Envoy ${parts(theirs)}`;
}

interface CallSeen {
  readonly status: string;
  readonly version?: string;
}

async function tryCalls(
  stage: GatewayStage,
  python: string,
  cases: readonly { readonly one: GrpcCase; readonly port: number }[],
  tell: Tell,
): Promise<void> {
  const asked = cases.flatMap(({ one, port }) => one.calls.map((call) => ({ name: one.name, port, call })));
  const answers = (address: string) =>
    callAll(
      python,
      asked.map(({ port, call }) => ({
        ...call,
        metadata: call.metadata ?? {},
        address: `${address}:${port}`,
      })),
    );
  const [ours, theirs] = [await answers(stage.ours), await answers(stage.envoy)];
  for (const [i, { name, call }] of asked.entries()) {
    const title = `${name}: ${call.path}${call.metadata === undefined ? "" : ` ${JSON.stringify(call.metadata)}`}`;
    const [mine, other] = [ours[i], theirs[i]];
    if (mine === undefined || other === undefined) throw new Error("grpcio ended before its last answer");
    tell(title, unlikeCall(call.expect, mine));
    const [a, b] = [JSON.stringify(mine), JSON.stringify(other)];
    if (call.envoy === undefined)
      tell(`${title}, as Envoy Gateway`, a === b ? null : `ours ${a}, Envoy ${b}`);
    else
      tell(`${title}, Envoy Gateway otherwise: ${call.envoy.reason}`, unlikeCall(call.envoy.expect, other));
  }
}

function unlikeCall(expect: GrpcCall["expect"], seen: CallSeen): string | null {
  const came = seen.version ?? seen.status;
  return came === expect ? null : `${JSON.stringify(seen)}, not ${expect}`;
}

async function callAll(python: string, calls: readonly object[]): Promise<readonly CallSeen[]> {
  const script = new URL("grpc_ends.py", import.meta.url).pathname;
  const child = Bun.spawn([python, script, "call"], {
    stdin: new TextEncoder().encode(calls.map((call) => `${JSON.stringify(call)}\n`).join("")),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, said] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`grpcio: ${said.slice(-2_000)}`);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}
