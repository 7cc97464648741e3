/** A node gives its place away, with processes that a few promises stand for. What real ones do is conformance/upgrade's. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Handover, Received } from "../../host/handover.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { succeed, words } from "./succession.ts";
import { Upgrades } from "./upgrade.ts";

/** Both ends of a link. */
function link() {
  const end = () => {
    const waiting: string[] = [];
    const takers: ((message: string | null) => void)[] = [];
    let isOver = false;
    const give = (message: string | null): void => {
      isOver ||= message === null;
      const take = takers.shift();
      if (take !== undefined) take(message);
      else if (message !== null) waiting.push(message);
    };
    const next = (): Promise<string | null> => {
      const message = waiting.shift();
      if (message !== undefined) return Promise.resolve(message);
      return isOver ? Promise.resolve(null) : new Promise((resolve) => takers.push(resolve));
    };
    return { give, next };
  };
  const [one, other] = [end(), end()];
  return {
    old: { send: other.give, next: one.next, close: () => other.give(null) },
    young: { send: one.give, next: other.next, close: () => one.give(null) },
  };
}

type Ran = { readonly exitCode: number; readonly output: string };
const version = { exitCode: 0, output: '{"name":"fairlead","version":"2.0.0"}\n' };

function world(
  programs: {
    version?: Ran | MeshError;
    check?: Ran;
    cannotStart?: boolean;
    executable?: string | null;
  } = {},
) {
  const clock = new FakeClock(0);
  const events: string[] = [];
  const records: { readonly level: string; readonly message: string; readonly fields: object }[] = [];
  const ends = link();
  const ended = Promise.withResolvers<string>();
  const handover: Handover = {
    received: null,
    start: async (program, args) => {
      if (programs.cannotStart === true) throw new MeshError("io", "local", `cannot start ${program}`);
      events.push(`start ${program} ${args.join(" ")}`);
      return {
        pid: 77,
        link: ends.old,
        ended: ended.promise,
        kill: () => {
          events.push("kill");
          ended.resolve("by SIGKILL");
        },
        stopAccepting: () => void events.push("stop accepting"),
        acceptAgain: async () => void events.push("accept again"),
        letGo: () => void events.push("let go"),
      };
    },
  };
  const upgrades = new Upgrades({
    clock,
    logger: {
      log: (level, _scope, message, fields) => void records.push({ level, message, fields: fields ?? {} }),
    },
    process: {
      arguments: ["node", "-f", "mesh"],
      pid: 7,
      run: async (program, args) => {
        if (program === "sha256sum") return { exitCode: 0, output: `${"a".repeat(64)}  ${args[1]}\n` };
        events.push(`run ${args.join(" ")}`);
        if (args[0] !== "version") return programs.check ?? { exitCode: 0, output: "" };
        const answer = programs.version ?? version;
        if (answer instanceof MeshError) throw answer;
        return answer;
      },
    },
    handover,
    version: "1.0.0",
    executable: async () => (programs.executable === undefined ? "/bin/fairlead" : programs.executable),
    host: { pause: async () => void events.push("pause"), resume: () => void events.push("resume") },
    announce: (pid) => void events.push(`announce ${pid}`),
    giveWay: (deadlineMs) => void events.push(`give way in ${deadlineMs}`),
  });
  const run = (more: { checkOnly?: boolean; program?: string | null } = {}) =>
    upgrades.run({
      program: "/new",
      by: "uid=0",
      checkOnly: false,
      deadlineMs: 1_000,
      readyMs: upgradeLimits.readyMs,
      ...more,
    });
  return { clock, events, records, ends, end: ended.resolve, upgrades, run };
}

const begun = ["run version --json", "run node -f mesh --check", "pause", "start /new node -f mesh"];
const takenBack = ["kill", "accept again", "resume"];

describe("an upgrade", () => {
  test("looks at the program, waits for it, hands over, watches it, and lets go; and is on record", async () => {
    const w = world();
    const running = w.run();
    await w.clock.advance(1_000);
    expect(w.events).toEqual(begun);
    expect(w.upgrades.step).toContain("/new, asked for by uid=0, waits for the new process");
    w.ends.young.send(words.ready);
    await w.clock.advance(1_000);
    expect(w.events.at(-1)).toBe("stop accepting");
    expect(await w.ends.young.next()).toBe(words.take);
    w.ends.young.send(words.serving);
    await w.clock.advance(upgradeLimits.proveMs - 1);
    expect(w.events.at(-1)).toBe("stop accepting");
    await w.clock.advance(1);
    expect(await w.ends.young.next()).toBe(words.yours);
    expect(await running).toEqual({
      result: "done",
      from: "1.0.0",
      to: "2.0.0",
      program: "/new",
      sha256: "a".repeat(64),
      pid: 77,
      reason: null,
    });
    expect(w.events.slice(begun.length)).toEqual([
      "stop accepting",
      "announce 77",
      "let go",
      "give way in 1000",
    ]);
    expect(w.records.at(-1)).toMatchObject({
      level: "info",
      message: "upgrade: done",
      fields: { by: "uid=0", program: "/new", from: "1.0.0", to: "2.0.0", sha256: "a".repeat(64), pid: 77 },
    });
    // What was waited for came: nothing waits for it any longer.
    expect(w.clock.timers).toBe(0);
    // It is not this process's place any more.
    expect(w.upgrades.step).toContain("drains");
    expect(String(await rejectionOf(w.run()))).toContain("drains; wait for its end");
  });

  test("a second one is refused by the name of the first", async () => {
    const w = world();
    const running = w.run();
    await w.clock.advance(1);
    expect(String(await rejectionOf(w.run({ program: "/other" })))).toContain(
      "an upgrade to /new, asked for by uid=0, waits for the new process",
    );
    w.end("with exit code 1");
    await w.clock.advance(1);
    expect((await running).result).toBe("rolled back");
    expect(w.upgrades.step).toBeNull();
  });

  const cannotRun = new MeshError("io", "local", "cannot run /new: EACCES");
  for (const [name, programs, reason] of [
    ["is not executable", { version: cannotRun }, "cannot run /new: EACCES"],
    ["dies at once", { version: { exitCode: 139, output: "" } }, "fairlead version ended with 139"],
    [
      "is another program",
      { version: { exitCode: 0, output: "bash 5\n" } },
      "does not say that it is fairlead",
    ],
    [
      "says no version",
      { version: { exitCode: 0, output: '{"name":"fairlead"}' } },
      "does not say that it is fairlead",
    ],
    [
      "does not take the settings",
      { check: { exitCode: 2, output: "--waypoint: unknown" } },
      "--waypoint: unknown",
    ],
  ] as const)
    test(`a program that ${name} is refused before anything has changed`, async () => {
      const w = world(programs);
      const outcome = await w.run();
      expect([outcome.result, outcome.pid]).toEqual(["refused", null]);
      expect(outcome.reason).toContain(reason);
      expect(w.events.every((event) => event.startsWith("run "))).toBe(true);
      expect(w.records.at(-1)).toMatchObject({ level: "error", message: "upgrade: refused" });
      expect(w.upgrades.step).toBeNull();
    });

  test("looking alone starts nothing", async () => {
    const w = world();
    expect(await w.run({ checkOnly: true })).toMatchObject({ result: "checked", to: "2.0.0", reason: null });
    expect(w.events).toEqual(begun.slice(0, 2));
  });

  test("without a program it is the node's own; from source there is none", async () => {
    const w = world();
    expect(await w.run({ checkOnly: true, program: null })).toMatchObject({ program: "/bin/fairlead" });
    const source = world({ executable: null });
    expect(String(await rejectionOf(source.run({ program: null })))).toContain("runs from source");
    expect(source.upgrades.step).toBeNull();
  });

  for (const [name, happen, events, reason] of [
    [
      "dies before it is ready",
      async (w: World) => w.end("with exit code 3"),
      takenBack,
      "ended with exit code 3 before it took over",
    ],
    [
      "never becomes ready",
      (w: World) => w.clock.advance(upgradeLimits.readyMs),
      takenBack,
      "was not ready within 60 s",
    ],
    ["says something else", async (w: World) => w.ends.young.send("hello"), takenBack, "it said hello"],
    [
      "closes its link and lives",
      async (w: World) => {
        w.ends.young.close();
        await w.clock.advance(2_000);
      },
      takenBack,
      "closed its link",
    ],
    [
      "does not accept",
      async (w: World) => {
        w.ends.young.send(words.ready);
        await w.clock.advance(upgradeLimits.takeMs);
      },
      ["stop accepting", ...takenBack],
      "did not accept within 10 s",
    ],
    [
      "is killed right after it took over",
      async (w: World) => {
        w.ends.young.send(words.ready);
        w.ends.young.send(words.serving);
        await w.clock.advance(upgradeLimits.proveMs - 1);
        w.end("by SIGKILL");
      },
      ["stop accepting", ...takenBack],
      "ended by SIGKILL right after it took over",
    ],
    [
      "is given up, since this process is told to end",
      async (w: World) => {
        w.ends.young.send(words.ready);
        w.ends.young.send(words.serving);
        await w.clock.advance(1);
        w.upgrades.abandon("this node was told to end");
      },
      ["stop accepting", ...takenBack],
      "this node was told to end",
    ],
  ] as const)
    test(`a process that ${name} is taken back`, async () => {
      const w = world();
      const running = w.run();
      await w.clock.advance(1);
      await happen(w);
      await w.clock.advance(1);
      const outcome = await running;
      expect([outcome.result, outcome.to]).toEqual(["rolled back", "2.0.0"]);
      expect(outcome.reason).toContain(reason);
      await w.clock.advance(10 * upgradeLimits.readyMs);
      expect(w.events.slice(begun.length)).toEqual([...events]);
      expect(w.records.at(-1)).toMatchObject({ level: "error", message: "upgrade: rolled back" });
      // And another one may come.
      expect(w.upgrades.step).toBeNull();
    });

  test("a process that cannot be started leaves all as it was", async () => {
    const w = world({ cannotStart: true });
    expect(await w.run()).toMatchObject({ result: "rolled back", pid: null, reason: "cannot start /new" });
    expect(w.events).toEqual([...begun.slice(0, 3), "resume"]);
  });
});

type World = ReturnType<typeof world>;

describe("a process that takes over", () => {
  const silent = { log: () => {} };

  function successor() {
    const clock = new FakeClock(0);
    const ends = link();
    const tenure = { holds: false };
    let pending: readonly string[] = ["capture rules"];
    let accepts = 0;
    const received: Received = { link: ends.young, accept: async () => void accepts++ };
    const done = succeed(received, { pid: 77, clock, logger: silent, tenure, pending: () => pending });
    return {
      clock,
      old: ends.old,
      tenure,
      done,
      accepts: () => accepts,
      ready: () => {
        pending = [];
        return clock.advance(upgradeLimits.readyLookMs);
      },
    };
  }

  test("says that it is ready when it is, accepts when told, and the host is its own when told so", async () => {
    const s = successor();
    let isReady = false;
    const ready = s.old.next().then((said) => {
      isReady = said === words.ready;
    });
    await s.clock.advance(10_000);
    expect([isReady, s.accepts()]).toEqual([false, 0]);
    await s.ready();
    await ready;
    expect([isReady, s.accepts()]).toEqual([true, 0]);
    s.old.send(words.take);
    expect(await s.old.next()).toBe(words.serving);
    expect([s.accepts(), s.tenure.holds]).toEqual([1, false]);
    s.old.send(words.yours);
    expect(await s.done).toBe(true);
    expect(s.tenure.holds).toBe(true);
  });

  test("ends when the one before it is gone before that; what is set up on the host is not its own", async () => {
    const s = successor();
    s.old.close();
    await s.clock.advance(upgradeLimits.readyLookMs);
    expect([await s.done, s.tenure.holds, s.accepts()]).toEqual([false, false, 0]);
  });

  test("goes on when the one before it dies once it accepts: there is no other", async () => {
    const s = successor();
    await s.ready();
    s.old.send(words.take);
    expect(await s.old.next()).toBe(words.ready);
    expect(await s.old.next()).toBe(words.serving);
    s.old.close();
    expect([await s.done, s.tenure.holds]).toEqual([true, true]);
  });
});
