/** Clients of others through a real waypoint to one application: curl over both versions of HTTP, nghttp2's two, Python's websockets. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findPython } from "../../peer/lab/tools.ts";
import { applicationOf, openSmallStage, type SmallStage } from "../small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const number = 38;
const size = 1_000_000;

interface Client {
  readonly name: string;
  readonly program: string | null;
  readonly argv: readonly string[];
  /** What it must have said. */
  readonly says: RegExp;
}

/** @returns the reasons for which some were skipped. */
export async function tryClients(directory: string, tell: Tell): Promise<readonly string[]> {
  mkdirSync(directory, { recursive: true });
  const upload = join(directory, "upload");
  writeFileSync(upload, new Uint8Array(size).fill(0x78));
  const application = serve(number);
  const missing = new Set<string>();
  let stage: SmallStage | null = null;
  try {
    stage = await openSmallStage(join(directory, "stage"), { number, flags: [], documents: "" });
    for (const { name, program, argv, says } of clients(stage.url, upload)) {
      if (program === null) {
        missing.add(`${name.split(":")[0]} is not installed`);
        continue;
      }
      const child = Bun.spawn([program, ...argv], {
        stdin: Bun.file(upload),
        ...{ stdout: "pipe", stderr: "pipe" },
      });
      const [out, error] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      const code = await child.exited;
      const isRight = code === 0 && says.test(out);
      tell(name, isRight ? null : `exit code ${code}: ${out.slice(-500)} ${error.slice(-500)}`);
    }
  } finally {
    await stage?.stop();
    await application.stop(true);
  }
  return [...missing];
}

/** Says what it saw, and sends messages of a WebSocket back. */
function serve(of: number) {
  const { address, port } = applicationOf(of);
  return Bun.serve({
    hostname: address,
    port,
    async fetch(request, server) {
      if (server.upgrade(request)) return undefined;
      const { pathname } = new URL(request.url);
      if (pathname === "/large") return new Response("x".repeat(size));
      const bytes = (await request.arrayBuffer()).byteLength;
      return new Response(`${request.method} ${pathname} ${bytes} bytes`, { headers: { "x-app": "web" } });
    },
    websocket: {
      maxPayloadLength: 4 * size,
      message: (socket, message) => {
        socket.send(message);
      },
    },
  });
}

function clients(url: string, upload: string): readonly Client[] {
  const curl = (name: string, version: string, says: RegExp, ...flags: readonly string[]): Client => ({
    ...{ name: `curl: ${name}, ${version}`, program: Bun.which("curl"), says },
    argv: ["-sS", "-m", "60", "--noproxy", "*", `--${version}`, "-H", "Host: web.shop.mesh", ...flags],
  });
  const whole = new RegExp(`POST /a ${size} bytes`);
  const python = findPython("websockets");
  const script = join(import.meta.dir, "websocket_client.py");
  return [
    ...["http1.1", "http2-prior-knowledge"].flatMap((version) => [
      curl("GET", version, /^GET \/a 0 bytes$/, `${url}/a`),
      curl("POST with a length", version, whole, "--data-binary", `@${upload}`, `${url}/a`),
      curl(
        "PUT without one",
        version,
        new RegExp(`PUT /a ${size} bytes`),
        "-X",
        "PUT",
        "-T",
        "-",
        `${url}/a`,
      ),
      curl(
        "POST that expects 100",
        version,
        whole,
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        `@${upload}`,
        `${url}/a`,
      ),
      curl("HEAD", version, /^HTTP\/[12](\.1)? 200[\s\S]*x-app: web/i, "-I", `${url}/a`),
      curl(
        "a large answer",
        version,
        new RegExp(`^200 ${size}$`),
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
        `${url}/large`,
      ),
    ]),
    {
      ...{ name: "nghttp: POST", program: Bun.which("nghttp"), says: whole },
      argv: ["-H", ":method: POST", "-d", upload, `${url}/a`],
    },
    {
      ...{ name: "h2load: 2,000 requests, 10 connections, 20 streams", program: Bun.which("h2load") },
      ...{ argv: ["-n", "2000", "-c", "10", "-m", "20", `${url}/a`], says: /2000 succeeded, 0 failed/ },
    },
    {
      ...{ name: "websockets: text, a megabyte, a ping, an orderly end", says: /^ok$/m },
      program: "path" in python ? python.path : null,
      argv: [script, url.replace("http:", "ws:")],
    },
  ];
}
