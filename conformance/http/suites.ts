/** Suites of others through the waypoint: h2spec to nginx, h2load, Autobahn's WebSocket cases (kosoku) to Python's websockets, gRPC's interoperability cases. */
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildGo, findPython, repository } from "../peer/lab/tools.ts";
import { nginxHttp2Backend } from "./nginx.ts";
import { outsideTls } from "./outside_tls.ts";
import { type Backend, nodeBackend, type Suite } from "./stage.ts";

/** h2spec's cases; fewer is a failure too. */
const h2specCases = 145;
/** Of Autobahn, without those that are left out below. */
const autobahnCases = 247;
/** Of gRPC, those that need no cloud. */
const interopCases = 14;

export function suites(): readonly Suite[] {
  return [h2spec(), h2load(), autobahn(), grpcInterop(), ...outsideTls()];
}

function h2spec(): Suite {
  const path = join(repository, ".peers/bin/h2spec");
  const backend = nginxHttp2Backend();
  return {
    name: "h2spec",
    missing: existsSync(path) ? backend.missing : "h2spec (bun scripts/peers.ts go)",
    cases: h2specCases,
    backend,
    run: async (stage, index) => {
      const { hostname, port } = stage.target(index);
      const text = await said([path, "-h", hostname, "-p", `${port}`, "-o", "20"]);
      const [, total, passed, skipped, failed] =
        /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(text) ?? [];
      const failures = [...text.matchAll(/^ +× (.+)$/gm)].map((match) => match[1] ?? "");
      if (Number(total) !== h2specCases)
        failures.push(`${total ?? "no"} cases where there are ${h2specCases}`);
      if (Number(failed) !== 0 && failures.length === 0) failures.push(`${failed} failed`);
      return { passed: Number(passed ?? 0), skipped: Number(skipped ?? 0), failures };
    },
  };
}

const uploadBytes = 100_000;

/** h2load's flags of each case, and how many requests they make. */
const loads: readonly {
  readonly name: string;
  readonly flags: readonly string[];
  readonly requests: number;
}[] = [
  {
    name: "HTTP/2, 10 connections of 20 streams",
    flags: ["-n", "2000", "-c", "10", "-m", "20"],
    requests: 2000,
  },
  {
    name: "HTTP/2, 1 connection of 100 streams, small windows",
    flags: ["-n", "1000", "-m", "100", "-w", "14", "-W", "15"],
    requests: 1000,
  },
  { name: "HTTP/1.1, 10 connections", flags: ["-n", "2000", "-c", "10", "--h1"], requests: 2000 },
  { name: "HTTP/2, uploads", flags: ["-n", "200", "-c", "4", "-m", "10", "-d", "UPLOAD"], requests: 200 },
  { name: "HTTP/1.1, uploads", flags: ["-n", "200", "-c", "4", "--h1", "-d", "UPLOAD"], requests: 200 },
];

/** As many answers as requests, and the application has seen each of them once, whole. */
function h2load(): Suite {
  const path = Bun.which("h2load");
  const backend: Backend = { ...nodeBackend(), name: "Node under load" };
  return {
    name: "h2load",
    missing: path === null ? "h2load (nghttp2-client)" : backend.missing,
    cases: loads.length,
    backend,
    run: async (stage, index, directory) => {
      const { hostname, port } = stage.target(index);
      const upload = join(directory, "upload");
      writeFileSync(upload, new Uint8Array(uploadBytes).fill(0x78));
      const failures: string[] = [];
      for (const { name, flags, requests } of loads) {
        await stage.log(index);
        const argv = flags.map((flag) => (flag === "UPLOAD" ? upload : flag));
        const text = await said([path ?? "", ...argv, `http://${hostname}:${port}/load`]);
        const seen = await stage.log(index);
        const [method, bytes] = flags.includes("UPLOAD") ? ["POST", uploadBytes] : ["GET", 0];
        const whole = seen.filter((line) => line === `${method} /load ${hostname}:${port} ${bytes}`).length;
        const isRight =
          text.includes(` ${requests} succeeded, 0 failed, 0 errored, 0 timeout`) &&
          text.includes(`status codes: ${requests} 2xx, 0 3xx, 0 4xx, 0 5xx`) &&
          whole === requests &&
          seen.length === requests;
        const told = /^(?:requests|status codes):.*$/gm;
        if (!isRight)
          failures.push(
            `${name}: seen ${whole} of ${seen.length}; ${(text.match(told) ?? [text]).join("; ")}`,
          );
      }
      return { passed: loads.length - failures.length, failures };
    },
  };
}

function autobahn(): Suite {
  const python = findPython("kosoku", "websockets");
  const script = join(import.meta.dir, "backends/websocket_backend.py");
  const backend: Backend = {
    name: "websockets",
    missing: "missing" in python ? python.missing : null,
    protocol: "HTTP",
    command: (address, port) => ["path" in python ? python.path : "", script, `${port}`, address],
    log: async () => [],
  };
  return {
    name: "Autobahn",
    missing: backend.missing,
    cases: autobahnCases,
    backend,
    run: async (stage, index, directory) => {
      const command = "path" in python ? join(dirname(python.path), "kosoku") : "";
      const cases = async (target: { hostname: string; port: number }, folder: string) => {
        const excluded = ["-x", "9.*", "-x", "12.*", "-x", "13.*", "-p", "4", "-o", join(directory, folder)];
        const text = await said([
          command,
          "-m",
          "fuzzingclient",
          ...excluded,
          `${target.hostname}:${target.port}`,
        ]);
        const total = Number(/reports for (\d+) cases/.exec(text)?.[1] ?? 0);
        return {
          total,
          failed: [...text.matchAll(/^ +(\d+\.\d+(?:\.\d+)*): (.+)$/gm)].map((match) => match[1] ?? ""),
        };
      };
      // What the application itself gets wrong is not the waypoint's.
      const direct = await cases(stage.direct(index), "direct");
      const through = await cases(stage.target(index), "through");
      const failures = through.failed.filter((name) => !direct.failed.includes(name));
      if (through.total !== direct.total || through.total < 200)
        failures.push(`${through.total} cases of ${direct.total}`);
      return { passed: through.total - failures.length, failures };
    },
  };
}

/** Both ends are grpc-go's: unary calls, all kinds of streams, deadlines, cancellation, statuses, metadata. */
function grpcInterop(): Suite {
  const built = buildGo("conformance/http/interop", "fairlead-grpc-interop");
  const path = "path" in built ? built.path : "";
  const backend: Backend = {
    name: "grpc-go",
    missing: "missing" in built ? built.missing : null,
    protocol: "HTTP2",
    command: (address, port) => [path, "serve", `${address}:${port}`],
    log: async () => [],
  };
  return {
    name: "gRPC interop",
    missing: backend.missing,
    cases: interopCases,
    backend,
    run: async (stage, index) => {
      const { hostname, port } = stage.target(index);
      const text = await said([path, "call", `${hostname}:${port}`]);
      const lines = text.split("\n").filter((line) => line !== "");
      const failures = lines.filter((line) => !/^\w+ ok$/.test(line));
      const passed = lines.length - failures.length;
      if (lines.length !== interopCases)
        failures.push(`${lines.length} cases where there are ${interopCases}`);
      return { passed, skipped: 0, failures };
    },
  };
}

async function said(argv: readonly string[]): Promise<string> {
  const child = Bun.spawn([...argv], { stdout: "pipe", stderr: "pipe" });
  const [out, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  await child.exited;
  return `${out}\n${error}`;
}
