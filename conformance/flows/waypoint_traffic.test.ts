/** What a waypoint does with traffic besides routes: rate limits, users' middleware, circuits, mirrors, sessions, and what it tells of requests. */
import { describe, expect, test } from "bun:test";
import { writeMetrics } from "../../src/base/metrics_text.ts";
import type { MiddlewareFactory } from "../../src/waypoint/extend/middleware_api.ts";
import { FlowLab, workloadEntry } from "./lab.ts";
import { answering, bytes, ok, waypointEntry, webService } from "./waypoint_lab.ts";

const folder = "/etc/middleware";

async function traffic(
  documents: string,
  options: {
    readonly answer?: (head: string) => string;
    readonly settings?: Readonly<Record<string, string>>;
    readonly modules?: Readonly<Record<string, MiddlewareFactory>>;
  } = {},
) {
  const lab = await FlowLab.create();
  const mesh =
    workloadEntry("cart", "10.0.0.1") +
    workloadEntry("web", "10.0.0.3") +
    waypointEntry +
    webService("HTTP", documents);
  const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=web.shop:80" });
  const modules = Object.fromEntries(
    Object.entries(options.modules ?? {}).map(([name, factory]) => [
      `${folder}/${name}.ts`,
      () => ({ default: factory }),
    ]),
  );
  const settings = { waypoints: "shop/waypoint", waypointMiddleware: folder, ...options.settings };
  const waypoint = await lab.node("waypoint", ["10.0.0.9"], mesh, settings, modules);
  const web = await lab.node("two", ["10.0.0.3"], mesh);
  const heads: string[] = [];
  lab.application(
    web.host,
    "10.0.0.3:8080",
    answering((head) => {
      heads.push(head);
      return (options.answer ?? (() => ok("web")))(head);
    }),
  );
  await lab.run(200);
  const ask = async (head = "GET / HTTP/1.1\r\nHost: web.shop"): Promise<string> => {
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    client.socket.write(bytes(`${head}\r\n\r\n`));
    await lab.until(() => isWhole(client.text), "an answer");
    client.socket.end();
    return client.text;
  };
  return { lab, ask, heads, waypoint };
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  const length = /content-length: (\d+)/i.exec(text)?.[1];
  if (end === -1) return false;
  return length === undefined ? text.endsWith("0\r\n\r\n") : text.length >= end + 4 + Number(length);
}

const statusOf = (answer: string): number => Number(answer.slice(9, 12));
const header = (answer: string, name: string): string | null =>
  new RegExp(`^${name}: (.*)\\r$`, "im").exec(answer)?.[1] ?? null;

const limit = `apiVersion: fairlead.dev/v1
kind: RateLimit
metadata: {name: few, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules:
  - name: each
    keys: [{by: Header, name: x-key}]
    limit: {requests: 2, unit: MINUTE}
---
`;

describe("rate limits", () => {
  test("the third of one key is refused and told when to come back; another key passes; a minute later it may", async () => {
    const { ask, heads, lab } = await traffic(limit);
    const by = (key: string) => ask(`GET / HTTP/1.1\r\nHost: web.shop\r\nX-Key: ${key}`);
    const [first, second, third] = [await by("a"), await by("a"), await by("a")];
    expect([first, second, third].map(statusOf)).toEqual([200, 200, 429]);
    expect(header(first, "ratelimit-policy")).toBe('"each";q=2;w=60');
    expect(Number(header(third, "retry-after"))).toBeGreaterThan(25);
    expect(heads).toHaveLength(2);
    expect(statusOf(await by("b"))).toBe(200);
    await lab.run(61_000);
    expect(statusOf(await by("a"))).toBe(200);
  });

  test("the record says which rule, file and line, and the metric has Envoy's flag", async () => {
    const { ask, waypoint } = await traffic(limit);
    for (let i = 0; i < 3; i++) await ask();
    const line = waypoint.access().find((each) => JSON.stringify(each).includes("429"));
    expect(JSON.stringify(line)).toContain("RateLimit shop/few, rule each (/mesh/base.yaml:");
    const metrics = writeMetrics(waypoint.node.context.telemetry.metrics, "prometheus");
    expect(metrics).toMatch(/istio_requests_total\{.*response_code="429".*response_flags="RL".*\} 1/);
    expect(metrics).toMatch(/istio_requests_total\{.*response_code="200".*response_flags="-".*\} 2/);
  });
});

const middleware = (name: string, onFailure = "Deny") => `apiVersion: fairlead.dev/v1
kind: Middleware
metadata: {name: ${name}, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  file: ${name}.ts
  onFailure: ${onFailure}
  timeout: 100ms
  config: {word: hello}
---
`;

describe("users' middleware", () => {
  test("sees who calls, changes what is sent on and what is answered", async () => {
    const { ask, heads } = await traffic(middleware("mark"), {
      modules: {
        mark: (config) => async (c, next) => {
          c.var.mesh.setRequestHeader("x-caller", c.var.mesh.peer?.serviceAccount ?? null);
          await next();
          c.res.headers.set("x-word", config.word ?? "");
        },
      },
    });
    const answer = await ask();
    expect([statusOf(answer), header(answer, "x-word")]).toEqual([200, "hello"]);
    expect(heads[0]).toContain("x-caller: cart");
  });

  test("answers in place of the application", async () => {
    const { ask, heads } = await traffic(middleware("no"), {
      modules: { no: () => async (c) => c.json({ error: "no" }, 451) },
    });
    const answer = await ask();
    expect(statusOf(answer)).toBe(451);
    expect(answer).toContain('{"error":"no"}');
    expect(heads).toEqual([]);
  });

  test("one that hangs, throws or is not there refuses, or is passed by, as its document says", async () => {
    const hang: MiddlewareFactory = () => () => new Promise<void>(() => {});
    for (const [onFailure, expected] of [
      ["Deny", 500],
      ["Continue", 200],
    ] as const) {
      const { ask } = await traffic(middleware("hang", onFailure), { modules: { hang } });
      expect(statusOf(await ask())).toBe(expected);
      const gone = await traffic(middleware("gone", onFailure));
      expect(statusOf(await gone.ask())).toBe(expected);
    }
  });
});

test("a circuit opens over an endpoint that fails: no more requests reach it, and after its time they do", async () => {
  const rule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}
---
`;
  let status = "500 Broken";
  const { ask, heads, lab, waypoint } = await traffic(rule, {
    answer: () => `HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`,
  });
  expect(statusOf(await ask())).toBe(500);
  expect(statusOf(await ask())).toBe(500);
  expect(statusOf(await ask())).toBe(503);
  expect(heads).toHaveLength(2);
  expect(JSON.stringify(waypoint.access())).toContain("UH");
  status = "200 OK";
  await lab.run(32_000);
  expect(statusOf(await ask())).toBe(200);
});

test("lines by a format string", async () => {
  const { ask, waypoint } = await traffic("", {
    settings: { waypointAccessLog: "%REQ(:METHOD)% %RESPONSE_CODE% %UPSTREAM_CLUSTER%" },
  });
  await ask();
  expect(JSON.stringify(waypoint.access())).toContain("GET 200 shop/web.shop:80");
});
