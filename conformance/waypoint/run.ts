/** `npm run conformance -- waypoint`: routes case by case through real processes, and the same routes in a real Envoy. */
import { cleanUpOnExit, scratchDirectory } from "../peer/lab/cleanup.ts";
import { ask, type Seen } from "./asked.ts";
import { tryAuthorizers } from "./auth/authorizers.ts";
import { compareWithEnvoy } from "./auth/envoy.ts";
import { tryClients } from "./clients/clients.ts";
import { tryGoClients } from "./clients/go_clients.ts";
import { tryGatewayApi } from "./gateway_api/gateway_api.ts";
import { tryManyRules } from "./many_rules.ts";
import { tryMiddlewareExample } from "./middleware_example.ts";
import { tryOpa } from "./opa/opa.ts";
import { tryLimitsOverTls } from "./rate_limit/over_tls.ts";
import { type AskedRequest, type RouteCase, routeCases } from "./route_cases.ts";
import { openRouteStage } from "./route_stage.ts";
import { trySidecars } from "./sidecar/sidecar.ts";
import { tryCollectors } from "./telemetry/otlp.ts";
import { tryTlsInside } from "./tls_inside.ts";
import { tryUnderZtunnel } from "./ztunnel/ztunnel.ts";

/** @returns the exit code. */
export async function waypointConformance(argv: readonly string[]): Promise<number> {
  cleanUpOnExit();
  const wanted = argv[0];
  const cases = routeCases.filter(({ name }) => wanted === undefined || name.includes(wanted));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const tell = (name: string, fault: string | null): void => {
    if (fault === null) counts.passed++;
    else counts.failed++;
    console.log(`${fault === null ? "ok  " : "FAIL"} ${name}${fault === null ? "" : `: ${fault}`}`);
  };
  if (cases.length > 0) counts.skipped += await tryRoutes(cases, tell);
  const unjudged = await compareWithEnvoy(scratchDirectory("waypoint_auth"), (name, fault) => {
    if (wanted === undefined || `auth ${name}`.includes(wanted)) tell(`auth ${name}`, fault);
  });
  if (unjudged !== null) counts.skipped++;
  await tryTlsInside(scratchDirectory("waypoint_tls"), (name, fault) => {
    if (wanted === undefined || name.includes(wanted)) tell(name, fault);
  });
  const untold = await tryCollectors(scratchDirectory("waypoint_collectors"), (name, fault) => {
    if (wanted === undefined || name.includes(wanted)) tell(name, fault);
  });
  if (untold !== null) {
    counts.skipped++;
    console.log(`skipped OTLP: ${untold}`);
  }
  const absent = await tryClients(scratchDirectory("waypoint_clients"), (name, fault) => {
    if (wanted === undefined || `client ${name}`.includes(wanted)) tell(`client ${name}`, fault);
  });
  const noGo = await tryGoClients(scratchDirectory("waypoint_go_clients"), (name, fault) => {
    if (wanted === undefined || `client ${name}`.includes(wanted)) tell(`client ${name}`, fault);
  });
  counts.skipped += absent.length + noGo.length;
  for (const reason of [...absent, ...noGo]) console.log(`skipped client: ${reason}`);
  if (wanted === undefined || wanted.startsWith("10000 rules")) {
    const unmeasured = await tryManyRules(scratchDirectory("waypoint_many_rules"), tell);
    if (unmeasured !== null) {
      counts.skipped++;
      console.log(`skipped turns with many rules: ${unmeasured}`);
    }
  }
  await tryMiddlewareExample(scratchDirectory("waypoint_middleware"), (name, fault) => {
    if (wanted === undefined || `middleware: ${name}`.includes(wanted)) tell(`middleware: ${name}`, fault);
  });
  const unlimited = await tryLimitsOverTls(scratchDirectory("waypoint_limits"), (name, fault) => {
    if (wanted === undefined || `rate limit service ${name}`.includes(wanted))
      tell(`rate limit service ${name}`, fault);
  });
  if (unlimited !== null) {
    counts.skipped++;
    console.log(`skipped rate limit service: ${unlimited}`);
  }
  const noOpa = await tryOpa(scratchDirectory("waypoint_opa"), (name, fault) => {
    if (wanted === undefined || name.includes(wanted)) tell(name, fault);
  });
  if (noOpa !== null) {
    counts.skipped++;
    console.log(`skipped OPA: ${noOpa}`);
  }
  const unasked = await tryAuthorizers(scratchDirectory("waypoint_authorizers"), (name, fault) => {
    if (wanted === undefined || `auth ${name}`.includes(wanted)) tell(`auth ${name}`, fault);
  });
  if (unasked !== null) counts.skipped++;
  for (const reason of [unjudged, unasked]) if (reason !== null) console.log(`skipped auth: ${reason}`);
  if (wanted === undefined || wanted.startsWith("gateway api")) {
    const untried = await tryGatewayApi(scratchDirectory("waypoint_gateway_api"), (name, fault) => {
      if (wanted === undefined || `gateway api ${name}`.includes(wanted)) tell(`gateway api ${name}`, fault);
    });
    if (untried !== null) {
      counts.skipped++;
      console.log(`skipped Envoy Gateway: ${untried}`);
    }
  }
  if (wanted === undefined || wanted.startsWith("sidecar")) {
    const untried = await trySidecars(scratchDirectory("waypoint_sidecar"), (name, fault) => {
      if (wanted === undefined || `sidecar ${name}`.includes(wanted)) tell(`sidecar ${name}`, fault);
    });
    if (untried !== null) {
      counts.skipped++;
      console.log(`skipped sidecar: ${untried}`);
    }
  }
  if (wanted === undefined || wanted.startsWith("ztunnel")) {
    const untried = await tryUnderZtunnel(scratchDirectory("waypoint_ztunnel"), (name, fault) => {
      if (wanted === undefined || `ztunnel ${name}`.includes(wanted)) tell(`ztunnel ${name}`, fault);
    });
    if (untried !== null) {
      counts.skipped++;
      console.log(`skipped ztunnel: ${untried}`);
    }
  }
  const { passed, failed, skipped } = counts;
  console.log(`${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** @returns how many requests were not put to Envoy. */
async function tryRoutes(
  cases: readonly RouteCase[],
  tell: (name: string, fault: string | null) => void,
): Promise<number> {
  const stage = await openRouteStage(scratchDirectory("waypoint"), cases);
  if (stage.missing !== null) console.log(`skipped Envoy: ${stage.missing}`);
  let skipped = 0;
  try {
    for (const [index, { name, requests }] of cases.entries())
      for (const request of requests) {
        const title = `${name}: ${request.line}${request.headers === undefined ? "" : ` ${JSON.stringify(request.headers)}`}`;
        const ours = await ask(stage.ours.address, stage.ours.port(index), request);
        tell(title, unexpected(request, ours));
        if (stage.envoy === null) skipped++;
        else {
          const theirs = await ask(stage.envoy.address, stage.envoy.port(index), request);
          tell(`${title}, as Envoy`, difference(ours, theirs));
        }
      }
  } finally {
    await stage.stop();
  }
  return skipped;
}

function unexpected({ expect }: AskedRequest, { status, version }: Seen): string | null {
  const came = typeof expect === "number" ? status : version;
  return came === expect ? null : `${came} (status ${status}), not ${expect}`;
}

/** What our own answers say in words is for us to say. */
function difference(ours: Seen, theirs: Seen): string | null {
  const parts = ({ status, version, line, headers, answered }: Seen) => ({
    status,
    version,
    line,
    headers,
    answered,
  });
  const [a, b] = [JSON.stringify(parts(ours)), JSON.stringify(parts(theirs))];
  return a === b ? null : `ours ${a}, Envoy ${b}`;
}
