import { expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { CallAudit } from "./call_audit.ts";
import { LocalCallers } from "./local_callers.ts";

const id = (name: string) => new SpiffeId("td", "shop", name);

function callers() {
  const refused: string[] = [];
  const audit = {
    refused: (caller: string, action: string, target: string, detail: string) =>
      void refused.push([caller, action, target, detail].join("|")),
  } as unknown as CallAudit;
  const rules = [
    { uid: 1, gid: null, id: id("by-user") },
    { uid: null, gid: 20, id: id("by-group") },
    { uid: 1, gid: 20, id: id("by-both") },
    { uid: null, gid: null, id: id("by-nothing") },
    { uid: 1, gid: null, id: id("by-user") },
  ];
  const made = new LocalCallers(rules as unknown as ConstructorParameters<typeof LocalCallers>[0], audit);
  return {
    made,
    refused,
    as: (uid: number, gid: number) => made.identify({ uid, gid, pid: 7, groups: [] }, "act"),
  };
}

test("a rule is about a user, a group, or both; one about neither is about no caller", () => {
  const { as, refused } = callers();
  const names = (uid: number, gid: number) => as(uid, gid).ids.map(({ serviceAccount }) => serviceAccount);
  expect(names(1, 20)).toEqual(["by-user", "by-group", "by-both"]);
  expect([names(1, 21), names(2, 20)]).toEqual([["by-user"], ["by-group"]]);
  expect(as(1, 21)).toMatchObject({ name: "uid=1,gid=21", uid: 1 });
  expect(refused).toEqual([]);
  expect(() => as(2, 21)).toThrow("no identity is configured");
  expect(refused).toEqual(["uid=2,gid=21|act||no --identity-for rule matches this user (pid 7)"]);
});

test("a connection without a user is no caller's", () => {
  const { made, refused } = callers();
  expect(() => made.identify(null, "act")).toThrow("no identity is configured");
  expect(refused).toEqual(["unknown|act||the connection has no peer credentials"]);
});

test("a user has so many streams, and all users so many; one that is given back twice is given back once", () => {
  const { made, as, refused } = callers();
  const { maxStreams, maxStreamsPerUser } = workloadApiLimits;
  const user = (uid: number) => ({ ...as(1, 20), uid, name: `uid=${uid}` });
  const slots = Array.from({ length: maxStreamsPerUser }, () => made.takeStream(user(5), "act"));
  expect(() => made.takeStream(user(5), "act")).toThrow("too many streams");
  expect(refused).toEqual(["uid=5|act||too many streams"]);
  slots[0]?.release();
  slots[0]?.release();
  expect(made.streams).toBe(maxStreamsPerUser - 1);
  made.takeStream(user(5), "act");
  expect(() => made.takeStream(user(5), "act")).toThrow("too many streams");
  for (let uid = 100; made.streams < maxStreams; uid++) made.takeStream(user(uid), "act");
  expect(() => made.takeStream(user(99), "act")).toThrow("too many streams");
  slots[1]?.release();
  made.takeStream(user(99), "act");
  for (const slot of slots.slice(2)) slot.release();
  expect(made.streams).toBe(maxStreams - (maxStreamsPerUser - 2));
});

test("of a user whose last stream has ended nothing is kept", () => {
  const { made, as } = callers();
  const [one, two] = [made.takeStream(as(1, 20), "act"), made.takeStream(as(1, 20), "act")];
  const other = made.takeStream(as(2, 20), "act");
  expect(made.users).toBe(2);
  one.release();
  expect(made.users).toBe(2);
  two.release();
  other.release();
  expect([made.users, made.streams]).toEqual([0, 0]);
});
