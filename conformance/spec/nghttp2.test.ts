/** The engine and nghttp2 at two ends of a socket: bulk both ways, many streams, both roles. Skipped aloud where nghttp2 is not installed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { H2StreamEvents } from "../../src/wire/h2/stream.ts";
import { freePort } from "../control/free_port.ts";
import { bulkHangMs, eventually, hangMs } from "../peer/lab/eventually.ts";
import { EngineWire, host, loopback } from "./engine_wire.ts";
import { serve } from "./h2spec_server.ts";

const nghttpd = Bun.which("nghttpd");
const h2load = Bun.which("h2load");
if (nghttpd === null || h2load === null)
  console.log("skipped: nghttp2's nghttpd and h2load are not installed");

const connectTimeoutMs = hangMs;
const fileBytes = 8 * 1024 * 1024;
const file = randomBytes(fileBytes);
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "nghttp2-"));
  await writeFile(join(folder, "file"), file);
});
afterAll(() => rm(folder, { recursive: true }));

/** Opens `count` streams at once, and resolves with what each brought. */
async function ask(port: number, count: number, upload: Uint8Array | null): Promise<Uint8Array[]> {
  const answers: Uint8Array[][] = Array.from({ length: count }, () => []);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let open = count;
  const socket = await host.net.connect({ to: loopback(port), timeoutMs: connectTimeoutMs });
  const wire = new EngineWire(
    socket,
    { role: "client" },
    {
      onRequest: () => {},
      onClose: (error) => (open > 0 ? reject(error ?? new Error("closed")) : undefined),
    },
  );
  const method = upload === null ? "GET" : "POST";
  const head = [":method", method, ":scheme", "http", ":authority", "localhost", ":path", "/file"];
  for (const chunks of answers) {
    const stream = wire.connection.request(
      head,
      upload === null,
      events(
        (bytes) => {
          chunks.push(bytes);
          stream?.consume(bytes.length);
        },
        () => {
          open--;
          if (open === 0) resolve();
        },
        reject,
      ),
    );
    if (stream === null) throw new Error("no stream");
    if (upload !== null) stream.sendData(upload, true);
  }
  await promise;
  socket.close();
  return answers.map((chunks) => Buffer.concat(chunks));
}

function events(
  onData: (bytes: Uint8Array) => void,
  onClose: () => void,
  onError: (error: Error) => void,
): H2StreamEvents {
  return {
    onHeaders: () => {},
    onData,
    onTrailers: () => {},
    onReset: (_code, _initiator, error) => onError(error),
    onWritable: () => {},
    onClose,
  };
}

/** nghttpd needs a moment; it says nothing when it listens. */
async function untilListening(port: number): Promise<void> {
  const listens = async (): Promise<boolean> => {
    try {
      (await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } })).end();
      return true;
    } catch {
      return false;
    }
  };
  await eventually("nghttpd listens", listens);
}

describe.skipIf(nghttpd === null)("our client, nghttpd", () => {
  let port = 0;
  let child: ReturnType<typeof Bun.spawn>;

  beforeAll(async () => {
    port = freePort();
    child = Bun.spawn([nghttpd ?? "", "--no-tls", "--echo-upload", "-d", folder, String(port)], {
      stdout: "ignore",
    });
    await untilListening(port);
  });
  afterAll(() => child.kill());

  test(
    "eight downloads of 8 MiB at once arrive whole",
    async () => {
      for (const answer of await ask(port, 8, null)) expect(Buffer.compare(answer, file)).toBe(0);
    },
    bulkHangMs,
  );

  test(
    "four uploads of 8 MiB come back as they went",
    async () => {
      for (const answer of await ask(port, 4, file)) expect(Buffer.compare(answer, file)).toBe(0);
    },
    bulkHangMs,
  );
});

describe.skipIf(h2load === null)("h2load, our server", () => {
  test("20,000 requests, and uploads, all succeed", async () => {
    const listener = serve(0, null);
    const url = `http://127.0.0.1:${listener.address.port}/`;
    for (const extra of [[], ["-d", join(folder, "file"), "-n", "40"]]) {
      const run = Bun.spawn([h2load ?? "", "-n", "20000", "-c", "4", "-m", "50", ...extra, url], {
        stdout: "pipe",
      });
      const output = await new Response(run.stdout).text();
      const [, total, failed] = /requests: (\d+) total,.* (\d+) failed/.exec(output) ?? [];
      expect(Number(total)).toBe(extra.length === 0 ? 20_000 : 40);
      expect(failed).toBe("0");
      expect(output).toContain(`status codes: ${total} 2xx`);
    }
    listener.close();
  }, 300_000);
});
