/** Receivers of the audit log as they are: files that are rotated, syslog servers that freeze and lie, collectors that refuse. */
import { dlopen } from "bun:ffi";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { auditExportLimits } from "../../base/limits/control.ts";
import { sha256Hex } from "../../base/sha256.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { testAuthority } from "../../host/testing/credentials.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { Forge, serverAuth } from "../../pki/testing/forge.ts";
import type { ChainedEntry } from "../records/audit.ts";
import { FileSink } from "./file_sink.ts";
import { OtlpSink } from "./otlp_sink.ts";
import { SyslogSink, type SyslogTarget } from "./syslog_sink.ts";

const host = createBunHost();
const origin = { hostName: "control.example", pid: 7, stateId: "ab" };
let directory = "";
const ends: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fairlead-sinks-"));
});

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  rmSync(directory, { recursive: true, force: true });
});

function row(id: number, more: Partial<ChainedEntry["entry"]> = {}): ChainedEntry {
  const entry = {
    id,
    atMs: 1_700_000_000_123,
    actor: "spiffe://mesh/ns/a/sa/b",
    action: "documents.apply",
    target: "shop/a",
    namespace: "shop",
    outcome: "ok",
    detail: "",
    before: null,
    after: "kind: X\n",
    ...more,
  } as const;
  return { entry, salt: new Uint8Array(16).fill(id), hash: new Uint8Array(32).fill(id) };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n > 12_000) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("a file", () => {
  const path = () => join(directory, "audit.jsonl");
  const sink = () => new FileSink(host.files, path(), "ab");
  const ids = (name: string) =>
    readFileSync(name, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { id: number }).id);

  test("has a line a row, which others than our group cannot read, and goes on after it was moved away", async () => {
    const file = sink();
    await file.send([row(1), row(2)]);
    await file.send([row(3)]);
    expect(ids(path())).toEqual([1, 2, 3]);
    expect(statSync(path()).mode & 0o007).toBe(0);
    renameSync(path(), `${path()}.1`);
    await file.send([row(4)]);
    expect(ids(`${path()}.1`)).toEqual([1, 2, 3]);
    expect(ids(path())).toEqual([4]);
    expect(JSON.parse(readFileSync(path(), "utf8"))).toMatchObject({
      state: "ab",
      id: 4,
      time: "2023-11-14T22:13:20.123Z",
      after: "kind: X\n",
      hash: "04".repeat(32),
    });
  });

  test("is mended where a kill has left half a line", async () => {
    await sink().send([row(1)]);
    appendFileSync(path(), '{"state":"ab","id":2,"ti');
    await sink().send([row(2)]);
    expect(ids(path())).toEqual([1, 2]);
  });

  test("that cannot be written is an error in words, and no pipe holds it up", async () => {
    expect(
      await rejectionOf(new FileSink(host.files, join(directory, "no/a"), "ab").send([row(1)])),
    ).toMatchObject({
      code: "io",
      message: expect.stringContaining("does not exist"),
    });
    mkdirSync(join(directory, "folder"));
    expect(
      await rejectionOf(new FileSink(host.files, join(directory, "folder"), "ab").send([row(1)])),
    ).toMatchObject({
      code: "io",
    });
    const pipe = join(directory, "pipe");
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
    expect(await rejectionOf(new FileSink(host.files, pipe, "ab").send([row(1)]))).toMatchObject({
      code: "io",
    });
  });

  test("of a full disk holds no half of what was sent", async () => {
    if (process.getuid?.() !== 0) return;
    const small = join(directory, "small");
    mkdirSync(small);
    if (Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small]).exitCode !== 0) return;
    ends.push(() => Bun.spawnSync(["umount", small]));
    const file = new FileSink(host.files, join(small, "a"), "ab");
    await file.send([row(1)]);
    expect(await rejectionOf(file.send([row(2, { after: "x".repeat(100_000) })]))).toMatchObject({
      message: expect.stringContaining("full"),
    });
    expect(ids(join(small, "a"))).toEqual([1]);
    await file.send([row(2)]);
    expect(ids(join(small, "a"))).toEqual([1, 2]);
  });

  test("may be reached by a link", async () => {
    writeFileSync(join(directory, "real"), "");
    symlinkSync(join(directory, "real"), path());
    await sink().send([row(1)]);
    expect(ids(join(directory, "real"))).toEqual([1]);
  });
});

function syslog(target: SyslogTarget, timeoutMs = 60_000, settleMs = 600_000): SyslogSink {
  const { clock, net, files } = host;
  const provider = runtimeProvider();
  const sink = new SyslogSink({ clock, net, files, provider, target, origin, timeoutMs, settleMs });
  ends.push(() => sink.close());
  return sink;
}

/** Messages by octet counting. */
function messages(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.subarray(at, space).toString());
    found.push(bytes.subarray(space + 1, space + 1 + length).toString());
    at = space + 1 + length;
  }
  return found;
}

async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  ends.push(() => server.close());
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

describe("syslog", () => {
  test("over UDP is RFC 5424, one message a datagram", async () => {
    const got: string[] = [];
    const server = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: { data: (_socket, data) => void got.push(data.toString()) },
    });
    ends.push(() => server.close());
    const sink = syslog({ transport: "udp", server: { host: "127.0.0.1", port: server.port } });
    await sink.send([row(1), row(2, { outcome: "refused" })]);
    await until(() => got.length === 2, "two datagrams");
    expect(got[0]).toStartWith(
      "<110>1 2023-11-14T22:13:20.123Z control.example fairlead-control 7 documents.apply - {",
    );
    expect(got[1]).toStartWith("<108>1 ");
  });

  test("over UDP to where nothing listens fails as soon as that is told", async () => {
    const free = await Bun.udpSocket({ hostname: "127.0.0.1", socket: {} });
    const { port } = free;
    free.close();
    const sink = syslog({ transport: "udp", server: { host: "127.0.0.1", port } });
    expect(
      await rejectionOf(
        (async () => {
          for (let n = 1; n < 400; n++) {
            await sink.send([row(n % 256)]);
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        })(),
      ),
    ).toMatchObject({ code: "connect_refused", blame: "upstream" });
  });

  test("no actor, target or text of a tenant ends a message, begins another, or is more than a server takes", async () => {
    const got: string[] = [];
    const server = createServer((socket) => {
      const chunks: Buffer[] = [];
      socket.on("data", (chunk) => {
        chunks.push(chunk as Buffer);
        got.splice(0, got.length, ...messages(Buffer.concat(chunks)));
      });
    });
    const sink = syslog({ transport: "tcp", server: { host: "127.0.0.1", port: await listen(server) } });
    const evil = "a\n<13>1 - - - - - - forged\r\n\0\u2028ü𝄞";
    await sink.send([
      row(1, { actor: evil, action: `x ${evil}`, target: evil, detail: evil }),
      row(2, { before: "é".repeat(30_000), after: evil.repeat(1_000) }),
    ]);
    await until(() => got.length === 2, "two messages");
    for (const message of got) {
      expect(message).toMatch(/^[ -~]+$/);
      expect(message.length).toBeLessThanOrEqual(8 * 1024);
      const json = JSON.parse(message.slice(message.indexOf("{"))) as Record<string, unknown>;
      if (json.id === 1) expect(json).toMatchObject({ actor: evil, target: evil, detail: evil });
      else
        expect(json.before).toEqual({
          characters: 30_000,
          sha256: sha256Hex(new TextEncoder().encode("é".repeat(30_000))),
        });
    }
  });

  test("a server that reads nothing is given up in bounded time, and held no more than a batch", async () => {
    const held: Socket[] = [];
    const server = createServer({ pauseOnConnect: true }, (socket) => void held.push(socket));
    const sink = syslog({ transport: "tcp", server: { host: "127.0.0.1", port: await listen(server) } }, 500);
    const many = Array.from({ length: 250 }, (_, n) => row(n % 256, { after: "x".repeat(4_000) }));
    expect(
      await rejectionOf(
        (async () => {
          for (let n = 0; n < 100; n++) await sink.send(many);
        })(),
      ),
    ).toMatchObject({ code: "connect_timeout" });
    for (const socket of held) socket.destroy();
  });

  test("a server that closes is an error, so that what it may have lost is sent again; then there is a new connection", async () => {
    let connections = 0;
    let closes = 0;
    const server = createServer((socket) => {
      connections++;
      socket.on("error", () => {});
      socket.on("close", () => void closes++);
      socket.once("data", () => {
        if (connections === 1) socket.end();
      });
    });
    const sink = syslog({ transport: "tcp", server: { host: "127.0.0.1", port: await listen(server) } });
    await sink.send([row(1)]);
    // The sink has ended its side too, so it knows.
    await until(() => closes === 1, "the end of the connection");
    expect(await rejectionOf(sink.send([row(2)]))).toMatchObject({ code: "connection_closed" });
    await sink.send([row(1), row(2)]);
    expect(connections).toBe(2);
  });

  test("a server that closes what is idle costs nothing but a new connection", async () => {
    let connections = 0;
    let closes = 0;
    const server = createServer((socket) => {
      connections++;
      socket.on("error", () => {});
      socket.on("close", () => void closes++);
      socket.once("data", () => setTimeout(() => socket.end(), 50));
    });
    const to = { host: "127.0.0.1", port: await listen(server) };
    const sink = syslog({ transport: "tcp", server: to }, 500, 20);
    for (let n = 1; n <= 3; n++) {
      await sink.send([row(n)]);
      await until(() => closes === n, "the end of the connection");
    }
    expect(connections).toBe(3);
  });

  test("over TLS goes to whom the roots know by that name, and sends nothing to another", async () => {
    const forge = new Forge(runtimeProvider(), Date.now());
    const root = await forge.ca();
    const leaf = await forge.leaf(root, { dnsNames: ["localhost"], extendedKeyUsage: [serverAuth] });
    const other = await testAuthority();
    writeFileSync(join(directory, "root.pem"), root.pem);
    writeFileSync(join(directory, "other.pem"), other.otherRoot.pem);
    const got: Buffer[] = [];
    const server = createTlsServer({ cert: leaf.pem, key: await exportPrivateKey(leaf.keys) }, (socket) => {
      socket.on("data", (chunk) => void got.push(Buffer.from(chunk)));
      socket.on("error", () => {});
    });
    server.on("tlsClientError", () => {});
    const port = await listen(server);
    const to = (name: string, hostName: string): SyslogSink =>
      syslog({
        transport: "tls",
        server: { host: hostName, port },
        rootPath: join(directory, name),
      });
    expect(await rejectionOf(to("other.pem", "localhost").send([row(1)]))).toMatchObject({
      message: expect.stringContaining("is not trusted as the syslog server"),
    });
    expect(await rejectionOf(to("root.pem", "127.0.0.1").send([row(1)]))).toMatchObject({
      code: "certificate_unexpected",
    });
    expect(got).toHaveLength(0);
    await to("root.pem", "localhost").send([row(1), row(2)]);
    await until(() => messages(Buffer.concat(got)).length === 2, "two messages");
  });

  test("at the local socket is a datagram a row; a full queue is waited for, a frozen daemon is said", async () => {
    const path = join(directory, "log");
    const daemon = new LogSocket(path);
    ends.push(() => daemon.close());
    const sink = syslog({ transport: "unix", path }, 500);
    await sink.send([row(1)]);
    expect(daemon.receive()).toStartWith("<110>1 ");
    // Its queue holds net.unix.max_dgram_qlen, often 10, and it reads nothing.
    const many = Array.from({ length: 2_000 }, (_, n) => row(n % 256));
    expect(await rejectionOf(sink.send(many))).toMatchObject({ code: "connect_timeout" });
    while (daemon.receive() !== null);
    await sink.send([row(2)]);
    expect(daemon.receive()).toContain('"id":2');
    // Restarted: another socket by the same name.
    daemon.close();
    rmSync(path);
    expect(await rejectionOf(sink.send([row(3)]))).toMatchObject({ blame: "upstream" });
    const next = new LogSocket(path);
    ends.push(() => next.close());
    await sink.send([row(3)]);
    expect(next.receive()).toContain('"id":3');
  });
});

describe("a collector", () => {
  type Answer = (records: readonly Record<string, unknown>[], request: Request) => Response;
  const collect = (answer: Answer) => {
    const seen: Record<string, unknown>[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const body = (await request.json()) as {
          resourceLogs: { scopeLogs: { logRecords: Record<string, unknown>[] }[] }[];
        };
        const records = body.resourceLogs.flatMap(({ scopeLogs }) =>
          scopeLogs.flatMap(({ logRecords }) => logRecords),
        );
        const response = answer(records, request);
        if (response.status === 200) seen.push(...records);
        return response;
      },
    });
    ends.push(() => server.stop(true));
    const target = {
      url: `http://127.0.0.1:${server.port}/v1/logs`,
      rootPath: null,
      headersPath: join(directory, "headers"),
    };
    const { http, files } = host;
    const sink = new OtlpSink({ http, files, target, stateId: "ab", version: "1", hostName: "c" });
    return { sink, seen };
  };
  const ok = () => new Response("{}", { headers: { "content-type": "application/json" } });
  const idOf = (record: Record<string, unknown>) =>
    (record.attributes as { key: string; value: { intValue?: string } }[]).find(
      ({ key }) => key === "audit.id",
    )?.value.intValue;

  beforeEach(() => writeFileSync(join(directory, "headers"), "# the collector's\nX-Token: s3cret\n"));

  test("gets log records as OTLP's JSON has them, with the headers of the file", async () => {
    let token: string | null = null;
    const { sink, seen } = collect((_records, request) => {
      token = request.headers.get("x-token");
      expect(request.headers.get("content-type")).toBe("application/json");
      return ok();
    });
    expect(await sink.send([row(1), row(2, { outcome: "failed" })])).toBe(0);
    expect(token as string | null).toBe("s3cret");
    expect(seen[0]).toMatchObject({
      timeUnixNano: "1700000000123000000",
      severityNumber: 9,
      severityText: "INFO",
      body: { stringValue: "spiffe://mesh/ns/a/sa/b documents.apply shop/a: ok" },
    });
    expect(seen[1]).toMatchObject({ severityNumber: 17 });
    // Every value is one of AnyValue's, and 64-bit numbers are strings.
    for (const { value } of (seen[0]?.attributes ?? []) as { value: Record<string, unknown> }[])
      expect(Object.values(value).every((one) => typeof one === "string")).toBe(true);
  });

  test("that answers 503, 429, 401 or nothing that is HTTP is tried again with the same rows", async () => {
    for (const status of [503, 429, 401, 404, 500]) {
      const { sink } = collect(() => new Response("not now", { status }));
      expect(await rejectionOf(sink.send([row(1)]))).toMatchObject({
        message: expect.stringContaining(String(status)),
      });
    }
    const { http, files } = host;
    const server = createServer((socket) => void socket.end("SSH-2.0\r\n\r\n"));
    const target = { url: `http://127.0.0.1:${await listen(server)}/`, rootPath: null, headersPath: null };
    const sink = new OtlpSink({ http, files, target, stateId: "ab", version: "1", hostName: "c" });
    expect(await rejectionOf(sink.send([row(1)]))).toMatchObject({ blame: "upstream" });
  });

  test("that cannot take one row gets all the others, and that row is counted", async () => {
    const { sink, seen } = collect((records) =>
      records.some((record) => idOf(record) === "7") ? new Response("bad", { status: 400 }) : ok(),
    );
    expect(await sink.send(Array.from({ length: 20 }, (_, n) => row(n + 1)))).toBe(1);
    expect(seen.map(idOf)).toEqual(
      Array.from({ length: 20 }, (_, n) => String(n + 1)).filter((id) => id !== "7"),
    );
  });

  test("whose answer is as long as is read is one, and one byte more is none", async () => {
    const page = (bytes: number) => () => new Response(`{}${" ".repeat(bytes - 2)}`);
    const { maxOtlpAnswerBytes } = auditExportLimits;
    expect(await collect(page(maxOtlpAnswerBytes)).sink.send([row(1)])).toBe(0);
    expect(await rejectionOf(collect(page(maxOtlpAnswerBytes + 1)).sink.send([row(1)]))).toMatchObject({
      code: "limit_reached",
    });
  });

  test("a partial success is counted, and not sent again", async () => {
    const { sink } = collect(() => Response.json({ partialSuccess: { rejectedLogRecords: "3" } }));
    expect(await sink.send([row(1), row(2), row(3), row(4)])).toBe(3);
  });

  test("more headers than there may be are refused", async () => {
    const { sink } = collect(ok);
    const lines = Array.from({ length: auditExportLimits.maxOtlpHeaders + 1 }, (_, n) => `X-${n}: 1\n`);
    writeFileSync(join(directory, "headers"), lines.join(""));
    expect(await rejectionOf(sink.send([row(1)]))).toMatchObject({ code: "configuration" });
  });

  test("a header file that is wrong is said without its secrets", async () => {
    const { sink } = collect(ok);
    writeFileSync(join(directory, "headers"), "s3cret without a name\n");
    try {
      await sink.send([row(1)]);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "configuration" });
      expect(String(error)).not.toContain("s3cret");
    }
  });
});

async function exportPrivateKey({ privateKey }: CryptoKeyPair): Promise<string> {
  const der = await crypto.subtle.exportKey("pkcs8", privateKey);
  return encodePem("PRIVATE KEY", new Uint8Array(der));
}

/** What a local syslog daemon listens on: Bun has no such socket. */
class LogSocket {
  readonly #fd: number;
  static readonly #library = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
    recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
    close: { args: ["i32"], returns: "i32" },
  }).symbols;

  constructor(path: string) {
    this.#fd = LogSocket.#library.socket(1, 2, 0);
    const address = new Uint8Array(new ArrayBuffer(2 + path.length + 1));
    address[0] = 1;
    address.set(new TextEncoder().encode(path), 2);
    expect(LogSocket.#library.bind(this.#fd, address, address.length)).toBe(0);
  }

  receive(): string | null {
    const buffer = new Uint8Array(new ArrayBuffer(65_536));
    const length = Number(LogSocket.#library.recv(this.#fd, buffer, buffer.length, 0x40));
    return length < 0 ? null : new TextDecoder().decode(buffer.subarray(0, length));
  }

  close(): void {
    LogSocket.#library.close(this.#fd);
  }
}
