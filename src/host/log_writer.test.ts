import { describe, expect, test } from "bun:test";
import { hostLimits } from "../base/limits/host.ts";
import type { Clock } from "./host.ts";
import { LogWriter } from "./log_writer.ts";

function writerTo(write: (text: string) => boolean) {
  const due: (() => void)[] = [];
  const clock: Clock = {
    now: () => 0,
    wallMs: () => 0,
    defer: (callback) => callback(),
    setTimer: (_delayMs, callback) => {
      due.push(callback);
      return { cancel: () => void due.splice(due.indexOf(callback), 1) };
    },
  };
  return {
    writer: new LogWriter(clock, write, "text", "info"),
    tick: () => {
      for (const call of due.splice(0)) call();
    },
  };
}

describe("log writer", () => {
  test("gathers lines until the time is up, and leaves out what is below the level", () => {
    const written: string[] = [];
    const { writer, tick } = writerTo((text) => written.push(text) > 0);
    writer.log("info", "access", "one");
    writer.log("debug", "access", "two");
    writer.log("warn", "access", "three");
    expect(written).toEqual([]);
    tick();
    expect(written.map((text) => text.split("\n").length - 1)).toEqual([2]);
  });

  test("does not hold more than its buffer", () => {
    const written: string[] = [];
    const { writer } = writerTo((text) => written.push(text) > 0);
    writer.log("info", "access", "x".repeat(hostLimits.logBufferBytes));
    expect(written).toHaveLength(1);
  });

  test("counts the lines that a full disk swallowed, and goes on", () => {
    let full = true;
    const { writer, tick } = writerTo(() => !full);
    writer.log("info", "access", "one");
    writer.log("info", "access", "two");
    tick();
    full = false;
    writer.log("info", "access", "three");
    tick();
    expect(writer.lost).toBe(2);
  });

  test("whoever watches a target hears all of it, whatever the level, and nothing of another", () => {
    const written: string[] = [];
    const { writer, tick } = writerTo((text) => written.push(text) > 0);
    const heard: string[] = [];
    const wants = () => [
      writer.wants("debug", "access"),
      writer.wants("debug", "xds"),
      writer.wants("info", "xds"),
    ];
    expect(wants()).toEqual([false, false, true]);
    const end = writer.watch("access", ({ level, message, fields }) =>
      heard.push(`${level} ${message} ${JSON.stringify(fields)}`),
    );
    expect(wants()).toEqual([true, false, true]);
    writer.log("debug", "access", "one", { a: 1 });
    writer.log("error", "xds", "two");
    end();
    writer.log("error", "access", "three");
    tick();
    expect(heard).toEqual(['debug one {"a":1}']);
    expect(written.join("")).not.toContain("one");
    expect(wants()).toEqual([false, false, true]);
  });
});
