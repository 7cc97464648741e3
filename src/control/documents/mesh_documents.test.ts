import { describe, expect, test } from "bun:test";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { MeshDocument, WorkloadEntryDocument } from "../../mesh/documents/document.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { formatLocation } from "../../mesh/location.ts";
import { document } from "../../mesh/testing/convert_text.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import type { ChangeResult } from "./change_request.ts";
import { owningNamespace } from "./document_diff.ts";
import { joinDocuments } from "./document_input.ts";
import { admin, DocumentWorld, told } from "./testing/control_plane.ts";

const cart = document(
  "WorkloadEntry",
  "shop/cart",
  "{address: 10.0.0.5, serviceAccount: cart, labels: {app: cart}}".replace(/^/, "| "),
);
const deny = document(
  "AuthorizationPolicy",
  "shop/deny",
  "| {action: DENY, rules: [{from: [{source: {namespaces: [evil]}}]}]}",
);
const allow = document(
  "AuthorizationPolicy",
  "shop/allow",
  "| {rules: [{from: [{source: {namespaces: [shop]}}]}]}",
);

function member(of: WorkloadEntryDocument, n: number, text: string): WorkloadEntryDocument {
  const metadata = { ...of.metadata, key: `WorkloadEntry shop/m${n}`, name: `m${n}`, createdMs: null };
  return {
    ...of,
    metadata,
    spec: { ...of.spec, address: { ...of.spec.address, value: { kind: "ip", ip: ip(text) } } },
  };
}

function files(...texts: readonly string[]) {
  return texts.map((text, index) => ({ source: `f${index}.yaml`, text }));
}

function errorsOf(result: ChangeResult): readonly string[] {
  return result.outcome === "refused"
    ? result.errors.map(({ location, message }) => `${formatLocation(location)} ${message}`)
    : [];
}

describe("applying", () => {
  test("documents are in force, kept, and in the audit log with who, before and after", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    const first = await w.settle(documents.apply(files(`${cart}---\n${deny}`), admin));
    expect(told(first)).toBe("applied 1");
    expect(w.policies()).toEqual(["shop/deny"]);
    expect(w.store.workload("c1/networking.istio.io/WorkloadEntry/shop/cart")?.serviceAccount).toBe("cart");
    const changed = deny.replace("evil", "worse");
    expect(told(await w.settle(documents.apply(files(changed), admin)))).toBe("applied 2");
    expect(
      state.audit
        .read({ limit: 9 })
        .map(({ target, action, actor, namespace }) => `${actor} ${action} ${namespace} ${target}`),
    ).toEqual([
      "admin documents.apply shop AuthorizationPolicy shop/deny",
      "admin documents.apply shop WorkloadEntry shop/cart",
      "admin documents.apply shop AuthorizationPolicy shop/deny",
    ]);
    const [row] = state.audit.read({ limit: 1 });
    expect(row?.before).toContain("evil");
    expect(row?.after).toBe(changed);
    expect(documents.version).toBe(2);
    expect(w.changes).toBe(2);

    w.restart();
    const again = await w.documents();
    expect(w.policies()).toEqual(["shop/deny"]);
    expect(again.documents.get("AuthorizationPolicy shop/deny")?.text).toBe(changed);
    expect(again.documents.history(9).map(({ version, changes }) => [version, changes])).toEqual([
      [2, 1],
      [1, 2],
    ]);
  });

  test("one error refuses everything, and every error is told with its place", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    const broken =
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec:\n  acton: DENY\n";
    const result = await w.settle(documents.apply(files(`${cart}---\n${broken}`, "kind: [", allow), admin));
    expect(told(result)).toBe("refused: invalid");
    const errors = errorsOf(result);
    expect(errors.length).toBe(2);
    expect(errors[0]).toStartWith("f0.yaml:10:3 ");
    expect(errors[1]).toStartWith("f1.yaml:");
    expect(documents.version).toBe(0);
    expect(documents.stored).toEqual([]);
    expect(w.changes).toBe(0);
    expect(state.audit.head().id).toBe(0);
  });

  test("documents that are good alone and not together are refused, where they stand", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    await w.settle(documents.apply(files(cart), admin));
    const thief = cart.replace("name: cart", "name: thief");
    const result = await w.settle(documents.apply(files(allow, thief), admin));
    expect(told(result)).toBe("refused: invalid");
    expect(errorsOf(result)[0]).toStartWith("f1.yaml:");
    expect(errorsOf(result)[0]).toContain("10.0.0.5");
    expect(w.policies()).toEqual([]);
    const twice = await w.settle(documents.apply(files(allow, allow), admin));
    expect(errorsOf(twice)).toEqual(["f1.yaml:1:1 is given twice; the first is at f0.yaml:1"]);
  });

  test("what is there already is no change, wherever it was written", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await w.settle(documents.apply(files(cart, deny), admin));
    const again = await w.settle(
      documents.apply([{ source: "other.yaml", text: `# moved\n---\n${deny}` }, ...files(cart)], admin),
    );
    // The marker on a line of its own belongs to the document that follows it.
    expect(again.outcome === "applied" && again.plan.diff.map(({ change }) => change)).toEqual(["changed"]);
    const same = await w.settle(documents.apply([{ source: "third.yaml", text: `\n\n${cart}` }], admin));
    expect(told(same)).toBe("applied 3");
    const none = await w.settle(documents.apply([{ source: "fourth.yaml", text: `\n\n${cart}` }], admin));
    expect(told(none)).toBe("applied 3");
    expect(state.documents.count()).toBe(3);
    expect(documents.get("WorkloadEntry shop/cart")?.source).toBe("third.yaml");
  });

  test("a dry run shows the diff and the effect, and changes nothing", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await w.settle(documents.apply(files(cart, deny), admin));
    const rows = state.audit.head().id;
    const changed = deny.replace("evil", "worse");
    const planned = await w.settle(
      documents.apply(files(changed, allow), { ...admin, dryRun: true, prune: ["shop"] }),
    );
    expect(planned).toMatchObject({
      outcome: "planned",
      version: 1,
      plan: {
        diff: [
          { key: "AuthorizationPolicy shop/allow", change: "added", before: null, after: allow },
          { key: "AuthorizationPolicy shop/deny", change: "changed", before: deny, after: changed },
          { key: "WorkloadEntry shop/cart", change: "removed", before: cart, after: null },
        ],
        effect: {
          workloads: { added: [], changed: [], removed: ["c1/networking.istio.io/WorkloadEntry/shop/cart"] },
          services: { added: [], changed: [], removed: [] },
          policies: { added: ["shop/allow"], changed: ["shop/deny"], removed: [] },
        },
      },
    });
    expect([documents.version, w.changes, state.audit.head().id]).toEqual([1, 1, rows]);
    expect(w.policies()).toEqual(["shop/deny"]);
    const real = await w.settle(documents.apply(files(changed, allow), { ...admin, prune: ["shop"] }));
    if (real.outcome === "refused" || planned.outcome === "refused") throw new Error("refused");
    expect(real.plan.diff).toEqual(planned.plan.diff);
    expect(real.plan.effect).toEqual(planned.plan.effect);
  });

  test("an expected version that is not the one there is a conflict; of two at once one wins", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    const both = [deny, allow].map((text) => documents.apply(files(text), { ...admin, expectedVersion: 0 }));
    expect((await w.settle(Promise.all(both))).map(told)).toEqual(["applied 1", "refused: conflict"]);
    const unconditional = [cart, allow].map((text) => documents.apply(files(text), admin));
    expect((await w.settle(Promise.all(unconditional))).map(told)).toEqual(["applied 2", "applied 3"]);
  });

  test("a full disk changes nothing, and the next apply does", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    await w.settle(documents.apply(files(deny), admin));
    w.machine.disk.full = true;
    expect(await rejectionOf(w.settle(documents.apply(files(allow), admin)))).toMatchObject({
      code: "disk_full",
    });
    expect([documents.version, documents.stored.length, w.changes]).toEqual([1, 1, 1]);
    w.machine.disk.full = false;
    expect(told(await w.settle(documents.apply(files(allow), admin)))).toBe("applied 2");
    expect(w.policies()).toEqual(["shop/allow", "shop/deny"]);
  });

  test("what is got is what was applied, and applies again as it is", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    const text = `# who may not\n${deny}# the end\n---  # second\n${allow}...\n---\n${cart.trimEnd()}`;
    await w.settle(documents.apply(files(text), admin));
    expect(documents.get("AuthorizationPolicy shop/deny")?.text).toBe(`# who may not\n${deny}# the end\n`);
    const all = joinDocuments(documents.stored);
    const again = await w.settle(documents.apply(files(all), { ...admin, prune: "all" }));
    expect(
      again.outcome === "applied" && again.plan.diff.filter(({ change }) => change !== "changed"),
    ).toEqual([]);
    const settled = joinDocuments(documents.stored);
    const third = await w.settle(documents.apply(files(settled), { ...admin, prune: "all" }));
    expect(third).toMatchObject({
      outcome: "applied",
      version: again.outcome === "applied" ? again.version : 0,
    });
  });

  test("items of a list are documents of their own", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    const indent = (text: string) =>
      text
        .split("\n")
        .map((line, index) => (index === 0 ? `- ${line}` : `  ${line}`))
        .join("\n");
    const list = `apiVersion: v1\nkind: List\nitems:\n${indent(cart)}\n${indent(deny)}\n`;
    expect(told(await w.settle(documents.apply(files(list), admin)))).toBe("applied 1");
    expect(documents.get("AuthorizationPolicy shop/deny")?.text).toContain("namespaces:\n");
    expect(told(await w.settle(documents.delete(["WorkloadEntry shop/cart"], admin)))).toBe("applied 2");
    expect(w.policies()).toEqual(["shop/deny"]);
    w.restart();
    await w.documents();
    expect(w.policies()).toEqual(["shop/deny"]);
  });
});

describe("deleting, history and rollback", () => {
  test("a rollback is a new version with the documents of the old one", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await w.settle(documents.apply(files(cart, deny), admin));
    await w.settle(documents.apply(files(deny.replace("evil", "worse"), allow), admin));
    await w.settle(documents.delete(["WorkloadEntry shop/cart"], admin));
    expect((await w.settle(documents.diff(1, 3)))?.map(({ key, change }) => `${change} ${key}`)).toEqual([
      "added AuthorizationPolicy shop/allow",
      "changed AuthorizationPolicy shop/deny",
      "removed WorkloadEntry shop/cart",
    ]);
    expect(told(await w.settle(documents.rollback(1, admin)))).toBe("applied 4");
    expect(await w.settle(documents.diff(1, 4))).toEqual([]);
    expect(joinDocuments(documents.stored)).toBe(
      joinDocuments((await w.settle(documents.at(1)))?.documents ?? []),
    );
    expect(w.policies()).toEqual(["shop/deny"]);
    expect([...w.store.workloads()].length).toBe(1);
    expect(documents.history(1)[0]).toMatchObject({
      version: 4,
      action: "rollback",
      detail: "to version 1",
      changes: 3,
    });
    expect(state.audit.read({ limit: 1, action: "documents.rollback" })[0]?.detail).toContain("to version 1");
    expect(told(await w.settle(documents.rollback(0, admin)))).toBe("applied 5");
    expect(w.policies()).toEqual([]);
  });

  test("what is not there is said, and nothing is changed", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    await w.settle(documents.apply(files(deny), admin));
    const one = documents.delete(["AuthorizationPolicy shop/deny", "AuthorizationPolicy shop/none"], admin);
    expect(told(await w.settle(one))).toBe("refused: unknown");
    expect(told(await w.settle(documents.rollback(9, admin)))).toBe("refused: unknown");
    expect(await w.settle(documents.diff(1, 9))).toBeNull();
    expect(documents.version).toBe(1);
  });
});

describe("tenants", () => {
  const tenant = {
    actor: "shopkeeper",
    mayChange: (it: Parameters<typeof owningNamespace>[0]) => owningNamespace(it) === "shop",
  };
  const other = deny.replaceAll("shop", "bank");

  test("a document of another refuses the whole change and is in the audit log, without its text", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await w.settle(documents.apply(files(other), admin));
    for (const attempt of [
      documents.apply(files(deny, other.replace("evil", "nobody")), tenant),
      documents.apply(files(document("Namespace", "bank", "")), tenant),
      documents.delete(["AuthorizationPolicy bank/deny"], tenant),
      documents.rollback(0, tenant),
      documents.apply(files(deny), { ...tenant, prune: "all" }),
    ]) {
      const result = await w.settle(attempt);
      expect(told(result)).toBe("refused: forbidden");
      expect(JSON.stringify(result)).not.toContain("evil");
    }
    expect(w.policies()).toEqual(["bank/deny"]);
    expect(
      state.audit.read({ limit: 9, actor: "shopkeeper" }).map(({ outcome, before }) => [outcome, before]),
    ).toEqual(Array.from({ length: 5 }, () => ["refused", null]));
    expect(
      told(await w.settle(documents.apply(files(deny, document("Namespace", "shop", "")), tenant))),
    ).toBe("applied 2");
    // The same text again changes nothing, so it cannot be refused.
    expect(told(await w.settle(documents.apply(files(deny, other), tenant)))).toBe("applied 2");
  });

  test("what another has is not told, but for whose it is", async () => {
    const w = new DocumentWorld();
    const { documents } = await w.documents();
    const theirs = cart.replaceAll("shop", "zoo");
    await w.settle(documents.apply(files(theirs), admin));
    // By the order of their keys this one would take the address from the other.
    const result = await w.settle(documents.apply(files(cart), tenant));
    expect(told(result)).toBe("refused: owned");
    expect(errorsOf(result)).toEqual(["f0.yaml:4:17 the address 10.0.0.5 belongs to namespace zoo"]);
  });
});

describe("a host that has joined", () => {
  test("keeps its address: a document that claims it later is refused, whatever its name; its group may go", async () => {
    const w = new DocumentWorld();
    const group = document("WorkloadGroup", "shop/zebras", "| {template: {serviceAccount: zebra}}");
    const parsed = (entries: readonly MeshDocument[]) =>
      entries.some(({ kind }) => kind === "WorkloadGroup") ? [joined] : [];
    const [written] = parseDocuments([{ path: "f", text: cart }]).documents;
    if (written?.kind !== "WorkloadEntry") throw new Error("no entry");
    const joined = member(written, 1, "10.0.0.7");
    const { documents, state } = await w.documents({
      derived: { subscribe: () => () => {}, derive: parsed },
    });
    expect(told(await w.settle(documents.apply(files(group), admin)))).toBe("applied 1");
    const at = () => [...w.store.workloads()].map(({ name }) => name);
    expect(at()).toEqual(["m1"]);
    const thief = cart.replace("name: cart", "name: aardvark").replace("10.0.0.5", "10.0.0.7");
    const refused = await w.settle(documents.apply(files(thief), admin));
    expect(told(refused)).toBe("refused: invalid");
    expect(errorsOf(refused)[0]).toContain(
      "WorkloadEntry shop/m1, a host that has joined, would be left out of the mesh: the address 10.0.0.7 is claimed by WorkloadEntry shop/aardvark",
    );
    // Who may not see it is told that there is one.
    const blind = { ...admin, mayRead: ({ name }: { name: string }) => name !== "m1" };
    expect(errorsOf(await w.settle(documents.apply(files(thief), blind)))[0]).not.toContain("m1");
    expect(at()).toEqual(["m1"]);
    expect(state.documents.version()).toBe(1);
    expect(told(await w.settle(documents.apply(files(thief), { ...admin, prune: "all" })))).toBe("applied 2");
    expect(at()).toEqual(["aardvark"]);
  });
});

describe("at the start", () => {
  test("a policy that this program refuses denies what it may have denied, and can be mended", async () => {
    const w = new DocumentWorld();
    const { state } = await w.documents();
    const stored = {
      key: "AuthorizationPolicy shop/old",
      namespace: "shop",
      kind: "AuthorizationPolicy",
      name: "old",
      source: "f",
      line: 3,
      createdMs: 0,
    };
    const text = deny.replace("name: deny", "name: old").replace("action", "oldAction");
    const liar = { ...stored, key: "AuthorizationPolicy shop/liar", name: "liar", text: deny };
    state.documents.apply([{ ...stored, text }, liar], { atMs: 1, actor: "a", action: "apply", detail: "" });
    w.restart();
    const { documents } = await w.documents();
    expect(w.policies()).toEqual(["shop/fairlead_refused_authorizationpolicy_old"]);
    expect(documents.statuses.map(({ accepted, error }) => [accepted, error?.location.line])).toEqual([
      [false, 3],
      [false, expect.any(Number)],
    ]);
    expect(told(await w.settle(documents.apply(files(allow), admin)))).toBe("applied 2");
    expect(told(await w.settle(documents.delete(["AuthorizationPolicy shop/liar"], admin)))).toBe(
      "applied 3",
    );
    expect(told(await w.settle(documents.apply(files(text.replace("oldAction", "action")), admin)))).toBe(
      "applied 4",
    );
    expect(w.policies()).toEqual(["shop/allow", "shop/old"]);
  });

  test("a member that would lock the control plane out is left out, and is taken in when it would no more", async () => {
    const w = new DocumentWorld();
    let members: readonly string[] = [];
    let tell: () => void = () => {};
    const said: string[] = [];
    const fields: Parameters<DocumentWorld["documents"]>[0] = {
      logger: { ...silentLogger, log: (level, _scope, message) => void said.push(`${level} ${message}`) },
      derived: {
        subscribe: (listener) => {
          tell = listener;
          return () => {};
        },
        derive: (given) =>
          given.flatMap((each) =>
            each.kind !== "WorkloadEntry" ? [] : members.map((text, n) => member(each, n, text)),
          ),
      },
    };
    const { documents } = await w.documents(fields);
    const at = () =>
      [...w.store.workloads()].flatMap(({ addresses }) => addresses.map(({ text }) => text)).sort();
    // It denies whoever comes in plain text to a workload of the namespace.
    const strict = document("PeerAuthentication", "shop/strict", "| {mtls: {mode: STRICT}}");
    await w.settle(documents.apply(files(strict, cart), admin));
    members = ["10.0.0.77", "10.9.9.9"];
    tell();
    const settled = () => w.settle(documents.delete(["WorkloadEntry shop/nothing"], admin));
    await settled();
    expect(at()).toEqual(["10.0.0.5", "10.0.0.77"]);
    expect(said.filter((one) => one.includes("no longer reach")).length).toBe(1);
    w.restart();
    const again = await w.documents(fields);
    expect(at()).toEqual(["10.0.0.5", "10.0.0.77"]);
    await w.settle(again.documents.delete(["PeerAuthentication shop/strict"], admin));
    await w.settle(again.documents.delete(["WorkloadEntry shop/nothing"], admin));
    expect(at()).toEqual(["10.0.0.5", "10.0.0.77", "10.9.9.9"]);
    // Now that it is there, the policy is what would lock the control plane out.
    expect(told(await w.settle(again.documents.apply(files(strict), admin)))).toBe("refused: lock_out");
  });

  test("derived documents follow what they are made of", async () => {
    const w = new DocumentWorld();
    let members = 1;
    let tell: () => void = () => {};
    const { documents } = await w.documents({
      derived: {
        subscribe: (listener) => {
          tell = listener;
          return () => {
            tell = () => {};
          };
        },
        derive: (given) =>
          given.flatMap((each) => {
            if (each.kind !== "WorkloadEntry") return [];
            return Array.from({ length: members }, (_, n) => {
              const name = `member-${n}`;
              const address = {
                ...each.spec.address,
                value: { kind: "hostname", hostname: `${name}.local` } as const,
              };
              return {
                ...each,
                metadata: { ...each.metadata, key: `WorkloadEntry shop/${name}`, name },
                spec: { ...each.spec, address },
              };
            });
          }),
      },
    });
    await w.settle(documents.apply(files(cart), admin));
    expect([...w.store.workloads()].length).toBe(2);
    /** Whatever was under way is over when something that changes nothing has had its turn. */
    const settled = () => w.settle(documents.delete(["WorkloadEntry shop/nothing"], admin));
    members = 3;
    tell();
    await settled();
    expect([...w.store.workloads()].length).toBe(4);
    await w.settle(documents.delete(["WorkloadEntry shop/cart"], admin));
    expect([...w.store.workloads()].length).toBe(0);
    await w.settle(documents.apply(files(cart), admin));
    members = 5;
    await w.settle(documents.close());
    tell();
    expect(told(await settled())).toBe("refused: busy");
    expect([...w.store.workloads()].length).toBe(4);
  });
});
