import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { Body } from "../body.ts";
import type { Exchange } from "../exchange.ts";
import { describeRequestDenial, RequestPermit } from "../request_permit.ts";
import type { PermittedForward } from "../stages.ts";
import { exchangeOf } from "../testing/exchanges.ts";
import type { AuthorizerAnswer, AuthorizerQuestion } from "./authorizer.ts";
import { type AuthBench, authBench, document, startMs, target } from "./testing/auth_bench.ts";
import { WaypointAuth } from "./waypoint_auth.ts";

const policy = (name: string, spec: string, targets = target) =>
  document("AuthorizationPolicy", name, `{${targets}, ${spec}}`);
const to = (fields: string) => `rules: [{to: [{operation: {${fields}}}]}]`;
const from = (fields: string) => `rules: [{from: [{source: {${fields}}}]}]`;

async function status(bench: AuthBench, parts: Parameters<AuthBench["decide"]>[0] = {}): Promise<number> {
  return (await bench.decide(parts)).reply?.status ?? 200;
}

const at = (path: string) => ({ request: { path } });

describe("the order of decisions", () => {
  test("without policies all passes; with ALLOW what it matches; DENY before ALLOW; none of both without rules", async () => {
    expect(await status(await authBench(""))).toBe(200);
    const both = await authBench(
      policy("a", to('paths: ["/a*"]')) + policy("d", `action: DENY, ${to('paths: ["/ab"]')}`),
    );
    expect([
      await status(both, at("/a")),
      await status(both, at("/ab")),
      await status(both, at("/b")),
    ]).toEqual([200, 403, 403]);
    const nothing = await authBench(policy("none", "rules: []").replace(", rules: []", ""));
    expect(await status(nothing)).toBe(403);
    const all = await authBench(policy("all", "rules: [{}]"));
    expect(await status(all)).toBe(200);
    const none = await authBench(policy("all", "action: DENY, rules: [{}]"));
    expect(await status(none)).toBe(403);
  });

  async function fresh(): Promise<WaypointAuth> {
    const { clock, http } = await authBench("");
    return new WaypointAuth({
      ...{ clock, http, logger: silentLogger, files: new MemoryFiles() },
      ...{ trustDomain: "t", rootNamespace: "r", isInside: false, serviceByKey: () => null },
      ask: () => Promise.reject(new Error("no authorizer is asked")),
    });
  }

  test("before any document is known nothing passes", async () => {
    const auth = await fresh();
    expect(await auth.authenticate(exchangeOf())).toMatchObject({ status: 503 });
    expect(await auth.authorize(exchangeOf())).toMatchObject({ status: 503 });
    expect(await auth.admit(exchangeOf().downstream)).toMatchObject({ status: 503 });
  });

  test("what comes while the first rules are made waits for them", async () => {
    const auth = await fresh();
    const ready = auth.update({ documents: [], refused: [] });
    const exchange = exchangeOf();
    const verdict = auth.authenticate(exchange);
    expect(verdict).toBeInstanceOf(Promise);
    expect(await verdict).toBeNull();
    expect(await auth.authorize(exchange)).toBeNull();
    await ready;
  });

  test("a denial names policy, rule, file and line to the operator, and nothing to the client", async () => {
    const bench = await authBench(
      policy("first", `action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}, {}]`),
    );
    const { reply } = await bench.decide();
    expect(reply?.detail).toBe("denied by shop/first rule 1 (f:5:145)");
    expect(new TextDecoder().decode(reply?.body)).toBe("RBAC: access denied");
    expect(reply?.fields).toEqual(["content-type", "text/plain"]);
  });

  test("what sends a request on takes a permit: without one it does not compile", () => {
    const forward: PermittedForward = () => {
      throw new Error("nothing is sent");
    };
    const endpoint = { workload: workload("cart"), port: 1, service: null, servicePort: 1 };
    // @ts-expect-error there is no permit
    expect(() => forward(exchangeOf(), endpoint)).toThrow("nothing is sent");
    // @ts-expect-error what looks like a permit is none
    expect(() => forward(exchangeOf(), endpoint, { grounds: {}, recheck: () => null })).toThrow(
      "nothing is sent",
    );
  });

  test("a permit cannot be made elsewhere", async () => {
    const { exchange } = await (await authBench(policy("a", "rules: [{}]"))).decide();
    expect(RequestPermit.isGenuine(exchange.permit)).toBe(true);
    expect(exchange.permit?.grounds.policy).toBe("shop/a");
    expect(RequestPermit.isGenuine({ grounds: {}, recheck: () => null })).toBe(false);
    const Made = RequestPermit as unknown as new (...parts: unknown[]) => RequestPermit;
    expect(() => new Made(Symbol("request permit"), {}, () => null)).toThrow("authorization stage alone");
  });
});

describe("which policies are for a request", () => {
  const gateway = (name: string) =>
    `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ${name}}]`;
  const deny = `action: DENY, ${to("methods: [GET]")}`;
  const of = async (targets: string, namespace = "shop", parts = {}) =>
    await status(
      await authBench(document("AuthorizationPolicy", "p", `{${targets}, ${deny}}`, namespace)),
      parts,
    );

  test("of the ServiceEntry, the Gateway and the class; of no other, and of no selector", async () => {
    expect(await of(target)).toBe(403);
    expect(await of(target.replace("cart", "other"))).toBe(200);
    expect(await of(target, "bank")).toBe(200);
    // Without a Gateway that describes it the waypoint goes by its own name.
    expect(await of(gateway("waypoint"))).toBe(403);
    expect(await of(gateway("other"))).toBe(200);
    const ofClass =
      "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]";
    expect(await of(ofClass, "istio-system")).toBe(403);
    expect(await of(ofClass)).toBe(200);
    expect(await of("selector: {matchLabels: {app: cart}}")).toBe(200);
    const plain = await authBench(document("AuthorizationPolicy", "p", `{${deny}}`));
    expect(await status(plain)).toBe(200);
  });

  test("of a Service by the name that Kubernetes gives it", async () => {
    const ref = "targetRefs: [{kind: Service, name: cart}]";
    const kubernetes = {
      downstream: { service: service("x", { 80: 80 }, { hostname: "cart.shop.svc.cluster.local" }) },
    };
    expect(await of(ref, "shop", kubernetes)).toBe(403);
    expect(await of(ref)).toBe(200);
  });

  test("a workload's own address has those of the waypoint alone", async () => {
    const direct = { downstream: { service: null, workload: workload("cart") } };
    expect(await of(target, "shop", direct)).toBe(200);
    expect(await of(gateway("waypoint"), "shop", direct)).toBe(403);
  });

  test("the Gateway whose address is the waypoint's is its own, and says whether the workload is told the peer", async () => {
    const described = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: w, namespace: edge, annotations: {ambient.istio.io/xfcc-include-client-identity: "true"}}
spec: {gatewayClassName: istio-waypoint, addresses: [{type: IPAddress, value: 10.5.0.1}], listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`;
    const bench = await authBench(
      described +
        document(
          "AuthorizationPolicy",
          "p",
          `{${gateway("w")}, action: DENY, ${to('paths: ["/no"]')}}`,
          "edge",
        ),
    );
    const downstream = { waypoint: workload("waypoint", { addresses: [ip("10.5.0.1")] }) };
    expect(await status(bench, { downstream, ...at("/no") })).toBe(403);
    const { exchange } = await bench.decide({
      downstream,
      request: { fields: ["x-forwarded-client-cert", "URI=spiffe://evil"] },
    });
    expect(exchange.request.fields).toEqual([
      "x-forwarded-client-cert",
      `By=${downstream.waypoint.identity.uri};URI=spiffe://cluster.local/ns/shop/sa/web`,
    ]);
    expect(await status(bench, at("/no"))).toBe(200);
  });

  test("what was refused denies its targets, or its namespace where they cannot be told", async () => {
    const targeted = await authBench(document("AuthorizationPolicy", "p", `{${target}, acton: DENY}`));
    const { reply } = await targeted.decide();
    expect(reply?.detail).toBe(
      "AuthorizationPolicy shop/p was refused and may be about this request (f:2:1)",
    );
    const elsewhere = { downstream: { service: service("other", { 80: 80 }) } };
    expect(await status(targeted, elsewhere)).toBe(200);
    expect(
      await status(
        await authBench(
          document(
            "AuthorizationPolicy",
            "p",
            `{${target.replace("kind: ServiceEntry", "kind: Srv")}, acton: DENY}`,
          ),
        ),
        elsewhere,
      ),
    ).toBe(403);
    expect(
      await status(await authBench(document("RequestAuthentication", "p", `{${target}, jwtRules: [{}]}`))),
    ).toBe(403);
    expect(await status(await authBench(document("MeshConfig", "default", "{what: ever}")))).toBe(403);
  });
});

describe("fields that istiod's rules are particular about", () => {
  test("aliases of the trust domain, and cluster.local for the mesh's own", async () => {
    const config = document("MeshConfig", "default", "{trustDomainAliases: [old.example]}");
    const bench = await authBench(config + policy("p", from("principals: [old.example/ns/shop/sa/web]")));
    expect(await status(bench)).toBe(200);
    const peer = new SpiffeId("old.example", "shop", "web");
    expect(await status(bench, { downstream: { peer } })).toBe(200);
    expect(await status(bench, { downstream: { peer: new SpiffeId("evil.example", "shop", "web") } })).toBe(
      403,
    );
    const notBench = await authBench(
      config + policy("p", from("notPrincipals: [cluster.local/ns/shop/sa/web]")),
    );
    expect(await status(notBench, { downstream: { peer } })).toBe(403);
  });

  test("X-Forwarded-For counts as far as proxies are trusted", async () => {
    const rule = policy("p", from('remoteIpBlocks: ["198.51.100.0/24"]'));
    const proxies = (count: number) =>
      document("MeshConfig", "default", `{defaultConfig: {gatewayTopology: {numTrustedProxies: ${count}}}}`);
    const said = (value: string) => ({ request: { fields: ["x-forwarded-for", value] } });
    const none = await authBench(rule);
    expect(await status(none, said("198.51.100.7"))).toBe(403);
    const one = await authBench(rule + proxies(1));
    expect(await status(one, said("198.51.100.7"))).toBe(200);
    expect(await status(one, said("198.51.100.7, 203.0.113.1"))).toBe(403);
    expect(await status(one, said("203.0.113.1,198.51.100.7:5555"))).toBe(200);
    expect(await status(one, said("nonsense"))).toBe(403);
    const two = await authBench(rule + proxies(2));
    expect(await status(two, said("198.51.100.7, 203.0.113.1"))).toBe(200);
    expect(await status(two, said("198.51.100.7"))).toBe(403);
    expect(
      await status(two, {
        request: { fields: ["x-forwarded-for", "198.51.100.7", "x-forwarded-for", "203.0.113.1"] },
      }),
    ).toBe(200);
  });

  test("service accounts without a namespace are of the policy's", async () => {
    const bench = await authBench(policy("p", from("serviceAccounts: [web]")));
    expect(await status(bench)).toBe(200);
    expect(await status(bench, { downstream: { peer: new SpiffeId("cluster.local", "bank", "web") } })).toBe(
      403,
    );
  });

  test("what a tunnel's connection cannot say makes ALLOW void, and DENY wider", async () => {
    const admit = async (text: string) => {
      const verdict = await (await authBench(text)).auth.admit(exchangeOf().downstream);
      return "status" in verdict ? verdict.status : 200;
    };
    const mixed = `rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [PUT]}}]}]`;
    expect(await admit(policy("p", mixed))).toBe(403);
    expect(await admit(policy("p", `action: DENY, ${mixed}`))).toBe(403);
    expect(await admit(policy("p", `action: DENY, ${mixed.replace("[shop]", "[bank]")}`))).toBe(200);
    expect(await admit(policy("p", from("namespaces: [shop]")))).toBe(200);
  });

  test("metadata of Envoy's filters is nothing here", async () => {
    const when = 'rules: [{when: [{key: "experimental.envoy.filters.a.b[c]", values: [d]}]}]';
    expect(await status(await authBench(policy("p", when)))).toBe(403);
    expect(await status(await authBench(policy("p", `action: DENY, ${when}`)))).toBe(403);
  });
});

test("AUDIT and dry runs have no effect, and say what they would have done", async () => {
  const dry = (name: string, spec: string) =>
    policy(name, spec).replace("namespace: shop", 'namespace: shop, annotations: {istio.io/dry-run: "true"}');
  const bench = await authBench(
    policy("audit", `action: AUDIT, ${to('paths: ["/a"]')}`) +
      dry("deny", `action: DENY, ${to('paths: ["/a"]')}`) +
      dry("allow", to('paths: ["/b"]')),
  );
  const { reply } = await bench.decide(at("/a"));
  expect(reply).toBeNull();
  const rest = '"src.identity":"spiffe://cluster.local/ns/shop/sa/web","method":"GET","path":"/a"}';
  expect(bench.log).toEqual([
    `audited {"policy":"shop/audit","rule":0,${rest}`,
    `dry run: this would have been denied {"policy":"shop/deny","rule":0,${rest}`,
    `dry run: no rule would have allowed this {"policy":"shop/allow","rule":null,${rest}`,
  ]);
});

test("what can only deny is told when it comes into force", async () => {
  const bench = await authBench(
    document("AccessCondition", "c", `{${target}, conditions: [{expression: "true &&"}]}`) +
      policy("ask", "action: CUSTOM, provider: {name: opa}, rules: [{}]"),
  );
  expect(bench.log[0]).toStartWith(
    'a condition cannot be used, and denies what it is for {"resource":"AccessCondition shop/c"',
  );
  expect(bench.log[1]).toContain(
    'the mesh has no authorizer of this name; what is to be asked of it is denied {"provider":"opa"}',
  );
  expect(await status(bench)).toBe(403);
});

describe("external authorizers", () => {
  const config = (more = "") =>
    document(
      "MeshConfig",
      "default",
      `{extensionProviders: [{name: opa, envoyExtAuthzGrpc: {service: opa.example, port: 9000${more}}}]}`,
    );
  const ask = policy("ask", `action: CUSTOM, provider: {name: opa}, ${to('paths: ["/ask*"]')}`);
  const allowed = (fields: Partial<AuthorizerAnswer & { kind: "allowed" }> = {}): AuthorizerAnswer => ({
    ...{ kind: "allowed", changes: [], removed: [], responseFields: [] },
    ...fields,
  });

  async function bench(answer: AuthorizerAnswer, text = config() + ask) {
    const asked: AuthorizerQuestion[] = [];
    const made = await authBench(text, (_, question) => {
      asked.push(question);
      return Promise.resolve(answer);
    });
    return { ...made, asked };
  }

  test("is asked about what its policy matches, before DENY and ALLOW, which decide all the same", async () => {
    const deny = policy("deny", `action: DENY, ${to('paths: ["/ask/no"]')}`);
    const made = await bench(allowed(), config() + ask + deny);
    expect([await status(made, at("/free")), made.asked.length]).toEqual([200, 0]);
    expect([await status(made, at("/ask")), made.asked.length]).toEqual([200, 1]);
    expect([await status(made, at("/ask/no")), made.asked.length]).toEqual([403, 2]);
  });

  test("changes the request that it allows, but not what it was decided on", async () => {
    const open = policy("open", 'rules: [{when: [{key: "request.headers[x-user]", values: [ann]}]}]');
    const change = allowed({
      changes: [
        { name: "x-user", value: "ann", append: false },
        { name: "x-tag", value: "b", append: true },
      ],
      removed: ["x-gone"],
      responseFields: ["x-asked", "yes"],
    });
    const fields = ["x-user", "ann", "x-user", "bob", "x-gone", "a", "x-tag", "a"];
    const made = await bench(change);
    const { exchange } = await made.decide({ request: { path: "/ask", fields: [...fields] } });
    expect(exchange.request.fields).toEqual(["x-tag", "a", "x-user", "ann", "x-tag", "b"]);
    expect(exchange.permit?.grounds.responseFields).toEqual(["x-asked", "yes"]);
    const closed = await bench(change, config() + ask + open);
    expect(await status(closed, { request: { path: "/ask", fields: ["x-user", "eve"] } })).toBe(403);
  });

  test("its refusal is the client's answer", async () => {
    const made = await bench({
      kind: "denied",
      status: 418,
      fields: ["x", "y"],
      body: new TextEncoder().encode("no"),
    });
    const { reply } = await made.decide(at("/ask"));
    expect(reply).toMatchObject({ status: 418, fields: ["x", "y"], flag: "UAEX" });
    expect(reply?.detail).toStartWith("the authorizer of shop/ask said no (f:");
  });

  test("that is away denies, with the status that was asked for; fails open only where that is said", async () => {
    const away: AuthorizerAnswer = { kind: "failed", reason: "late" };
    expect(await status(await bench(away), at("/ask"))).toBe(403);
    expect(await status(await bench(away, config(', statusOnError: "503"') + ask), at("/ask"))).toBe(503);
    expect(await status(await bench(away, config(", failOpen: true") + ask), at("/ask"))).toBe(200);
    expect(await status(await bench(allowed(), ask), at("/ask"))).toBe(403);
    const late = await bench(away, config(", failOpen: true") + ask.replace("{name: opa}", "{name: other}"));
    expect(await status(late, at("/ask"))).toBe(403);
  });

  test("sees as much of the content as it is to see; all of it goes on", async () => {
    const body = (more: string) => `, includeRequestBodyInCheck: {maxRequestBytes: 4${more}}`;
    const partial = await bench(allowed(), config(body(", allowPartialMessage: true")) + ask);
    const full = await bench(allowed(), config(body("")) + ask);
    const shown = ({ asked }: { readonly asked: readonly AuthorizerQuestion[] }) =>
      asked.map((question) => [new TextDecoder().decode(question.body), question.isWholeBody]);
    expect(await sent(partial, ["ab", "cdef", "g"])).toEqual(["abcdefg", 200]);
    expect(shown(partial)).toEqual([["abcd", false]]);
    expect(await sent(full, ["ab", "cd"])).toEqual(["abcd", 200]);
    expect(shown(full)).toEqual([["abcd", true]]);
    expect((await sent(full, ["ab", "cde"]))[1]).toBe(413);
  });

  async function sent(made: AuthBench, pieces: readonly string[]): Promise<readonly [string, number]> {
    const body = new Body({ onResume: () => {}, onCancel: () => {} });
    const deciding = made.decide({ request: { method: "POST", path: "/ask" }, body });
    for (const piece of pieces) {
      await Promise.resolve();
      body.push(new TextEncoder().encode(piece));
    }
    body.finish(null);
    const { reply } = await deciding;
    let text = "";
    if (reply === null)
      await new Promise<void>((resolve) =>
        body.pipe({
          write: (bytes) => {
            text += new TextDecoder().decode(bytes);
            return true;
          },
          end: () => resolve(),
          fail: () => resolve(),
        }),
      );
    return [text, reply?.status ?? 200];
  }

  test("a client that goes away while the content is read is not waited for", async () => {
    const made = await bench(allowed(), config(", includeRequestBodyInCheck: {maxRequestBytes: 4}") + ask);
    const body = new Body({ onResume: () => {}, onCancel: () => {} });
    const exchange: Exchange = exchangeOf({ request: { path: "/ask" }, body });
    expect(made.auth.authenticate(exchange)).toBeNull();
    const deciding = made.auth.authorize(exchange);
    exchange.abort(new MeshError("connection_closed", "peer", "gone"));
    expect((await deciding)?.status).toBe(403);
    expect(made.asked).toEqual([]);
  });
});

describe("open requests are decided again", () => {
  const recheck = (bench: AuthBench, exchange: Exchange) => {
    const denial = exchange.permit?.recheck(bench.clock.wallMs()) ?? null;
    return denial === null ? null : describeRequestDenial(denial);
  };

  test("by policies that changed, on the request as it was", async () => {
    const bench = await authBench("");
    const { exchange } = await bench.decide(at("/a"));
    exchange.request.path = "/rewritten";
    expect(recheck(bench, exchange)).toBeNull();
    await bench.documents(policy("d", `action: DENY, ${to('paths: ["/rewritten"]')}`));
    expect(recheck(bench, exchange)).toBeNull();
    await bench.documents(policy("d", `action: DENY, ${to('paths: ["/a"]')}`));
    expect(recheck(bench, exchange)).toStartWith("denied by shop/d rule 0");
  });

  test("by the time of day", async () => {
    const open = `{${target}, conditions: [{expression: "request.time < timestamp('2026-07-15T12:00:10Z')", message: office hours}]}`;
    const bench = await authBench(document("AccessCondition", "hours", open));
    expect(startMs).toBe(Date.parse("2026-07-15T12:00:00Z"));
    const { exchange } = await bench.decide();
    expect(recheck(bench, exchange)).toBeNull();
    await bench.clock.advance(10_000);
    expect(recheck(bench, exchange)).toContain("AccessCondition shop/hours condition 0 does not hold (f:5:");
    expect(recheck(bench, exchange)).toEndWith("office hours");
  });

  test("by an authorizer that has to be asked now", async () => {
    const bench = await authBench("");
    const { exchange } = await bench.decide();
    await bench.documents(policy("ask", `action: CUSTOM, provider: {name: opa}, rules: [{}]`));
    expect(recheck(bench, exchange)).toContain("has to be asked since policy changed");
  });
});
