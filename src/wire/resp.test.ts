import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { redisLimits } from "../base/limits/redis.ts";
import { encodeCommand, RespReader, type RespReply } from "./resp.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const read = (text: string) => new RespReader().receive(bytes(text));

describe("RESP2", () => {
  test("a command is an array of bulk strings, by bytes", () => {
    expect(new TextDecoder().decode(encodeCommand(["SET", "é", ""]))).toBe(
      "*3\r\n$3\r\nSET\r\n$2\r\né\r\n$0\r\n\r\n",
    );
  });

  test("each type of reply", () => {
    expect(
      read("+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n"),
    ).toEqual([
      { kind: "text", text: "OK" },
      { kind: "error", message: "ERR no" },
      { kind: "integer", value: -7 },
      { kind: "text", text: "a\r\n" },
      { kind: "null" },
      { kind: "null" },
      {
        kind: "list",
        items: [
          { kind: "integer", value: 1 },
          { kind: "list", items: [{ kind: "text", text: "" }] },
        ],
      },
    ]);
  });

  test("however it is cut, the replies are the same", () => {
    const whole = bytes("*2\r\n:1\r\n$5\r\nhello\r\n+OK\r\n$-1\r\n");
    const expected = new RespReader().receive(whole);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: whole.length }), { maxLength: 8 }), (cuts) => {
        const reader = new RespReader();
        const found: RespReply[] = [];
        let from = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), whole.length]) {
          found.push(...reader.receive(whole.slice(from, cut)));
          from = cut;
        }
        expect(found).toEqual([...expected]);
      }),
    );
  });

  test("what is no reply, or too much of one, ends the connection", () => {
    for (const bad of [
      "!x\r\n",
      ":x\r\n",
      "$x\r\n",
      "$-2\r\n",
      `$${redisLimits.maxReplyBytes + 1}\r\n`,
      `*${redisLimits.maxReplyItems + 1}\r\n`,
      "*1\r\n".repeat(redisLimits.maxReplyDepth + 1),
      "+a\rb\r\n",
      "$1\r\nabc",
      `+${"x".repeat(redisLimits.maxLineBytes + 1)}`,
    ])
      expect(() => read(bad)).toThrow("the Redis server sent");
  });

  test("up to the bounds it is read", () => {
    expect(read(`$${redisLimits.maxReplyBytes}\r\n`)).toEqual([]);
    expect(read(`*${redisLimits.maxReplyItems}\r\n`)).toEqual([]);
    expect(read(`${"*1\r\n".repeat(redisLimits.maxReplyDepth)}:1\r\n`)).toHaveLength(1);
  });
});
