import { describe, expect, test } from "bun:test";
import { auditLimits, controlAdminLimits } from "../../base/limits/control.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { parseAdministrators } from "./administrator.ts";
import { Administrators } from "./administrators.ts";
import { BodyLoad } from "./body_load.ts";
import { ControlWorld, policy, uriOf } from "./testing/control_world.ts";

const { maxScanned, maxNamed, maxReasonLength, maxHeldSmallBodyBytes, maxBodyBytes } = controlAdminLimits;

function world(): ControlWorld {
  const made = new ControlWorld();
  made.addTenant("blue", "bluemark");
  made.addTenant("red", "redmark");
  return made;
}

describe("what a request may hold, and one more", () => {
  test("characters of a reason", async () => {
    const control = world();
    const revoke = (reason: string) =>
      control.ask("root", "POST", "/v1/revocations", { kind: "identity", value: uriOf("x"), reason });
    expect((await revoke("r".repeat(maxReasonLength))).status).toBeLessThan(300);
    const refused = await revoke("r".repeat(maxReasonLength + 1));
    expect([refused.status, refused.text.includes(`longer than ${maxReasonLength} characters`)]).toEqual([
      400,
      true,
    ]);
  });

  test("characters of what a document's text is called by", async () => {
    const control = world();
    const apply = (path: string) =>
      control.ask("root", "POST", "/v1/apply", { documents: [{ path, text: policy("blue", "p") }] });
    expect((await apply("p".repeat(meshLimits.maxSourceChars))).status).toBe(200);
    const refused = await apply("p".repeat(meshLimits.maxSourceChars + 1));
    expect([
      refused.status,
      refused.text.includes(`more than ${meshLimits.maxSourceChars} characters`),
    ]).toEqual([400, true]);
  });

  test("heads of the audit log that are known elsewhere", async () => {
    const control = world();
    const verify = (count: number) =>
      control.ask("root", "POST", "/v1/audit/verify", {
        heads: Array.from({ length: count }, () => ({ id: 1, hash: "aa" })),
      });
    expect((await verify(auditLimits.maxKnownHeads)).json()).toMatchObject({
      heads: auditLimits.maxKnownHeads,
    });
    const refused = await verify(auditLimits.maxKnownHeads + 1);
    expect([refused.status, refused.text.includes(`more than ${auditLimits.maxKnownHeads} heads`)]).toEqual([
      400,
      true,
    ]);
  });

  test("bytes of small bodies: half of what the others have left", () => {
    const load = new BodyLoad();
    const held = load.open("blue", maxBodyBytes);
    held.take(maxHeldSmallBodyBytes / 2);
    expect(() => held.take(1)).toThrow("use too much memory");
    const other = load.open("red", maxBodyBytes);
    other.take(maxHeldSmallBodyBytes / 4);
    expect(() => other.take(1)).toThrow("use too much memory");
  });

  test("bytes of all administrators", () => {
    const id = SpiffeId.parse(uriOf("alice"));
    if (id === null) throw new Error("no identity");
    const text = `apiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: team}\nspec:\n  role: mesh-admin\n  subjects: [{identity: "${id.uri}"}]\n`;
    const { administrators } = parseAdministrators([{ path: "a", text }], "istio-system");
    const [team] = administrators;
    if (team === undefined) throw new Error("no administrator");
    const room = controlAdminLimits.maxAdministratorBytes - "---\n".length - text.length;
    const none = {
      ...{ given: () => [], read: () => null, write: () => {} },
      ...{ isFirstRetired: () => false, retireFirst: () => {} },
    };
    const refusal = (more: number) =>
      new Administrators(none, "istio-system").refuse(
        [{ ...team, text: `${text}${"#".repeat(room - 1 + more)}\n` }],
        { kind: "identity", name: id.uri, id },
      );
    expect([refusal(0), refusal(1)]).toEqual([
      null,
      `administrators would take more than ${controlAdminLimits.maxAdministratorBytes} bytes`,
    ]);
  });
});

describe("what is looked at for one page of a tenant's, and what comes after it", () => {
  const [red] = world().revocations.filter(({ value }) => value.includes("redmark"));
  const [blue] = world().revocations.filter(({ value }) => value.includes("bluemark"));
  if (red === undefined || blue === undefined) throw new Error("two tenants");

  test("revocations", async () => {
    for (const [before, isFound] of [
      [maxScanned - 1, true],
      [maxScanned, false],
    ] as const) {
      const control = world();
      control.revocations = [...Array.from({ length: before }, () => red), blue];
      const { revocations, next } = (await control.ask("blue", "GET", "/v1/revocations")).json();
      expect([(revocations as unknown[]).length, next === null]).toEqual([isFound ? 1 : 0, false]);
      if (isFound) continue;
      const more = (await control.ask("blue", "GET", `/v1/revocations?after=${next}`)).json();
      expect(more.revocations as unknown[]).toHaveLength(1);
    }
  });

  test("certificates", async () => {
    const [of = null] = world().certificates.filter(({ identity }) => identity.includes("/ns/red/"));
    if (of === null) throw new Error("red has one");
    for (const [before, isFound] of [
      [maxScanned - 1, true],
      [maxScanned, false],
    ] as const) {
      const control = world();
      control.certificates = Array.from({ length: before + 1 }, (_, index) => ({
        ...of,
        serial: index.toString(16).padStart(8, "0"),
        issuedAtMs: before - index,
        identity: index === before ? "spiffe://cluster.local/ns/blue/sa/one" : of.identity,
      }));
      const { certificates, next } = (await control.ask("blue", "GET", "/v1/certificates")).json();
      expect([(certificates as unknown[]).length, next === null]).toEqual([isFound ? 1 : 0, false]);
      if (isFound) continue;
      const more = (await control.ask("blue", "GET", `/v1/certificates?after=${next}`)).json();
      expect(more.certificates as unknown[]).toHaveLength(1);
    }
  });

  test("names of documents in the history", async () => {
    for (const [names, seen] of [
      [maxNamed - 1, 2],
      [maxNamed, 1],
    ] as const) {
      const control = world();
      const [change] = control.versions.at(-1)?.diff ?? [];
      if (change === undefined) throw new Error("a version changes something");
      const version = control.versions.length;
      control.versions.push({
        ...{ version, actor: "red", action: "apply", documents: control.current },
        diff: Array.from({ length: names }, (_, index) => ({
          ...change,
          key: `AuthorizationPolicy red/${index.toString().padStart(8, "0")}`,
        })),
      });
      const { versions, next } = (await control.ask("root", "GET", "/v1/history")).json();
      expect([(versions as unknown[]).length, next === null]).toEqual([seen, false]);
    }
  });
});
