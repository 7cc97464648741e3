import { describe, expect, test } from "bun:test";
import { formatLogLine, isLogged } from "./log_format.ts";

const wallMs = Date.UTC(2026, 10, 22, 12, 0, 0, 5);
const fields = { "src.addr": "10.0.0.1:5", "src.workload": "cart", "dst.service": null, bytes_sent: 5 };

describe("log lines", () => {
  test("text: tabs between the head, addresses bare, words quoted, nothing for null", () => {
    expect(formatLogLine("text", wallMs, "info", "access", "connection complete", fields)).toBe(
      '2026-11-22T12:00:00.005Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:5 src.workload="cart" bytes_sent=5\n',
    );
  });

  test("JSON: one object", () => {
    const line = formatLogLine("json", wallMs, "warn", "access", "connection failed", {
      error: "a\nb",
      "dst.service": null,
    });
    expect(JSON.parse(line)).toEqual({
      level: "warn",
      time: "2026-11-22T12:00:00.005Z",
      scope: "access",
      message: "connection failed",
      error: "a\nb",
    });
  });

  test("what a peer says never starts a line", () => {
    const line = formatLogLine("text", wallMs, "error", "access", "a\nb", {
      error: "x\r\ny",
      "dst.hbone_addr": "e\n2026",
    });
    expect(line.split("\n")).toHaveLength(2);
    expect(line).not.toContain("\r");
  });

  test("say what JSON.stringify says, whatever is in them", () => {
    const random = seeded(20261122);
    const odd = ["a", '"', "\\", "\n", "\t", "\u007f", "\u2028", "é", "\ud800", "[", "]", "~", " ", "!", "#"];
    const word = () => Array.from({ length: random() % 6 }, () => odd[random() % odd.length] ?? "").join("");
    for (let round = 0; round < 2_000; round++) {
      const [address, name] = [word(), word()];
      const said = {
        "dst.addr": address,
        name,
        none: null,
        absent: undefined,
        count: random(),
        nan: NaN,
        "7": true,
      };
      const json = formatLogLine("json", wallMs, "info", "access", name, said);
      const time = new Date(wallMs).toISOString();
      const whole = { level: "info", time, scope: "access", message: name, ...said };
      expect(json).toBe(`${JSON.stringify(whole, (_, value) => (value === null ? undefined : value))}\n`);
      const bare = (text: string) => JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
      expect(formatLogLine("text", wallMs, "info", "access", name, { "dst.addr": address, name })).toBe(
        `${time}\tinfo\taccess\t${bare(name)}\tdst.addr=${bare(address)} name=${JSON.stringify(name)}\n`,
      );
    }
  });

  test("levels", () => {
    expect([isLogged("debug", "info"), isLogged("info", "info"), isLogged("error", "warn")]).toEqual([
      false,
      true,
      true,
    ]);
  });
});

/** Numerical Recipes' linear congruential generator. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 8;
  };
}
