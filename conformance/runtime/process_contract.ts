/** What the host of this runtime says of its process and serves over HTTP. For `run_files.ts`, in Node and Deno. */
import { describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { assert } from "../../src/base/assert.ts";
import { IpAddress } from "../../src/base/ip.ts";
import { hostLimits } from "../../src/base/limits/host.ts";
import { rejectionOf } from "../../src/base/testing/rejection.ts";
import { createNodeHost } from "../../src/host/node/host.ts";
import { serveHttp } from "../../src/host/node/serve_http.ts";

const host = createNodeHost();
const { process: own } = host;
const loopback = IpAddress.parse("127.0.0.1");
assert(loopback !== null, "an address");
const anyPort = { ip: loopback, port: 0 };

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("waited in vain");
    await sleep(2);
  }
}

function probe(what: string): ChildProcess {
  const [program = "", ...flags] = own.self;
  const script = join(import.meta.dirname, "process_probe.ts");
  return spawn(program, [...flags.slice(0, -1), script, what], { stdio: ["ignore", "pipe", "pipe"] });
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.on("exit", resolve));
}

describe("the process", () => {
  test("a program has its input, and says its output and its exit code", async () => {
    expect(await own.run("cat", [], "said")).toEqual({ exitCode: 0, output: "said" });
    expect((await own.run("sh", ["-c", "echo out; echo error >&2; exit 3"])).exitCode).toBe(3);
    expect(await rejectionOf(own.run("/no/such/program", []))).toMatchObject({ code: "io", blame: "local" });
  });

  test("of a program's output maxRunOutputBytes are kept, and not one more", async () => {
    const { output } = await own.run("head", ["-c", String(hostLimits.maxRunOutputBytes + 1), "/dev/zero"]);
    expect(output.length).toBe(hostLimits.maxRunOutputBytes);
  });

  test("a program that is followed tells of output and of its end, and of neither once it was stopped", async () => {
    const told: string[] = [];
    const events = (name: string) => ({
      onOutput: () => void told.push(`${name} output`),
      onEnd: () => void told.push(`${name} end`),
    });
    own.follow("sh", ["-c", "echo x"], events("short"));
    await until(() => told.includes("short end"));
    expect(told).toEqual(["short output", "short end"]);
    const long = own.follow("cat", [], events("long"));
    long.stop();
    own.follow("/no/such/program", [], events("none"));
    await until(() => told.includes("none end"));
    await sleep(50);
    expect(told.filter((what) => what.startsWith("long"))).toEqual([]);
  });

  test("a program in a session of its own says whether it spoke, and is told what to do", async () => {
    const speaking = own.detach("sh", ["-c", "echo ready; read word"]);
    expect(await speaking.spoke).toBe(true);
    speaking.tell("end\n");
    expect(await own.detach("true", []).spoke).toBe(false);
  });

  test("a module is read again for another version, and an error in it is one of configuration", async () => {
    const directory = await mkdtemp(join(tmpdir(), "fairlead-module-"));
    const path = join(directory, "middleware.ts");
    await writeFile(path, "export const value: number = 1;\n");
    expect((await own.loadModule(path, "1")).value).toBe(1);
    await writeFile(path, "export const value: number = 2;\n");
    expect([(await own.loadModule(path, "1")).value, (await own.loadModule(path, "2")).value]).toEqual([
      1, 2,
    ]);
    await writeFile(path, "export const = ;\n");
    expect(await rejectionOf(own.loadModule(path, "3"))).toMatchObject({ code: "configuration" });
    await rm(directory, { recursive: true });
  });

  test("a full pipe costs lines and never blocks", async () => {
    const child = probe("output");
    let said = "";
    child.stderr?.on("data", (bytes) => {
      said += bytes;
    });
    expect(await ended(child)).toBe(0);
    const { written } = JSON.parse(said);
    // A pipe holds 64 KiB, or what its owner may have; the runtime at its other end may read as much. The next line was lost.
    expect([written > 0, written < 10_000]).toEqual([true, true]);
    child.stdout?.destroy();
  });

  test("signals are told, and the process ends as it says", async () => {
    const child = probe("signals");
    let said = "";
    child.stdout?.on("data", (bytes) => {
      said += bytes;
    });
    const code = ended(child);
    for (const [signal, before] of [
      ["SIGHUP", "listening\n"],
      ["SIGINT", "SIGHUP\n"],
      ["SIGTERM", "SIGINT\n"],
    ] as const) {
      await until(() => said.endsWith(before));
      // Deno's `child.kill` works once.
      if (child.pid !== undefined) process.kill(child.pid, signal);
    }
    expect(await code).toBe(7);
    expect(said).toBe("listening\nSIGHUP\nSIGINT\nSIGTERM\n");
  });
});

describe("HTTP", () => {
  test("a request arrives as it was sent, and the answer with status, headers and body", async () => {
    const listener = serveHttp(anyPort, async (request) => {
      const { method, url } = request;
      const words = `${method} ${new URL(url).pathname} ${request.headers.get("x-a")} ${await request.text()}`;
      return new Response(words, { status: 207, headers: { "x-b": "there" } });
    });
    const at = `http://127.0.0.1:${listener.address.port}/path?x=1`;
    const answer = await fetch(at, { method: "POST", body: "body", headers: { "x-a": "here" } });
    expect([answer.status, answer.headers.get("x-b"), await answer.text()]).toEqual([
      207,
      "there",
      "POST /path here body",
    ]);
    expect(await (await fetch(at, { method: "HEAD" })).text()).toBe("");
    listener.close();
  });

  test("a body of httpRequestBodyBytes is taken, one byte more is 413", async () => {
    const listener = serveHttp(
      anyPort,
      async (request) => new Response(String((await request.bytes()).length)),
    );
    const post = (bytes: number) =>
      fetch(`http://127.0.0.1:${listener.address.port}/`, { method: "POST", body: new Uint8Array(bytes) });
    expect(await (await post(hostLimits.httpRequestBodyBytes)).text()).toBe(
      String(hostLimits.httpRequestBodyBytes),
    );
    expect((await post(hostLimits.httpRequestBodyBytes + 1)).status).toBe(413);
    listener.close();
  });

  test("a body that goes on is made as it is read, and ends with its reader", async () => {
    let made = 0;
    let isCancelled = false;
    const listener = serveHttp(
      anyPort,
      () =>
        new Response(
          new ReadableStream({
            async pull(controller) {
              await sleep(0);
              made += 65_536;
              controller.enqueue(new Uint8Array(65_536));
            },
            cancel: () => {
              isCancelled = true;
            },
          }),
        ),
    );
    const socket = connect(listener.address.port, "127.0.0.1");
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let last = -1;
    let since = performance.now();
    await until(() => {
      if (made !== last) since = performance.now();
      last = made;
      return made > 0 && performance.now() - since > 300;
    });
    socket.destroy();
    await until(() => isCancelled);
    listener.close();
  });

  test("a port that is taken is told at once", () => {
    const listener = serveHttp(anyPort, () => new Response(""));
    expect(() => serveHttp(listener.address, () => new Response(""))).toThrow(
      expect.objectContaining({ code: "address_in_use", blame: "local" }),
    );
    listener.close();
  });
});
