import { expect, test } from "bun:test";
import { DescriptorWriter } from "./process.ts";

/** POSIX PIPE_BUF on Linux. */
const pipeBuf = 4096;

function scene() {
  const written: string[] = [];
  const writer = new DescriptorWriter((bytes) => {
    written.push(new TextDecoder().decode(bytes));
    return bytes.length;
  });
  return { written, writer };
}

test("what leaves at a time is whole lines: another process may write to the same reader in between", () => {
  const { written, writer } = scene();
  const line = `${"x".repeat(99)}\n`;
  expect(writer.write(line.repeat(100))).toBe(true);
  expect(written.join("")).toBe(line.repeat(100));
  for (const text of written) {
    expect(text.length).toBeLessThanOrEqual(pipeBuf);
    expect(text.endsWith("\n")).toBe(true);
  }
  expect(written.length).toBe(Math.ceil(100 / Math.floor(pipeBuf / line.length)));
});

test("a line that is longer than a pipe takes at once is cut, and those after it are whole", () => {
  const { written, writer } = scene();
  const long = `${"y".repeat(pipeBuf + 10)}\n`;
  expect(writer.write(`a\n${long}b\n`)).toBe(true);
  expect(written.join("")).toBe(`a\n${long}b\n`);
  expect(written.map(({ length }) => length)).toEqual([2, pipeBuf, 13]);
});
