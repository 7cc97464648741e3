import { describe, expect, test } from "bun:test";
import { stateLimits } from "../../base/limits/control.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { document } from "../../mesh/testing/convert_text.ts";
import type { ControlState } from "../state/control_state.ts";
import type { InputText } from "./document_input.ts";
import type { MeshDocuments } from "./mesh_documents.ts";
import { admin, DocumentWorld, told } from "./testing/control_plane.ts";

/** More than one write holds. */
const many = 3 * stateLimits.documentRowsPerWrite + 5;

function entries(mark: string, count = many): readonly InputText[] {
  const texts = Array.from({ length: count }, (_, at) =>
    document(
      "WorkloadEntry",
      `shop/w${at}`,
      `| {address: 10.1.${at >> 8}.${at & 255}, serviceAccount: ${mark}}`,
    ),
  );
  return [{ source: "many.yaml", text: texts.join("---\n") }];
}

function marks(w: DocumentWorld): ReadonlySet<string> {
  return new Set([...w.store.workloads()].map(({ serviceAccount }) => serviceAccount));
}

/** Row by row what the audit log says of a version. */
function audited(state: ControlState, version: number): string[] {
  return state.audit
    .read({ limit: 1_000, afterId: 0 })
    .filter(({ detail }) => detail.startsWith(`version ${version}:`))
    .map(({ target, before, after }) => {
      const accountOf = (text: string | null) => /serviceAccount: (\w+)/.exec(text ?? "")?.[1] ?? "none";
      return `${target} ${accountOf(before)} ${accountOf(after)}`;
    });
}

function wanted(before: string, after: string): string[] {
  return Array.from({ length: many }, (_, at) => `WorkloadEntry shop/w${at} ${before} ${after}`).sort();
}

async function apply(w: DocumentWorld, documents: MeshDocuments, mark: string): Promise<string> {
  return told(await w.settle(documents.apply(entries(mark), admin)));
}

describe("a change of many documents", () => {
  test("is one version, in force at once, with a row of the audit log for each", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    const writes: number[] = [];
    const stage = state.documents.stage.bind(state.documents);
    state.documents.stage = (version, changes) => {
      writes.push(changes.length);
      // Nothing of it is there, to whoever looks.
      expect(state.documents.version()).toBe(0);
      expect(documents.stored).toEqual([]);
      expect(state.documents.current().documents).toEqual([]);
      stage(version, changes);
    };
    expect(await apply(w, documents, "one")).toBe("applied 1");
    expect(writes).toEqual([...Array(3).fill(stateLimits.documentRowsPerWrite), 5]);
    state.documents.stage = stage;
    expect(await apply(w, documents, "two")).toBe("applied 2");
    expect(marks(w)).toEqual(new Set(["two"]));
    expect(audited(state, 1).sort()).toEqual(wanted("none", "one"));
    expect(audited(state, 2).sort()).toEqual(wanted("one", "two"));
    expect(state.documents.staging.current()).toBeNull();
    expect(state.check()).toEqual([]);
  });

  test("by texts, too: a few large ones are as much work as many small ones", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    const size = stateLimits.documentBytesPerWrite / 4;
    const texts = [0, 1, 2, 3, 4, 5, 6].map((at) => ({
      source: `f${at}`,
      text: `# ${"x".repeat(size)}\n${document("Namespace", `n${at}`, "")}`,
    }));
    let writes = 0;
    const stage = state.documents.stage.bind(state.documents);
    state.documents.stage = (version, changes) => {
      writes++;
      stage(version, changes);
    };
    expect(told(await w.settle(documents.apply(texts, admin)))).toBe("applied 1");
    expect(writes).toBe(2);
    expect(state.audit.head().id).toBe(7);
  });

  test("on a disk that gets full in its middle is nothing, and comes once there is room", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await apply(w, documents, "one");
    const rows = state.audit.head().id;
    const stage = state.documents.stage.bind(state.documents);
    state.documents.stage = (version, changes) => {
      w.machine.disk.full = changes.length < stateLimits.documentRowsPerWrite;
      stage(version, changes);
    };
    const refused = w.settle(documents.apply(entries("two"), admin));
    expect(await rejectionOf(refused)).toMatchObject({ code: "disk_full" });
    expect([documents.version, state.documents.version(), state.audit.head().id]).toEqual([1, 1, rows]);
    expect(marks(w)).toEqual(new Set(["one"]));
    w.machine.disk.full = false;
    state.documents.stage = stage;
    expect(await apply(w, documents, "three")).toBe("applied 2");
    expect(audited(state, 2).sort()).toEqual(wanted("one", "three"));
    expect(state.documents.textBytes()).toBe(
      [...(documents.stored ?? []), ...((await w.settle(documents.at(1)))?.documents ?? [])].reduce(
        (sum, { text }) => sum + text.length,
        0,
      ),
    );
    expect(state.check()).toEqual([]);
  });
});

describe("after a crash", () => {
  test("what was not published is gone, its texts too", async () => {
    const w = new DocumentWorld();
    const { documents, state } = await w.documents();
    await apply(w, documents, "one");
    const bytes = state.documents.textBytes();
    const made = { atMs: 1, actor: "admin", action: "apply", detail: "f", forced: false } as const;
    const version = state.documents.begin(made, 1);
    const [first] = documents.stored;
    if (first === undefined) throw new Error("nothing was applied");
    for (let at = 0; at < many; at++)
      state.documents.stage(version, [{ ...first, key: `${first.key}-${at}`, text: `lost ${at}` }]);
    expect(state.documents.textBytes()).toBeGreaterThan(bytes);
    w.restart();
    const again = await w.documents();
    expect(again.documents.version).toBe(1);
    const texts = (of: MeshDocuments) => of.stored.map(({ key, text }) => [key, text]);
    expect(texts(again.documents)).toEqual(texts(documents));
    expect(again.state.documents.textBytes()).toBe(bytes);
    expect(again.state.documents.staging.current()).toBeNull();
    expect(await apply(w, again.documents, "two")).toBe("applied 2");
    expect(again.state.check()).toEqual([]);
  });

  test.each([0, 1, stateLimits.documentRowsPerWrite, many - 1])(
    "what was published has its audit rows, when %d of them were there",
    async (there) => {
      const w = new DocumentWorld();
      const { documents, state } = await w.documents();
      await apply(w, documents, "one");
      const { staging } = state.documents;
      const append = state.audit.append.bind(state.audit);
      let rows = 0;
      // The process ends within the transaction of the row after the last one, which undoes all of it.
      state.audit.append = (entry) => {
        if (rows++ >= there) throw new Error("the process ended");
        return append(entry);
      };
      expect(await apply(w, documents, "two")).toBe("applied 2");
      expect(staging.current()?.isPublished).toBe(true);
      w.restart();
      const again = await w.documents();
      expect(again.documents.version).toBe(2);
      expect(marks(w)).toEqual(new Set(["two"]));
      expect(audited(again.state, 2).sort()).toEqual(wanted("one", "two"));
      expect(again.state.documents.staging.current()).toBeNull();
      expect(again.state.check()).toEqual([]);
    },
  );
});
