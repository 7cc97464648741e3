import { describe, expect, test } from "bun:test";
import type { MeshDocument, WorkloadGroupDocument } from "../documents/document.ts";
import { parseDocuments } from "../documents/parse.ts";
import { context, convert, document } from "../testing/convert_text.ts";
import { convertDocuments } from "./convert_documents.ts";
import { RegisteredEntries, type RegisteredHost, registeredEntry } from "./registered_entry.ts";

const host: RegisteredHost = {
  node: "edge-1",
  addresses: ["10.1.0.7", "2001:db8::7"],
  network: "",
  labels: { version: "v9", team: "a", app: "bank" },
  locality: null,
};

function parse(...texts: readonly string[]): readonly MeshDocument[] {
  const { documents, errors } = parseDocuments([{ path: "f", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  return documents;
}

function group(rest: string): WorkloadGroupDocument {
  const [parsed] = parse(document("WorkloadGroup", "shop/cart-vms", rest));
  if (parsed?.kind !== "WorkloadGroup") throw new Error("no group");
  return parsed;
}

function entryOf(of: WorkloadGroupDocument, from: Partial<RegisteredHost> = {}) {
  const made = registeredEntry(of, { ...host, ...from });
  if (!made.ok) throw new Error(made.reason);
  return made.entry;
}

const cart =
  "{metadata: {labels: {app: cart}, annotations: {note: x}}, template: {serviceAccount: cart, ports: {http: 8080}, labels: {tier: web}}}";

describe("a WorkloadGroup", () => {
  test("makes no workload by itself", () => {
    const conversion = convert([document("WorkloadGroup", "shop/cart-vms", cart)]);
    expect(conversion.workloads).toEqual([]);
    expect(conversion.statuses).toMatchObject([
      { resource: "WorkloadGroup shop/cart-vms", accepted: true, warnings: [] },
    ]);
  });

  test("with a probe is accepted, and says that nothing probes", () => {
    expect(group("{template: {}, probe: {httpGet: {port: 80}}}").warnings).toMatchObject([
      { reason: "Ignored" },
    ]);
  });

  test("gives its entries the labels of spec.metadata over those of the template, and a host's never instead", () => {
    const of = group(
      "annotations: {fairlead.dev/host-labels: 'app, version, team'} | {metadata: {labels: {app: meta}}, template: {labels: {app: template, version: v1, istio.io/use-waypoint: none}}}",
    );
    const policy = (label: string) =>
      document(
        "AuthorizationPolicy",
        `shop/${label}`,
        `{selector: {matchLabels: {app: ${label}}}, action: DENY, rules: [{}]}`,
      );
    const documents = parse(policy("meta"), policy("template"), policy("bank"));
    const { workloads } = convertDocuments([...documents, entryOf(of)], context);
    expect(workloads[0]).toMatchObject({ canonicalName: "meta", canonicalRevision: "v1" });
    expect(workloads[0]?.authorizationPolicies).toEqual(["shop/meta"]);
  });

  const refused: readonly (readonly [string, string])[] = [
    ["{}", "spec.template is missing"],
    ["{template: {address: 10.0.0.1}}", "spec.template.address is not supported: each host has its own"],
    [
      "{template: {serviceAcount: x}}",
      "spec.template has no field serviceAcount; did you mean serviceAccount?",
    ],
    ["{template: {serviceAccount: a/b}}", '"a/b" is not a service account name'],
    ["{template: {}, labels: {}}", "spec has no field labels"],
  ];
  for (const [spec, message] of refused)
    test(`${spec} is refused`, () => {
      const { errors } = parseDocuments([{ path: "f", text: document("WorkloadGroup", "shop/vms", spec) }]);
      expect(errors.map((error) => error.message)).toEqual([message]);
    });
});

describe("a host that joined it", () => {
  test("becomes a workload of the group, in its services and under its policies, with Istio's uid", () => {
    const documents = parse(
      document("WorkloadGroup", "shop/cart-vms", cart),
      document(
        "ServiceEntry",
        "shop/cart",
        "{hosts: [cart.shop], ports: [{number: 80, name: http}], resolution: STATIC, workloadSelector: {labels: {app: cart}}}",
      ),
      document("AuthorizationPolicy", "shop/only", "{selector: {matchLabels: {tier: web}}, rules: [{}]}"),
    );
    const [first] = documents;
    if (first?.kind !== "WorkloadGroup") throw new Error("no group");
    const conversion = convertDocuments([...documents, entryOf(first)], context);
    expect(conversion.errors).toEqual([]);
    expect(conversion.workloads).toMatchObject([
      {
        uid: "c1/networking.istio.io/WorkloadEntry/shop/cart-vms-edge-1",
        name: "cart-vms-edge-1",
        namespace: "shop",
        serviceAccount: "cart",
        node: "edge-1",
        tunnelProtocol: "HBONE",
        canonicalName: "cart",
        authorizationPolicies: ["shop/only"],
      },
    ]);
    const [workload] = conversion.workloads;
    expect(workload?.addresses.map(({ text }) => text)).toEqual(["10.1.0.7"]);
    expect([...(workload?.services ?? [])]).toEqual([["shop/cart.shop", new Map([[80, 8080]])]]);
  });

  test("chooses none of its labels, unless the group lets it, and never against the group", () => {
    expect([...entryOf(group(cart)).metadata.labels.keys()]).toEqual(["app"]);
    const lenient = group(`annotations: {fairlead.dev/host-labels: "version, app, tier, none"} | ${cart}`);
    const labels = [...entryOf(lenient, { labels: { ...host.labels, tier: "db" } }).metadata.labels];
    expect(labels.map(([name, { value }]) => `${name}=${value}`)).toEqual(["version=v9", "app=cart"]);
  });

  test("says its network and locality only where the group does not", () => {
    const locality = { region: "r", zone: "z", subzone: "" };
    const free = entryOf(group("{template: {}}"), { network: "far", locality });
    expect(free.spec).toMatchObject({ network: "far", locality });
    const bound = entryOf(group("{template: {network: near, locality: a/b/c}}"), {
      network: "far",
      locality,
    });
    expect(bound.spec).toMatchObject({ network: "near", locality: { region: "a", zone: "b", subzone: "c" } });
    expect(entryOf(group("{template: {}}")).spec.network).toBeNull();
  });

  test("without an address, or with a name too long, is none", () => {
    expect(registeredEntry(group(cart), { ...host, addresses: [] })).toMatchObject({ ok: false });
    expect(registeredEntry(group(cart), { ...host, addresses: ["edge.example"] })).toMatchObject({
      ok: false,
    });
    expect(registeredEntry(group(cart), { ...host, node: "x".repeat(250) })).toMatchObject({ ok: false });
  });

  test("does not get the address of a document that was there before", () => {
    const [written, of] = parse(
      document("WorkloadEntry", "shop/db", "{address: 10.1.0.7, serviceAccount: db}"),
      document("WorkloadGroup", "shop/cart-vms", cart),
    );
    if (written === undefined || of?.kind !== "WorkloadGroup") throw new Error("no group");
    const conversion = convertDocuments([written, of, entryOf(of)], context);
    expect(conversion.workloads.map(({ name }) => name)).toEqual(["db"]);
    expect(conversion.errors[0]?.message).toContain(
      "the address 10.1.0.7 is claimed by WorkloadEntry shop/db",
    );
  });

  test("is the same object for as long as nothing changed", () => {
    const entries = new RegisteredEntries();
    const of = group(cart);
    const first = entries.of(of, host);
    expect(entries.of(of, { ...host, labels: { ...host.labels } })).toBe(first);
    expect(entries.of(of, { ...host, addresses: ["10.1.0.8"] })).not.toBe(first);
    entries.forget(of, host.node);
    expect(entries.of(of, host)).not.toBe(first);
    expect(entries.of(group(cart), host)).not.toBe(first);
  });
});
