/** Files: written whole, watched without loss. */
import { expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { HostFixture } from "./contract.ts";
import { bytesOf } from "./recorder.ts";

export function contractFiles(fixture: () => HostFixture): void {
  const files = () => fixture().host.files;
  const path = (name: string) => `${fixture().directory}/${name}`;
  const write = (name: string, text: string) =>
    fixture().settled(files().writeAtomic(path(name), bytesOf(text), 0o600));

  test("what was written is read back, whole, and leaves no neighbour behind", async () => {
    await fixture().settled(files().makeDirectory(path("written"), 0o700));
    await write("written/a", "old");
    await write("written/a", "new and longer");
    expect(await fixture().settled(files().readText(path("written/a")))).toBe("new and longer");
    expect(await fixture().settled(files().readBytes(path("written/a")))).toEqual(bytesOf("new and longer"));
    expect(await fixture().settled(files().list(path("written")))).toEqual([
      { path: path("written/a"), isDirectory: false },
    ]);
  });

  test("lines are added at a file's end, in a new file once it was moved away, and never to half a line", async () => {
    const append = (text: string) =>
      fixture().settled(files().appendLines(path("lines"), bytesOf(text), 0o640));
    const read = () => fixture().settled(files().readText(path("lines")));
    await append("a\n");
    await append("b\nc\n");
    expect(await read()).toBe("a\nb\nc\n");
    await write("lines", 'a\n{"hal');
    await append("d\n");
    expect(await read()).toBe("a\nd\n");
    // Some other program's file.
    await write("lines", "a\nhal");
    expect(
      await rejectionOf(fixture().settled(files().appendLines(path("lines"), bytesOf("d\n"), 0o640))),
    ).toMatchObject({ code: "io" });
    expect(await read()).toBe("a\nhal");
    await fixture().settled(files().remove(path("lines")));
    await append("e\n");
    expect(await read()).toBe("e\n");
    const missing = files().appendLines(path("no/lines"), bytesOf("x\n"), 0o640);
    expect(await rejectionOf(fixture().settled(missing))).toMatchObject({ code: "io", blame: "local" });
  });

  test("a directory lists by name; what is no directory lists as null", async () => {
    await fixture().settled(files().makeDirectory(path("listed/inner"), 0o700));
    await write("listed/b", "");
    await write("listed/a", "");
    expect(await fixture().settled(files().list(path("listed")))).toEqual([
      { path: path("listed/a"), isDirectory: false },
      { path: path("listed/b"), isDirectory: false },
      { path: path("listed/inner"), isDirectory: true },
    ]);
    expect(await fixture().settled(files().list(path("listed/a")))).toBeNull();
    expect(await fixture().settled(files().list(path("nothing")))).toBeNull();
  });

  test("what is not there is io, with its path", async () => {
    const reads: (() => Promise<unknown>)[] = [
      () => files().readText(path("gone")),
      () => files().readBytes(path("gone")),
    ];
    for (const read of reads)
      expect(await rejectionOf(fixture().settled(read()))).toMatchObject({
        code: "io",
        blame: "local",
        message: expect.stringContaining(path("gone")),
      });
    expect(await rejectionOf(write("gone/x", "y"))).toMatchObject({ code: "io", blame: "local" });
  });

  test("what was removed is gone; to remove it again is harmless", async () => {
    await write("removed", "x");
    expect(await fixture().settled(files().exists(path("removed")))).toBe(true);
    await fixture().settled(files().remove(path("removed")));
    await fixture().settled(files().remove(path("removed")));
    expect(await fixture().settled(files().exists(path("removed")))).toBe(false);
  });

  test("what takes another's name has an identity of its own; what is written to does not", async () => {
    const identity = (name: string) => fixture().settled(files().identity(path(name)));
    expect(await identity("named")).toBeNull();
    await fixture().settled(files().appendLines(path("named"), bytesOf("one\n"), 0o600));
    const first = await identity("named");
    expect(first).toBeString();
    await fixture().settled(files().appendLines(path("named"), bytesOf("two\n"), 0o600));
    expect(await identity("named")).toBe(first);
    await write("named", "another");
    expect(await identity("named")).not.toBe(first);
    await fixture().settled(files().remove(path("named")));
    expect(await identity("named")).toBeNull();
    await fixture().settled(files().makeDirectory(path("folder"), 0o700));
    const folder = await identity("folder");
    await write("folder/inside", "x");
    expect(folder).toBeString();
    expect(await identity("folder")).toBe(folder);
  });

  test("a watched directory tells of files made, replaced and removed below it, a burst once", async () => {
    await fixture().settled(files().makeDirectory(path("watched/inner"), 0o700));
    let changes = 0;
    const stop = files().watch(path("watched"), () => changes++);
    await fixture().pass(300);
    expect(changes).toBe(0);
    for (const name of ["watched/a", "watched/b", "watched/c"]) await write(name, "1");
    await fixture().until(() => changes > 0, "the burst");
    await fixture().pass(300);
    // Each file is written beside its place and moved there: some nine events, and as many changes where they are far apart.
    expect(changes).toBeLessThan(9);
    for (const change of [
      () => write("watched/a", "2"),
      () => write("watched/inner/d", "1"),
      () => fixture().settled(files().remove(path("watched/b"))),
    ]) {
      const before = changes;
      await change();
      await fixture().until(() => changes > before, "a change");
      await fixture().pass(300);
    }
    stop();
    const before = changes;
    await write("watched/a", "3");
    await fixture().pass(300);
    expect(changes).toBe(before);
  });

  test("a watched file tells when it is replaced, removed and made again", async () => {
    await write("single", "1");
    let changes = 0;
    const stop = files().watch(path("single"), () => changes++);
    await fixture().pass(300);
    for (const change of [
      () => write("single", "2"),
      () => fixture().settled(files().remove(path("single"))),
      () => write("single", "3"),
    ]) {
      const before = changes;
      await change();
      await fixture().until(() => changes > before, "a change");
      await fixture().pass(300);
    }
    stop();
  });

  test("what happens beside a watched file is no change of it", async () => {
    await write("list", "1");
    let changes = 0;
    const stop = files().watch(path("list"), () => changes++);
    await fixture().pass(300);
    for (let line = 0; line < 5; line++) {
      await write("log", `line ${line}`);
      await fixture().pass(100);
    }
    expect(changes).toBe(0);
    await write("list", "2");
    await fixture().until(() => changes > 0, "a change");
    stop();
  });

  test("a path that is not there yet can be watched", async () => {
    let changes = 0;
    const stop = files().watch(path("later/on"), () => changes++);
    await fixture().pass(100);
    await fixture().settled(files().makeDirectory(path("later"), 0o700));
    await write("later/on", "here");
    await fixture().until(() => changes > 0, "the change");
    stop();
  });
}
