/** A node gives its place away, with processes that a few promises stand for. What real ones do is conformance/upgrade's. */
import { describe, expect, test } from "bun:test";
import { takeCounts } from "../../base/counts/passed.ts";
import { MeshError } from "../../base/errors.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Handover, Received } from "../../host/handover.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { succeed, words } from "./succession.ts";
import { Upgrades } from "./upgrade.ts";

/** Both ends of a link. */
function link() {
  const end = () => {
    const waiting: string[] = [];
    // One call at a time: the last one has the next message.
    let taker: ((message: string | null) => void) | null = null;
    let isOver = false;
    const give = (message: string | null): void => {
      isOver ||= message === null;
      const take = taker;
      taker = null;
      if (take !== null) take(message);
      else if (message !== null) waiting.push(message);
    };
    const next = (): Promise<string | null> => {
      const message = waiting.shift();
      if (message !== undefined) return Promise.resolve(message);
      if (isOver) return Promise.resolve(null);
      return new Promise((resolve) => {
        taker = resolve;
      });
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
    /** Of the file, each time that it is asked. */
    digests?: string[];
  } = {},
) {
  const clock = new FakeClock(0);
  const events: string[] = [];
  const records: { readonly level: string; readonly message: string; readonly fields: object }[] = [];
  const ends = link();
  const ended = Promise.withResolvers<string>();
  const metrics = new MetricRegistry();
  let last = async (): Promise<void> => {};
  let held = 0;
  const handover: Handover = {
    received: null,
    hold: async (name) => {
      held++;
      return {
        name,
        path: "/held",
        digest: async () => programs.digests?.shift() ?? "a".repeat(64),
        close: () => void held--,
      };
    },
    start: async ({ name, path }, args) => {
      if (programs.cannotStart === true) throw new MeshError("io", "local", `cannot start ${name}`);
      events.push(`start ${path} ${args.join(" ")}`);
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
        expect(program).toBe("/held");
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
    giveWay: (deadlineMs, counted) => {
      events.push(`give way in ${deadlineMs}`);
      last = counted;
    },
    metrics,
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
  return {
    ...{ clock, events, records, ends, end: ended.resolve, upgrades, run, metrics },
    /** Files that are open. */
    held: () => held,
    finish: () => last(),
  };
}

const begun = ["run version --json", "run node -f mesh --check", "pause", "start /held node -f mesh"];
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
    expect(w.held()).toBe(0);
    // What was waited for came: nothing waits for it any longer.
    expect(w.clock.timers).toBe(0);
    // It is not this process's place any more.
    expect(w.upgrades.step).toContain("drains");
    expect(String(await rejectionOf(w.run()))).toContain("drains; wait for its end");
  });

  describe("what was counted", () => {
    const knows = { exitCode: 0, output: '{"name":"fairlead","version":"2.0.0","takes":"counts"}' };

    /** The new process: what it shows, and how it answers each message. */
    function young(w: World) {
      const registry = new MetricRegistry();
      registry.counter("opened", "Opened.", []);
      const said: string[] = [];
      const listen = async (): Promise<void> => {
        for (;;) {
          const message = await w.ends.young.next();
          if (message === null) return;
          said.push(message.startsWith(words.counts) ? words.counts : message);
          if (message === words.take) w.ends.young.send(words.serving);
          if (!message.startsWith(words.counts)) continue;
          expect(takeCounts(registry, message.slice(words.counts.length))).toBe(true);
          w.ends.young.send(words.counted);
        }
      };
      void listen();
      const shows = () => Number(/^opened_total (\d+)$/m.exec(writeMetrics(registry, "prometheus"))?.[1]);
      return { said, shows };
    }

    test("goes to the new process before it accepts, and while this one drains, to its last", async () => {
      const w = world({ version: knows });
      const opened = w.metrics.counter("opened", "Opened.", []).with({});
      opened.add(5);
      const running = w.run();
      await w.clock.advance(1);
      const other = young(w);
      w.ends.young.send(words.ready);
      await w.clock.advance(1);
      expect([other.said, other.shows()]).toEqual([[words.counts, words.take], 5]);
      // Until it is certain that there is no way back, the rest is this process's.
      opened.add(1);
      await w.clock.advance(upgradeLimits.proveMs);
      expect((await running).result).toBe("done");
      expect([other.said.at(-1), other.shows()]).toEqual([words.yours, 5]);
      await w.clock.advance(upgradeLimits.countsMs);
      expect(other.shows()).toBe(6);
      opened.add(2);
      await w.clock.advance(upgradeLimits.countsMs);
      expect(other.shows()).toBe(8);
      opened.add(1);
      await w.finish();
      expect(other.shows()).toBe(9);
      expect(w.clock.timers).toBe(0);
    });

    test("is told to no version that does not know it", async () => {
      const w = world();
      w.metrics.counter("opened", "Opened.", []).with({}).add(5);
      const running = w.run();
      await w.clock.advance(1);
      const other = young(w);
      w.ends.young.send(words.ready);
      await w.clock.advance(1);
      await w.clock.advance(upgradeLimits.proveMs);
      expect((await running).result).toBe("done");
      await w.clock.advance(upgradeLimits.countsMs);
      await w.finish();
      expect(other.said).toEqual([words.take, words.yours]);
    });

    test("is not waited for when the new process is gone, or says nothing any more", async () => {
      for (const isSilent of [true, false]) {
        const w = world({ version: knows });
        const opened = w.metrics.counter("opened", "Opened.", []).with({});
        const running = w.run();
        await w.clock.advance(1);
        w.ends.young.send(words.ready);
        await w.clock.advance(1);
        w.ends.young.send(words.serving);
        await w.clock.advance(upgradeLimits.proveMs);
        expect((await running).result).toBe("done");
        opened.add(1);
        if (!isSilent) w.ends.young.close();
        let isFinished = false;
        const finishing = w.finish().then(() => {
          isFinished = true;
        });
        await w.clock.advance(upgradeLimits.lastCountsMs - 1);
        expect(isFinished).toBe(!isSilent);
        await w.clock.advance(1);
        await finishing;
        expect(w.clock.timers).toBe(0);
      }
    });
  });

  test("a file that is written to while the upgrade goes on is found before the new process accepts", async () => {
    const w = world({ digests: ["a".repeat(64), "b".repeat(64)] });
    const running = w.run();
    await w.clock.advance(1);
    w.ends.young.send(words.ready);
    await w.clock.advance(1);
    const outcome = await running;
    expect(outcome).toMatchObject({ result: "rolled back", sha256: "a".repeat(64) });
    expect(outcome.reason).toContain("was changed after it was looked at");
    expect(w.events.slice(begun.length)).toEqual(takenBack);
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

  const cannotRun = new MeshError("io", "local", "cannot run /held: EACCES");
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
      expect(w.held()).toBe(0);
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
      expect(w.held()).toBe(0);
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
    const counts: string[] = [];
    const received: Received = { link: ends.young, accept: async () => void accepts++ };
    const done = succeed(received, {
      pid: 77,
      clock,
      logger: silent,
      tenure,
      pending: () => pending,
      takeCounts: (text) => void counts.push(text),
    });
    return {
      clock,
      old: ends.old,
      tenure,
      done,
      counts,
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
    expect(await s.done).not.toBeNull();
    expect(s.tenure.holds).toBe(true);
  });

  test("takes what the one before it has counted, before it accepts and to that one's end", async () => {
    const s = successor();
    await s.ready();
    expect(await s.old.next()).toBe(words.ready);
    s.old.send(`${words.counts}one`);
    expect([await s.old.next(), s.accepts()]).toEqual([words.counted, 0]);
    s.old.send(words.take);
    expect(await s.old.next()).toBe(words.serving);
    s.old.send(words.yours);
    const succession = await s.done;
    let isGone = false;
    const gone = succession?.predecessorGone.then(() => {
      isGone = true;
    });
    s.old.send(`${words.counts}two`);
    expect(await s.old.next()).toBe(words.counted);
    expect([s.counts, isGone]).toEqual([["one", "two"], false]);
    s.old.close();
    await gone;
    expect(isGone).toBe(true);
  });

  test("ends when the one before it is gone before that; what is set up on the host is not its own", async () => {
    const s = successor();
    s.old.close();
    await s.clock.advance(upgradeLimits.readyLookMs);
    expect([await s.done, s.tenure.holds, s.accepts()]).toEqual([null, false, 0]);
  });

  test("goes on when the one before it dies once it accepts: there is no other", async () => {
    const s = successor();
    await s.ready();
    s.old.send(words.take);
    expect(await s.old.next()).toBe(words.ready);
    expect(await s.old.next()).toBe(words.serving);
    s.old.close();
    const succession = await s.done;
    expect(s.tenure.holds).toBe(true);
    await succession?.predecessorGone;
  });
});
