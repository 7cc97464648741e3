import { describe, expect, test } from "bun:test";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { FlowLab, type LabNode, withPort, workloadEntry } from "./lab.ts";
import { answering, bytes, ok, waypointEntry } from "./waypoint_lab.ts";

/** Two versions of web, each on a host of its own, behind one waypoint; each answers with its name and the head that it saw. */
function version(name: string, address: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {app: web, version: ${name}}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${address}, serviceAccount: web}
---
`;
}

const services = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [web.shop]
  addresses: [10.88.0.3]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]
---
`;

interface Routed {
  readonly lab: FlowLab;
  /** Sends it and gives the answer's text, without the client's id. */
  ask(head: string): Promise<string>;
  readonly waypoint: LabNode;
  setRoutes(routes: string): Promise<void>;
}

async function routed(routes: string): Promise<Routed> {
  const lab = await FlowLab.create();
  const rest =
    workloadEntry("cart", "10.0.0.1") +
    version("v1", "10.0.0.3") +
    version("v2", "10.0.0.4") +
    waypointEntry +
    services;
  const cart = await lab.node("one", ["10.0.0.1"], rest + routes, {
    localPorts: "10.0.0.1:8080=web.shop:80",
  });
  const waypoint = await lab.node("waypoint", ["10.0.0.9"], rest + routes, { waypoints: "shop/waypoint" });
  for (const [name, address] of [
    ["v1", "10.0.0.3"],
    ["v2", "10.0.0.4"],
  ] as const) {
    const node = await lab.node(name, [address], rest);
    lab.application(
      node.host,
      withPort(address, 8080),
      answering((head) => ok(`${name}|${head.replaceAll("\r\n", "|")}`)),
    );
  }
  return {
    lab,
    waypoint,
    ask: async (head) => {
      const client: Recorder = await lab.connect(cart.host, "10.0.0.1:8080");
      client.socket.write(bytes(`${head}\r\n\r\n`));
      await lab.until(() => isWhole(client.text), `the answer to ${head.split("\r\n")[0]}`);
      client.socket.end();
      return client.text.replace(/x-request-id: [^|\r]*(\||\r\n)/g, "");
    },
    setRoutes: async (next) => {
      waypoint.machine.disk.write("/mesh/base.yaml", rest + next);
      await lab.run(1_000);
    },
  };
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  const length = /content-length: (\d+)/i.exec(text)?.[1] ?? "0";
  return end !== -1 && text.length >= end + 4 + Number(length);
}

function virtualService(http: string): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop]
  http:
${http.replace(/^/gm, "  ")}
---
`;
}

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: web.shop${more}`;
const status = (answer: string): string => answer.split("\r\n")[0]?.slice(9) ?? "";
/** Which version answered, and the head that it saw. */
const seen = (answer: string): string => answer.split("\r\n\r\n")[1] ?? "";
const to = (subset: string): string => `route: [{destination: {host: web.shop, subset: ${subset}}}]`;

describe("a request goes where its VirtualService says", () => {
  test("by path, header, method and query, in the order of the document, and to no other", async () => {
    const { ask } = await routed(
      virtualService(`- match: [{uri: {exact: /exact}}]
  ${to("v2")}
- match: [{uri: {prefix: /api}, headers: {x-beta: {exact: "yes"}}}]
  ${to("v2")}
- match: [{uri: {regex: "/users/[0-9]+"}}, {queryParams: {v: {exact: "2"}}}, {method: {exact: PUT}}]
  ${to("v2")}
- match: [{uri: {prefix: /api}}]
  ${to("v1")}`),
    );
    const who = async (head: string) => seen(await ask(head)).slice(0, 2);
    expect(await who(get("/exact"))).toBe("v2");
    expect(await who(get("/api/a", "\r\nX-Beta: yes"))).toBe("v2");
    expect(await who(get("/api/a", "\r\nX-Beta: no"))).toBe("v1");
    expect(await who(get("/users/12"))).toBe("v2");
    expect(await who(get("/api?v=2"))).toBe("v2");
    expect(await who("PUT /api HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 0")).toBe("v2");
    expect(status(await ask(get("/exact/more")))).toBe("404 Not Found");
    expect(status(await ask(get("/users/x")))).toBe("404 Not Found");
  });

  test("rewritten, with its headers changed on both ways", async () => {
    const { ask } = await routed(
      virtualService(`- match: [{uri: {prefix: /old/}}]
  rewrite: {uri: /new/, authority: inner.mesh}
  headers: {request: {set: {x-a: "1"}, remove: [x-secret]}, response: {add: {x-c: "3"}}}
  route:
  - destination: {host: web.shop, subset: v1}
    headers: {request: {add: {x-b: "2"}}, response: {set: {x-d: "4"}}}
- ${to("v1")}
  rewrite: {uriRegexRewrite: {match: "^/(.*)/(.*)$", rewrite: "/\\\\2/\\\\1"}}`),
    );
    const answer = await ask(get("/old/x?q=1", "\r\nX-Secret: s"));
    expect(seen(answer)).toBe("v1|GET /new/x?q=1 HTTP/1.1|host: inner.mesh|x-a: 1|x-b: 2");
    expect(answer).toContain("\r\nx-c: 3\r\n");
    expect(answer).toContain("\r\nx-d: 4\r\n");
    expect(seen(await ask(get("/a/b")))).toContain("GET /b/a HTTP/1.1");
  });

  test("redirected, answered at once, answered as a preflight, or ended by a fault, without an endpoint", async () => {
    const { ask, lab } = await routed(
      virtualService(`- match: [{uri: {prefix: /moved}}]
  redirect: {uri: /here, authority: new.mesh, scheme: https, redirectCode: 308}
- match: [{uri: {exact: /teapot}}]
  directResponse: {status: 418, body: {string: short and stout}}
- match: [{uri: {prefix: /broken}}]
  fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
  ${to("v1")}
- match: [{uri: {prefix: /slow}}]
  fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}
  ${to("v1")}
- corsPolicy: {allowOrigins: [{exact: https://shop.example}], allowMethods: [PUT], maxAge: 60s}
  ${to("v1")}`),
    );
    const moved = await ask(get("/moved/a?b"));
    expect(status(moved)).toBe("308 Permanent Redirect");
    expect(moved).toContain("\r\nlocation: https://new.mesh/here?b\r\n");
    const teapot = await ask(get("/teapot"));
    expect(teapot).toStartWith("HTTP/1.1 418");
    expect(seen(teapot)).toBe("short and stout");
    expect(await ask(get("/broken"))).toStartWith("HTTP/1.1 555");
    const began = lab.world.nowMs;
    expect(status(await ask(get("/slow")))).toBe("200 OK");
    expect(lab.world.nowMs - began).toBeGreaterThanOrEqual(5_000);
    const preflight = await ask(
      "OPTIONS /x HTTP/1.1\r\nHost: web.shop\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: PUT",
    );
    expect(status(preflight)).toBe("200 OK");
    expect(preflight).toContain("access-control-allow-methods: PUT");
    const cross = await ask(get("/x", "\r\nOrigin: https://shop.example"));
    expect(cross).toContain("\r\naccess-control-allow-origin: https://shop.example\r\n");
    expect(seen(cross)).toStartWith("v1|");
  });

  test("by weight, and a share that leads nowhere is answered 503", async () => {
    const { ask } = await routed(
      virtualService(`- match: [{uri: {exact: /nowhere}}]
  route: [{destination: {host: nobody.mesh}}]
- match: [{uri: {exact: /empty}}]
  ${to("v3")}
- route:
  - {destination: {host: web.shop, subset: v1}, weight: 75}
  - {destination: {host: web.shop, subset: v2}, weight: 25}`),
    );
    const counts: Record<"v1" | "v2" | "other", number> = { v1: 0, v2: 0, other: 0 };
    for (let i = 0; i < 80; i++) {
      const answer = seen(await ask(get("/")));
      counts[answer.startsWith("v1|") ? "v1" : answer.startsWith("v2|") ? "v2" : "other"]++;
    }
    expect(counts.v1).toBeWithin(48, 73);
    expect(counts.other).toBe(0);
    expect(status(await ask(get("/nowhere")))).toBe("503 Service Unavailable");
    expect(status(await ask(get("/empty")))).toBe("503 Service Unavailable");
  }, 300_000);

  test("however its path is spelled", async () => {
    const { ask } = await routed(
      virtualService(`- match: [{uri: {prefix: /admin}}]\n  ${to("v2")}\n- ${to("v1")}`),
    );
    for (const path of ["/admin", "/%61dmin", "/x/../admin", "/./admin", "/x/%2e%2e/admin"])
      expect(seen(await ask(get(path)))).toStartWith("v2|GET /admin HTTP/1.1");
  });

  test("and as it says from now on, when it is changed", async () => {
    const { ask, setRoutes } = await routed(virtualService(`- ${to("v1")}`));
    expect(seen(await ask(get("/")))).toStartWith("v1|");
    await setRoutes(virtualService(`- ${to("v2")}`));
    expect(seen(await ask(get("/")))).toStartWith("v2|");
  });
});

test("a request goes where its HTTPRoute says, in the specification's order", async () => {
  const { ask } = await routed(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
  - matches: [{path: {value: /a}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: Exact, value: /a/exact}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: other.mesh, statusCode: 301}}]
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: gone, port: 80}]
---
`);
  expect(seen(await ask(get("/a/x")))).toContain("|GET /b/x HTTP/1.1|");
  expect(seen(await ask(get("/a")))).toContain("|GET /b HTTP/1.1|");
  expect(status(await ask(get("/ab")))).toBe("404 Not Found");
  const redirect = await ask(get("/a/exact"));
  expect(status(redirect)).toBe("301 Moved Permanently");
  expect(redirect).toContain("\r\nlocation: http://other.mesh/a/exact\r\n");
  expect(status(await ask(get("/gone")))).toBe("500 Internal Server Error");
});

describe("a connection that is not HTTP goes where its rules say", () => {
  const tcp = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [db.shop]
  addresses: [10.88.0.4]
  ports: [{number: 5432, name: tcp, protocol: TCP, targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: shop}
spec: {host: db.shop, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
`;

  /** Which version takes each of some connections; null for one that is refused. */
  async function taken(routes: string, count: number): Promise<readonly (string | null)[]> {
    const lab = await FlowLab.create();
    const rest =
      workloadEntry("cart", "10.0.0.1") +
      version("v1", "10.0.0.3") +
      version("v2", "10.0.0.4") +
      waypointEntry +
      tcp;
    const cart = await lab.node("one", ["10.0.0.1"], rest, { localPorts: "10.0.0.1:8080=db.shop:5432" });
    await lab.node("waypoint", ["10.0.0.9"], rest + routes, { waypoints: "shop/waypoint" });
    for (const [name, address] of [
      ["v1", "10.0.0.3"],
      ["v2", "10.0.0.4"],
    ] as const) {
      const node = await lab.node(name, [address], rest);
      lab.application(node.host, withPort(address, 8080), (peer) => void peer.socket.write(bytes(name)));
    }
    const found: (string | null)[] = [];
    for (let i = 0; i < count; i++) {
      const client = await lab.connect(cart.host, "10.0.0.1:8080");
      await lab.until(() => client.text.length === 2 || client.closes > 0, "a version or the end");
      found.push(client.text === "" ? null : client.text);
      client.socket.end();
    }
    return found;
  }

  test("by a VirtualService's TCP rules, to one subset", async () => {
    const routes = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop]
  tcp:
  - match: [{port: 1}]
    route: [{destination: {host: db.shop, subset: v1}}]
  - match: [{port: 5432, destinationSubnets: [10.88.0.0/24]}]
    route: [{destination: {host: db.shop, subset: v2}}]
---
`;
    expect(await taken(routes, 4)).toEqual(["v2", "v2", "v2", "v2"]);
  });

  test("by a TCPRoute, and nowhere when its backend is not there", async () => {
    const route = (backend: string): string => `apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: db}]
  rules: [{backendRefs: [{name: ${backend}, port: 5432}]}]
---
`;
    expect(new Set(await taken(route("db"), 12))).toEqual(new Set(["v1", "v2"]));
    expect(await taken(route("gone"), 2)).toEqual([null, null]);
  });
});
