import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLimits } from "../../base/limits/host.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { bunProcess, detachProgram, followProgram, runProgram } from "./process.ts";
import { cleanRuns, readOnlyFiles } from "./released_memory.ts";

const probe = join(import.meta.dir, "../testing/host_probe.ts");
const scratch = mkdtempSync(join(tmpdir(), "fairlead-process-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("the process", () => {
  test("a program gets its input, and gives its output and exit code", async () => {
    const result = await runProgram("sh", ["-c", "cat; echo wrong >&2; exit 3"], "in ", 60_000);
    expect(result).toEqual({ exitCode: 3, output: "in wrong\n" });
  });

  test("a program that is not there is io, blame local", async () => {
    expect(await rejectionOf(runProgram("no-such-program-here", [], "", 60_000))).toMatchObject({
      code: "io",
      blame: "local",
      message: expect.stringContaining("no-such-program-here"),
    });
  });

  test("a program is killed after its time", async () => {
    // By itself it would end with 0.
    const result = await runProgram("sleep", ["20"], "", 100);
    expect(result.exitCode).toBe(143);
  });

  test("output is kept up to its bound", async () => {
    const result = await runProgram(
      "head",
      ["-c", String(hostLimits.maxRunOutputBytes + 5_000), "/dev/zero"],
      "",
      60_000,
    );
    expect([result.exitCode, result.output.length]).toEqual([0, hostLimits.maxRunOutputBytes]);
  });

  test("a detached program says that it is there, hears us, and outlives the process that started it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "detach-"));
    const heard = join(directory, "heard");
    // It is started by a process of its own, which is killed: its input ends then, and it goes on.
    const starter = Bun.spawn([process.execPath, probe, "detach", heard], { stdout: "pipe" });
    const reader = starter.stdout.getReader();
    const { value } = await reader.read();
    const [, pid = ""] = new TextDecoder().decode(value).split(" ");
    starter.kill("SIGKILL");
    await starter.exited;
    const until = async (text: string) => {
      while (
        !(
          await Bun.file(heard)
            .text()
            .catch(() => "")
        ).includes(text)
      )
        await Bun.sleep(20);
    };
    await until("word=hello");
    await until(`end of input, session ${pid}`);
    expect(() => detachProgram("no-such-program-here", [])).toThrow(
      expect.objectContaining({ code: "io", blame: "local" }),
    );
    expect(await detachProgram("true", []).spoke).toBe(false);
    rmSync(directory, { recursive: true });
  });

  test("a program that goes on is told of, until it is stopped, or ends; its input ends with us", async () => {
    let outputs = 0;
    const ended = Promise.withResolvers<void>();
    const heard = join(scratch, "heard");
    // The second line comes once the first was told.
    const program = `echo one; while [ ! -e ${heard} ]; do sleep 0.01; done; echo two`;
    followProgram("sh", ["-c", program], {
      onOutput: () => {
        outputs++;
        writeFileSync(heard, "");
      },
      onEnd: () => ended.resolve(),
    });
    await ended.promise;
    expect(outputs).toBe(2);
    // It waits for the end of its input, and is stopped by it.
    const first = Promise.withResolvers<void>();
    let ends = 0;
    const pidFile = join(scratch, "pid");
    const followed = followProgram("sh", ["-c", `echo $$ > ${pidFile}; echo there; cat; sleep 60`], {
      onOutput: () => first.resolve(),
      onEnd: () => void ends++,
    });
    await first.promise;
    const pid = Number((await Bun.file(pidFile).text()).trim());
    followed.stop();
    while (isRunning(pid)) await Bun.sleep(20);
    expect(ends).toBe(0);
    expect(() => followProgram("no-such-program-here", [], { onOutput() {}, onEnd() {} })).toThrow(
      "no-such-program-here",
    );
  });

  test("a pipe without a reader costs lines, not time", async () => {
    // Whoever has the other end reads nothing, and waits until the writer says that it is through.
    const through = join(scratch, "through");
    const idle = `while [ ! -e ${through} ]; do sleep 0.05; done`;
    const child = Bun.spawn(
      ["sh", "-c", `{ "${process.execPath}" "${probe}" output; : > ${through}; } | { ${idle}; }`],
      {
        stderr: "pipe",
      },
    );
    const { written, lost } = JSON.parse(await new Response(child.stderr).text());
    // A pipe holds 64 KiB.
    expect(written).toBeGreaterThan(10);
    expect(written).toBeLessThan(1_024);
    expect(lost).toBe(true);
  });

  test("signals are heard, and exit has its code", async () => {
    const child = Bun.spawn([process.execPath, probe, "signals"], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    const decoder = new TextDecoder();
    const read = async () => decoder.decode((await reader.read()).value);
    expect(await read()).toBe("listening\n");
    for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
      child.kill(signal);
      expect(await read()).toBe(`${signal}\n`);
    }
    expect(await child.exited).toBe(7);
  });

  test("a bug in a handler is heard, and ends its connection alone", async () => {
    const ran = await runProgram(process.execPath, [probe, "bug"], "", 60_000);
    expect(JSON.parse(ran.output)).toEqual([
      "bug in accept",
      "bug in data",
      "bug in end",
      "data: connection_reset",
      "end: connection_reset",
    ]);
  });

  test("when descriptors run out, connections are refused and the loop stays quiet", async () => {
    const child = Bun.spawn(["sh", "-c", `ulimit -n 64; exec "${process.execPath}" "${probe}" descriptors`], {
      stdout: "pipe",
    });
    const reader = child.stdout.getReader();
    const decoder = new TextDecoder();
    const port = Number(decoder.decode((await reader.read()).value));
    const sockets = Array.from({ length: 80 }, () => connect(port, "127.0.0.1").on("error", () => {}));
    const seen = JSON.parse(decoder.decode((await reader.read()).value));
    for (const socket of sockets) socket.destroy();
    expect(seen).toMatchObject({ dialled: "descriptors_exhausted", acceptedAgain: 1 });
    expect(seen.refused).toBeGreaterThan(0);
    // The reserve of a quarter stays free.
    expect(seen.atLimit).toBeLessThanOrEqual(48);
    // Bun alone spins here: it was measured at 990 ms of CPU a second.
    expect(seen.busyMs).toBeLessThan(250);
  });
});

test("a compiled binary has FFI, TLS, Unix sockets, and roots for HTTPS", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fairlead-compiled-"));
  try {
    const binary = join(directory, "probe");
    const built = await runProgram(
      process.execPath,
      ["build", "--compile", probe, "--outfile", binary],
      "",
      300_000,
    );
    expect(built.exitCode).toBe(0);
    const ran = await runProgram(binary, ["self"], "", 60_000);
    expect(JSON.parse(ran.output)).toEqual({
      standalone: true,
      sourceByForeignFunction: "127.0.0.9",
      peers: [true, true],
      protocol: "TLSv1.3 h2",
      ran: "ran",
      unixPeer: true,
      https: "heard, else tls_handshake",
      systemRoots: true,
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 300_000);

describe("modules", () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-module-"));
  const path = join(folder, "one.ts");
  const { loadModule } = bunProcess(null);
  const write = (text: string) => writeFileSync(path, text);

  test("TypeScript is a module; another version reads the file again, the same one does not", async () => {
    write("type A = number;\nexport const value: A = 1;");
    expect((await loadModule(path, "a")).value).toBe(1);
    write("export const value = 2;");
    expect((await loadModule(path, "a")).value).toBe(1);
    expect((await loadModule(path, "b")).value).toBe(2);
  });

  test("what is no module, throws, or is not there is a fault of the configuration", async () => {
    const fault = { code: "configuration", blame: "local", message: expect.stringContaining(path) };
    write("export const = 1;");
    expect(await rejectionOf(loadModule(path, "c"))).toMatchObject(fault);
    write('throw new Error("oops");');
    expect(await rejectionOf(loadModule(path, "d"))).toMatchObject(fault);
    rmSync(folder, { recursive: true });
    expect(await rejectionOf(loadModule(path, "e"))).toMatchObject(fault);
  });
});

test("what is of a file and cannot be written is looked at; nothing else", () => {
  const maps = [
    "00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/program",
    "00652000-00655000 rw-p 00052000 08:02 173521 /usr/bin/program",
    "00700000-00701000 r--p 00052000 08:02 173521 /usr/bin/program",
    "00800000-00801000 r--s 00052000 08:02 173521 /usr/share/shared",
    "7f0000000000-7f0000010000 rwxp 00000000 00:00 0 ",
    "7f0000010000-7f0000020000 r--p 00000000 00:00 0 ",
    "7f0000020000-7f0000030000 r-xp 00000000 00:00 0 [vdso]",
    "7fff00000000-7fff00002000 r-xp 00000000 08:02 135522 /lib/libc.so (deleted)",
    "",
  ].join("\n");
  expect(readOnlyFiles(maps)).toEqual([
    { start: 0x400000, bytes: 0x52000 },
    { start: 0x700000, bytes: 0x1000 },
    { start: 0x7fff00000000, bytes: 0x2000 },
  ]);
});

test("pages that are the process's own are left alone, and so are those that are not there", () => {
  const present = 1n << 63n;
  const file = present | (1n << 61n);
  const swapped = (1n << 62n) | (1n << 61n);
  // The lower half is the page's number, which is to have no say.
  const pages = [
    file | 0xffff_ffffn,
    file,
    present,
    0n,
    swapped,
    file,
    present | (1n << 55n) | 0xa000_0000n,
    file,
  ];
  const words = new Uint32Array(BigUint64Array.from(pages).buffer);
  expect(cleanRuns(0x7f0000010000, words)).toEqual([
    { start: 0x7f0000010000, bytes: 0x2000 },
    { start: 0x7f0000015000, bytes: 0x1000 },
    { start: 0x7f0000017000, bytes: 0x1000 },
  ]);
  expect(cleanRuns(0x10000, new Uint32Array())).toEqual([]);
});

test.if(process.platform === "linux")("a program that gives it back goes on, with less", async () => {
  const program = `
    import { readFileSync } from "node:fs";
    import { giveBackMemory } from "./src/host/bun/released_memory.ts";
    const fileKb = () => Number(/^RssFile:\\s+(\\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
    const before = fileKb();
    giveBackMemory();
    await Bun.sleep(${hostLimits.settledMs + 500});
    console.log(JSON.stringify({ before, after: fileKb(), still: [3, 1, 2].toSorted().join("") }));`;
  const child = Bun.spawn([process.execPath, "-e", program], {
    cwd: join(import.meta.dir, "../../.."),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { before, after, still } = JSON.parse(await new Response(child.stdout).text());
  expect(still).toBe("123");
  expect(after).toBeLessThan(0.8 * before);
});

test("a heap that is large is collected beside the program's work, and not in a turn of it", async () => {
  const program = `
    import { heapSize } from "bun:jsc";
    import { giveBackMemory } from "./src/host/bun/released_memory.ts";
    const calls = [];
    Object.assign(Bun, { shrink: () => calls.push("shrink"), gc: (inThisTurn) => calls.push(["gc", inThisTurn]) });
    const kept = [];
    giveBackMemory();
    while (heapSize() <= ${hostLimits.maxShrunkHeapBytes})
      for (let count = 0; count < 10_000; count++) kept.push({ at: count });
    giveBackMemory();
    console.log(JSON.stringify({ calls, kept: kept.length > 0 }));
    process.exit(0);`;
  const child = Bun.spawn([process.execPath, "-e", program], {
    cwd: join(import.meta.dir, "../../.."),
    stdio: ["ignore", "pipe", "inherit"],
  });
  expect(JSON.parse(await new Response(child.stdout).text())).toEqual({
    calls: ["shrink", ["gc", false]],
    kept: true,
  });
});

describe.if(process.platform === "linux")("what runs for long", () => {
  const script = join(scratch, "again.ts");
  writeFileSync(
    script,
    `import { chmodSync, readFileSync } from "node:fs";
      import { keepFreedPages } from "${join(import.meta.dir, "released_memory.ts")}";
      if (process.env.LOCKED !== undefined) chmodSync(process.execPath, 0o644);
      keepFreedPages(["up", "control"], ["up"]);
      const given = readFileSync("/proc/self/environ", "latin1").split("\\0");
      console.log(JSON.stringify({
        pid: process.pid,
        delay: process.env.MIMALLOC_PURGE_DELAY ?? null,
        compileAfter: given.filter((one) => one.startsWith("BUN_JSC_thresholdForJITAfterWarmUp=")),
        kept: process.env.KEPT,
        words: process.argv.slice(2),
      }));`,
  );

  const compileAfter = `BUN_JSC_thresholdForJITAfterWarmUp=${hostLimits.compileAfter}`;
  const delay = String(hostLimits.freedPagesMs);
  const asItWas = { delay: null, compileAfter: [] };

  async function run(env: Record<string, string>, ...words: readonly string[]) {
    const { PROGRAM: program = process.execPath, ...more } = env;
    const child = Bun.spawn([program, script, ...words], {
      env: { PATH: process.env.PATH ?? "", KEPT: "a=b é", ...more },
      stdio: ["ignore", "pipe", "inherit"],
    });
    return { child: child.pid, ...JSON.parse(await new Response(child.stdout).text()) };
  }

  test("begins once more with its allocator and engine told, as the same process, with the arguments it was given", async () => {
    const again = await run({}, "up", "", "two words");
    expect(again).toEqual({
      ...{ child: again.pid, pid: again.pid, kept: "a=b é", words: ["up", "", "two words"] },
      ...{ delay, compileAfter: [compileAfter] },
    });
    // What has long work that is done once compiles as usual.
    expect(await run({}, "control", "x")).toMatchObject({ delay, compileAfter: [] });
  });

  test("is told by its command alone: what others only name, or run, inherits nothing", async () => {
    expect(await run({}, "get", "x")).toMatchObject(asItWas);
    expect(await run({}, "run", "--", "up", "control")).toMatchObject(asItWas);
    expect(await run({}, "control", "up")).toMatchObject({ delay, compileAfter: [] });
    expect(await run({})).toMatchObject(asItWas);
  });

  test("keeps what an operator has set", async () => {
    expect(await run({ MIMALLOC_PURGE_DELAY: "7" }, "up")).toMatchObject({ delay: "7", compileAfter: [] });
    const own = "BUN_JSC_thresholdForJITAfterWarmUp";
    expect(await run({ [own]: "700" }, "up")).toMatchObject({ delay, compileAfter: [`${own}=700`] });
  });

  test("goes on as it is where it cannot begin once more", async () => {
    const program = join(scratch, "program");
    copyFileSync(process.execPath, program);
    // The kernel runs no file without a right to be run, not for root either.
    expect(await run({ PROGRAM: program, LOCKED: "1" }, "up", "x")).toMatchObject({
      ...asItWas,
      words: ["up", "x"],
    });
  });
});
