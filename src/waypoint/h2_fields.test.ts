import { expect, test } from "bun:test";
import { addFields, withoutConnectionFields, withoutLength } from "./h2_fields.ts";

test("what HTTP/1 says of a connection has no place in HTTP/2 (RFC 9113 §8.2.2)", () => {
  for (const name of ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])
    expect(withoutConnectionFields(["x-a", "1", name, "v", "te", "trailers"])).toEqual([
      ...["x-a", "1", "te", "trailers"],
    ]);
});

test("no value ends its line, and no name is one that may not be said, whoever put them there (§8.2.1)", () => {
  for (const value of ["a\r\nx-b: 1", "a\nb", "a\rb", "a\0b", "a\u0100b"])
    expect([value, addFields([], ["x-a", value, "x-c", "2"])]).toEqual([value, ["x-c", "2"]]);
  // Twice: what was found to be good once is remembered.
  for (const name of ["X-A", "", "x a", "x:a", ":path", "x\n"])
    for (let time = 0; time < 2; time++)
      expect([name, addFields([":status", "200"], [name, "1", "x-c", "2"])]).toEqual([
        name,
        [":status", "200", "x-c", "2"],
      ]);
  expect(addFields([], ["x-c", "caf\u00e9\ttab"])).toEqual(["x-c", "caf\u00e9\ttab"]);
});

test("a length goes where the content is another", () => {
  expect(withoutLength(["a", "1", "content-length", "5", "b", "2"])).toEqual(["a", "1", "b", "2"]);
});
