import { describe, expect, test } from "bun:test";
import { rejectionOf } from "../base/testing/rejection.ts";
import { NamedFiles } from "./named_files.ts";

const read: string[] = [];
const files = {
  readText: async (path: string) => {
    read.push(path);
    return "text";
  },
  readBytes: async (path: string) => {
    read.push(path);
    return new Uint8Array(0);
  },
};

describe("files that documents name", () => {
  test("are in the folder of their namespace, by name or by the whole path", async () => {
    const named = new NamedFiles(files, "/etc/fairlead/files");
    expect(await named.readText("shop", "ca.pem")).toBe("text");
    expect(await named.readText("shop", "/etc/fairlead/files/shop/ca.pem")).toBe("text");
    expect(read).toEqual(["/etc/fairlead/files/shop/ca.pem", "/etc/fairlead/files/shop/ca.pem"]);
  });

  test("and nowhere else: not another namespace's, not above, not hidden, not this program's own", async () => {
    const named = new NamedFiles(files, "/etc/fairlead/files");
    const before = read.length;
    for (const name of [
      "/etc/fairlead/files/bank/key.pem",
      "/etc/fairlead/files/shop/../bank/key.pem",
      "../bank/key.pem",
      "/var/lib/fairlead/ca/key.pem",
      "sub/key.pem",
      ".hidden",
      "..",
      "",
      "a\u0000b",
    ])
      expect(await rejectionOf(named.readText("shop", name))).toMatchObject({ code: "configuration" });
    expect(await rejectionOf(named.readText("../bank", "key.pem"))).toMatchObject({ code: "configuration" });
    expect(read.length).toBe(before);
  });

  test("without a folder there are none", async () => {
    expect(await rejectionOf(new NamedFiles(files, null).readText("shop", "ca.pem"))).toMatchObject({
      code: "configuration",
    });
  });
});
